"""What attempts print: a file for each of its two streams, ID.N.out and ID.N.err, which costs nothing where nothing is printed.

A worker keeps two empty files, worker-PID.0.out and .err. Its attempt writes to them, and they get the attempt's names once it
has run for an instant, or at its end where it has printed. The files of one that was silent serve the next one, if no process
that it left behind has them open still. Whose they are when the worker is killed stands in workers/: see name_left().
"""

from __future__ import annotations

import os
import stat

from jobspool import durable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jobspool.roster import Entry
    from jobspool.spool import Spool

STREAMS = ("out", "err")


class Pair:
    """The two files of one worker, at `paths`; made when first needed."""

    def __init__(self, spool: Spool, worker: int, mode: int) -> None:
        self._spool = spool
        self._mode = mode
        self.paths = own_paths(spool, worker)
        self._files: list[int | None] = [None, None]

    @property
    def files(self) -> tuple[int, int]:
        """The descriptors of both files, for appending."""
        return tuple(self._files)

    def make_ready(self) -> None:
        """Return when both files are there, empty. Raises OSError."""
        for i, path in enumerate(self.paths):
            if self._files[i] is not None and os.fstat(self._files[i]).st_nlink == 0:  # hands have emptied logs/
                self._forget(i)
            while self._files[i] is None:
                try:
                    self._files[i] = durable.open_log(path, self._mode)
                except FileExistsError:  # of a worker that is no more, and had our process id
                    durable.set_aside(path, durable.LONGEST_LOG)

    def give_away(self, i: int) -> str:
        """Return the path of file `i`, which is the caller's now, with its descriptor."""
        self._files[i] = None
        return self.paths[i]

    def replace(self, i: int) -> None:
        """Remove file `i`, so that another is made. Raises OSError."""
        if durable.lies_at(self.paths[i], self._files[i]):
            durable.remove(self.paths[i])
        self._forget(i)

    def remove(self) -> None:
        """Remove both files: the worker ends. Raises OSError."""
        for i, descriptor in enumerate(self._files):
            if descriptor is not None:
                self.replace(i)

    def _forget(self, i: int) -> None:
        os.close(self._files[i])
        self._files[i] = None


class Logs:
    """What one attempt prints: kept whole up to `limit` bytes a stream, then its beginning and its end.

    It prints to the files at `own_paths`. `cutting` tells that one is being kept short.
    """

    def __init__(self, pair: Pair, spool: Spool, id: str, number: int, limit: int, mode: int) -> None:
        pair.make_ready()
        self.own_paths = pair.paths
        self._files = pair.files
        self.limit = limit
        self.cutting = False
        self._pair = pair
        self._spare = spool.spare
        self._mode = mode
        self._paths = [spool.log_path(id, number, stream) for stream in STREAMS]
        self._lie_at: list[str | None] = [None, None]  # where each lies, None while it is the pair's
        self._cut = [0, 0]  # up to which byte each file was cut, 0 for not at all

    def name(self) -> None:
        """Let both files have the attempt's names: it takes longer than an instant, and people look. Raises OSError."""
        for i in range(2):
            self._name(i)

    def are_there(self) -> bool:
        """Tell whether the files that it is to print to are there still."""
        return all(map(durable.lies_at, self.own_paths, self._files))

    def look(self) -> None:
        """Keep the files from filling the disk: what is neither their beginning nor their end is given back."""
        for i, descriptor in enumerate(self._files):
            size = os.fstat(descriptor).st_size
            start = max(self.limit // 2, self._cut[i])
            if size - start > self.limit // 2:
                end = size - self.limit // 2
                if durable.cut_out(descriptor, start, end - start):
                    self._cut[i] = end
                self.cutting = True

    def printed(self) -> int:
        """Return how many bytes were printed so far."""
        return sum(os.fstat(descriptor).st_size for descriptor in self._files)

    def say(self, text: str) -> None:
        """Write a line of our own into the error log. Raises OSError."""
        durable.write_all(self._files[1], f"queuectl: {text}\n".encode("utf-8", "surrogateescape"))

    def close(self) -> None:
        """See to both files: an empty one serves the next attempt, or goes; one that was too long says where it was cut.

        Raises OSError, once both were seen to; then they may stay as they are.
        """
        refused = None
        for i in range(2):
            try:
                self._close(i)
            except OSError as error:
                refused = refused or error
        if refused is not None:
            raise refused

    def _close(self, i: int) -> None:
        size = os.fstat(self._files[i]).st_size
        shared = durable.is_shared(self._files[i]) if size == 0 else None
        if size == 0 and self._lie_at[i] is None and not shared:
            if shared is None:
                self._pair.replace(i)
            return
        try:
            self._name(i)
            if durable.lies_at(self._paths[i], self._files[i]):  # else hands took it
                self._cut_short(self._paths[i], size, bool(shared))
        finally:
            os.close(self._files[i])

    def _cut_short(self, path: str, size: int, shared: bool) -> None:
        if size > self.limit:
            durable.shorten(path, self._spare(), self.limit // 2, self._mode)
        elif size == 0 and not shared:
            durable.remove(path)

    def _name(self, i: int) -> None:
        if self._lie_at[i] is None:
            self._lie_at[i] = self._pair.give_away(i)
        if self._lie_at[i] != self._paths[i]:
            try:
                _rename(self._lie_at[i], self._paths[i])
            except FileNotFoundError:
                pass  # hands took it
            self._lie_at[i] = self._paths[i]


def own_paths(spool: Spool, worker: int) -> list[str]:
    """Return the paths of a worker's own two files: called as of an attempt 0, so that they go as logs without a job do."""
    return [spool.log_path(f"worker-{worker}", 0, stream) for stream in STREAMS]


def name_left(spool: Spool, entry: Entry) -> None:
    """Let what a dead worker's last attempt has printed have the attempt's names; where it was silent and has ended, it goes.

    Raises OSError.
    """
    for path, stream in zip(own_paths(spool, entry.pid), STREAMS, strict=True):
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            continue  # it has its name, or printed nothing
        if not stat.S_ISREG(found.st_mode):
            continue
        if entry.job is not None and (found.st_size or entry.group is not None):
            _rename(path, spool.log_path(entry.job, entry.attempt, stream))
        elif found.st_size == 0:
            durable.remove(path)


def end(spool: Spool, id: str, number: int, begun: float, limit: int, mode: int) -> None:
    """Do to the logs of an attempt whose worker is dead, and which was `begun` then, what Logs.close() would have done.

    Raises OSError.
    """
    for stream in STREAMS:
        path = spool.log_path(id, number, stream)
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            continue
        if not stat.S_ISREG(found.st_mode) or found.st_mtime < begun - 1:
            continue  # it is another's, which hands put there
        if found.st_size == 0:
            durable.remove(path)
        elif found.st_size > limit:
            durable.shorten(path, spool.spare(), limit // 2, mode)


def _rename(path: str, target: str) -> None:
    """Give the file that name; an older job's, or that of an attempt whose worker was lost with its record, is set aside."""
    while True:
        try:
            return durable.move(path, target)
        except FileExistsError:
            durable.set_aside(target, durable.LONGEST_LOG)
