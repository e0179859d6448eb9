"""Rows of reaction times: how soon a job that is dropped, or due again, begins; less what a spawn of it costs by itself."""

from __future__ import annotations

import json
import os
import random
import time
from datetime import datetime
from statistics import median
from typing import TYPE_CHECKING

from bench import ours
from bench.note import Note, Noted
from bench.pool import Pool, came, percentile
from bench.row import Row
from bench.stock import lay

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.place import Place

WORKERS = 2
ROUNDS, FEW_ROUNDS = 5, 2
SAMPLES, FEW_SAMPLES, FEW_HELD = 100, 20, 8  # of a round
WARM = 5  # samples that are not counted
IDLE = (0.02, 0.1)  # seconds of rest before a drop
AFTER = (0.001, 0.5)  # seconds from a claim to the drop
RETRIES = 20  # jobs that fail at about the same time
DUE = (0.05, 1.0)  # seconds from their failure until they are due, spread evenly
HALF, NEARLY_ALL = 0.5, 0.99
DROPPED = {HALF: (1.2, 0.5), NEARLY_ALL: (3.0, 1.5)}  # share: bound and aim (ms)
RETRIED = {NEARLY_ALL: (5.0, None)}


def rows(place: Place, quick: bool) -> Iterator[Row]:
    """Yield the rows of an idle pool, of a busy one with a free worker, and of retries."""
    rounds, samples, held = (FEW_ROUNDS, FEW_SAMPLES, FEW_HELD) if quick else (ROUNDS, SAMPLES, SAMPLES)
    root = ours.spool(place.fresh("reacting"), max_retries=1, backoff_jitter=0)
    with Note(place.fresh("note")) as note, Pool(root, WORKERS):
        scene = Scene(root, note)
        scene.idle(WARM)
        what = f"from `mv` to the job's first instruction, {WORKERS} workers"
        found = [scene.idle(samples) for _ in range(rounds)]
        yield from _percentiles("reaction-idle", f"{what}, idle", scene, found, DROPPED)
        found = [scene.after_claims(held) for _ in range(rounds)]
        yield from _percentiles("reaction-after-claim", f"{what}, 1 to 500 ms after a claim", scene, found, DROPPED)
        found = [[late for _ in range(samples // RETRIES) for late in scene.retries()] for _ in range(rounds)]
        yield from _percentiles("retry-late", "a retry that falls due: late by", scene, found, RETRIED)


def _percentiles(
    key: str, what: str, scene: Scene, found: list[list[float]], bounds: dict[float, tuple[float, float | None]]
) -> Iterator[Row]:
    """Yield a row with all samples, and one with the percentiles of each round for each bound."""
    spawn = median(scene.spawns)
    scene.spawns.clear()
    less = f"less {1000 * spawn:.2f} ms: a plain posix_spawn of the same program ({scene.note.how}) to its first instruction"
    rounds = [[1000 * (seconds - spawn) for seconds in values] for values in found]
    yield Row(key, what, "ms", [value for values in rounds for value in values], more_is_better=False, note=less)
    for share, (bound, aim) in bounds.items():
        name, values = f"p{round(100 * share)}", [percentile(values, share) for values in rounds]
        yield Row(f"{key}-{name}", f"{what}, {name}", "ms", values, at_least=bound, aim=aim, more_is_better=False, note=less)


class Scene:
    """What is dropped on a running pool: each method returns seconds when all that it dropped is in done/.

    `spawns` are the seconds of plain spawns of the same program, which are measured between.
    """

    def __init__(self, root: str, note: Note) -> None:
        self.root, self.note = root, note
        self.spawns: list[float] = []
        self._outside = f"{root}.outside"
        os.mkdir(self._outside)
        self._drops = 0
        self._luck = random.Random(1)

    def idle(self, samples: int) -> list[float]:
        """Return how soon jobs began that were dropped on an idle pool, one at a time."""
        return [self._after_rest(self._luck.uniform(*IDLE)) for _ in range(samples)]

    def after_claims(self, samples: int) -> list[float]:
        """Return how soon jobs began that were dropped while another ran, at times after its claim that are spread evenly."""
        return [self._after_claim(rest) for rest in self._spread(AFTER, samples)]

    def retries(self) -> list[float]:
        """Return how late the second attempts of jobs began that failed once, at times that are spread evenly."""
        for backoff in self._spread(DUE, RETRIES):
            self._drop(self.note.failing(), backoff_base=backoff)
        noted = [self.note.read() for _ in range(2 * RETRIES)]
        self._settle()
        return [one.when / 1e9 - self._due(one) for one in noted if one.attempt == 2]

    def _after_rest(self, rest: float) -> float:
        time.sleep(rest)
        took = self._begins(self.note.words())
        self._settle()
        return took

    def _after_claim(self, rest: float) -> float:
        self._begins(self.note.holding())
        (held,) = os.scandir(f"{self.root}/processing")
        time.sleep(max(0.0, held.stat().st_mtime + rest - time.time()))  # the time of its file is that of its claim
        took = self._begins(self.note.words())
        self.note.let_go()
        self._settle()
        return took

    def _begins(self, words: list[str]) -> float:
        """Drop a job and return the seconds until its first instruction."""
        id, begun = self._drop(words)
        noted = self.note.read()
        if noted.id != id:
            raise AssertionError(f"{noted.id} ran, not {id}")
        return (noted.when - begun) / 1e9

    def _drop(self, words: list[str], **more: object) -> tuple[str, int]:
        """Move a job into pending/ and return its id, and when that began."""
        self._drops += 1
        id = f"job-{self._drops}"
        made = lay(self._outside, id, {"argv": words, **more})
        begun = time.time_ns()
        os.rename(made, f"{self.root}/pending/{id}.json")
        return id, begun

    def _settle(self) -> None:
        """Wait until all that was dropped is done, and no more than that; then spawn the program by ourselves."""
        came(self.root, "done", self._drops)
        self.spawns.append(self.note.spawned())

    def _due(self, noted: Noted) -> float:
        """Return when the job was due again, as its record says."""
        with open(f"{self.root}/done/{noted.id}.json") as file:
            return datetime.fromisoformat(json.load(file)["attempts"][0]["due"]).timestamp()

    def _spread(self, bounds: tuple[float, float], samples: int) -> list[float]:
        """Return times from one to the other, evenly, in no order."""
        shortest, longest = bounds
        times = [shortest + (longest - shortest) * number / (samples - 1) for number in range(samples)]
        self._luck.shuffle(times)
        return times
