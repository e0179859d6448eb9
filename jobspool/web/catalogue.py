"""Which jobs lie in which state, in memory and in the order in which they were added: a million of them cost no walk to look at.

It is filled from the directories, once, and then kept: by what the journal tells, and by a look at each directory that has
changed, the rarer the longer such a look takes. A key is a job's id, which begins with its time; where others chose the id, the
time of its file stands before it.
"""

from __future__ import annotations

import heapq
import os
import threading
import time
from collections import namedtuple
from itertools import chain, islice, takewhile

from sortedcontainers import SortedList

from jobspool.errors import AmbiguousJob, NoSuchJob
from jobspool.job import id_of, iso, made_by_queue, new_id
from jobspool.spool import ids_of
from jobspool.states import DEAD, DONE, FAILED, PENDING, PROCESSING, STATES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from jobspool.spool import Spool

RUN = 20_000  # keys that are sorted at one go: other threads get their turn between
SELDOM = 50  # times as long as a look at a directory takes, until the next one at it; what moves is told by nobody else
TOLD = 10  # times more seldom, where the journal tells what moves
SETTLED = 1.0  # seconds, in which what was told is done
COARSE = 0.02  # seconds: a directory that changed so shortly before it was read may have changed behind that, too
FEW = 50_000  # jobs of a state, of which a look tells which came and which went
MOST_CANDIDATES = 20  # jobs that a handle may mean, and that are told
PIECE = 2000  # keys that are taken at one go, to be searched
SEP = "/"  # between the time and the id, in keys of ids that others chose: no id has it

KINDS = {
    (None, PENDING): "added",
    (PENDING, PROCESSING): "claimed",
    (FAILED, PENDING): "due",
    **{(PROCESSING, state): "ended" for state in (DONE, FAILED, DEAD)},
}


ALONE = {None: (), **{state: (state,) for state in STATES}}  # the states that a job leaves which leaves this one
NOWHERE = ((), None)

# mtime: the directory's (ns) when it was read. at: when that was (monotonic). took: how long, in seconds.
Looked = namedtuple("Looked", "mtime at took")
NEVER = Looked(0, 0.0, 0.0)


class Catalogue:
    """What lies where. `complete` is False until each directory was read once; `version` grows with each change.

    One thread looks and applies; any may ask. What it tells may be a look old: who acts on it sees for himself.
    """

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.version = 0
        self.complete = False
        self.behind = False
        self._lists = {state: SortedList() for state in STATES}
        self._lengths = dict.fromkeys(STATES, 0)  # before it is complete
        self._keys: dict[str, str] = {}  # of ids that others chose
        self._looked = dict.fromkeys(STATES, NEVER)
        self._recent: dict[str, tuple[float, str | None]] = {}  # which job was moved when (monotonic), and where; the newest last
        self._noted: list[dict] = []  # what was done here, to be told with the next look
        self._lock = threading.Lock()

    # ---- asking

    def counts(self) -> dict[str, int]:
        """Return how many jobs are in each state."""
        return {state: len(there) for state, there in self._lists.items()} if self.complete else dict(self._lengths)

    def count(self, states: Iterable[str]) -> int:
        """Return how many jobs are in these states."""
        counts = self.counts()
        return sum(counts[state] for state in states)

    def page(self, states: tuple[str, ...], after: str | None, most: int, newest: bool = True) -> list[tuple[str, str]]:
        """Return the keys and states of the next jobs behind the key `after`, at most so many, the newest first or the oldest."""
        with self._lock:
            each = [self._keys_in(state, after, newest) for state in states if self._lists[state]]
            found = heapq.merge(*each, reverse=newest) if len(each) > 1 else chain(*each)
            return list(islice(found, most))

    def pieces(self, states: tuple[str, ...], after: str | None, newest: bool = True) -> Iterator[list[tuple[str, str]]]:
        """Yield all of them, some at a time: what changes meanwhile is seen or not."""
        while found := self.page(states, after, PIECE, newest):
            yield found
            after = found[-1][0]

    def oldest(self, state: str, most: int) -> list[str]:
        """Return the ids of the jobs of that state that were added first, at most so many."""
        return [id_in(key) for key, _ in self.page((state,), None, most, newest=False)]

    def meant(self, handle: str) -> str:
        """Return the id of the one job that `handle` names: the id, or a part of it. Raises NoSuchJob, AmbiguousJob."""
        part = id_of(handle) or handle
        if part and SEP not in part and "\0" not in part:
            if self.spool.state_of(part) is not None:
                return part
            fits = list(islice(self._having(part), MOST_CANDIDATES))
            if len(fits) > 1:
                raise AmbiguousJob(f"{part!r} fits several jobs: give more of the id", sorted(fits))
            if fits:
                return fits[0][1]
        raise NoSuchJob(f"no job fits {handle!r} in {self.spool.root}: `queuectl list` shows them")

    def _having(self, part: str) -> Iterator[tuple[str, str]]:
        """Yield the states and ids of the jobs of which it is a part."""
        for state in STATES:
            for piece in self.pieces((state,), None):
                yield from ((state, id) for key, _ in piece if part in key and part in (id := id_in(key)))

    def _keys_in(self, state: str, after: str | None, newest: bool) -> Iterator[tuple[str, str]]:
        there = self._lists[state]
        keys = there.irange(None, after, (True, False), reverse=True) if newest else there.irange(after, None, (False, True))
        return ((key, state) for key in keys)

    # ---- keeping

    def move(self, id: str, sources: Iterable[str], target: str | None) -> None:
        """Know that the job is in none of these states any more, but in `target`, or nowhere where that is None."""
        with self._lock:
            self._recent.pop(id, None)
            self._recent[id] = (time.monotonic(), target)
        self._move(id, sources, target)

    def _move(self, id: str, sources: Iterable[str], target: str | None) -> None:
        key = self._key(id, target or next(iter(sources), None))
        with self._lock:
            for source in sources:
                self._lists[source].discard(key)
            if target is None:
                self._keys.pop(id, None)
            elif key not in self._lists[target]:
                self._lists[target].add(key)
            self.version += 1

    def note(self, id: str, source: str | None, target: str | None) -> None:
        """Know that we have just moved the job, and tell it with the next look."""
        self.move(id, ALONE[source], target)
        if source != target:
            self._noted.append(self._event(id, source, target))

    def take(self, ways: Iterable[tuple[str, str | None, str | None]]) -> None:
        """Apply what the journal tells of, in its order: which job went from where to where. Several ways of one are as one."""
        whole: dict[str, tuple[tuple[str, ...], str | None]] = {}
        for id, source, target in ways:
            if source != target:
                passed, _ = whole.get(id, NOWHERE)
                whole[id] = (passed + ALONE[source], target)
        for id, (passed, target) in whole.items():
            self.move(id, passed, target)

    def look(self, told: bool = False) -> list[dict]:
        """Look at the directories that changed and are due; return as events what came or went unknown to us. Raises OSError.

        The longer it takes to read a directory, the rarer that is done; still more so where moves are `told`. `behind` tells
        then whether one that has changed was not read.
        """
        self._forget_settled()
        there = {state: self._list(state) for state in self._due(told)}
        events = self._differences(there) if self.complete else []
        for event in events:
            self._move(event["job"], ALONE[event["from"]], event["to"])
        for state, ids in there.items():
            self._replace(state, ids)
        self._settle(there)
        self._find_again(event["job"] for event in events)
        self.complete = True
        noted, self._noted = self._noted, []
        return noted + events

    def _forget_settled(self) -> None:
        """Take what was moved a while ago as done, and see whether that was so: where it went is looked at once more."""
        before = time.monotonic() - SETTLED
        with self._lock:
            settled = list(takewhile(lambda id: self._recent[id][0] < before, self._recent))
            targets = {self._recent.pop(id)[1] for id in settled}
        self._read_again(targets - {None})

    def _read_again(self, states: Iterable[str]) -> None:
        """Let these directories be read when it is time to, whether they change or not."""
        for state in states:
            self._looked[state] = self._looked[state]._replace(mtime=0)

    def _settle(self, read: dict[str, list[str]]) -> None:
        """Know where the jobs are that were moved lately: a listing may be older, or newer; what is told may not be done yet."""
        recent = dict(self._recent)
        for id in _in_doubt(recent, read):
            target = recent[id][1]
            there = self.spool.state_of(id) or target
            self.behind = self.behind or there != target
            self._move(id, [state for state in STATES if state != there], there)
        self._read_again(read if recent else ())

    def _find_again(self, ids: Iterable[str]) -> None:
        """Know where these lie. RACE: what moves while directories are read may be in no listing, or in two."""
        for id in ids:
            key = self._key(id, None)
            listed = [state for state in STATES if key in self._lists[state]]
            if len(listed) != 1 and (there := self.spool.state_of(id)) is not None:
                gone = [state for state in listed if not os.path.lexists(self.spool.path(state, id))]
                self._move(id, gone, there)

    def _due(self, told: bool) -> list[str]:
        """Return the states whose directories are to be read. Raises OSError."""
        if not self.complete:
            return list(STATES)
        changed = [state for state in STATES if os.stat(self.spool.folder(state)).st_mtime_ns != self._looked[state].mtime]
        clock, times = time.monotonic(), SELDOM * TOLD if told else SELDOM
        due = [state for state in changed if clock >= self._looked[state].at + times * self._looked[state].took]
        self.behind = len(due) < len(changed)
        return due

    def _list(self, state: str) -> list[str]:
        """Read the directory and return the ids."""
        begun = time.monotonic()
        changed = os.stat(self.spool.folder(state)).st_mtime_ns
        ids = ids_of(os.listdir(self.spool.folder(state)))
        settled = time.time() - changed / 1e9 > COARSE
        self._looked[state] = Looked(changed if settled else 0, begun, time.monotonic() - begun)
        self._lengths[state] = len(ids)
        return ids

    def look_anew(self) -> None:
        """Let the next look be at all directories: what was told is not known."""
        self._looked = dict.fromkeys(STATES, NEVER)

    def _replace(self, state: str, ids: list[str]) -> None:
        """Know that these lie in that state. Takes a second for a million, in which others are answered."""
        begun = time.monotonic()
        known = self._lists[state]
        if len(known) != len(ids) or len(ids) > FEW or set(map(id_in, known)) != set(ids):
            made = SortedList(in_order([self._key(id, state) for id in ids]))
            with self._lock:
                self._lists[state] = made
                self.version += 1
        looked = self._looked[state]
        self._looked[state] = looked._replace(took=looked.took + 2 * (time.monotonic() - begun))  # it was compared, too

    def _differences(self, there: dict[str, list[str]]) -> list[dict]:
        """Return what moved, as events, where few enough lie there that a person could follow."""
        came, went = {}, {}
        for state, ids in there.items():
            known = self._lists[state]
            if len(known) <= FEW and len(ids) <= FEW:
                before, now = set(map(id_in, known)), set(ids)
                came |= dict.fromkeys(now - before, state)
                went |= dict.fromkeys(before - now, state)
        ids = sorted((came.keys() | went.keys()) - dict(self._recent).keys())
        return [self._event(id, went.get(id) or self._left(id), came.get(id) or self.spool.state_of(id)) for id in ids]

    def _left(self, id: str) -> str | None:
        """Return the state that a job left which came to another, None where it lies there still: then there are two of it."""
        state = self._known_in(id)
        return None if state is None or os.path.lexists(self.spool.path(state, id)) else state

    def _known_in(self, id: str) -> str | None:
        key = id if made_by_queue(id) else self._keys.get(id)
        return next((state for state in STATES if key is not None and key in self._lists[state]), None)

    def _event(self, id: str, source: str | None, target: str | None) -> dict:
        kind = "removed" if target is None else KINDS.get((source, target), "moved")
        return {"time": iso(self.spool.now()), "event": kind, "job": id, "from": source, "to": target}

    def _key(self, id: str, state: str | None) -> str:
        """Return what the id is sorted by."""
        if made_by_queue(id):
            return id
        if (key := self._keys.get(id)) is None:
            try:
                found = os.lstat(self.spool.path(state or PENDING, id))
                came = min(found.st_mtime, found.st_ctime)
            except OSError:
                came = self.spool.now()  # RACE: it has moved on
            key = self._keys[id] = f"{new_id(came, 0)}{SEP}{id}"
        return key


def _in_doubt(recent: dict[str, tuple[float, str | None]], read: dict[str, list[str]]) -> set[str]:
    """Return the jobs that were moved lately of which a listing says something else."""
    doubtful = set()
    for state, ids in read.items():
        listed = {id for id in ids if id in recent}
        doubtful |= listed ^ {id for id, (_, target) in recent.items() if target == state}
    return doubtful


def id_in(key: str) -> str:
    """Return the id that the key is of."""
    return key.rpartition(SEP)[2]


def in_order(keys: list[str]) -> list[str]:
    """Return the keys, sorted: in runs, which are then merged two by two, so that no other thread waits for long."""
    runs = [sorted(keys[i : i + RUN]) for i in range(0, len(keys), RUN)]
    while len(runs) > 1:
        runs = [sorted(runs[i] + (runs[i + 1] if i + 1 < len(runs) else [])) for i in range(0, len(runs), 2)]
    return runs[0] if runs else []
