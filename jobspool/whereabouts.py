"""Where the journal has each job, and who sees that it has one where it lies.

journal/known names the jobs of each state as the journal had them at some cursor; behind that, its lines tell. Where a job lies
elsewhere, hands were at it: audit.py compares all of them every so often. But a deed that follows on that of hands, before
they are compared, would leave nothing to be found. So whoever is to move a job has its own place told first.
"""

from __future__ import annotations

import errno
import json
import os
import re
import time
from _thread import allocate_lock
from contextlib import contextmanager, nullcontext
from json.encoder import encode_basestring_ascii

from jobspool import durable, journal
from jobspool.states import PROCESSING, STATES, TOLD_FIRST
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
PATIENCE = 2 * SETTLED  # seconds that a command waits for such a line
ROUND = 0.05  # seconds between two looks for a line that may be on its way
HEAD = re.compile(rb'\{"cursor": "(\d{1,15}:\d{1,15})", "at": (\d+(?:\.\d+)?), ')
LONGEST_HEAD = 128  # bytes
FEW = 16  # ids for which it is quicker to search what is known and what was told than to take it apart


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
def telling(spool: Spool, settings: Settings, wait: bool = True) -> Iterator[None]:
    """Be the only one who tells what hands did, meanwhile: whoever else saw it then reads that it is told.

    Raises OSError; BlockingIOError where somebody else tells, and that is not to be waited for.
    """
    lock = durable.open_for_all(f"{spool.root}/{TELLING}", spool.file_mode(settings))
    try:
        if wait:
            durable.lock_waiting(lock)
        elif not durable.lock(lock):
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN), TELLING)
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
    it tells only of what has moved since. Two jobs may have one name, in two states: each place is told for itself.
    """

    def __init__(self, root: str) -> None:
        self.mark = _mark(root)
        self.at = 0.0  # when the directories were looked at last (seconds since 1970)
        self._root = root
        self._asked = 0  # for how many ids
        self._known: Known | None = None
        self._since: dict[tuple[str, str], bool] = {}  # by id and state: whether the job is there
        self._cursor = self._begin()
        self._is_all = self._goes_back()
        self._reader = journal.Reader(root, self._cursor)

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

    def _goes_back(self) -> bool:
        """Tell whether all is known of what was before the first line that we read."""
        return self._cursor is not None or journal.tells_all(self._root)

    def of(self, ids: list[str]) -> dict[str, dict[str, bool]]:
        """Return for each job in which states the journal has it, and in which not; one of which nobody can tell is missing.

        A few ids are searched for, which is quicker than to take apart all that was told.
        """
        self._asked += len(ids)
        since = self._search(ids) if self._asked <= FEW else self._follow()
        return {id: self._of_one(id, since) for id in ids}

    def _search(self, ids: list[str]) -> dict[tuple[str, str], bool]:
        marks, reader, found = [_written(id) for id in ids], journal.Reader(self._root, self._cursor), {}
        while (piece := reader.piece()) is not None:
            if any(mark in piece for mark in marks):
                _apply(piece, found)
        self._is_all = self._goes_back() and not reader.lost
        return found

    def _follow(self) -> dict[tuple[str, str], bool]:
        while (piece := self._reader.piece()) is not None:
            _apply(piece, self._since)
        self._is_all = self._is_all and not self._reader.lost
        return self._since

    def _of_one(self, id: str, since: dict[tuple[str, str], bool]) -> dict[str, bool]:
        found = {state: since[id, state] for state in STATES if (id, state) in since}
        if self._is_all and len(found) < len(STATES):
            found = {**self._before(id), **found}
        return found

    def _before(self, id: str) -> dict[str, bool]:
        """Return in which states the job was known, and in which not."""
        nowhere = dict.fromkeys(STATES, False)
        if self.mark is None or (self._known is None and self._asked <= FEW and not self._may_have(id)):
            return nowhere
        self._known = self._known or load(self._root)
        return {state: id in ids for state, ids in self._known.ids.items()} if self._known else nowhere

    def _may_have(self, id: str) -> bool:
        try:
            return _written(id) in _content(self._root, LARGEST)
        except OSError:
            return False  # hands have just removed it


def _apply(piece: bytes, places: dict[tuple[str, str], bool]) -> None:
    """Let the places be as they are behind these lines."""
    for id, source, target in ways(piece):
        if source is not None:
            places[id, source] = False
        if target is not None:
            places[id, target] = True


def _written(id: str) -> bytes:
    return encode_basestring_ascii(id).encode()


def _mark(root: str) -> tuple[int, int] | None:
    """Return what tells the known that is there from others, None where there is none."""
    try:
        found = os.lstat(f"{root}/{FILE}")
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


_lock = allocate_lock()  # a server has threads
_whereabouts: dict[str, Whereabouts] = {}  # by spool


def _begin_anew() -> None:
    """In a child, let nothing be locked by a thread that it doesn't have, and forget what the parent knew."""
    global _lock
    _lock = allocate_lock()
    _whereabouts.clear()


os.register_at_fork(after_in_child=_begin_anew)


def _current(root: str) -> Whereabouts:
    """Return what goes on from the newest known. For who has the lock."""
    there = _whereabouts.get(root)
    if there is None or there.mark != _mark(root):
        there = _whereabouts[root] = Whereabouts(root)
    return there


def _told(root: str, ids: Iterable[str]) -> dict[str, dict[str, bool]]:
    with _lock:
        return _current(root).of(list(ids))


def tell_first(spool: Spool, id: str, state: str, settings: Settings, patience: float = PATIENCE, orphan: bool = False) -> bool:
    """Let the journal have the job in the state where it lies, before it is moved from there, or changed.

    A line that may be on its way is waited for, `patience` seconds at most; none is where it is an `orphan`, as its worker is
    dead. False where one may still come, or somebody else is at it. Where nothing can be written, the deed will tell why.
    """
    if not settings.journal_bytes:
        return True
    until = time.monotonic() + patience
    try:
        if _is_known(spool, id, state):
            return True
        while _told(spool.root, [id])[id].get(state) is False:
            if (orphan or is_settled(spool, id, state)) and _tell(spool, id, state, settings, orphan, patience > 0):
                break
            if time.monotonic() > until:
                return False
            time.sleep(ROUND)
    except OSError:
        pass  # it has just gone; or the disk fails, or isn't ours to write to
    return True


def _is_known(spool: Spool, id: str, state: str) -> bool:
    """Tell whether the job lay there, and had settled, when the directories were compared last."""
    with _lock:
        at = _current(spool.root).at
    changed = os.lstat(spool.path(state, id)).st_ctime
    return changed < at - (SLOW if state == PROCESSING else SETTLED) and at <= spool.now()


def _tell(spool: Spool, id: str, state: str, settings: Settings, orphan: bool, wait: bool) -> bool:
    """Tell how the job came there, if nobody has; False where somebody has it locked, who may have told already that it goes."""
    try:
        with telling(spool, settings, wait), nullcontext() if orphan else spool.alone(state, id):
            told = _told(spool.root, [id])[id]
            if told.get(state) is False:
                event, by = deed(source := _left(spool, id, told), state)
                spool.note(event, [id], source, state, settings, by=by)
    except BlockingIOError:
        return False
    return True


def _left(spool: Spool, id: str, told: dict[str, bool]) -> str | None:
    """Return the state where the journal has the job, and nothing lies any more; None where it has come from nowhere."""
    return next((state for state, there in told.items() if there and not os.path.lexists(spool.path(state, id))), None)


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
                for id, source in _told_but_gone(spool, {id for id, _ in gone}):
                    spool.note("removed", [id], source, None, settings, by=HAND)
    except OSError:
        pass  # the disk fails, or isn't ours to write to: who adds will tell


def _told_but_gone(spool: Spool, ids: Iterable[str]) -> list[tuple[str, str]]:
    told = [(id, state) for id, places in _told(spool.root, ids).items() for state, there in places.items() if there]
    return [(id, state) for id, state in told if spool.state_of(id) is None]
