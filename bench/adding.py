"""Rows of adding jobs: one from a shell, and 10,000 from a file."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from itertools import count
from statistics import median
from typing import TYPE_CHECKING

from bench import ours
from bench.installed import installed
from bench.row import Row, alternate
from bench.stock import lay

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.place import Place

LINES, FEW_LINES = 10_000, 1000
ONES, FEW_ONES = 40, 20  # samples
ROUNDS, FEW_ROUNDS = 7, 3
AIM = 13_000  # durable lines/s
AS_PROGRAM = "each is a program of its own that reads its lines from stdin: its start counts"
LOOP = """\
import json, os, sys
folder = sys.argv[1]
for number, line in enumerate(sys.stdin):
    descriptor = os.open(f"{folder}/tmp/{number}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.write(descriptor, json.dumps({"command": line.rstrip(), "cwd": folder}, indent=2).encode())
    os.close(descriptor)
    os.rename(f"{folder}/tmp/{number}", f"{folder}/pending/{number}.json")
"""


def rows(place: Place, quick: bool) -> Iterator[Row]:
    """Yield a row for each way to add jobs."""
    folder = installed(place)
    yield from _one(place, folder, FEW_ONES if quick else ONES)
    lines, rounds = (FEW_LINES, FEW_ROUNDS) if quick else (LINES, ROUNDS)
    yield from _beside_litequeue(place, folder, lines, rounds)
    yield _beside_a_loop(place, folder, lines, rounds)


def _one(place: Place, folder: str, samples: int) -> Iterator[Row]:
    """Add one at a time: by the command, on disk when it returns or not, by mv(1), and on disk without a program to start."""
    root, loose = ours.spool(place.fresh("one")), ours.spool(place.fresh("loose"), "never")
    numbers = count()
    made = [lay(place.folder, f"moved-{number}", {"command": "true"}) for number in range(samples + 1)]
    deeds = (
        lambda: _took([f"{folder}/python", "-c", "pass"]),
        lambda: _took([f"{folder}/queuectl", "--spool", root, "enqueue", "true"]),
        lambda: _took([f"{folder}/queuectl", "--spool", loose, "enqueue", "true"]),
        lambda: _took(["mv", made.pop(), f"{root}/pending/"]),
        lambda: _synced(place.folder, next(numbers)),
    )
    alternate(1, *deeds)  # warm
    bare, group, never, moved, synced = ([1000 * took for took in values] for values in alternate(samples, *deeds))
    _counted(root, 2 * (samples + 1))
    _counted(loose, samples + 1)
    beside = {"unit": "ms", "against": "python -c pass", "beside": bare, "more_is_better": False}
    what = "`queuectl enqueue true` from a shell, installed, fsync"
    disk = f"of it the disk's: a new file with fsync of it and of its directory takes {median(synced):.1f} ms by itself here"
    yield Row("enqueue-one-group", f"{what} group", ours=group, at_least=3.0, aim=2.5, note=disk, **beside)
    yield Row("enqueue-one-never", f"{what} never", ours=never, at_least=3.0, aim=2.5, **beside)
    yield Row("mv-one", "`mv FILE pending/` from a shell", ours=moved, note="not on disk when it returns", **beside)


def _synced(folder: str, number: int) -> float:
    """Return the seconds that a new file takes until it and its name are on the disk."""
    begun = time.perf_counter()
    descriptor = os.open(f"{folder}/synced-{number}", os.O_WRONLY | os.O_CREAT)
    os.write(descriptor, b"{}")
    for synced in (descriptor, os.open(folder, os.O_RDONLY)):
        os.fsync(synced)
        os.close(synced)
    return time.perf_counter() - begun


def _beside_litequeue(place: Place, folder: str, lines: int, rounds: int) -> Iterator[Row]:
    """Add many, each on disk before the command ends, beside a put each that is on disk when it returns."""
    try:
        from bench.peers import litequeue
    except ImportError as error:
        print(f"bench: enqueue-many-group is left out: {error}", file=sys.stderr)
        return
    commands = ["true"] * lines
    found = alternate(
        rounds,
        lambda: lines / _enqueued(place, folder, lines, "group"),
        lambda: lines / litequeue.add_each(place, commands),
    )
    yield Row(
        "enqueue-many-group",
        f"`queuectl enqueue --from -` of {lines:,} lines, fsync group",
        "lines/s",
        found[0],
        "litequeue, synchronous=FULL, one put each",
        found[1],
        at_least=2.0,
        note=f"aim for our own figure: {AIM:,} lines/s; its start counts, and the start of litequeue's process doesn't",
    )


def _beside_a_loop(place: Place, folder: str, lines: int, rounds: int) -> Row:
    """Add many, none on disk, beside the least that a Python program can do to make as many files."""
    found = alternate(
        rounds,
        lambda: lines / _enqueued(place, folder, lines, "never"),
        lambda: lines / _looped(place, folder, lines),
    )
    what = f"`queuectl enqueue --from -` of {lines:,} lines, fsync never"
    loop = "a Python loop of create + write + rename"
    return Row("enqueue-many-never", what, "lines/s", found[0], loop, found[1], at_least=0.85, note=AS_PROGRAM)


def _enqueued(place: Place, folder: str, lines: int, fsync: str) -> float:
    root = ours.spool(place.fresh("many"), fsync)
    return _filled(root, lines, [f"{folder}/queuectl", "--spool", root, "enqueue", "--from", "-"])


def _looped(place: Place, folder: str, lines: int) -> float:
    root = ours.spool(place.fresh("many"))
    return _filled(root, lines, [f"{folder}/python", "-c", LOOP, root])


def _filled(root: str, lines: int, words: list[str]) -> float:
    """Run the command on so many lines and return its seconds; all must have come to pending/."""
    os.sync()
    took = _took(words, "true\n" * lines)
    _counted(root, lines)
    return took


def _took(words: list[str], given: str = "") -> float:
    """Run the command to its end, without a look at what it prints, and return the seconds."""
    begun = time.perf_counter()
    subprocess.run(
        words, input=given, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True, env=ours.ENVIRONMENT
    )
    return time.perf_counter() - begun


def _counted(root: str, jobs: int) -> None:
    if (found := ours.count(root, "pending")) != jobs:
        raise AssertionError(f"{found} jobs came to {root}/pending, not {jobs}")
