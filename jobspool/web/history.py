"""What the journal tells of the past: behind a cursor, the newest, of one job, and of the last hour."""

from __future__ import annotations

import os
from json.encoder import encode_basestring_ascii

from jobspool import events, journal, ledger
from jobspool.job import iso
from jobspool.trust import opener

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jobspool.ledger import Histogram, Ledger
    from jobspool.spool import Spool

AT_ONCE = 1000  # events that are read at one go
MOST_CAUGHT_UP = 20  # such reads for a page that comes back; one that was away for longer looks anew
LINE = 512  # bytes that a line has at most, but for very few
HOUR = 3600.0


def told(found: list[dict]) -> list[dict]:
    """Return those of the events that are of jobs: an audit's counts are for the ledger."""
    return [event for event in found if event["job"]]


def since(root: str, cursor: str | None, most: int) -> dict:
    """Return the events behind the cursor, the oldest that are kept without one, at most so many, and where to go on."""
    reader = journal.Reader(root, cursor)
    found = told(reader.read(most))
    return {"events": found, "cursor": reader.cursor, "lost": reader.lost}


def caught_up(root: str, cursor: str, shown: int) -> dict:
    """Return what happened behind the cursor as one message; `lost` where that is too much, or not kept any more."""
    reader, found, count = journal.Reader(root, cursor), [], 0
    for _ in range(MOST_CAUGHT_UP):
        more = reader.read(AT_ONCE)
        count += len(told(more))
        found = [*found, *told(more)][-shown:]
        if len(more) < AT_ONCE:
            return {"events": found, "dropped": count - len(found), "cursor": reader.cursor, "lost": reader.lost}
    return {"events": [], "dropped": count, "cursor": journal.end(root), "lost": True}


def newest(root: str, most: int) -> dict:
    """Return the newest events, at most so many, the oldest of them first, each with its cursor, and where to go on."""
    cursor, found = journal.end(root), []
    for number in reversed(journal.segments(root)):
        lines = _tail(journal.path_of(root, number), (most - len(found)) * LINE)
        there = [{**event, "cursor": f"{number}:{end}"} for line, end in lines if (event := journal.parsed(line))]
        found = [*told(there), *found]
        if len(found) >= most:
            break
    return {"events": found[-most:], "cursor": cursor, "lost": False}


def _tail(path: str, length: int) -> list[tuple[bytes, int]]:
    """Return the last whole lines of the file, of about so many bytes, and where in it each ends."""
    content, at = _content(path, length)
    lines, whole = [], at == 0
    for line in content.split(b"\n")[:-1]:
        at += len(line) + 1
        lines.append((line, at))
    return lines if whole else lines[1:]


def _content(path: str, length: int | None = None) -> tuple[bytes, int]:
    """Return the file's last bytes, all of them where no length is given, and where they begin."""
    try:
        with open(path, "rb", opener=opener) as file:
            size = file.seek(0, os.SEEK_END)
            begun = 0 if length is None else max(0, size - length)
            file.seek(begun)
            return file.read(size - begun), begun
    except OSError:
        return b"", 0  # RACE: it has just been removed


def of_job(root: str, id: str, most: int) -> list[dict]:
    """Return the newest events of the job, at most so many, the oldest first."""
    mark, found = f'"job": {encode_basestring_ascii(id)}, '.encode(), []
    for number in reversed(journal.segments(root)):
        content, _ = _content(journal.path_of(root, number))
        there = [event for line in _lines_with(content, mark) if (event := journal.parsed(line)) and event["job"] == id]
        found = [*there, *found]
        if len(found) >= most:
            break
    return found[-most:]


def _lines_with(content: bytes, mark: bytes) -> list[bytes]:
    lines, at = [], content.find(mark)
    while at >= 0:
        begin, end = content.rfind(b"\n", 0, at) + 1, content.find(b"\n", at)
        if end < 0:
            break  # it is being written
        lines.append(content[begin:end])
        at = content.find(mark, end)
    return lines


def hour_ago(spool: Spool) -> str:
    """Return the cursor of a place with all of the last hour behind it."""
    return events.since(spool, spool.now() - HOUR)


def rates(book: Ledger, now: float) -> dict:
    """Return the last hour minute by minute, the oldest first, and how long jobs took and waited."""
    known = {minute["at"]: minute for minute in book.minutes}
    last = int(now) // ledger.MINUTE * ledger.MINUTE
    times = range(last - (ledger.MINUTES - 1) * ledger.MINUTE, last + 1, ledger.MINUTE)
    minutes = [{**known.get(at, ledger.empty_minute(at)), "at": iso(at)} for at in times]
    return {"minutes": minutes, "durations": _histogram(book.durations), "waits": _histogram(book.waits)}


def _histogram(one: Histogram) -> dict:
    return {"bounds": list(one.bounds), "counts": list(one.counts), "sum": round(one.sum, 6)}
