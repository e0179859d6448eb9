"""Rows of being looked at: what the journal costs, and a page that many look at."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections import namedtuple
from functools import partial
from typing import TYPE_CHECKING

from bench import ours
from bench.row import Row, alternate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from bench.place import Place

JOBS, FEW_JOBS = 10_000, 500
ROUNDS, FEW_ROUNDS = 5, 2
WORKERS = 2
COMMAND = "true"
PAGES, RATE = 100, 1000  # open pages, and requests a second
MOST_OF = 0.9  # of the answers have to come
TO_END = 30.0  # seconds that the page has

Looked = namedtuple("Looked", "answers share")  # how many came a second; how much of a processor who looks took


def rows(place: Place, quick: bool) -> Iterator[Row]:
    """Yield a drain with the journal beside one without, and one that a crowd looks at beside one that nobody does."""
    jobs, rounds = (FEW_JOBS, FEW_ROUNDS) if quick else (JOBS, ROUNDS)
    told = ours.spool(place.fresh("told"), "never")
    untold = ours.spool(place.fresh("untold"), "never", journal_bytes=0)
    found = alternate(rounds, partial(rate, told, jobs), partial(rate, untold, jobs))
    what = f"drain of {jobs:,} jobs, {WORKERS} workers, fsync never, with the journal"
    yield Row("watched-journal", what, "jobs/s", found[0], "without", found[1], at_least=0.97)
    looks: list[Looked] = []
    found = alternate(rounds, partial(_watched, told, jobs, looks), partial(_unwatched, told, jobs, looks))
    what = f"the same, with {PAGES} open pages and {RATE:,} requests a second"
    answers, share = (sum(values) / len(looks) for values in zip(*looks, strict=True))
    note = f"{answers:,.0f} answers a second came; who looks takes {share:.3f} of a processor, beside, too"
    yield Row("watched-page", what, "jobs/s", found[0], "nobody looks", found[1], at_least=0.95, note=note)


def rate(root: str, jobs: int, beside: AbstractContextManager | None = None) -> float:
    """Return the rate of a drain, `beside` something."""
    ours.fill(root, [COMMAND] * jobs)
    with beside or contextlib.nullcontext():
        return jobs / ours.drain(root, WORKERS)


def _watched(root: str, jobs: int, looks: list[Looked]) -> float:
    return rate(root, jobs, crowd(root, looks))


def _unwatched(root: str, jobs: int, looks: list[Looked]) -> float:
    """Return the rate while somebody takes as much of the processors as who looked last did: he mostly sits elsewhere."""
    return rate(root, jobs, _started("bench.crowd", str(looks[-1].share)))


@contextlib.contextmanager
def crowd(root: str, looks: list[Looked], pages: int = PAGES, often: int = RATE) -> Iterator[None]:
    """Have a page that so many look at, for as long as the with block lasts; `looks` gets what came of that."""
    words = [ours.QUEUECTL, "--spool", root, "web"]
    with _ended(subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=ours.ENVIRONMENT)) as page:
        link = page.stdout.readline().strip()
        with _started("bench.crowd", link, str(pages), str(often)) as lookers:
            yield
            lookers.send_signal(signal.SIGTERM)
            count, seconds, _, used = map(float, lookers.communicate(timeout=TO_END)[0].split())
            looks.append(Looked(count / seconds, used / seconds))
            if count < MOST_OF * often * (seconds - 1.0):  # the first of them take a moment
                raise RuntimeError(f"only {count:.0f} answers came in {seconds:.1f} s")


@contextlib.contextmanager
def _started(*words: str) -> Iterator[subprocess.Popen]:
    """Run that module until the with block ends, which begins when it has said that it is ready."""
    with _ended(subprocess.Popen([sys.executable, "-m", *words], stdout=subprocess.PIPE, text=True)) as program:
        if program.stdout.readline() != "open\n":
            raise RuntimeError(f"{words[0]} could not begin")
        yield program


@contextlib.contextmanager
def _ended(program: subprocess.Popen) -> Iterator[subprocess.Popen]:
    """See that the program has ended when the with block does."""
    try:
        yield program
    finally:
        program.terminate()
        program.wait(TO_END)
        program.stdout.close()
