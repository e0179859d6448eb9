"""Small words to build a scene: a spool, a pool of real workers, a person's hands; and waiting for the thing, never for time."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

from jobspool import Spool, process
from jobspool.states import STATES

TOP = Path(__file__).parent.parent
QUEUECTL = [sys.executable, str(TOP / "tests" / "run_queuectl.py")]
PATIENCE = float(os.environ.get("PATIENCE", 30))  # seconds until a thing that never comes is called missing


def until(seen, what="it", patience=PATIENCE):
    """Wait until `seen()` is true and return what it returned."""
    deadline = time.monotonic() + patience
    while not (found := seen()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {patience:g} s for {what}")
        time.sleep(0.005)
    return found


class Clock:
    """A clock that moves when told."""

    def __init__(self, time):
        self.time = time

    def __call__(self):
        return self.time


def let_pass(seconds):
    """Let time pass where the time itself is what is measured; to wait for a thing there is until()."""
    time.sleep(seconds)


def queuectl(*words, spool=None, stdin="", check=False, env=None, cwd=None):
    """Run the command to its end and return it: returncode, stdout, stderr (text)."""
    return subprocess.run(
        [*QUEUECTL, *(word if isinstance(word, bytes) else str(word) for word in words)],
        input=stdin,
        capture_output=True,
        text=True,
        check=check,
        cwd=cwd,
        timeout=PATIENCE * 2,
        env={**os.environ, **({"QUEUECTL_SPOOL": str(spool.root)} if spool else {}), **(env or {})},
    )


@contextlib.contextmanager
def pool(spool, count=1, *options, within=()):
    """Real workers on the spool for as long as the with block lasts: yields the supervisor's Popen. Nothing is left behind.

    `within` are the words of a command that becomes the one behind them, as env(1) does.
    """
    command = [*within, *QUEUECTL, "--spool", spool.root, "start", "--count", str(count), *options]
    log = Path(spool.root).parent / f"pool-{time.monotonic_ns()}.txt"
    with open(log, "wb") as output:
        supervisor = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    supervisor.log = log
    try:
        until(lambda: supervisor.poll() is not None or len(workers(spool, supervisor.pid)) == count, "the workers")
        yield supervisor
    finally:
        end(spool, supervisor)


def end(spool, supervisor):
    """End the supervisor, its workers, and what they run, however they are."""
    families = [entry for entry in everyone(spool) if entry["supervisor"] == supervisor.pid]
    started = {pid: process.started(pid) for pid in family(supervisor.pid)}  # where the spool is gone, nothing else tells
    if supervisor.poll() is None:
        supervisor.send_signal(signal.SIGCONT)
        supervisor.send_signal(signal.SIGQUIT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            supervisor.wait(15)
    families += [entry for entry in everyone(spool) if entry["supervisor"] == supervisor.pid]
    for entry in families:
        with contextlib.suppress(ProcessLookupError):
            if alive(entry):
                os.kill(entry["pid"], signal.SIGKILL)
        if entry.get("group"):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(entry["group"], signal.SIGKILL)
    supervisor.kill()
    supervisor.wait()
    for pid, start in started.items():
        if start is not None and process.started(pid) == start:
            os.kill(pid, signal.SIGKILL)


def children(pid):
    """The ids of the living processes that it has started, but for audits, which come and go."""
    return [child for child in family(pid) if not is_audit(child) and not gone(child)]


def is_audit(pid):
    try:
        return b"audit_beside" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


def family(pid):
    """The ids of all the processes that it has started and that it has not buried."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(word) for word in file.read().split()]
    except FileNotFoundError:
        return []


def everyone(spool):
    """What the files in workers/ say, as dictionaries."""
    found = []
    for path in Path(spool.root, "workers").glob("*.json"):
        with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
            if stat.S_ISREG(path.lstat().st_mode):  # tests put FIFOs there
                found.append(json.loads(path.read_text()))
    return [entry for entry in found if isinstance(entry, dict) and "supervisor" in entry]


def until_it_runs(spool):
    """Wait until a worker has noted which process group its job runs as."""
    until(lambda: any(entry.get("group") for entry in everyone(spool)), "the job to run")


def workers(spool, supervisor=None):
    """The ids of the living worker processes (of that supervisor)."""
    return [
        entry["pid"]
        for entry in everyone(spool)
        if entry["role"] == "worker" and supervisor in (None, entry["supervisor"]) and alive(entry)
    ]


def alive(entry):
    return process.lives(entry["pid"], entry["start"], entry["boot"])


def gone(pid):
    """Tell whether the process is no more (a zombie counts as gone)."""
    return process.started(pid) is None


def where(spool, id):
    """The states in which a file of that name lies."""
    return [state for state in STATES if os.path.lexists(spool.path(state, id))]


def comes_to(spool, id, state, patience=PATIENCE):
    """Wait until the job is in `state` and return it."""
    return until(lambda: spool.read(state, id), f"{id} in {state}/ (it is in {where(spool, id)})", patience)


def log(spool, id, number=1, stream="out"):
    """What the attempt printed, as bytes; b"" where there is no log."""
    path = Path(spool.log_path(id, number, stream))
    return path.read_bytes() if path.exists() else b""


def watches(pid):
    """Whether the process has an inotify descriptor: it waits for events."""
    with contextlib.suppress(FileNotFoundError):  # it has just closed one
        return any("inotify" in os.readlink(f"/proc/{pid}/fd/{each}") for each in os.listdir(f"/proc/{pid}/fd"))
    return False


def drop(spool, id, content, state="pending"):
    """Write a file straight into a state's directory, as `echo >` does; but a link that lies there is never followed."""
    path = Path(spool.path(state, id))
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644), "wb") as file:
        file.write(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def mv(spool, id, source, target):
    """What `mv SOURCE/ID.json TARGET/` does."""
    os.rename(spool.path(source, id), spool.path(target, id))


def new_spool(tmp_path):
    return Spool.init(tmp_path / "spool")


def ticks(pid):
    """The processor time that the process has used, in clock ticks: hundredths of a second."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def see(sight):
    """Let it scan, and return the id of the job that it would have run next."""
    sight.scan_at = 0.0
    sight.look_around(time.monotonic())
    return next(iter(sight.next()), None)
