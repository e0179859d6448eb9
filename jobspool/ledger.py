"""What the journal adds up to: how many jobs are in each state, how attempts ended, how long things took, minute by minute.

A Ledger is folded from the journal's lines, one after the other. journal/ledger.json keeps it up to some cursor, so the rest is
little, and nothing is lost when old segments go. Pure but for load() and keep().
"""

from __future__ import annotations

import bisect
import json
from collections import deque
from time import time as now

from jobspool import durable, journal
from jobspool.job import seconds
from jobspool.states import DEAD, DONE, FAILED, STATES
from jobspool.trust import opener

FORMAT = 1
FILE = f"{journal.FOLDER}/ledger.json"
LARGEST = 1 << 20  # bytes
MINUTES = 61  # that are kept: an hour, and the one that is going on
MINUTE = 60

DURATIONS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0)  # seconds
WAITS = (0.01, 0.1, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0)
COMMITS = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)

# What reasons are counted as, whatever they say in full, by how they begin: so there are never more than these.
REASONS = (
    ("exit ", "exit"),
    ("ended by ", "signal"),
    ("timeout", "timeout"),
    ("no output ", "silent"),
    ("over ", "limit"),
    ("deadline", "deadline"),
    ("worker lost", "lost"),
    ("shutdown", "interrupted"),
    ("interrupted", "interrupted"),
    ("cancelled", "cancelled"),
    ("moved away", "moved"),
)
NO_REASON, OTHER = "none", "other"
VERDICTS = ("done", "failed", "dead", "interrupted", "snoozed")


def reason_of(event: dict) -> str:
    """Return what the reason of an ended attempt is counted as."""
    said = event.get("reason")
    if not isinstance(said, str):
        return NO_REASON
    if event.get("exit") in (126, 127) and not said.startswith("exit "):
        return "start"  # its command couldn't be started
    return next((word for begin, word in REASONS if said.startswith(begin)), OTHER)


class Histogram:
    """How many values are at most each of `bounds`, but above the one before; the last of `counts` is of those above all."""

    def __init__(self, bounds: tuple[float, ...], counts: list[int] | None = None, sum: float = 0.0) -> None:
        self.bounds = bounds
        self.counts = counts or [0] * (len(bounds) + 1)
        self.sum = sum

    def take(self, value: float) -> None:
        """Count the value."""
        self.counts[bisect.bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def total(self) -> int:
        """How many values there were."""
        return sum(self.counts)


class Ledger:
    """What was folded so far, up to `cursor`.

    `counts`: jobs by state. `attempts`: by (verdict, reason_of()). `totals`: enqueued, recovered, rejected. `minutes`: those of
    the last hour in which something happened, oldest first.
    """

    def __init__(self, cursor: str = "1:0") -> None:
        self.cursor = cursor
        self.counts = dict.fromkeys(STATES, 0)
        self.attempts: dict[tuple[str, str], int] = {}
        self.totals = {"enqueued": 0, "recovered": 0, "rejected": 0}
        self.durations, self.waits, self.commits = Histogram(DURATIONS), Histogram(WAITS), Histogram(COMMITS)
        self.minutes: deque[dict] = deque(maxlen=MINUTES)
        self._minute_said = ""  # how the time of the last event began

    def take(self, event: dict) -> None:
        """Fold the event, which follows on the last one."""
        self.cursor = event.get("cursor", self.cursor)
        kind = event.get("event")
        if kind == "counted":
            self._count(event)
            return
        self._move(event.get("from"), event.get("to"))
        minute = self._minute(event["time"])
        if kind == "added":
            self.totals["enqueued"] += 1
            minute["added"] += 1
        elif kind == "claimed":
            self._claimed(event, minute)
        elif "verdict" in event:
            self._ended(event, minute)
        if kind in ("recovered", "rejected"):
            self.totals[kind] += 1

    def _move(self, source: object, target: object) -> None:
        if source in self.counts:
            self.counts[source] = max(0, self.counts[source] - 1)
        if target in self.counts:
            self.counts[target] += 1

    def _count(self, event: dict) -> None:
        """Take how many there are, or how many more than was thought."""
        said = {state: count for state, count in event["counts"].items() if state in self.counts}
        for state, count in said.items():
            self.counts[state] = count if event.get("all") else max(0, self.counts[state] + count)

    def _claimed(self, event: dict, minute: dict) -> None:
        minute["claimed"] += 1
        if (waited := _number(event.get("waited"))) is not None:
            self.waits.take(waited)
            minute["waited"] += waited
            minute["longest_wait"] = max(minute["longest_wait"], waited)

    def _ended(self, event: dict, minute: dict) -> None:
        verdict = event.get("verdict")
        key = (verdict if verdict in VERDICTS else OTHER, reason_of(event))
        self.attempts[key] = self.attempts.get(key, 0) + 1
        if verdict in (DONE, FAILED, DEAD):
            minute[verdict] += 1
        if (duration := _number(event.get("duration"))) is not None:
            self.durations.take(duration)
            minute["busy"] += duration
        if (commit := _number(event.get("commit"))) is not None:
            self.commits.take(commit)

    def _minute(self, time: str) -> dict:
        """Return the minute of that time; of one that is out of order, the last one."""
        if time[:16] == self._minute_said:
            return self.minutes[-1]
        self._minute_said = time[:16]
        try:
            at = int(min(seconds(time), now())) // MINUTE * MINUTE  # a clock was ahead once
        except ValueError:
            at = 0
        if not self.minutes or at > self.minutes[-1]["at"]:
            self.minutes.append(empty_minute(at))
            while self.minutes[0]["at"] <= at - MINUTES * MINUTE:
                self.minutes.popleft()
        return self.minutes[-1]


def empty_minute(at: int) -> dict:
    """Return the minute that begins at that time (seconds since 1970), in which nothing has happened."""
    return {
        "at": at,
        **dict.fromkeys(("added", "claimed", DONE, FAILED, DEAD), 0),
        **dict.fromkeys(("waited", "longest_wait", "busy"), 0.0),
    }


def _number(value: object) -> float | None:
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e12
    return float(value) if good else None


def written(book: Ledger) -> bytes:
    """Return the ledger as the content of its file."""
    kept = {
        "format": FORMAT,
        "cursor": book.cursor,
        "counts": book.counts,
        "totals": book.totals,
        "attempts": [[*key, count] for key, count in book.attempts.items()],
        **{name: {"counts": each.counts, "sum": round(each.sum, 6)} for name, each in _histograms(book).items()},
        "minutes": list(book.minutes),
    }
    return (json.dumps(kept) + "\n").encode()


def parsed(content: bytes) -> Ledger:
    """Return the ledger that the file's content tells. Raises ValueError, KeyError or TypeError where it is none."""
    kept = json.loads(content)
    if kept["format"] != FORMAT or not journal.is_cursor(kept["cursor"]):
        raise ValueError("of another format")
    book = Ledger(kept["cursor"])
    book.counts = {state: int(kept["counts"][state]) for state in STATES}
    book.totals = {word: int(kept["totals"][word]) for word in book.totals}
    book.attempts = {(str(verdict), str(reason)): int(count) for verdict, reason, count in kept["attempts"]}
    for name, each in _histograms(book).items():
        counts = [int(count) for count in kept[name]["counts"]]
        if len(counts) == len(each.counts):  # of other bounds, an older version's, nothing can be said
            each.counts, each.sum = counts, float(kept[name]["sum"])
    book.minutes.extend(map(_checked_minute, kept["minutes"]))
    return book


def _checked_minute(minute: dict) -> dict:
    whole = empty_minute(0)
    return {word: type(value)(minute[word]) for word, value in whole.items()}


def _histograms(book: Ledger) -> dict[str, Histogram]:
    return {"durations": book.durations, "waits": book.waits, "commits": book.commits}


def load(root: str) -> Ledger | None:
    """Return the ledger as it was kept last, None where there is none, or none that can be read."""
    try:
        with open(f"{root}/{FILE}", "rb", opener=opener) as file:
            return parsed(file.read(LARGEST))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None  # it is told anew from what there is of the journal


def folded(root: str) -> Ledger:
    """Return the ledger up to the end of the journal."""
    book = load(root) or Ledger(journal.begin(root))
    fold(book, root)
    return book


def fold(book: Ledger, root: str) -> int:
    """Fold what the journal has got since; return how many events that were."""
    reader, count = journal.Reader(root, book.cursor), 0
    while events := reader.read():
        for event in events:
            book.take(event)
        count += len(events)
    book.cursor = reader.cursor
    return count


def keep(root: str, book: Ledger, spare: str, limit: int, mode: int) -> None:
    """Let the ledger's file say that, and old segments go; not where it has come further already. Raises OSError."""
    journal.make_folder(root)
    kept = load(root)
    if kept is not None and journal.place(kept.cursor) > journal.place(book.cursor) and journal.is_there(root, kept.cursor):
        return  # whoever keeps this was held for long
    durable.replace(f"{root}/{FILE}", spare, written(book), mode, synced=False)
    journal.trim(root, limit, book.cursor)
