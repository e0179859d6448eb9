"""Wait for what jobs become, and follow what they print: woken by events, with a look at least every second."""

from __future__ import annotations

import os
import time
from functools import partial

from jobspool.errors import NoSuchJob
from jobspool.job import Job
from jobspool.logs import STREAMS
from jobspool.spool import Spool
from jobspool.states import DEAD, DONE, STATES
from jobspool.trust import READ
from jobspool.watch import Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOOK_EVERY = 1.0  # seconds between looks, where no event comes
PIECE = 1 << 16  # bytes
MOST_AT_ONCE = 256  # pieces of one stream, until the others are read
SETTLE = 0.02  # seconds between two looks at the whole queue


def states_of(spool: Spool) -> dict[str, tuple[str, ...]]:
    """Return what Watch takes to see each job that comes to a state, or is removed."""
    return {spool.folder(state): ("deleted",) for state in STATES}


def ends(spool: Spool, ids: list[str], deadline: float | None, told: Callable[[], object] = bool) -> Iterator[Job]:
    """Yield each of the jobs when it is done or dead, as it lies there; what is removed meanwhile comes with `problem`.

    Ends early where `deadline` (monotonic) comes first. `told` is called behind each look.
    """
    left = dict.fromkeys(ids)
    with Watch(states_of(spool)) as watch:
        came = list(left)
        while True:
            for id in came:
                if id in left and (job := _ended(spool, id)):
                    del left[id]
                    yield job
            told()
            if not left or not _wait(watch, deadline):
                return
            seen = {name.removesuffix(".json") for _, name in watch.take()}
            came = [id for id in left if id in seen] if seen and "" not in seen else list(left)


def _ended(spool: Spool, id: str) -> Job | None:
    try:
        job = spool.find(f"{id}.json")
    except NoSuchJob:
        return Job(id, "removed", {}, 0.0, 0.0, "it was removed")
    return job if job.state in (DONE, DEAD) else None


def _wait(watch: Watch, deadline: float | None) -> bool:
    """Wait for an event, or until it is time to look; False when the deadline came first."""
    left = LOOK_EVERY if deadline is None else min(LOOK_EVERY, deadline - time.monotonic())
    if left <= 0:
        return False
    watch.ready(left)
    return True


def empties(spool: Spool, waits: Callable[[], bool], deadline: float | None) -> bool:
    """Return True once `waits` says that nothing waits or runs any more, False when the deadline came first."""
    with Watch(states_of(spool)) as watch:
        while True:
            begun = time.monotonic()
            if not waits():
                return True
            if not _wait(watch, deadline):
                return False
            time.sleep(max(SETTLE, time.monotonic() - begun - LOOK_EVERY))  # many come together
            watch.take()


class Stream:
    """One stream of one attempt, as far as it was read."""

    def __init__(self, path: str, tail: int | None = None) -> None:
        self.path = path
        self._tail = tail
        self._descriptor: int | None = None

    def read(self) -> Iterator[bytes]:
        """Yield what it has printed since, as far as that goes without waiting."""
        if self._descriptor is None and not self._open():
            return
        for _ in range(MOST_AT_ONCE):
            if not (piece := os.read(self._descriptor, PIECE)):
                return
            yield piece

    @property
    def is_open(self) -> bool:
        """Whether it has printed anything yet."""
        return self._descriptor is not None

    def close(self) -> None:
        """Read no more."""
        if self._descriptor is not None:
            os.close(self._descriptor)

    def _open(self) -> bool:
        try:
            self._descriptor = os.open(self.path, READ)
        except OSError:
            return False  # nothing was printed yet, or it isn't ours to read
        if self._tail is not None:
            os.lseek(self._descriptor, start_of_last(self._descriptor, self._tail), os.SEEK_SET)
        return True


def start_of_last(descriptor: int, lines: int) -> int:
    """Return where the last `lines` lines of the open file begin; a line without its end counts."""
    end = os.fstat(descriptor).st_size
    if lines == 0:
        return end
    left, at = lines, end - 1  # the end of the last line ends no other
    while at > 0:
        start = max(0, at - PIECE)
        piece = os.pread(descriptor, at - start, start)
        breaks = piece.count(b"\n")
        if breaks >= left:
            for _ in range(left):
                at = piece.rindex(b"\n", 0, at - start) + start
            return at + 1
        left, at = left - breaks, start
    return 0


class Follower:
    """Follows one job's output from attempt `number` on, until the job is done or dead."""

    def __init__(self, spool: Spool, id: str, number: int, streams: tuple[str, ...] = STREAMS, tail: int | None = None) -> None:
        self.id = id
        self.number = number
        self.job: Job | None = None  # as it was seen last; None when it was removed
        self._spool = spool
        self._streams = streams
        self._open(tail)

    def step(self, write: Callable[[str, bytes], None], told: Callable[[Job], None]) -> bool:
        """Give `write` what was printed since, and `told` each attempt that ended; tell whether the job has come to its end."""
        while True:
            self.job = self._look()
            for name, stream in self._open_streams.items():  # behind the look: what is on record has printed all by then
                for piece in stream.read():
                    write(name, piece)
            if self.job is None:
                return True
            if len(self.job.attempts) < self.number:
                return self.job.state in (DONE, DEAD)
            told(self.job)
            if self.job.state in (DONE, DEAD) and len(self.job.attempts) == self.number:
                return True
            self.close()
            self.number += 1
            self._open(None)

    def paths(self) -> list[str]:
        """Return the files of which each change matters."""
        return [stream.path for stream in self._open_streams.values() if stream.is_open]

    def close(self) -> None:
        """Read no more."""
        for stream in self._open_streams.values():
            stream.close()

    def _open(self, tail: int | None) -> None:
        self._open_streams = {name: Stream(self._spool.log_path(self.id, self.number, name), tail) for name in self._streams}

    def _look(self) -> Job | None:
        try:
            return self._spool.find(f"{self.id}.json")
        except NoSuchJob:
            return None


def follow(spool: Spool, followers: list[Follower], write: Callable, told: Callable) -> None:
    """Return when each of the jobs has come to its end; what they print goes to `write(follower, stream, bytes)` meanwhile.

    `told(follower, job)` is called for each attempt that has ended.
    """
    left, watch, watched = list(followers), None, None
    try:
        while left:
            if (paths := _paths(left)) != watched:
                watch, watched = _watch_anew(spool, watch, paths), paths
            watch.take()
            left = [each for each in left if not each.step(partial(write, each), partial(told, each))]
            if left and _paths(left) == watched:  # else it has grown before it was watched
                _wait(watch, None)
    finally:
        for follower in followers:
            follower.close()
        if watch is not None:
            watch.__exit__()


def _paths(followers: list[Follower]) -> list[str]:
    return [path for follower in followers for path in follower.paths()]


def _watch_anew(spool: Spool, watch: Watch | None, paths: list[str]) -> Watch:
    """Watch what jobs become, which logs come, and how these grow."""
    if watch is not None:
        watch.__exit__()
    return Watch({**states_of(spool), f"{spool.root}/logs": (), **dict.fromkeys(paths, ("modified",))}).__enter__()
