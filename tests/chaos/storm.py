"""A storm over real pools: kill -9, TERM, STOP and CONT, hands, and jobs that behave badly. What it did to the jobs, witness.py tells.

The seed fixes what is done and to whom by rank; when exactly, the machine decides.
"""

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, namedtuple
from pathlib import Path

from chaos.hands import Hands
from chaos.witness import ALWAYS, DOOMED, FEW, Witness, longest_pause, token_of, wrongs
from kit import QUEUECTL, let_pass, until
from mounts import mounted

from jobspool import Spool, config, process, roster
from jobspool.states import FAILED, PENDING, PROCESSING

JOB = str(Path(__file__).with_name("job.py"))
KINDS = {  # and how often each comes
    "plain": 4, "sometimes": 3, "fails": 1, "killer": 1, "stubborn": 2, "endless": 1, "family": 1, "daemon": 2, "deserter": 4, "closer": 2,
    "forgetful": 2, "stranger": 3, "printer": 1, "homeless": 1, "adder": 1,
}  # fmt: skip
FIRST = ("deserter", "closer", "forgetful", "stranger")  # in line, so that what is tried again too early is seen to be
FINALE = ("hermit", "hermit", "stubborn", "stubborn", "endless", "endless")  # what runs at the last blow
BACKLOG = 40  # jobs that are kept waiting
RESTS = 0.05  # seconds, at most, between two blows
FREEZES = 0.5  # seconds, at most, until what was stopped goes on
STOPS_AFTER = 0.3  # seconds that a job without end may run until hands move it away
SOON = 5.0  # seconds in which the manual promises that things go on
SMALL = "size=12m"  # the disk that is to be full
SETTINGS = {"backoff_base": 0, "grace": 0.1, "log_max_bytes": 100_000}

# weight: how often it is done. number: the signal. whom: to which of them.
Blow = namedtuple("Blow", "weight number whom")
BLOWS = (
    Blow(48, signal.SIGKILL, "worker"), Blow(20, signal.SIGKILL, "job"), Blow(12, signal.SIGKILL, "group"),
    Blow(2, signal.SIGKILL, "supervisor"), Blow(1, signal.SIGKILL, "all of a pool"), Blow(1, signal.SIGKILL, "pool, not its jobs"),
    Blow(8, signal.SIGTERM, "worker"), Blow(6, signal.SIGTERM, "job"), Blow(6, signal.SIGTERM, "group"),
    Blow(1, signal.SIGTERM, "supervisor"), Blow(1, signal.SIGTERM, "all of a pool"),
    Blow(8, signal.SIGSTOP, "worker"), Blow(4, signal.SIGSTOP, "job"), Blow(4, signal.SIGSTOP, "group"),
    Blow(3, signal.SIGSTOP, "supervisor"),
)  # fmt: skip
PULLS = 16
HANDS = {"move": 16, "touch": 4, "remove": 2, "drop": 4, "pause": 2}

# kills: how many kill -9. blows: how many of each. jobs: that were added. runs: of them. pause: see longest_pause(), and stay: the
# longest of one claim in processing/, in seconds. wrong: what broke a promise.
Report = namedtuple("Report", "kills blows jobs runs pause stay wrong")


class Storm:
    """Pools on one spool under fire, from blow() by calm() to report(); end() whatever happens.

    `folder` is for the witness, `root` the spool's; `full` tells that its disk is to be filled, so that adding may fail.
    """

    def __init__(self, folder, root, seed, pools=2, workers=4, full=False, megabytes=4):
        self.luck = random.Random(seed)
        self.folder = folder
        self.witness = Witness(folder)
        self.spool = Spool.init(root)
        for name, value in SETTINGS.items():
            config.change(self.spool.root, name, value, self.spool.spare(), 0o600)
        self.hands = Hands(self.spool, self.luck)
        self.workers, self.full, self.megabytes = workers, full, megabytes
        self.kinds = {}  # by token; those that were added are in self.hands.names
        self.blows = Counter()
        self.wrong = []
        self.stay = 0.0
        self._frozen = {}  # pid: when it is to go on (monotonic)
        self._leaving = []  # pools that were told to end
        self._starting = set()  # the supervisors that have not yet said that they are there
        self.pools = [self._start() for _ in range(pools)]

    @property
    def kills(self):
        return sum(count for (number, _), count in self.blows.items() if number == signal.SIGKILL)

    # ---- the weather

    def blow(self, seconds, kills=0):
        """Let it storm for so long; if `kills` is given, until it has killed so often."""
        end = time.monotonic() + seconds
        deeds = [(each.weight, self._strike, (each.number, each.whom)) for each in BLOWS]
        deeds += [(weight, self._hand, (deed,)) for deed, weight in HANDS.items()] + [(PULLS, self._pull, ())]
        weights = [weight for weight, _, _ in deeds]
        while self.kills < kills if kills else time.monotonic() < end:
            self._feed()
            _, deed, words = self.luck.choices(deeds, weights)[0]
            with contextlib.suppress(OSError if self.full else ProcessLookupError):
                deed(*words)
            self._tend()
            let_pass(self.luck.random() * RESTS)

    def calm(self):
        """After a last blow at all pools let them put everything right: all that was added ends. Then end the pools."""
        self._thaw(everything=True)
        self.witness.note("calm")
        self._last_blow()
        self._wait_for(lambda: self._tend() or not self._left(), 60, lambda: f"have not ended: {self._left()}")
        self._wait_for(lambda: not self._short_of_workers(), SOON, lambda: f"lack workers: {self._short_of_workers()}")
        for pool in self.pools:
            pool.send_signal(signal.SIGTERM)
        pools = [*self.pools, *self._leaving]
        self._wait_for(lambda: all(pool.poll() is not None for pool in pools), 30, lambda: "a supervisor does not end")
        self._wait_for(lambda: not self._jobs_that_run(), 5, lambda: f"still run: {self._jobs_that_run()}")
        self.wrong += [f"{entry.role} {entry.pid} still runs" for entry in roster.living(self.spool)]

    def _last_blow(self):
        """Let jobs run that are easily overlooked, kill everything but them, and bring some of them back into pending/."""
        jobs = [self._new(kind) for kind in FINALE]
        self._add(
            [(token, {**record, "priority": 9, **({"timeout": 3} if "timeout" in record else {})}) for token, record in jobs]
        )
        names = {self._name(token) for token, _ in jobs if token in self.hands.names}
        self._wait_for(lambda: names <= self._running(), 30, lambda: f"do not run: {names - self._running()}")
        for pool in list(self.pools):
            self._strike_pool(pool, signal.SIGKILL, "pool, not its jobs")
        for token, _ in jobs:
            if self.kinds[token] == "hermit":
                self.hands.put(PROCESSING, self._name(token), PENDING)

    def _wait_for(self, seen, patience, why):
        try:
            until(seen, patience=patience)
        except AssertionError:
            self.wrong.append(why())

    def report(self):
        """Return what witness and spool say."""
        lines, jobs = self.witness.lines(), list(self.spool.jobs())
        names = self.hands.names
        touched = self.hands.touched | {token for token, name in names.items() if name in self.hands.touched}
        wrong = [
            *self.wrong,
            *wrongs(jobs, self.kinds, names, lines, touched, self.hands.removed),
            *(() if self.full else self._long_logs(jobs)),
        ]
        wrong += self._bugs()
        runs = sum(line.word == "start" for line in lines)
        blows = {f"{number.name[3:]} {whom}": count for (number, whom), count in sorted(self.blows.items())}
        return Report(self.kills, blows, len(names), runs, longest_pause(lines), self.stay, wrong)

    def end(self):
        """End all that still runs, however it is."""
        for pool in (*self.pools, *self._leaving):
            pool.kill()
            pool.wait()
        for entry in roster.entries(self.spool):
            if roster.group_lives(entry):
                process.end_group(entry.group, signal.SIGKILL)
        for pid in self._ours():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    # ---- the load

    def _feed(self):
        """Keep the queue filled, with each kind of job."""
        waiting = self.spool.count(PENDING)
        if not waiting:
            self.witness.note("empty")
        if waiting < BACKLOG:
            self._add([self._new() for _ in range(BACKLOG // 2)])

    def _add(self, jobs):
        with contextlib.suppress(OSError if self.full else ()):
            self.spool.add_many([(self._name(token), record) for token, record in jobs])
            self.hands.names |= {token: self._name(token) for token, _ in jobs}

    def _name(self, token):
        return f"job-{token}"

    def _new(self, kind=None):
        """Return the token and the record of a new job."""
        token = str(len(self.kinds))
        kinds = {**KINDS, **({"filler": 2} if self.full else {})}
        kind = self.kinds[token] = kind or self.luck.choices(list(kinds), list(kinds.values()))[0]
        words = [sys.executable, *(["-S", "-E"] if kind != "adder" else []), JOB, kind, token, self.folder]
        env = {"PYTHONPATH": str(Path(JOB).parents[2]), "MIB": str(self.megabytes)}
        record = {"argv": words, "meta": token, "env": env, "max_retries": FEW if kind in DOOMED else ALWAYS}
        return token, {**record, **({"timeout": 0.3} if kind == "stubborn" else {}), "priority": int(kind in FIRST)}

    def _left(self):
        return [(state, id) for state in (PENDING, PROCESSING, FAILED) for id in self.spool.names(state)]

    # ---- the blows

    def _strike(self, number, whom):
        """Send the signal to one of them, if there is one."""
        if whom == "supervisor" or "pool" in whom:
            self._strike_pool(self.luck.choice(self.pools), number, whom)
            return
        victims = {"worker": self._workers, "job": self._processes, "group": self._groups}[whom]()
        if victims:
            self._hit(self.luck.choice(sorted(victims)), number, whom)

    def _strike_pool(self, pool, number, whom):
        """Strike a supervisor, or all of a pool as a shutdown does; where it is to end, another is started, as init does."""
        others = self._workers(pool.pid) if "pool" in whom else []
        others += self._groups(pool.pid) if whom == "all of a pool" else []
        self.witness.note("frozen" if number == signal.SIGSTOP else "down", pool.pid)
        for pid in (pool.pid, *others):
            with contextlib.suppress(ProcessLookupError):
                self._hit(pid, number, whom)
        if number != signal.SIGSTOP:
            self._starting.discard(pool.pid)
            self._frozen[pool.pid] = 0.0
            self._leaving.append(pool)
            self.pools[self.pools.index(pool)] = self._start()

    def _hit(self, pid, number, whom):
        self.witness.note("killed" if number == signal.SIGKILL else "struck", self._pool_of(pid), pid)
        os.kill(pid, number)
        self.blows[number, whom] += 1
        if number == signal.SIGSTOP:
            self._frozen[pid] = time.monotonic() + self.luck.random() * FREEZES

    def _thaw(self, everything=False):
        for pid, when in list(self._frozen.items()):
            if everything or time.monotonic() >= when:
                del self._frozen[pid]
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
                    if any(pool.pid == pid for pool in self.pools) and pid not in self._starting:
                        self.witness.note("thawed", pid)

    def _pull(self):
        """Kill a worker, and put what it runs back into pending/ at once, as hands do that want it to run elsewhere."""
        running = [entry for entry in roster.living(self.spool) if entry.group]
        if running:
            entry = self.luck.choice(running)
            self._hit(entry.pid, signal.SIGKILL, "worker")
            self.hands.put(PROCESSING, entry.job, PENDING)

    def _hand(self, deed):
        if deed == "drop":
            token, record = self._new()
            self.hands.drop(token, record)
        else:
            getattr(self.hands, deed)()

    def _start(self):
        command, environment = [*QUEUECTL, "start", "--count", str(self.workers)], {"QUEUECTL_SPOOL": self.spool.root}
        with open(f"{self.folder}/output", "ab") as output:
            streams = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output}
            pool = subprocess.Popen(command, env={**os.environ, **environment}, **streams)
        self._starting.add(pool.pid)
        return pool

    # ---- who is there

    def _workers(self, pool=None):
        return [each.pid for each in roster.living(self.spool) if each.role == roster.WORKER and pool in (None, each.supervisor)]

    def _groups(self, pool=None):
        """The process groups of jobs, as kill(2) wants them."""
        entries = [each for each in roster.entries(self.spool) if pool in (None, each.supervisor)]
        return [-each.group for each in entries if roster.group_lives(each)]

    def _running(self):
        return {entry.job for entry in roster.living(self.spool) if entry.group}

    def _short_of_workers(self):
        return [pool.pid for pool in self.pools if len(self._workers(pool.pid)) != self.workers]

    def _pool_of(self, pid):
        """The pool whose supervisor, worker or job that is, 0 if none."""
        return next(
            (
                each.supervisor or each.pid
                for each in roster.entries(self.spool)
                if pid in (each.pid, each.group, -(each.group or 0))
            ),
            0,
        )

    def _processes(self):
        return [pid for group in self._groups() for pid in process.members(-group)]

    def _jobs_that_run(self):
        return [each.job for each in roster.processes(self.spool)]

    def _ours(self):
        """The processes that were started with this spool in their environment: all of them, but those that cleared it."""
        environments = process.environments(b"QUEUECTL_SPOOL")
        return [pid for pid, said in environments.items() if said[b"QUEUECTL_SPOOL"] == os.fsencode(self.spool.root)]

    # ---- between two blows

    def _tend(self):
        """Let go on what was stopped long enough, start what ended by itself, and look how long things take."""
        self._thaw()
        self.hands.resume()
        self._leaving = [pool for pool in self._leaving if pool.poll() is None]
        for pid in self._starting & {entry.pid for entry in roster.living(self.spool)} - set(self._frozen):
            self._starting.discard(pid)
            self.witness.note("up", pid)
        for at, pool in enumerate(self.pools):
            if pool.poll() is not None:
                self.wrong += [] if self.full else [f"a supervisor ended by itself with {pool.returncode}"]
                self.witness.note("down", pool.pid)
                self.pools[at] = self._start()
        for id in self.spool.names(PROCESSING):
            self._look(id)

    def _look(self, id):
        """Note how long the job has been in processing/; one without end is moved away."""
        with contextlib.suppress(FileNotFoundError):
            stay = self.spool.now() - os.lstat(self.spool.path(PROCESSING, id)).st_ctime
            self.stay = max(self.stay, stay)
            job = self.spool.read(PROCESSING, id) if stay > STOPS_AFTER else None
            if job and self.kinds.get(token_of(job)) == "endless":
                self.hands.cancel(job)

    def _bugs(self):
        """The last lines of tracebacks that a pool printed."""
        with open(f"{self.folder}/output") as output:
            bugs = [line.strip() for line in output if re.match(r"[\w.]*(Error|Exception)\b", line)]
        return [bug for bug in bugs if not (self.full and "No space left" in bug)]

    def _long_logs(self, jobs):
        """Yield the logs that were not cut."""
        longest = SETTINGS["log_max_bytes"] + 100
        for job in jobs:
            for attempt in job.attempts:
                path = Path(self.spool.log_path(job.id, attempt["number"], "out"))
                if path.exists() and path.stat().st_size > longest:
                    yield f"{path.name} has {path.stat().st_size} bytes"


def storm(seconds, seed, pools=2, kills=0, megabytes=4):
    """Let it storm in a spool of its own, and return the report."""
    with tempfile.TemporaryDirectory() as folder:
        return _report(Storm(folder, f"{folder}/spool", seed, pools, megabytes=megabytes), seconds, kills)


def storm_on_a_full_disk(seconds, seed, pools=2, kills=0):
    """The same on a small disk that some of the jobs fill, again and again; only root can mount one."""
    with tempfile.TemporaryDirectory() as folder, mounted("none", f"{folder}/small", "tmpfs", SMALL):
        return _report(Storm(folder, f"{folder}/small/spool", seed, pools, full=True, megabytes=1), seconds, kills)


def _report(weather, seconds, kills):
    try:
        weather.blow(seconds, kills)
        weather.calm()
        return weather.report()
    finally:
        weather.end()
