"""A row of the table: what was measured, beside what, in samples that alternate."""

from __future__ import annotations

import subprocess
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from statistics import median


@dataclass
class Row:
    """One line of the table. `ours[i]` and `beside[i]` were measured one behind the other, in the same run.

    `unit` is that of both. Where `beside` is empty, the figure itself is held against the bounds, else the ratio of the two
    (ours / beside). `at_least` and `aim` are lower bounds where `more_is_better`, else upper ones.
    """

    key: str  # of the row in results/*.json: drain-2-never
    what: str  # for people: "drain 20,000 `true`, 2 workers, fsync never"
    unit: str  # jobs/s, ms, MiB, ...
    ours: list[float]
    against: str = ""  # what is beside: y, "huey on Redis", "python -c pass"
    beside: list[float] = field(default_factory=list)
    at_least: float | None = None
    aim: float | None = None
    more_is_better: bool = True
    note: str = ""  # what a reader must know: settings, system calls per job
    y: list[float] = field(default_factory=list)  # in the same rounds, where `beside` is another

    @property
    def values(self) -> list[float]:
        """What the bounds are about: the ratios, or ours alone."""
        return [ours / other for ours, other in zip(self.ours, self.beside, strict=True)] if self.beside else self.ours

    @property
    def middle(self) -> float:
        """The median of the values."""
        return median(self.values)

    @property
    def holds(self) -> bool | None:
        """Whether the bound is reached; None where there is none."""
        if self.at_least is None:
            return None
        return self.middle >= self.at_least if self.more_is_better else self.middle <= self.at_least

    def as_json(self) -> dict:
        """Return the row, with what is computed from it."""
        return {**asdict(self), "median": self.middle, "low": min(self.values), "high": max(self.values), "holds": self.holds}


@dataclass
class Failed:
    """A row, or a whole module of them, that could not be measured."""

    key: str
    reason: str  # one line

    @classmethod
    def by(cls, key: str, error: Exception) -> Failed:
        """Return what failed by that error, whose traceback is on stderr now."""
        traceback.print_exception(error)
        said = error.stderr if isinstance(error, subprocess.CalledProcessError) else None
        last = (said.decode(errors="replace") if isinstance(said, bytes) else said or "").strip().rpartition("\n")[2]
        return cls(key, " ".join(f"{type(error).__name__}: {error} {last}".split()))


def tried(key: str, measure: Callable[[], Row]) -> Row | Failed:
    """Return the row, or why there is none."""
    try:
        return measure()
    except Exception as error:  # noqa: BLE001 - whatever it was: it is told, the run exits with 1, and the other rows go on
        return Failed.by(key, error)


def alternate(rounds: int, *deeds: object) -> list[list[float]]:
    """Call each of the deeds in turn, `rounds` times, forth and back; return what each returned, a list for each."""
    found: list[list[float]] = [[] for _ in deeds]
    for number in range(rounds):
        for deed, values in list(zip(deeds, found, strict=True))[:: -1 if number % 2 else 1]:
            values.append(deed())
    return found
