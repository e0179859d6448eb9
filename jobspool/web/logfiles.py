"""What attempts printed, as bytes: whole, in part, as it grows, or searched. Links and FIFOs are not followed."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import stat
from collections import namedtuple

from jobspool.states import PROCESSING
from jobspool.trust import READ
from jobspool.web.problems import Problem, wrong

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from jobspool.web.site import Site

NAMES = ("out", "err", "log")
PIECE = 262_144  # bytes that are read, or sent, at one go
FOLLOWED = 65_536  # bytes of one message
LOOK_EVERY = 0.25  # seconds between looks whether a log has grown
COMMENT_EVERY = 60  # looks, after which a sign of life is sent
LONGEST_LINE = 400  # characters of a line that was found
MOST_MATCHES = 1000
MOST_SEARCHED = 268_435_456  # bytes

Span = namedtuple("Span", "start end size")  # bytes from start to before end, of so many


class Log:
    """An open log. Raises Problem where there is none."""

    def __init__(self, path: str) -> None:
        try:
            self.descriptor = os.open(path, READ)
        except OSError:
            raise missing() from None
        if not stat.S_ISREG(os.fstat(self.descriptor).st_mode):
            self.close()
            raise missing()

    @property
    def size(self) -> int:
        """How many bytes it has now."""
        return os.fstat(self.descriptor).st_size

    def read(self, start: int, length: int) -> bytes:
        """Return so many bytes from there, fewer at its end."""
        return os.pread(self.descriptor, length, start)

    def close(self) -> None:
        """Read no more."""
        os.close(self.descriptor)


def missing() -> Problem:
    """Return what is said where an attempt has no such log."""
    return Problem(404, "no-such-log", "There is no such log", "the attempt has printed nothing there, or its log was removed")


def path_of(site: Site, handle: str, number: str, stream: str) -> str:
    """Return the path of the log. Raises NoSuchJob, Problem."""
    if stream not in NAMES or not re.fullmatch("[1-9][0-9]{0,5}", number):
        raise missing()
    return site.spool.log_path(site.catalogue.meant(handle), int(number), stream)


def span_of(size: int, range_header: str | None, tail: str | None) -> Span | None:
    """Return which bytes are asked for, None for all. Raises Problem with 416 where there are none such."""
    if tail is not None:
        if not re.fullmatch("[0-9]{1,15}", tail):
            raise wrong("tail takes a number of bytes, as ?tail=65536")
        return Span(max(0, size - int(tail)), size, size)
    found = re.fullmatch(r"bytes=(\d{0,15})-(\d{0,15})", range_header.strip()) if range_header else None
    if not found or not (found[1] or found[2]):
        return None  # RFC 9110: what can't be understood, or names several, is ignored
    if found[1]:
        start, end = int(found[1]), int(found[2]) + 1 if found[2] else size
    else:
        start, end = max(0, size - int(found[2])), size
    if start >= size or end <= start:
        problem = Problem(416, "no-such-range", "There are no such bytes", f"the log has {size} bytes")
        problem.headers.append((b"content-range", b"bytes */%d" % size))
        raise problem
    return Span(start, min(end, size), size)


async def pieces(site: Site, log: Log, span: Span) -> AsyncIterator[bytes]:
    """Yield the bytes, and close the log."""
    try:
        at = span.start
        while at < span.end:
            piece = await site.work(log.read, at, min(PIECE, span.end - at))
            if not piece:
                return  # it was cut meanwhile
            at += len(piece)
            yield piece
    finally:
        log.close()


async def follow(site: Site, handle: str, number: int, path: str, offset: int) -> AsyncIterator[bytes]:
    """Yield what is printed from `offset` on, as server-sent events, until the attempt has ended and all was sent."""
    log, looks, begun = None, 0, site.pulse.round
    try:
        while not site.pulse.ended and site.pulse.round == begun:
            ended = await site.work(has_ended, site, handle, number)  # before the last look at its log
            log = log or await site.work(_opened, path)
            while log and (piece := await site.work(log.read, offset, FOLLOWED)):
                yield _message(offset, piece, False)
                offset += len(piece)
            if ended:
                yield _message(offset, b"", True)
                return
            looks += 1
            if looks % COMMENT_EVERY == 0:
                yield b": still here\n\n"
            await asyncio.sleep(LOOK_EVERY)
    finally:
        if log:
            log.close()


def _opened(path: str) -> Log | None:
    try:
        return Log(path)
    except Problem:
        return None  # nothing was printed yet


def has_ended(site: Site, id: str, number: int) -> bool:
    """Tell whether the attempt prints nothing more: it is on record, or nothing runs that could be it."""
    job = site.spool.read(PROCESSING, id)
    if job is not None:
        return not job.problem and len(job.attempts) >= number
    return site.spool.read(PROCESSING, id) is None  # twice: it may have come there between two looks


def _message(offset: int, piece: bytes, ended: bool) -> bytes:
    said = {"offset": offset, "next": offset + len(piece), "data": base64.b64encode(piece).decode(), "ended": ended}
    return f"id: {said['next']}\ndata: {json.dumps(said)}\n\n".encode()


def search(path: str, text: str, most: int) -> dict:
    """Return the lines that have the text, whatever its case: where each begins in the log, its number and its content."""
    log = Log(path)
    try:
        wanted, found, line, at = text.encode("utf-8", "surrogateescape").lower(), [], 0, 0
        for lines, start in _lines(log):
            at = start
            for each in lines:
                line += 1
                if wanted in each.lower():
                    found.append({"offset": at, "line": line, "text": each[:LONGEST_LINE].decode("utf-8", "replace")})
                    if len(found) >= most:
                        return {"matches": found, "complete": False}
                at += len(each) + 1
        return {"matches": found, "complete": log.size <= MOST_SEARCHED}
    finally:
        log.close()


def _lines(log: Log) -> Iterator[tuple[list[bytes], int]]:
    """Yield the lines, many at a time, and where the first of them begins. A very long line comes in parts."""
    rest, start = b"", 0
    while start + len(rest) < MOST_SEARCHED and (piece := log.read(start + len(rest), PIECE)):
        whole, newline, rest_of_it = (rest + piece).rpartition(b"\n")
        if newline:
            yield whole.split(b"\n"), start
            start += len(whole) + 1
            rest = rest_of_it
        elif len(rest_of_it) > 4 * PIECE:
            yield [rest_of_it], start  # it counts as several lines
            start, rest = start + len(rest_of_it), b""
        else:
            rest = rest_of_it
    if rest:
        yield [rest], start
