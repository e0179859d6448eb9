#!/usr/bin/env python3
"""Check on this machine what the README promises: the real command, real workers, a temporary spool for each promise.

Prints one line a promise, then `N passed, N failed`; exits 1 when one failed. Takes under a minute and leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TOP = Path(__file__).resolve().parent
VENV = TOP / ".venv/bin/python"
PATIENCE = 30.0  # seconds
STATES = ("pending", "processing", "done", "failed", "dead")
PROMISES = []


class Broken(Exception):
    """A promise that was not kept."""


def promise(words):
    """Register the function as the check of the promise in these words."""
    return lambda function: PROMISES.append((words, function)) or function


class Spool:
    """A temporary spool, the command on it, and whoever was started there."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.root = self.folder / "spool"
        self.started = []
        self("init")
        self("config", "set", "grace", "1")

    def __call__(self, *words, stdin="", expect=0):
        """Run queuectl and return what it printed; another exit status than expected breaks the promise."""
        command = [sys.executable, str(TOP / "queuectl.py"), *words]
        ran = subprocess.run(
            command, cwd=self.folder, input=stdin, capture_output=True, text=True, timeout=PATIENCE, env=ENVIRONMENT
        )
        if ran.returncode != expect:
            raise Broken(f"queuectl {' '.join(words)} ended with {ran.returncode}: {ran.stderr.strip() or ran.stdout.strip()}")
        return ran.stdout.strip()

    def start(self, *words):
        """Start workers and return their supervisor, once they are there."""
        command = [sys.executable, str(TOP / "queuectl.py"), "start", *words]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        supervisor = subprocess.Popen(command, cwd=self.folder, env=ENVIRONMENT, **quiet)
        self.started.append(supervisor)
        if b"started" not in supervisor.stdout.readline():
            raise Broken("the workers did not start")
        return supervisor

    def add(self, id, *words):
        return self("enqueue", "--id", id, *words)

    def job(self, state, id):
        """The job's file in that state, or None."""
        try:
            return json.loads((self.root / state / f"{id}.json").read_text())
        except FileNotFoundError:
            return None

    def comes_to(self, state, id):
        return until(lambda: self.job(state, id), f"{id} to come to {state}/; it is in {self.where(id)}")

    def where(self, id):
        return [state for state in STATES if (self.root / state / f"{id}.json").exists()]

    def workers(self):
        return [entry for path in self.root.glob("workers/*.json") if (entry := read(path)) and running(entry["pid"])]

    def clean(self):
        """End whoever was started here, and what they run: those first who could start more."""
        for supervisor in self.started:
            supervisor.kill()
            supervisor.wait()
            supervisor.stdout.close()
        self.started = []
        entries = [entry for path in self.root.glob("workers/*.json") if (entry := read(path))]
        for end, word in ((os.kill, "pid"), (os.killpg, "group")):
            for entry in entries:
                with contextlib.suppress(ProcessLookupError):
                    if entry.get(word) and (word == "group" or running(entry["pid"])):
                        end(entry[word], signal.SIGKILL)


def until(seen, what):
    deadline = time.monotonic() + PATIENCE
    while not (found := seen()):
        if time.monotonic() > deadline:
            raise Broken(f"waited {PATIENCE:g} s for {what}")
        time.sleep(0.01)
    return found


def read(path):
    with contextlib.suppress(OSError, ValueError):
        return json.loads(path.read_text())
    return None


def running(pid):
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    return False


def equal(found, wanted, what):
    if found != wanted:
        raise Broken(f"{what}: {found!r} instead of {wanted!r}")


def verdicts(job):
    return [attempt["verdict"] for attempt in job["attempts"]]


@promise("the commands of the first hour work as written")
def first_hour(spool):
    spool("enqueue", "echo 'Hello World'")
    spool("enqueue", "sleep 0.1", "--max-retries", "3")
    spool("enqueue", "python script.py", "--timeout", "30")
    spool("config", "--key", "max_retries", "--value", "5")
    spool("config", "--key", "backoff_base", "--value", "3")
    equal(spool("config", "--key", "max_retries"), "5", "max_retries")
    equal(len(spool("list", "--state", "pending", "--json").split("\n")), 3, "pending jobs")
    spool("status", expect=3)
    spool("start", "--count", "3", "--detach")
    spool("status")
    until(lambda: len(list(spool.root.glob("done/*.json"))) == 2, "two jobs to be done")
    spool("dlq", "list")
    spool("stop")
    spool("status", expect=3)
    spool("stop", expect=1)


@promise("a job runs, is done, and what it printed is kept")
def runs(spool):
    spool.add("x", "echo out; echo err >&2")
    spool.start()
    equal(verdicts(spool.comes_to("done", "x")), ["done"], "verdicts")
    equal((spool("logs", "x"), spool("logs", "x", "--stderr")), ("out", "err"), "logs")


@promise("an argument vector runs without a shell")
def vector(spool):
    spool.add("x", "--", "printf", "%s.", "a b", "$HOME")
    spool.start("--drain")
    spool.comes_to("done", "x")
    equal(spool("logs", "x"), "a b.$HOME.", "output")


@promise("a failed job is tried again with exponential backoff, then dead; dlq retry gives it all its tries again")
def retries(spool):
    spool.add("x", "exit 3", "--max-retries", "2", "--backoff-base", "0.5")
    spool("config", "set", "backoff_jitter", "0")
    spool.start()
    job = spool.comes_to("dead", "x")
    equal(verdicts(job), ["failed", "failed", "dead"], "verdicts")
    waits = [moment(a["due"]) - moment(a["ended"]) for a in job["attempts"][:2]]
    equal([round(wait, 3) for wait in waits], [0.5, 0.25], "waits")
    equal(spool("dlq", "retry", "x"), "x", "dlq retry")
    until(lambda: len((spool.job("dead", "x") or job)["attempts"]) == 6, "three more tries")


def moment(text):
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


@promise("a timeout ends every process of the job, also one that ignores TERM")
def timeout(spool):
    spool.add("x", "trap '' TERM; sleep 1000 & echo $! $$; while :; do sleep 1; done", "--timeout", "0.5", "--max-retries", "0")
    spool.start()
    equal(spool.comes_to("dead", "x")["attempts"][0]["reason"], "timeout after 0.5 s", "reason")
    equal([running(pid) for pid in spool("logs", "x").split()], [False, False], "its processes run")


@promise("a file dropped with mv, cp or echo > into pending/ is a job")
def dropped(spool):
    pending = spool.root / "pending"
    spool.start()
    for id, line in (("a", "mv a.json"), ("b", "cp b.json"), ("c", "cat c.json >")):
        (spool.folder / f"{id}.json").write_text('{"command": "true"}')
        target = pending / f"{id}.json" if ">" in line else pending
        subprocess.run(f"{line} {target}", shell=True, cwd=spool.folder, check=True)
        spool.comes_to("done", id)


@promise("mv of a running job to dead/ ends it, and it stays there; mv to pending/ runs it again")
def moved(spool):
    spool.add("x", "echo $$; sleep 1000")
    spool.start()
    pid = until(lambda: spool("logs", "x") if spool.where("x") == ["processing"] else "", "the job to run")
    shutil.move(spool.root / "processing/x.json", spool.root / "dead/x.json")
    until(lambda: not running(int(pid)), "its process to end")
    equal(spool.where("x"), ["dead"], "its state")
    (spool.root / "dead/x.json").write_text('{"command": "true"}')
    shutil.move(spool.root / "dead/x.json", spool.root / "pending/x.json")
    spool.comes_to("done", "x")


@promise("what is no job goes to dead/ with its content untouched, and the reason is told")
def junk(spool):
    (spool.root / "pending/x.json").write_bytes(b'{"comand": "make"}')
    spool.start()
    spool.comes_to("dead", "x")
    equal((spool.root / "dead/x.json").read_bytes(), b'{"comand": "make"}', "content")
    if "did you mean 'command'" not in spool("dlq", "list"):
        raise Broken("dlq list doesn't say why")


@promise("higher priority runs first, and within one priority the oldest")
def order(spool):
    for id, priority, age in (("young", "0", 1), ("old", "0", 9), ("urgent", "7", 0)):
        spool.add(id, f"echo {id} >> {spool.folder}/order", "--priority", priority)
        os.utime(spool.root / f"pending/{id}.json", (time.time() - age,) * 2)
    spool.start("--drain").wait(PATIENCE)
    equal((spool.folder / "order").read_text().split(), ["urgent", "old", "young"], "order")


@promise("two supervisors with four workers run each job once")
def twice(spool):
    lines = "\n".join(f"echo {i} >> {spool.folder}/ran" for i in range(60))
    spool("enqueue", "--from", "-", stdin=lines)
    for supervisor in [spool.start("--count", "2", "--drain") for _ in range(2)]:
        supervisor.wait(PATIENCE)
    equal(sorted(map(int, (spool.folder / "ran").read_text().split())), list(range(60)), "runs")


@promise("kill -9 of a worker loses nothing, and its job never runs twice at once")
def kill_worker(spool):
    go, seen = spool.folder / "go", spool.folder / "seen"
    spool.add("x", f"echo start >> {seen}; until test -e {go}; do sleep 0.01; done; echo end >> {seen}", "--backoff-base", "0")
    spool.start("--count", "2")
    until(seen.exists, "the job to run")
    worker = until(lambda: next((w["pid"] for w in spool.workers() if w.get("job") == "x"), None), "who runs it")
    os.kill(worker, signal.SIGKILL)
    spool.add("y", "true")
    spool.comes_to("done", "y")
    go.touch()
    equal(verdicts(spool.comes_to("done", "x")), ["failed", "done"], "verdicts")
    equal(seen.read_text().split(), ["start", "end", "start", "end"], "runs")


@promise("after kill -9 of everything, the next start puts all right by itself")
def kill_all(spool):
    spool.add("x", f"test -e {spool.folder}/again || {{ touch {spool.folder}/again; sleep 1000; }}", "--backoff-base", "0")
    spool.start("--count", "2")
    until(lambda: any(w.get("group") for w in spool.workers()) and (spool.folder / "again").exists(), "the job to run")
    spool.clean()
    equal(spool.where("x"), ["processing"], "where the crash left it")
    spool.start("--drain").wait(PATIENCE)
    equal(verdicts(spool.job("done", "x")), ["failed", "done"], "verdicts")


@promise("stop lets jobs finish; stop --now puts them back, not counted as a try")
def stops(spool):
    spool.add("x", "echo; sleep 1")
    spool.start()
    until(lambda: spool.where("x") == ["processing"], "the job to run")
    spool("stop")
    equal(spool.where("x"), ["done"], "after stop")
    spool.add("y", "sleep 1000")
    spool.start()
    until(lambda: any(w.get("group") for w in spool.workers()), "the job to run")
    spool("stop", "--now")
    equal(verdicts(spool.job("pending", "y")), ["interrupted"], "after stop --now")


@promise("running workers take a new setting up")
def settings(spool):
    spool.start()
    spool("config", "set", "max-retries", "0")
    spool.add("x", "exit 1")
    equal(verdicts(spool.comes_to("dead", "x")), ["dead"], "verdicts")


@promise("priority, front and back say who is next")
def line(spool):
    for id in "abc":
        spool.add(id, f"echo {id} >> {spool.folder}/order")
    spool("priority", "c", "5")
    spool("back", "a")
    equal(spool("list", "--state", "pending", "-q").split(), ["c", "b", "a"], "the order that is shown")
    spool.start("--drain").wait(PATIENCE)
    equal((spool.folder / "order").read_text().split(), ["c", "b", "a"], "the order of the runs")


@promise("a job may wait for its time, and is not run when it is too late")
def times(spool):
    spool.add("later", "true", "--delay", "1")
    spool.add("late", '{"command": "true", "expires": "2020-01-01T00:00:00Z"}')
    spool.start()
    equal(spool.where("later"), ["pending"], "before its time")
    spool.comes_to("done", "later")
    if "too late" not in spool.comes_to("dead", "late").get("cancelled", ""):
        raise Broken("the reason isn't on record")


@promise("a schedule adds one job for each of its times, with two supervisors")
def schedules(spool):
    spool("schedule", "add", "tick", "--every", "1", "--overlap", "allow", "true")
    for _ in range(2):
        spool.start()
    until(lambda: len(list(spool.root.glob("done/tick-*.json"))) >= 3, "three ticks")
    equal(list(spool.root.glob("*/*~*.json")), [], "jobs of one name")


@promise("of a unique job there is one, and with --replace the last counts")
def unique(spool):
    for word in ("one", "two"):
        equal(spool("enqueue", f"echo {word}", "--unique", "k", "--replace"), "k", "its id")
    equal(spool("enqueue", "echo three", "--unique", "k"), "k", "the id of the one that is there")
    spool.start("--drain").wait(PATIENCE)
    equal(spool("logs", "k"), "two", "what ran")


@promise("a job comes after others, and waits when they are dead until they are well")
def after(spool):
    spool.add("first", f"test -e {spool.folder}/well", "--max-retries", "0")
    spool.add("then", "true", "--after", "first")
    spool.start("--drain").wait(PATIENCE)
    equal((spool.where("first"), spool.where("then")), (["dead"], ["pending"]), "states")
    (spool.folder / "well").touch()
    spool("retry", "first")
    spool.start("--drain").wait(PATIENCE)
    equal(spool.where("then"), ["done"], "its state")


@promise("groups, locks and slots limit what runs at once, of two supervisors together")
def limits(spool):
    spool("group", "g", "--concurrency", "1")
    line = f"mkdir {spool.folder}/alone && sleep 0.05 && rmdir {spool.folder}/alone"
    for _ in range(4):
        spool("enqueue", line, "--group", "g", "--max-retries", "0")
    for supervisor in [spool.start("--count", "2", "--drain") for _ in range(2)]:
        supervisor.wait(PATIENCE)
    equal(len(list(spool.root.glob("done/*.json"))), 4, "jobs that ran alone")


@promise("a job that uses more than it may is ended, and the record says so")
def memory(spool):
    spool.add(
        "x",
        "--max-retries",
        "0",
        "--memory",
        "60M",
        "--",
        sys.executable,
        "-c",
        "import time; x = bytearray(1 << 28); time.sleep(1000)",
    )
    spool.add("y", "sleep 1000", "--max-retries", "0", "--idle-timeout", "0.3")
    spool.start("--count", "2")
    equal(spool.comes_to("dead", "x")["attempts"][0]["reason"], "over 60 MiB of memory", "reason")
    equal(spool.comes_to("dead", "y")["attempts"][0]["reason"], "no output for 0.3 s", "reason")


@promise("exit codes mean what the job says, and it may say more of itself")
def codes(spool):
    spool.add("x", "echo '{\"result\": 7}' > $QUEUECTL_RESULT; exit 3", "--exits", "3=done")
    spool.add("y", "exit 64", "--exits", "64=dead")
    spool.start()
    equal(spool.comes_to("done", "x")["attempts"][0]["result"], 7, "result")
    equal(verdicts(spool.comes_to("dead", "y")), ["dead"], "verdicts")


@promise("retries wait as the backoff says")
def backoffs(spool):
    spool.add("x", "exit 1", "--max-retries", "2", "--backoff", "0.1,0.3")
    spool("config", "set", "backoff_jitter", "0")
    spool.start()
    job = spool.comes_to("dead", "x")
    equal([round(moment(a["due"]) - moment(a["ended"]), 3) for a in job["attempts"][:2]], [0.1, 0.3], "waits")


@promise("a hook is told of what has died")
def hooks(spool):
    hook = spool.root / "hooks/on-dead"
    hook.parent.mkdir()
    hook.write_text(f"#!/bin/sh\ncat > {spool.folder}/told\n")
    hook.chmod(0o755)
    spool.add("x", "exit 1", "--max-retries", "0")
    spool.start("--drain").wait(PATIENCE)
    equal(json.loads((spool.folder / "told").read_text())["id"], "x", "whom it was told of")


@promise("an array is one batch, and what comes then runs behind all of it")
def batches(spool):
    spool("enqueue", "true", "--array", "1-5", "--batch", "b", "--then", "true")
    spool.start("--count", "2", "--drain").wait(PATIENCE)
    equal(json.loads(spool("batch", "b", "--json"))["done"], 6, "jobs that are done")


@promise("what has ended is kept as long as it says, and the records tell how it went")
def records(spool):
    spool("config", "set", "keep_done", "0")
    spool.add("kept", "true", "--keep", "forever")
    spool.add("gone", "true")
    spool.start()
    until(lambda: spool.where("gone") == [], "its removal")
    equal(spool.where("kept"), ["done"], "the other's state")
    equal(json.loads(spool("stats", "--json").split("\n")[0])["done"], 1, "attempts that are told of")


@promise("each change of state is in the journal, in order, and what hands do is told from what commands do")
def journal(spool):
    spool.add("x", "exit 1", "--max-retries", "0")
    spool.start()
    spool.comes_to("dead", "x")
    os.rename(spool.root / "dead/x.json", spool.root / "done/x.json")
    until(lambda: len(events := ways(spool)) == 4 and events, "all of its way")
    by = ["command", "worker", "worker", "hand"]
    states = [None, "pending", "processing", "dead", "done"]
    equal(ways(spool), list(zip(states, states[1:], by, strict=False)), "its way")


def ways(spool):
    found = [json.loads(line) for line in spool("events", "--json", "x").splitlines()]
    return [(event["from"], event["to"], event["by"]) for event in found]


@promise("a spool is for its owner alone, and one that anyone may write to is refused")
def modes(spool):
    spool.add("x", "true")
    found = [stat.S_IMODE(os.stat(path).st_mode) for path in (spool.root, spool.root / "pending/x.json")]
    equal(found, [0o700, 0o600], "modes")
    os.chmod(spool.root / "pending", 0o777)
    spool("enqueue", "true", expect=1)


def check(words, function):
    """Check one promise and return what went wrong, or None."""
    folder = tempfile.mkdtemp(prefix="queuectl-verify-")
    spool = None
    try:
        spool = Spool(folder)
        function(spool)
    except (Broken, OSError, subprocess.SubprocessError, KeyError, TypeError, ValueError) as problem:
        return str(problem) or repr(problem)
    finally:
        if spool:
            spool.clean()
        remove(folder)
    return None


def remove(folder):
    """Remove all that lies there, also where the audit of a supervisor that was killed still writes there."""
    deadline = time.monotonic() + PATIENCE
    while os.path.exists(folder) and time.monotonic() < deadline:
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.01)


def main():
    failed = 0
    with ThreadPoolExecutor(6) as some_at_once:
        try:
            for (words, _), problem in zip(PROMISES, some_at_once.map(lambda each: check(*each), PROMISES), strict=True):
                failed += problem is not None
                print(f"ok    {words}" if problem is None else f"FAIL  {words}: {problem}", flush=True)
        except KeyboardInterrupt:
            some_at_once.shutdown(cancel_futures=True)  # those that run clean up behind them
            return 130
    print(f"{len(PROMISES) - failed} passed, {failed} failed")
    return 1 if failed else 0


ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("QUEUECTL_")}

if __name__ == "__main__":
    if importlib.util.find_spec("watchdog") is None or importlib.util.find_spec("docopt") is None:
        if not VENV.exists():
            sys.exit("verify_all: watchdog and docopt-ng are missing here: `make verify` sets them up")
        os.execv(VENV, [str(VENV), *sys.argv])
    sys.exit(main())
