"""Rows of an idle pool: the processor time that it takes, and its memory."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from bench import ours
from bench.pool import Pool, came
from bench.row import Row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.place import Place

WORKERS = 4
BEFORE = 100  # jobs that it has run: nobody's pool is idle from birth
WINDOWS = 3
SECONDS, FEW_SECONDS = 30.0, 5.0  # of a window
LESS = {"more_is_better": False}
PSS = "PSS: its own memory, and its share of what it shares with others"


def rows(place: Place, quick: bool) -> Iterator[Row]:
    """Yield the rows."""
    seconds, windows = (FEW_SECONDS, 1) if quick else (SECONDS, WINDOWS)
    root = ours.spool(place.fresh("idle"))
    with Pool(root, WORKERS) as pool:
        ours.fill(root, ["true"] * BEFORE)
        came(root, "done", BEFORE)
        workers = pool.workers()
        all_of_them = [pool.supervisor, *workers]
        before = _nanoseconds(all_of_them)
        ticks = [_passed(seconds, all_of_them) for _ in range(windows)]
        used = (_nanoseconds(all_of_them) - before) / windows / 1e6
        what = f"idle pool of {WORKERS} workers: processor time of all in {seconds:g} s"
        note = f"a tick is 10 ms; by the scheduler's finer clock it was {used:.1f} ms; it has run {BEFORE} jobs before"
        yield Row("idle-ticks", what, "ticks", ticks, at_least=0, note=note, **LESS)
        supervisor, worker = _pss(pool.supervisor), max(map(_pss, workers))
        yield Row("idle-supervisor", "its supervisor's memory", "MiB", [supervisor], at_least=25, aim=20, note=PSS, **LESS)
        yield Row("idle-worker", "its largest worker's memory", "MiB", [worker], at_least=12, aim=8, note=PSS, **LESS)


def _passed(seconds: float, pids: list[int]) -> float:
    """Let the time pass, and return the clock ticks that the processes used in it."""
    before = sum(map(_ticks, pids))
    time.sleep(seconds)
    return float(sum(map(_ticks, pids)) - before)


def _ticks(pid: int) -> int:
    """Return the clock ticks that the process has used, in user mode and in the kernel (proc_pid_stat(5))."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def _nanoseconds(pids: list[int]) -> int:
    """Return the processor time of all threads of the processes, as the scheduler counts it."""
    return sum(_run_time(f"/proc/{pid}/task/{thread}/schedstat") for pid in pids for thread in os.listdir(f"/proc/{pid}/task"))


def _run_time(path: str) -> int:
    with open(path) as file:
        return int(file.read().split()[0])


def _pss(pid: int) -> float:
    """Return the process's share of the memory that it uses, in MiB (proc_pid_smaps(5))."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Pss:")) / 1024
