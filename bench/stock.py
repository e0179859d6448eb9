"""Job files by the hundred thousand, written straight into a spool's directories as the queue itself leaves them there."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime

EVER = 1_600_000_000  # seconds since 1970: when the oldest were added
MODE = 0o600
COMMAND = "true"


def lay(folder: str, name: str, record: dict, when: float | None = None) -> str:
    """Write a job file and return its path; it may run at once, or is of that time (seconds since 1970)."""
    path = f"{folder}/{name}.json"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE)
    try:
        os.write(descriptor, (json.dumps(record, indent=2) + "\n").encode())
        if when is not None:
            os.utime(descriptor, (when, when))
    finally:
        os.close(descriptor)
    return path


def pending(root: str, count: int) -> None:
    """Let `count` jobs wait, by adding what is missing: COMMAND, in the order of their names."""
    there = set(os.listdir(f"{root}/pending"))
    record = {"command": COMMAND, "cwd": root}
    number, missing = 0, count - len(there)
    while missing > 0:
        if f"{(name := _id(number))}.json" not in there:
            lay(f"{root}/pending", name, record)
            missing -= 1
        number += 1


def done(root: str, count: int) -> None:
    """Let `count` jobs have been done, with one attempt each that ended now."""
    for number in range(count):
        now = datetime.now(UTC)
        record = {"command": COMMAND, "cwd": root, "attempts": [_attempt(now)]}
        lay(f"{root}/done", _id(number, 2025), record, now.timestamp())


def front(root: str, count: int, last: list[str]) -> None:
    """Let `count` more jobs wait that are older than all others: COMMAND, but the last has these words."""
    for number in range(count):
        job = {"argv": last} if number == count - 1 else {"command": COMMAND}
        lay(f"{root}/pending", _id(number, 2020), {**job, "cwd": root}, EVER + number / 1000)


def empty(folder: str) -> None:
    """Remove the files of that directory."""
    for entry in os.scandir(folder):
        os.unlink(entry.path)


def _id(number: int, year: int = 2026) -> str:
    """Return an id as queuectl makes them."""
    return f"{year}1124T101530.{number % 1_000_000:06}-{number // 1_000_000:06}"


def _attempt(now: datetime) -> dict:
    at = now.isoformat(timespec="microseconds").replace("+00:00", "Z")
    said = {"number": 1, "started": at, "ended": at, "duration": 0.001544, "worker": "host:16491", "exit": 0}
    return {**said, "verdict": "done", "cpu": 0.000825, "memory": 16355328}
