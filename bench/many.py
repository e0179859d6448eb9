"""Rows of big spools: what a hundred thousand and a million job files cost."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from bench import ours, stock
from bench.note import Note
from bench.pool import Pool, until
from bench.row import Row, alternate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.place import Place

WORKERS = 2
WARM = 20  # jobs of a drain that are not counted
RENAMES = 200  # of one sample
PATIENT = 100_000  # more files than these, and a command is run only so often:
SAMPLES_OF_MORE = 3
LATER = {"unit": "ms", "more_is_better": False}
LIST = ("list", "--limit", "20")
AGES = "the oldest jobs wait since 2020, so they come first wherever a pool has seen all that waits"


@dataclass
class Sizes:
    """How much is measured: numbers of pending jobs, jobs that are drained of them at most, drains, and runs of a command."""

    steps: tuple[int, ...]
    many: int  # one of the steps
    few: int
    drained: int
    rounds: int
    samples: int


FULL = Sizes((100, 1000, 10_000, 100_000, 1_000_000), many=100_000, few=1000, drained=10_000, rounds=5, samples=15)
QUICK = Sizes((100, 1000, 10_000), many=10_000, few=400, drained=400, rounds=2, samples=3)


def rows(place: Place, quick: bool) -> Iterator[Row]:
    """Yield the rows: one spool grows from step to step, beside it are a small one and an empty one."""
    sizes = QUICK if quick else FULL
    big, small, bare = (ours.spool(place.fresh(name)) for name in ("big", "small", "bare"))
    with Note(place.fresh("note")) as note:
        for size in sizes.steps:
            if size == sizes.many:
                yield from _draining(big, small, sizes, note)
            else:
                rounds = sizes.rounds if size < sizes.many else 1
                yield _claims(size, [drained(big, size, sizes.drained, note).each for _ in range(rounds)])
            stock.pending(big, size)
            yield from _commands(big, size, sizes.samples if size <= PATIENT else SAMPLES_OF_MORE)
            if size == sizes.many:
                yield from _looking(big, bare, size, sizes.samples)
    yield from _adding(big, bare, sizes)
    shutil.rmtree(big)


# ---- draining


@dataclass
class Drained:
    """Seconds from the start of the command until the first job had ended, and milliseconds for each job behind."""

    first: float
    each: float


def drained(root: str, size: int, most: int, note: Note) -> Drained:
    """Start a pool on `size` pending jobs, and end it when `most` of them are done. What is done is removed.

    Raises AssertionError where a job got lost: all are counted in the directories. The times are those of their files in done/,
    so nobody has to look while the pool runs.
    """
    jobs = min(size, most)
    if ours.count(root, "pending") > size - jobs:
        stock.empty(f"{root}/pending")
    stock.pending(root, size - jobs)
    stock.front(root, jobs, note.words())
    os.sync()
    with Pool(root, WORKERS, at_once=True) as pool:
        note.read()
        until(lambda: ours.count(root, "done") >= jobs, f"{jobs} jobs in {root}/done")
    ended = sorted(entry.stat().st_mtime for entry in os.scandir(f"{root}/done"))
    if (found := len(ended) + ours.count(root, "pending")) != size:
        raise AssertionError(f"{size} jobs waited in {root}, and {found} are pending or done")
    stock.empty(f"{root}/done")
    return Drained(ended[0] - pool.started / 1e9, 1000 * (ended[jobs - 1] - ended[WARM]) / (jobs - 1 - WARM))


def _draining(big: str, small: str, sizes: Sizes, note: Note) -> Iterator[Row]:
    """Start on many jobs, and drain some of them beside a few."""
    many, few = sizes.many, sizes.few
    of_many, of_few = alternate(
        sizes.rounds,
        partial(drained, big, many, sizes.drained, note),
        partial(drained, small, few, few, note),
    )
    first = [one.first for one in of_many]
    what = f"{many:,} pending: from `start` to the end of the first job"
    yield Row("many-start", what, "s", first, at_least=1.0, more_is_better=False)
    rates = [[1000 / one.each for one in found] for found in (of_many, of_few)]
    what = f"drain of {min(many, sizes.drained):,} of {many:,} pending, {WORKERS} workers"
    yield Row("many-rate", what, "jobs/s", rates[0], f"{few:,} of {few:,}", rates[1], at_least=0.9, note=AGES)
    yield _claims(many, [one.each for one in of_many])


def _claims(size: int, found: list[float]) -> Row:
    return Row(f"size-claim-{size}", f"a job of a drain, {WORKERS} workers, {size:,} pending", ours=found, note=AGES, **LATER)


# ---- commands


def _commands(root: str, size: int, samples: int) -> Iterator[Row]:
    """Run each command on the spool."""
    os.sync()
    deeds = {"enqueue": _enqueued, "dropin": _dropped, "status": _told, "list": _listed}
    what = {"enqueue": "`enqueue true`", "dropin": "rename into pending/", "status": "`status`", "list": f"`{' '.join(LIST)}`"}
    for name, found in zip(deeds, alternate(samples, *(partial(deed, root) for deed in deeds.values())), strict=True):
        yield Row(f"size-{name}-{size}", f"{what[name]}, {size:,} pending", ours=found, **LATER)
    if (found := ours.count(root, "pending")) != size:
        raise AssertionError(f"{found} jobs wait in {root}, not {size}")


def _looking(big: str, bare: str, size: int, samples: int) -> Iterator[Row]:
    """Look at a spool with as many jobs done as pending, and at an empty one."""
    stock.done(big, size)
    os.sync()
    for key, what, deed in (("status", "`status`", _told), ("list", f"`{' '.join(LIST)}`", _listed)):
        full, empty = alternate(samples, partial(deed, big), partial(deed, bare))
        over = [one - other for one, other in zip(full, empty, strict=True)]
        what = f"{what}, {size:,} done and {size:,} pending: longer than with none"
        yield Row(f"many-{key}", what, ours=over, at_least=150, aim=60, **LATER)
    stock.empty(f"{big}/done")


def _adding(big: str, bare: str, sizes: Sizes) -> Iterator[Row]:
    """Add to the biggest spool, and to an empty one."""
    size = sizes.steps[-1]
    deeds = (
        ("enqueue", "`enqueue true`", _enqueued, ""),
        ("mv", "`mv FILE pending/` from a shell", _moved, ""),
        ("dropin", "rename into pending/", _dropped, "one system call: the file system's cost alone, no part of queuectl runs"),
    )
    for key, what, deed, note in deeds:
        full, empty = alternate(sizes.samples, partial(deed, big), partial(deed, bare))
        what = f"{what}, {size:,} files in the spool"
        yield Row(f"million-{key}", what, ours=full, against="an empty spool", beside=empty, at_least=1.2, note=note, **LATER)


def _enqueued(root: str) -> float:
    """Add a job by the command, and take it away again."""
    took, said = _ran(root, "enqueue", "true")
    os.unlink(f"{root}/pending/{said.strip()}.json")
    return took


def _moved(root: str) -> float:
    """Move a file into pending/ by mv(1), and take it away again."""
    made = _outside(root, 1)
    begun = time.perf_counter()
    subprocess.run(["mv", made[0], f"{root}/pending/"], check=True)
    took = time.perf_counter() - begun
    os.unlink(f"{root}/pending/{os.path.basename(made[0])}")
    return 1000 * took


def _dropped(root: str) -> float:
    """Rename files into pending/, and take them away again; return the milliseconds of one."""
    outside = f"{root}.outside"
    names = [os.path.basename(path) for path in _outside(root, RENAMES)]
    os.sync()
    begun = time.perf_counter()
    for name in names:
        os.rename(f"{outside}/{name}", f"{root}/pending/{name}")
    took = time.perf_counter() - begun
    for name in names:
        os.unlink(f"{root}/pending/{name}")
    return 1000 * took / RENAMES


def _outside(root: str, count: int) -> list[str]:
    """Make so many job files beside the spool, and return their paths."""
    os.makedirs(f"{root}.outside", exist_ok=True)
    return [stock.lay(f"{root}.outside", f"dropped-{number}", {"command": "true"}) for number in range(count)]


def _told(root: str) -> float:
    return _ran(root, "status", expect=3)[0]  # no worker runs


def _listed(root: str) -> float:
    return _ran(root, *LIST)[0]


def _ran(root: str, *words: str, expect: int = 0) -> tuple[float, str]:
    """Run the command and return its milliseconds, and what it printed."""
    command = [ours.QUEUECTL, "--spool", root, *words]
    begun = time.perf_counter()
    ran = subprocess.run(command, capture_output=True, text=True, env=ours.ENVIRONMENT)
    took = time.perf_counter() - begun
    if ran.returncode != expect:
        raise AssertionError(f"{' '.join(words)} ended with {ran.returncode}: {ran.stderr}")
    return 1000 * took, ran.stdout
