"""Rows of jobs that print much, beside the same programs writing into files by themselves."""

from __future__ import annotations

import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from bench import ours, stock
from bench.pool import Pool, came
from bench.row import Row, alternate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.place import Place

MIB = 1 << 20
ROUNDS, FEW_ROUNDS = 7, 3
JOBS = 8
NOTE = "into the page cache, on both sides, until the last program has ended; log_max_bytes is larger, so nothing is cut"


def rows(place: Place, quick: bool) -> Iterator[Row]:
    """Yield a row for 1 GiB in all by as many workers as processors, and one for 100 MiB each at once."""
    rounds, less = (FEW_ROUNDS, 4) if quick else (ROUNDS, 1)
    yield _printing(place, "print-gib", 2, 128 // less, rounds)
    yield _printing(place, "print-at-once", JOBS, 100 // less, rounds)


def _printing(place: Place, key: str, workers: int, each: int, rounds: int) -> Row:
    root, beside = ours.spool(place.fresh(key), log_max_bytes=2 * each * MIB), place.fresh(f"{key}.beside")
    os.mkdir(beside)
    with Pool(root, workers):
        queued, plain = alternate(rounds, lambda: _queued(root, each), lambda: _plain(beside, workers, each))
    rates = [[JOBS * each / seconds for seconds in found] for found in (queued, plain)]
    what = f"{JOBS} jobs print {each} MiB each, {workers} workers"
    return Row(key, what, "MiB/s", rates[0], "the same programs without a queue", rates[1], at_least=0.9, note=NOTE)


def _queued(root: str, each: int) -> float:
    """Return the seconds from the first drop until the last has ended. Raises AssertionError where not all is in the logs."""
    outside = f"{root}.outside"
    os.makedirs(outside, exist_ok=True)
    made = [stock.lay(outside, f"job-{number}", {"argv": _words(each)}) for number in range(JOBS)]
    os.sync()
    begun = time.time()
    for path in made:
        os.rename(path, f"{root}/pending/{os.path.basename(path)}")
    came(root, "done", JOBS)
    ended = max(entry.stat().st_mtime for entry in os.scandir(f"{root}/done"))
    stock.empty(f"{root}/done")
    _whole(f"{root}/logs", each)
    return ended - begun


def _plain(folder: str, at_once: int, each: int) -> float:
    """Run the same programs, as many at once, and return the seconds."""

    def write(number: int) -> None:
        with open(f"{folder}/{number}.out", "wb") as file:
            subprocess.run(_words(each), stdout=file, stdin=subprocess.DEVNULL, check=True)

    os.sync()
    with ThreadPoolExecutor(at_once) as threads:
        begun = time.perf_counter()
        list(threads.map(write, range(JOBS)))
        took = time.perf_counter() - begun
    _whole(folder, each)
    return took


def _words(each: int) -> list[str]:
    return ["head", "-c", str(each * MIB), "/dev/zero"]


def _whole(folder: str, each: int) -> None:
    """Remove what was printed, which must have been all of it."""
    sizes = [entry.stat().st_size for entry in os.scandir(folder) if entry.name.endswith(".out")]
    if sizes != [each * MIB] * JOBS:
        raise AssertionError(f"{JOBS} files of {each} MiB were to be printed into {folder}, these came: {sizes}")
    stock.empty(folder)
