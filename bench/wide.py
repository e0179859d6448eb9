"""Rows of more workers than processors."""

from __future__ import annotations

import os
import time
from functools import partial
from typing import TYPE_CHECKING

from bench import ours, stock
from bench.note import Note
from bench.pool import Pool, came
from bench.row import Row, alternate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.place import Place

TURNS = 60_000  # of a shell's loop: about 50 ms
BURN = f"i=0; while [ $i -lt {TURNS} ]; do i=$((i+1)); done"
JOBS, FEW_JOBS = 100, 20
ROUNDS, FEW_ROUNDS = 5, 2
WAVES, FEW_WAVES = 20, 5
SLEEPERS = 64
MANY, FEW = 8, 2  # workers


def rows(place: Place, quick: bool) -> Iterator[Row]:
    """Yield a row of jobs that burn the processor, and one of jobs that sleep."""
    rounds, jobs, waves = (FEW_ROUNDS, FEW_JOBS, FEW_WAVES) if quick else (ROUNDS, JOBS, WAVES)
    root = ours.spool(place.fresh("burning"))
    burnt = alternate(rounds, partial(_burnt, root, jobs, MANY), partial(_burnt, root, jobs, FEW))
    what = f"{jobs} jobs of about 50 ms of processor time, {MANY} workers on {len(os.sched_getaffinity(0))} processors"
    yield Row("wide-burn", what, "jobs/s", burnt[0], f"{FEW} workers", burnt[1], at_least=0.95)
    yield _sleeping(place, waves)


def _burnt(root: str, jobs: int, workers: int) -> float:
    """Return the rate of a drain of such jobs."""
    ours.fill(root, [BURN] * jobs)
    return jobs / ours.drain(root, workers)


def _sleeping(place: Place, waves: int) -> Row:
    """Drop a job for each of many idle workers, and see when the last one has begun; then let them all end."""
    root, outside = ours.spool(place.fresh("asleep")), place.fresh("asleep.outside")
    os.mkdir(outside)
    found = []
    with Note(place.fresh("note")) as note, Pool(root, SLEEPERS):
        for wave in range(waves + 1):
            found.append(_wave(root, outside, note))
            came(root, "done", SLEEPERS * (wave + 1))
    what = f"{SLEEPERS} jobs that sleep are moved into pending/, {SLEEPERS} workers idle: until all run"
    return Row("wide-asleep", what, "ms", found[1:], at_least=100, more_is_better=False)


def _wave(root: str, outside: str, note: Note) -> float:
    """Return the milliseconds from the last rename to the first instruction of the last job."""
    made = [stock.lay(outside, f"job-{time.time_ns()}", {"argv": note.holding()}) for _ in range(SLEEPERS)]
    for path in made:
        os.rename(path, f"{root}/pending/{os.path.basename(path)}")
    dropped = time.time_ns()
    noted = [note.read() for _ in made]
    note.let_go(SLEEPERS)
    return (max(one.when for one in noted) - dropped) / 1e6
