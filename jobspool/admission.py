"""What a job needs beside its time and a free worker, and whether it has it: one rule for each, pure, no disk and no clock.

The supervisor asks before it hands a job out, the claim asks again: both by these functions, over what they see themselves.
A need is a name and how many of how many: "group crawl" (its concurrency), "lock db", "slot gpu". Who holds it, the kernel knows:
see locks.py.
"""

from __future__ import annotations

import math
from collections import namedtuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from jobspool.config import Settings

GROUP, LOCK, SLOT = "group", "lock", "slot"
PARENTS = {"after": "done", "after_any": "ended", "after_fail": "dead"}  # words of the job, and what their parents must be
WORDS = frozenset(("group", "locks", "slots", *PARENTS))  # of a job that needs more than a worker
MOST_AT_A_RATE = 1_000_000  # jobs

# count of the tokens `total` that there are of that name; of a group without a limit none is taken
Need = namedtuple("Need", "name count total")

# What a job that waits for its parents waits for: its parent's id and words for people; `never` tells that it is to be given up.
Waits = namedtuple("Waits", "parent why never", defaults=(False,))


def concerns(record: dict) -> bool:
    """Tell whether the job needs anything of this at all."""
    return not WORDS.isdisjoint(record)


def names(record: dict) -> tuple[str, ...]:
    """Return the names of all that the job needs: jobs that need the same wait in one line."""
    found = [f"{GROUP} {record['group']}"] if "group" in record else []
    found += [f"{LOCK} {name}" for name in sorted(set(record.get("locks", ())))]
    for name, count in sorted(record.get("slots", {}).items()):
        found.append(f"{SLOT} {name}")
        if count > 1:
            found.append(f"{SLOT} {name}*{count}")  # who needs two may wait where one is free
    return tuple(found)


def needs(record: dict, settings: Settings) -> list[Need]:
    """Return the tokens that the job takes while it runs, in the order in which all take them."""
    found = []
    if "group" in record:
        limit = settings.groups.get(record["group"], {}).get("concurrency")
        found += [Need(f"{GROUP} {record['group']}", 1, limit)] if limit is not None else []
    found += [Need(f"{LOCK} {name}", 1, 1) for name in sorted(set(record.get("locks", ())))]
    slots = record.get("slots", {})
    return [*found, *(Need(f"{SLOT} {name}", slots[name], settings.slots.get(name, 0)) for name in sorted(slots))]


def closed(record: dict, settings: Settings) -> tuple[str, str] | None:
    """Return the name of what keeps the job from running until the settings change, and why; None for nothing.

    Where that is of this job only, as it needs more than there is, the name is one that no job has which could run.
    """
    group = record.get("group")
    if group is not None and settings.groups.get(group, {}).get("paused"):
        return f"{GROUP} {group}", f"the group {group} is paused: queuectl group {group} --resume"
    for name, count in record.get("slots", {}).items():
        total = settings.slots.get(name, 0)
        if count > total:
            return (
                f"{SLOT} {name}={count}",
                f"it needs {count} of the slots {name}, and there are {total}: queuectl config set slots {name}=N",
            )
    return None


def weights(settings: Settings) -> dict[str, float]:
    """Return the weights of the groups that have a share of their own, by the names of these needs."""
    return {f"{GROUP} {name}": group["weight"] for name, group in settings.groups.items() if "weight" in group}


def rate_of(record: dict, settings: Settings) -> tuple[int, float] | None:
    """Return how many jobs of its group may begin in how many seconds, None where there is no such limit."""
    group = settings.groups.get(record.get("group"), {})
    return rate(group["rate"]) if "rate" in group else None


def rate(text: str) -> tuple[int, float]:
    """Return the number and the seconds of "10/m", "3/10s". Raises ValueError."""
    from jobspool.times import duration

    number, slash, span = text.partition("/")
    seconds = duration(span if span[:1].isdigit() else f"1{span}") if slash and span else 0.0
    if not (text.isascii() and number.isdecimal() and 0 < int(number) <= MOST_AT_A_RATE and seconds > 0):
        raise ValueError(f"{text!r} is no rate: 10/m, 3/10s")
    return int(number), seconds


def take_rate(filled: float, now: float, limit: tuple[int, float]) -> tuple[float, float]:
    """Take a token of a bucket that will be full again at `filled`; return when it will be then, and from when that is allowed.

    The generic cell rate algorithm: one moment says all of the bucket. One that no bucket can have is of a clock that was set.
    """
    count, seconds = limit
    begun = now if filled > now + 2 * seconds else max(filled, now)
    return begun + seconds / count, begun + seconds / count - seconds


def parents(record: dict) -> list[str]:
    """Return the ids of the jobs that this one comes after."""
    return [parent for word in PARENTS for parent in record.get(word, ())]


def waits_for(record: dict, state_of: Callable[[str], str | None]) -> Waits | None:
    """Return what the job waits for, None where its parents let it run.

    `state_of` tells of an id its state, None where there is no such job (any more): nobody knows then how it ended.
    """
    policy = record.get("dead_parent", "wait")
    for word, wanted in PARENTS.items():
        for parent in reversed(record.get(word, ())):  # of many, the last is likely to be the last to end
            state = state_of(parent)
            if state is None:
                return Waits(parent, f"{parent}, which it comes after, is gone")
            if state not in ("done", "dead"):
                return Waits(parent, f"it comes after {parent}, which is {state}")
            if wanted in ("ended", state) or (policy == "run" and wanted == "done"):
                continue
            if wanted == "dead" or policy == "cancel":
                return Waits(parent, f"{parent}, which it comes after, is {state}", True)
            return Waits(parent, f"it comes after {parent}, which is dead")
    return None


def rank(priority: int, start: float, id: str, aging: float | None = None) -> tuple[float, float, str]:
    """Return what jobs run in the order of: priority, then from when they may run, then their names.

    With `aging`, a job that has waited for so many seconds counts as one of the next priority; as all wait alike, the order of
    two jobs never changes.
    """
    return (-priority if aging is None else start / aging - priority, start, id)


def earliest(times: list[float | None]) -> float | None:
    """Return the earliest of the times, None for none."""
    return min((each for each in times if each is not None and each != math.inf), default=None)
