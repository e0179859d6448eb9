"""A long run: a steady load on two pools, of which one is never touched and the other restarted again and again.

Settings change meanwhile, thousands of old jobs are laid into done/ at once, and what was kept long enough is let go of.
"""

import contextlib
import os
import random
import signal
import subprocess
import tempfile
import time
from collections import namedtuple

from kit import QUEUECTL, end, let_pass, pool, until, workers
from soak.gauge import Gauge
from soak.ledger import Ledger
from soak.load import Load

from jobspool import Spool, config
from jobspool.logs import own_paths
from jobspool.states import DEAD, DONE

TICK = 0.2  # seconds between two looks
RATE = 15  # jobs a second
KEEP = {"keep_done": ("6s", 90), "keep_dead": (20, 30)}
CHANGES = (("fsync", ("group", "always", "never")), ("log_max_bytes", (4096, 1_000_000)), ("grace", (1, 2)), *KEEP.items())
PERIODS = 8  # of a short run: in each a setting changes and a pool is restarted
LONGEST_PERIOD = 45.0  # seconds
LEAST = {"keep_done": "1s", "keep_dead": "2s"}  # what is kept in the end
SOON = 5.0  # seconds in which the manual promises that things go on

# jobs: that were added. runs: of them. gone: those let go of. restarts: by TERM, and kills: by kill -9. laid: old jobs.
# pause: the longest time in seconds until a job started. thirds: see gauge.py. wrong: what broke a promise, or grew.
Report = namedtuple("Report", "jobs runs gone restarts kills laid pause thirds wrong")


class Soak:
    """One run in `folder`, from go_on() to report()."""

    def __init__(self, folder, seed):
        self.luck = random.Random(seed)
        self.spool = Spool.init(f"{folder}/spool")
        self.spool.ready()
        os.mkdir(f"{folder}/said")
        self.ledger = Ledger(self.spool, f"{folder}/said")
        for name, (first, _) in KEEP.items():
            self.set(name, first)
        self.load = Load(self.spool, self.ledger, seed, RATE)
        self.output = f"{folder}/output"
        self.restarts = self.kills = 0
        self.wrong = []

    def go_on(self, seconds):
        """Let it run for so long, on two pools."""
        period = min(LONGEST_PERIOD, seconds / PERIODS)
        end_at, next_at = time.monotonic() + seconds, time.monotonic() + period
        with pool(self.spool, 2) as steady:
            self.gauge, restless = Gauge(self.spool, steady.pid, self.ledger), self._start()
            try:
                while time.monotonic() < end_at:
                    self.load.go_on()
                    self.load.prepare()
                    self._look()
                    if time.monotonic() > next_at:
                        next_at += period
                        restless = self._disturb(restless)
                self._settle()
            finally:
                end(self.spool, restless)
            self._read(steady.log)
        self._read(self.output)

    def report(self):
        """Return what was seen."""
        ledger = self.ledger
        wrong = [*self.wrong, *ledger.wrong, *self.gauge.grown()]
        figures = (
            ledger.count["added"],
            ledger.count["runs"],
            ledger.count["gone"],
            self.restarts,
            self.kills,
            ledger.count["laid"],
        )
        return Report(*figures, ledger.pause, self.gauge.thirds(), wrong)

    def set(self, name, value):
        """Change the setting, as `queuectl config set` does."""
        config.change(self.spool.root, name, value, self.spool.spare(), 0o600)
        if name in KEEP:
            self.ledger.ruled({"keep_done": DONE, "keep_dead": DEAD}[name], value)

    def _look(self):
        self.ledger.look()
        self.gauge.sample()
        let_pass(TICK)

    def _disturb(self, restless):
        """Change a setting, restart the restless pool, and lay old jobs into done/ now and then."""
        name, values = self.luck.choice(CHANGES)
        self.set(name, self.luck.choice(values))
        if self.luck.random() < 0.3:
            self.load.lay()
        if self.luck.random() < 0.3:
            self._kill(restless)
        else:
            restless.send_signal(signal.SIGTERM)
            self.restarts += 1
        until(lambda: restless.poll() is not None, "the supervisor's end")
        return self._start()

    def _kill(self, restless):
        """Do kill -9 to the supervisor and, half the time, its workers."""
        pids = workers(self.spool, restless.pid) if self.luck.random() < 0.5 else []
        for pid in (restless.pid, *pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.kills += 1

    def _start(self):
        command = [*QUEUECTL, "--spool", self.spool.root, "start", "--count", "2"]
        with open(self.output, "ab") as output:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    def _settle(self):
        """Add nothing more: all ends, and what is not kept goes, with its logs."""
        for name, value in LEAST.items():
            self.set(name, value)
        self._wait_for(lambda: not self.ledger.left(), lambda: f"have not ended: {self.ledger.left()}")
        self._wait_for(lambda: not self._kept(), lambda: f"are kept: {self._kept()}")
        own = {os.path.basename(path) for pid in workers(self.spool) for path in own_paths(self.spool, pid)}
        left = set(os.listdir(f"{self.spool.root}/logs")) - own
        logs = {name for name in left if not self.ledger.knows(name.rsplit(".", 2)[0])}
        if len(logs) > self.kills:  # a walk that is killed may leave those of one job, for a day
            self.wrong.append(f"{len(logs)} logs are left without a job: {sorted(logs)[:5]}")

    def _kept(self):
        return [*self.spool.names(DONE), *self.spool.names(DEAD)]

    def _wait_for(self, seen, why):
        try:
            until(lambda: self.ledger.look() or seen(), patience=60)
        except AssertionError:
            self.wrong.append(why())

    def _read(self, path):
        with open(path) as file:
            self.wrong += [line.strip() for line in file if "Traceback" in line or " trouble " in line]


def soak(seconds, seed):
    """Let it run for so long in a spool of its own, and return the report."""
    with tempfile.TemporaryDirectory() as folder:
        run = Soak(folder, seed)
        run.go_on(seconds)
        return run.report()
