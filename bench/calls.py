"""System calls for each job, counted by strace: what a job costs on any machine, and so what must not creep up."""

from __future__ import annotations

import subprocess
from collections import Counter

from bench import ours
from bench.place import Place
from bench.row import Row
from jobspool.command import words

TOLD = 6  # of the calls, by name, in the note


def row(place: Place, key: str, workers: int, fsync: str, command: str, jobs: int) -> Row:
    """Count the calls of a drain of so many jobs, and of one of twice as many: the difference is what a job costs.

    What the job's program calls by itself is left out; execve, which starts it, is ours. The supervisor's calls are in it.
    """
    few, many = (_drained(place, workers, fsync, command, count) for count in (jobs, 2 * jobs))
    own = _program(place, command)
    each = {name: (many[name] - few[name]) / jobs - own[name] for name in many}
    most = sorted(each.items(), key=lambda item: -item[1])[:TOLD]
    what = f"system calls for each job: `{command}`, {workers} worker{'s' * (workers > 1)}, fsync {fsync}"
    note = "under strace, which is slow: " + ", ".join(f"{name} {calls:.1f}" for name, calls in most)
    return Row(f"calls-{key}", what, "calls", [sum(each.values())], more_is_better=False, note=note)


def _drained(place: Place, workers: int, fsync: str, command: str, jobs: int) -> Counter[str]:
    """Return the calls of supervisor, workers and jobs in a drain of so many."""
    root = ours.spool(place.fresh("traced"), fsync)
    ours.fill(root, [command] * jobs)
    found = _traced(place, [ours.QUEUECTL, "--spool", root, "start", "--count", str(workers), "--drain", "--quiet"])
    if (done := ours.count(root, "done")) != jobs:
        raise AssertionError(f"{jobs} jobs waited in {root}, {done} came to done/ under strace")
    return found


def _program(place: Place, command: str) -> Counter[str]:
    """Return the calls of the job's program behind its execve."""
    return _traced(place, words({"command": command})) - Counter(execve=1)


def _traced(place: Place, command: list[str]) -> Counter[str]:
    """Run the command and return how many of each system call it and its children made."""
    path = place.fresh("calls")
    subprocess.run(["strace", "-f", "-c", "-o", path, *command], check=True, capture_output=True)
    with open(path) as file:
        return parsed(file.read())


def parsed(text: str) -> Counter[str]:
    """Return the numbers in the table of strace -c: of calls, by name."""
    lines = [line.split() for line in text.splitlines()]
    return Counter({line[-1]: int(line[3]) for line in lines if len(line) > 4 and line[3].isdigit() and line[-1] != "total"})
