"""Where the journal has each job, and who sees that it has one where it lies.

journal/known names the jobs of each state as the journal had them at some cursor; behind that, its lines tell. Where a job lies
elsewhere, hands were at it: audit.py compares all of them every so often. But a deed that follows on that of hands, before
they are compared, would leave nothing to be found. So whoever is to move a job has its own place told first.
"""

from __future__ import annotations

import json
import os
import re
import time
from _thread import allocate_lock
from contextlib import contextmanager, nullcontext
from json.encoder import encode_basestring_ascii

from jobspool import durable, journal
from jobspool.states import FAILED, PENDING, PROCESSING, STATES
from jobspool.trust import opener
from jobspool.ways import ways

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from jobspool.config import Settings
    from jobspool.spool import Spool

FILE = f"{journal.FOLDER}/known"
TELLING = f"{journal.FOLDER}/telling"
HAND = "hand"
LARGEST = 1 << 29  # bytes of what is known, of some ten million jobs
SETTLED = 1.0  # seconds in which whoever moved a job has written its line
SLOW = 60.0  # seconds for a disk to record an outcome that is told already: until then its job is in processing/
TOLD_FIRST = (PENDING, FAILED)  # what goes there is told before it is done
PATIENCE = 2 * SETTLED  # seconds that a command waits for such a line
ROUND = 0.05  # seconds between two looks for a line that may be on its way
HEAD = re.compile(rb'\{"cursor": "(\d{1,15}:\d{1,15})", "at": (\d+(?:\.\d+)?), ')
LONGEST_HEAD = 128  # bytes
UNKNOWN = "unknown"  # where the journal begins later
FEW = 16  # ids for which it is quicker to search a large file than to take it apart


class Known:
    """Which jobs are in which state, up to the journal's `cursor`.

    `at` tells when the directories were looked at last (seconds since 1970), and `looked` their mtimes then.
    """

    def __init__(self) -> None:
        self.cursor = ""
        self.at = 0.0
        self.looked: dict[str, int] = {}
        self.ids: dict[str, set[str]] = {state: set() for state in STATES}
        self.recent: set[str] = set()  # jobs of which lines were taken since it was cleared
        self.missing: set[tuple[str, str]] = set()  # (state, id) that weren't there when it was looked last

    def take(self, event: dict) -> None:
        """Know of the event."""
        id, source, target = event["job"], event.get("from"), event.get("to")
        self.recent.add(id)
        if source in self.ids and source != target:
            self.ids[source].discard(id)
        if target in self.ids:
            self.ids[target].add(id)


def load(root: str) -> Known | None:
    """Return what was known at the end of the last audit, None where nobody can tell."""
    try:
        return _parsed(_content(root, LARGEST))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, MemoryError):
        return None


def _content(root: str, most: int) -> bytes:
    with open(f"{root}/{FILE}", "rb", opener=opener) as file:
        return file.read(most)


def _parsed(content: bytes) -> Known | None:
    said = json.loads(content)
    known = Known()
    known.cursor, known.at, known.looked = str(said["cursor"]), float(said.get("at", 0)), dict(said["looked"])
    known.ids = {state: set(map(str, said["ids"][state])) for state in STATES}
    return known if journal.is_cursor(known.cursor) and all(isinstance(each, int) for each in known.looked.values()) else None


def keep(spool: Spool, known: Known, mode: int) -> None:
    """Let the next one go on from there. Raises OSError."""
    ids = {state: sorted(there) for state, there in known.ids.items()}
    content = json.dumps({"cursor": known.cursor, "at": known.at, "looked": known.looked, "ids": ids})
    durable.replace(f"{spool.root}/{FILE}", spool.spare(), content.encode(), mode, synced=False)


@contextmanager
def telling(spool: Spool, settings: Settings) -> Iterator[None]:
    """Be the only one who tells what hands did, meanwhile: whoever else saw it then reads that it is told. Raises OSError."""
    lock = durable.open_for_all(f"{spool.root}/{TELLING}", spool.file_mode(settings))
    try:
        durable.lock_waiting(lock)
        yield
    finally:
        os.close(lock)


def deed(source: str | None, target: str | None) -> tuple[str, str]:
    """Return what was done, and by whom: into processing/ only a claim brings a job, so its worker died before its line."""
    if target == PROCESSING:
        return "claimed", "worker"
    return "added" if source is None else "removed" if target is None else "moved", HAND


def is_settled(spool: Spool, id: str, state: str) -> bool:
    """Tell whether a line that told how the job came there would have come by now. Raises FileNotFoundError."""
    changed = os.lstat(spool.path(state, id)).st_ctime
    longest = SLOW if state == PROCESSING else SETTLED
    return state in TOLD_FIRST or abs(spool.now() - changed) > longest


# ---- before a deed


class Whereabouts:
    """Where the journal has jobs, for who asks for some of them.

    It goes on from the known of the `mark`, or from where the journal begins where that was with the spool; where neither is so
    it tells only of jobs that have moved since.
    """

    def __init__(self, root: str) -> None:
        self.mark = _mark(root)
        self.at = 0.0  # when the directories were looked at last (seconds since 1970)
        self._root = root
        self._searched = 0
        self._known: Known | None = None
        self._since: dict[str, str | None] = {}
        cursor = self._begin()
        self._is_all = cursor is not None or journal.tells_all(root)
        self._reader = journal.Reader(root, cursor)

    def _begin(self) -> str | None:
        """Return the cursor of what is known, None where nothing is."""
        try:
            head = HEAD.match(_content(self._root, LONGEST_HEAD))
        except OSError:
            return None
        if head is None:
            return None
        self.at = float(head[2])
        return head[1].decode()

    def of(self, ids: Iterable[str]) -> dict[str, str | None]:
        """Return the state of each job, None for none, UNKNOWN where that can't be told."""
        while (piece := self._reader.piece()) is not None:
            self._since.update((job, target) for job, _, target in ways(piece))
        if self._reader.lost:
            self._is_all = False
        return {id: self._since[id] if id in self._since else self._before(id) for id in ids}

    def _before(self, id: str) -> str | None:
        """Return the state in which the job was known."""
        if self.mark is None or not self._is_all:
            return None if self._is_all else UNKNOWN
        if self._known is None:
            self._searched += 1
            if self._searched <= FEW and not self._may_have(id):
                return None
            self._known = load(self._root) or Known()
        return next((state for state, ids in self._known.ids.items() if id in ids), None)

    def _may_have(self, id: str) -> bool:
        try:
            return encode_basestring_ascii(id).encode() in _content(self._root, LARGEST)
        except OSError:
            return False  # hands have just removed it


def _mark(root: str) -> tuple[int, int] | None:
    """Return what tells the known that is there from others, None where there is none."""
    try:
        found = os.lstat(f"{root}/{FILE}")
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


_lock = allocate_lock()  # a server has threads
_whereabouts: dict[str, Whereabouts] = {}  # by spool


def _current(root: str) -> Whereabouts:
    """Return what goes on from the newest known. For who has the lock."""
    there = _whereabouts.get(root)
    if there is None or there.mark != _mark(root):
        there = _whereabouts[root] = Whereabouts(root)
    return there


def _told(root: str, ids: Iterable[str]) -> dict[str, str | None]:
    with _lock:
        return _current(root).of(ids)


def tell_first(spool: Spool, id: str, state: str, settings: Settings, patience: float = PATIENCE, orphan: bool = False) -> bool:
    """Let the journal have the job in the state where it lies, before it is moved from there, or changed. Tell whether it has it.

    A line that may be on its way is waited for, `patience` seconds at most; none is where it is an `orphan`, as its worker is
    dead. Where nothing can be written, the deed will tell why.
    """
    if not settings.journal_bytes:
        return True
    until = time.monotonic() + patience
    try:
        if _is_known(spool, id, state):
            return True
        while _told(spool.root, [id])[id] not in (state, UNKNOWN):
            if (orphan or is_settled(spool, id, state)) and _tell(spool, id, state, settings, orphan):
                break
            if time.monotonic() > until:
                return False
            time.sleep(ROUND)
    except OSError:
        pass  # it has just gone; or the disk fails, or isn't ours to write to
    return True


def _is_known(spool: Spool, id: str, state: str) -> bool:
    """Tell whether the job lay there when the directories were compared last."""
    with _lock:
        at = _current(spool.root).at
    return os.lstat(spool.path(state, id)).st_ctime < at - SETTLED


def _tell(spool: Spool, id: str, state: str, settings: Settings, orphan: bool) -> bool:
    """Tell how the job came there, if nobody has; False where somebody has it locked, who may have told already that it goes."""
    try:
        with telling(spool, settings), nullcontext() if orphan else spool.alone(state, id):
            source = _told(spool.root, [id])[id]
            if source not in (state, UNKNOWN):
                event, by = deed(source, state)
                spool.note(event, [id], source, state, settings, by=by)
    except BlockingIOError:
        return False
    return True


def tell_gone(spool: Spool, ids: Iterable[str], settings: Settings) -> None:
    """Let the journal have none of these jobs anywhere that are in no state, before they are added anew."""
    if not settings.journal_bytes:
        return
    until = time.monotonic() + PATIENCE / 2
    try:
        while (gone := _told_but_gone(spool, ids)) and time.monotonic() < until:
            time.sleep(ROUND)  # for the line of who removed it
        if gone:
            with telling(spool, settings):
                for id, source in _told_but_gone(spool, gone).items():
                    spool.note("removed", [id], source, None, settings, by=HAND)
    except OSError:
        pass  # the disk fails, or isn't ours to write to: who adds will tell


def _told_but_gone(spool: Spool, ids: Iterable[str]) -> dict[str, str]:
    return {id: state for id, state in _told(spool.root, ids).items() if state in STATES and spool.state_of(id) is None}
