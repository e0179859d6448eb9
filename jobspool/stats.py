"""What the records tell of a time: how many attempts and how they ended, how long they took, and how long jobs waited. Pure."""

from __future__ import annotations

import os
import time
from calendar import timegm

from jobspool.job import made_by_queue, seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from jobspool.job import Job

SHARES = (0.5, 0.9, 0.99)
TOLD = ("done", "failed", "dead")  # verdicts that are of the job's doing


class Tally:
    """What is counted of one kind of jobs."""

    def __init__(self) -> None:
        self.verdicts = dict.fromkeys(TOLD, 0)
        self.durations: list[float] = []
        self.waits: list[float] = []

    def count(self, attempt: dict, waited: float | None) -> None:
        """Count an attempt, and how long its job had waited for its first."""
        if attempt["verdict"] in self.verdicts:
            self.verdicts[attempt["verdict"]] += 1
            self.durations.append(attempt.get("duration", 0.0))
            if waited is not None:
                self.waits.append(max(0.0, waited))

    def row(self, name: str, window: float) -> dict:
        """Return the figures: counts, attempts an hour, the share not done, percentiles of durations and waits (seconds)."""
        attempts = sum(self.verdicts.values())
        return {
            "name": name,
            "attempts": attempts,
            **self.verdicts,
            "per_hour": round(attempts * 3600 / window, 3),
            "failure_share": round(1 - self.verdicts["done"] / attempts, 4) if attempts else None,
            **{f"duration_p{share * 100:g}": percentile(self.durations, share) for share in SHARES},
            **{f"wait_p{share * 100:g}": percentile(self.waits, share) for share in SHARES},
        }


def percentile(values: list[float], share: float) -> float | None:
    """Return the value that this share of all is not above, None where there is none: the nearest rank."""
    if not values:
        return None
    ranked = sorted(values)
    return round(ranked[max(0, -int(-share * len(ranked) // 1) - 1)], 6)


def summary(jobs: Iterable[Job], since: float, now: float, by: str = "name") -> list[dict]:
    """Return a row for all, and one for each name (or group, or batch), of the attempts that ended from `since` on."""
    whole, kinds = Tally(), {}
    for job in jobs:
        recent = [attempt for attempt in job.attempts if seconds(attempt["ended"]) >= since]
        if not recent:
            continue
        tally = kinds.setdefault(kind_of(job, by), Tally())
        for attempt in recent:
            waited = _waited(job, attempt) if attempt.get("number") == 1 else None
            whole.count(attempt, waited)
            tally.count(attempt, waited)
    window = max(1.0, now - since)
    rows = sorted((tally.row(name, window) for name, tally in kinds.items()), key=lambda row: (-row["attempts"], row["name"]))
    return [whole.row("(all)", window), *rows]


def kind_of(job: Job, by: str) -> str:
    """Return what the job is counted as: its name (or group, or batch), else its program."""
    if by in job.record:
        return job.record[by]
    if by != "name":
        return "-"
    words = job.record.get("argv") or job.command.split() or ["?"]
    return os.path.basename(words[0])


def _waited(job: Job, attempt: dict) -> float | None:
    """Return how long the job waited for its first attempt, None where nobody knows when it was added."""
    if not made_by_queue(job.id) or "started" not in attempt:
        return None
    try:
        added = timegm(time.strptime(job.id[:15], "%Y%m%dT%H%M%S")) + int(job.id[16:22]) / 1e6
    except ValueError:
        return None  # somebody else's id, that only looks like ours
    return seconds(attempt["started"]) - added
