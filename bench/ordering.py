"""Rows of what decides which job is next: priorities, groups, locks, and jobs that come after others, beside jobs without any."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

from bench import ours
from bench.row import Row, alternate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.place import Place

JOBS, FEW_JOBS = 10_000, 500
ROUNDS, FEW_ROUNDS = 5, 2
WORKERS = 2
COMMAND = "true"
KINDS = {  # what a job has beside its command, by its number; and how much of the plain rate is to be left
    "mixed priorities": (lambda number: {"priority": number * 7919 % 11 - 5}, 0.9),
    "a group of two at once": (lambda number: {"group": "two"}, 0.7),
    "one of 100 locks each": (lambda number: {"locks": [f"lock{number % 100}"]}, 0.7),
}


def rows(place: Place, quick: bool) -> Iterator[Row]:
    """Yield a row for each kind: its drain, beside that of plain jobs."""
    jobs, rounds = (FEW_JOBS, FEW_ROUNDS) if quick else (JOBS, ROUNDS)
    root = ours.spool(place.fresh("ordering"), "never")
    ours.run(root, "group", "two", "--concurrency", str(WORKERS))
    for place_of_kind, (kind, (words, bound)) in enumerate(KINDS.items()):
        found = alternate(rounds, partial(_rate, root, jobs, words), partial(_rate, root, jobs, lambda _: {}))
        what = f"drain of {jobs:,} jobs of {kind}, {WORKERS} workers, fsync never"
        yield Row(f"ordering-{place_of_kind}", what, "jobs/s", found[0], "jobs without", found[1], at_least=bound)


def _rate(root: str, jobs: int, words: object) -> float:
    """Return the rate of a drain of jobs that have these words."""
    ours.fill(root, [json.dumps({"command": COMMAND, **words(number)}) for number in range(jobs)])
    return jobs / ours.drain(root, WORKERS)
