"""queuectl as its users run it: the installed command, in processes of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time

QUEUECTL = os.path.join(os.path.dirname(sys.executable), "queuectl")
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}  # users have none of ours


def run(root: str, *words: str, given: str | None = None) -> str:
    """Run the command on the spool at `root` and return what it printed."""
    command = [QUEUECTL, "--spool", root, *words]
    return subprocess.run(command, input=given, capture_output=True, text=True, check=True, env=ENVIRONMENT).stdout


def spool(root: str, fsync: str = "group", **settings: object) -> str:
    """Make a spool at `root` with these settings and return its path."""
    subprocess.run([QUEUECTL, "init", root], check=True, capture_output=True, env=ENVIRONMENT)
    for name, value in {"fsync": fsync, **settings}.items():
        run(root, "config", "--key", name, "--value", str(value))
    return root


def fill(root: str, commands: list[str]) -> None:
    """Add a job for each command, and let all that is written reach the disk before anything is timed."""
    run(root, "enqueue", "--from", "-", given="\n".join(commands) + "\n")
    os.sync()


def drain(root: str, workers: int) -> float:
    """Let so many workers run all that waits, and return the seconds from the command's start to its end.

    Raises AssertionError where another number of jobs came to done/ than waited: counted in the directory, not by queuectl.
    """
    waiting, before = count(root, "pending"), count(root, "done")
    begun = time.perf_counter()
    run(root, "start", "--count", str(workers), "--drain")
    took = time.perf_counter() - begun
    if count(root, "done") - before != waiting:
        raise AssertionError(f"{waiting} jobs waited in {root}, {count(root, 'done') - before} came to done/")
    return took


def count(root: str, state: str) -> int:
    """Return how many jobs lie in that state."""
    return sum(name.endswith(".json") for name in os.listdir(f"{root}/{state}"))
