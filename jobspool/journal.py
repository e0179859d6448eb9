"""The journal: what became of jobs, a line of JSON for each change of state, in the order in which it happened.

It lies in segments, journal/NNNNNNNN.jsonl, to which everybody appends who moves jobs. What brings a job to pending/ or failed/
is written before it is done, so nothing that follows can come first; what else is done to jobs is written behind it, many at a
time. Nothing is ever synced, and nobody needs it but who looks: without it each job is where it is. What hands do, arrivals.py,
audit.py and whereabouts.py find and write.

A segment that has its size is left for the next one, which is made by whoever finds it so; the oldest go when all together are
more than the setting journal_bytes. Who writes to one shares its lock, so a reader who gets that alone knows that it is whole.
A cursor, SEGMENT:OFFSET, is a place between two lines.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import time
from json.encoder import encode_basestring_ascii

from jobspool import durable
from jobspool.job import iso
from jobspool.states import STATES
from jobspool.trust import READ, opener

FOLDER = "journal"
ENDING = ".jsonl"
DIGITS = 8
SEGMENTS = 16  # that the journal consists of, about
SMALLEST = 65_536  # bytes of a segment
LEAST = SEGMENTS * SMALLEST  # bytes that are kept, if any: a reader may be a segment behind, and must not lose it
PIECE = 1 << 18  # bytes that are read at one go
LONGEST = 1 << 22  # bytes of a line that may be one
LATE = 1.0  # seconds in which a line may still come from somebody who has a full segment locked
BEGIN = '{"time"'
STATE = {None: "null", **{state: f'"{state}"' for state in STATES}}


def lines(event: str, ids: list[str], source: str | None, target: str | None, when: float, what: dict) -> bytes:
    """Return a line for each job: from the state `source`, None for none, to `target`. `what` is said of each."""
    said = "".join([f', "{word}": {_written(value)}' for word, value in what.items()])
    way = f'"from": {STATE[source]}, "to": {STATE[target]}'
    head = f'{{"time": "{iso(when)}", "event": "{event}", "job": '
    return "".join([f"{head}{encode_basestring_ascii(id)}, {way}{said}}}\n" for id in ids]).encode()


def _written(value: object) -> str:
    """Return the value as JSON: numbers and texts, of which there are many, without the way round by an encoder."""
    if type(value) is str:
        return encode_basestring_ascii(value)
    return repr(value) if type(value) in (int, float) and value - value == 0 else json.dumps(value)


def kept(setting: int) -> int:
    """Return how many bytes are kept where the setting journal_bytes says so much."""
    return max(setting, LEAST)


def append(root: str, content: bytes, limit: int, mode: int) -> bool:
    """Append whole lines to the journal, of which `limit` bytes are kept. Tell whether a segment was begun, so old ones may go.

    Raises OSError; where a disk was full, half a line may be left, which readers pass over.
    """
    descriptor = _open_newest(root, max(limit // SEGMENTS, SMALLEST), mode)
    try:
        begun = os.fstat(descriptor).st_size == 0
        durable.write_all(descriptor, content)
        return begun
    finally:
        os.close(descriptor)


_decoder = json.JSONDecoder()
_newest: dict[str, int] = {}  # by spool: the segment that was written to last


def _open_newest(root: str, size: int, mode: int) -> int:
    """Open the segment that is to be written to, made if need be. Raises OSError."""
    number = _newest.get(root) or max(segments(root), default=1)
    while True:
        make_folder(root)
        try:
            descriptor = durable.open_to_append(path_of(root, number), made=False)
        except FileNotFoundError:
            number = max(number, max(segments(root), default=0))  # one that was removed is not begun again behind its successors
            descriptor = durable.open_for_all(path_of(root, number), mode)
        shared, found = durable.lock_shared(descriptor), os.fstat(descriptor)
        if shared and found.st_size < size and stat.S_ISREG(found.st_mode) and found.st_nlink:
            _newest[root] = number
            return descriptor
        os.close(descriptor)
        number = max(number + 1, max(segments(root), default=0))


def make_folder(root: str) -> None:
    """Let the journal's directory be there. Raises OSError where another thing is in its place, as a link to somewhere else."""
    path = f"{root}/{FOLDER}"
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        durable.make_directory(path, stat.S_IMODE(os.stat(root).st_mode) & 0o2770)
        return
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)


def path_of(root: str, number: int) -> str:
    """Return the path of the segment of that number."""
    return f"{root}/{FOLDER}/{number:0{DIGITS}}{ENDING}"


def segments(root: str) -> list[int]:
    """Return the numbers of the segments that are there, the oldest first."""
    try:
        names = os.listdir(f"{root}/{FOLDER}")
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(int(name[:-6]) for name in names if name.endswith(ENDING) and name[:-6].isdecimal())


def size(root: str) -> int:
    """Return how many bytes all segments have."""
    return sum(_size(path_of(root, number)) for number in segments(root))


def changed(root: str, number: int) -> float:
    """Return when the segment was written to last (seconds since 1970), 0 where it is gone."""
    try:
        return os.lstat(path_of(root, number)).st_mtime
    except FileNotFoundError:
        return 0.0


def _size(path: str) -> int:
    try:
        return os.lstat(path).st_size
    except FileNotFoundError:
        return 0


def trim(root: str, limit: int, read_to: str) -> None:
    """Remove the oldest segments, as long as all are more than `limit` bytes: those before the cursor `read_to`; the others, too,
    where there are more than twice as many. Raises OSError."""
    make_folder(root)
    numbers = segments(root)
    sizes = [_size(path_of(root, number)) for number in numbers]
    total, known = sum(sizes), place(read_to)[0]
    for number, size in zip(numbers[:-1], sizes, strict=False):
        if total <= (limit if number < known else 2 * limit):
            return
        durable.remove(path_of(root, number))
        total -= size


def begin(root: str) -> str:
    """Return the cursor before the oldest line that is kept."""
    return f"{min(segments(root), default=1)}:0"


FIRST = {"event": "counted", "all": True}  # of a new spool, in which nothing is


def tells_all(root: str) -> bool:
    """Tell whether the journal goes back to when the spool was made."""
    event = next(iter(Reader(root).read(1)), {})
    return FIRST.items() <= event.items() and not any(event["counts"].values())


def end(root: str) -> str:
    """Return the cursor behind the newest line."""
    number = max(segments(root), default=1)
    return f"{number}:{_whole_lines(path_of(root, number))}"


def _whole_lines(path: str) -> int:
    """Return where the file's last whole line ends."""
    try:
        with open(path, "rb", opener=opener) as file:
            end = file.seek(0, os.SEEK_END)
            while end:
                begin = max(0, end - PIECE)
                file.seek(begin)
                if (found := file.read(end - begin).rfind(b"\n")) >= 0:
                    return begin + found + 1
                end = begin
    except OSError:
        pass  # it is not there, or is none of ours
    return 0


def is_cursor(text: str) -> bool:
    """Tell whether the text is a cursor."""
    number, colon, offset = text.partition(":")
    return bool(colon) and all(part.isascii() and part.isdecimal() and len(part) < 16 for part in (number, offset))


def is_there(root: str, cursor: str) -> bool:
    """Tell whether the journal has come as far as the cursor: else it has begun anew since."""
    number, offset = place(cursor)
    return max(segments(root), default=0) > number or _size(path_of(root, number)) >= offset > 0


def place(cursor: str) -> tuple[int, int]:
    """Return the cursor as what sorts as the journal does: the segment's number, and the offset there."""
    number, _, offset = cursor.partition(":")
    return int(number), int(offset)


class Reader:
    """Reads the journal from a cursor on, None for its begin. `lost` tells that segments were removed before they were read."""

    def __init__(self, root: str, cursor: str | None = None) -> None:
        self.root = root
        self.lost = False
        self._number, self._offset = place(begin(root) if cursor is None else cursor)
        self._ahead = b""  # whole lines that were read
        self._rest: list[tuple[bytes, int]] = []  # the same, one by one, and where each ends; the next one last

    @property
    def cursor(self) -> str:
        """The place behind the last event that was returned."""
        return f"{self._number}:{self._offset}"

    @property
    def place(self) -> tuple[int, int]:
        """The same, as place() tells it."""
        return self._number, self._offset

    def read(self, most: int = 1000) -> list[dict]:
        """Return the next events, at most so many, [] where there are none yet. Each has its "cursor", the place behind it."""
        events = []
        while len(events) < most and (line := self.line()) is not None:
            if event := parsed(line):
                event["cursor"] = self.cursor
                events.append(event)
        return events

    def line(self) -> bytes | None:
        """Return the next line, None where there is none yet."""
        if not self._rest:
            if not self._ahead and not self._fill():
                return None
            self._take_apart()
        line, self._offset = self._rest.pop()
        return line

    def piece(self) -> bytes | None:
        """Return the next lines, as many as are read at one go, None where there are none yet. For who doesn't take line()s."""
        if not self._ahead and not self._fill():
            return None
        piece, self._ahead = self._ahead, b""
        self._offset += len(piece)
        return piece

    def _fill(self) -> bool:
        """Read lines; False where there are no more. Where a segment has come to its end, the next one is read."""
        while not self._read_piece():
            if (following := self._following()) is None:
                return False
            if self._read_piece():
                break  # what came until nothing more could
            self._number, self._offset = following, 0
        return True

    def _read_piece(self) -> bool:
        try:
            descriptor = os.open(path_of(self.root, self._number), READ)
        except OSError:
            return False
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                return False
            if found.st_size < self._offset:
                self.lost, self._offset = True, 0  # hands removed the journal, and it began anew
            piece = _whole(descriptor, self._offset)
        finally:
            os.close(descriptor)
        self._ahead = piece[: piece.rfind(b"\n") + 1]
        return bool(self._ahead)

    def _take_apart(self) -> None:
        ends, at = [], self._offset
        for line in self._ahead.split(b"\n")[:-1]:
            at += len(line) + 1
            ends.append((line, at))
        self._rest, self._ahead = ends[::-1], b""

    def _following(self) -> int | None:
        """Return the number of the next segment, None where there is none, or where this one may still get lines."""
        numbers = segments(self.root)
        later = [number for number in numbers if number > self._number]
        if self._number not in numbers and numbers:
            self.lost = self.lost or (self._number, self._offset) != (1, 0)
            return (later or numbers)[0]
        if not later:
            return None
        return later[0] if _is_whole(path_of(self.root, self._number)) else None


def _is_whole(path: str) -> bool:
    """Tell whether nobody writes to the segment, which has a successor: so nobody will any more."""
    try:
        descriptor = os.open(path, READ)
    except OSError:
        return True  # RACE: it has just been removed; or it is nothing that anybody writes to
    try:
        return durable.lock(descriptor) or abs(time.time() - os.fstat(descriptor).st_mtime) > LATE
    finally:
        os.close(descriptor)


def _whole(descriptor: int, offset: int) -> bytes:
    """Return what the file has from there on, at least one whole line of it where there is one; what is too long ends as one."""
    length = PIECE
    while True:
        piece = os.pread(descriptor, length, offset)
        if b"\n" in piece or len(piece) < length:
            return piece
        if length >= LONGEST:
            return piece[:-1] + b"\n"
        length *= 2


def parsed(line: bytes) -> dict | None:
    """Return the event that the line tells, None where it is none. Half a line that a full disk left before it is passed over."""
    text = line.decode("utf-8", "replace")
    for begin in (0, max(0, text.rfind(BEGIN))):
        try:
            event, _ = _decoder.raw_decode(text, begin)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict) and _is_event(event):
            return event
    return None


def _is_event(event: dict) -> bool:
    """Tell whether it has what every event has: anybody may write to the journal, and nobody is to stumble over that."""
    try:
        whole = event["from"] in STATE and event["to"] in STATE
    except (KeyError, TypeError):
        return False
    words = all(isinstance(event.get(word), str) for word in ("time", "event", "job"))
    return whole and words and (event["event"] != "counted" or _is_count(event.get("counts")))


def _is_count(counts: object) -> bool:
    return isinstance(counts, dict) and all(type(count) is int and abs(count) < 1 << 53 for count in counts.values())
