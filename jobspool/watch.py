"""See that something came: the only module that knows watchdog. What it tells is a hint; a scan is what counts.

The kernel is asked for the few kinds of event that matter, and never for a rename out of a directory: each claim is one, and
watchdog's observers hold back for 500 ms what follows. Its reader of events tells us without them.
"""

from __future__ import annotations

import errno
import os
import select
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from watchdog.observers.inotify_c import InotifyEvent, InotifyFD

TOLD_TO_LOOK = ""  # the name that stands for: read the whole directory again


class Watch:
    """Watches directories and collects (directory, name) of what came, was closed after writing, or was touched.

    Takes a mapping from each directory, or file, to further events: "deleted" for a directory, "modified" for a file. `works` is
    False where inotify can't be had; then wait() only waits, and whoever uses this has to look. Use it in a with statement.
    """

    def __init__(self, folders: Mapping[str, tuple[str, ...]]) -> None:
        self.folders = dict(folders)
        self.works = False
        self.seen: deque[tuple[str, str]] = deque()
        self._reader_of_events: InotifyFD | None = None
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        os.close(self._reader)
        os.close(self._writer)

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when something was seen."""
        return self._reader

    def start(self) -> None:
        """Begin to watch; `works` then tells whether that could be had."""
        self._inodes = {folder: _inode(folder) for folder in self.folders}
        try:
            self._reader_of_events = _observe(self.folders, self._see)
        except OSError:  # no inotify instance or watch left, or a directory is gone: the caller scans oftener
            self._reader_of_events = None
        self.works = self._reader_of_events is not None

    def stop(self) -> None:
        """End watching and its threads; what was seen stays to be taken. start() may follow."""
        if self._reader_of_events is not None:
            reader, self._reader_of_events = self._reader_of_events, None
            reader.stop()
            reader.join()
        self.works = False

    def stale(self) -> bool:
        """Tell whether a directory was replaced by another since start(), so that nothing would be seen."""
        return any(_inode(folder) != inode for folder, inode in self._inodes.items())

    def take(self) -> list[tuple[str, str]]:
        """Return what was seen since the last call, in order, each pair once."""
        try:
            while os.read(self._reader, 4096):
                pass
        except BlockingIOError:
            pass
        seen = {}
        while self.seen:
            seen[self.seen.popleft()] = None
        return list(seen)

    def wait(self, timeout: float) -> bool:
        """Wait until something is seen, at most `timeout` seconds, and take it; tell whether it was."""
        ready = self.ready(timeout)
        self.take()
        return ready

    def ready(self, timeout: float) -> bool:
        """Wait until there is something to take, at most `timeout` seconds; tell whether there is."""
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        return bool(poll.poll(timeout * 1000))

    def _see(self, folder: str, name: str) -> None:
        if self._reader_of_events is None and name == TOLD_TO_LOOK:
            return  # we have stopped
        self.seen.append((folder, name))
        try:
            os.write(self._writer, b"!")
        except BlockingIOError:
            pass  # the pipe is full of wakeups already


def _inode(folder: str) -> tuple[int, int] | None:
    try:
        found = os.stat(folder)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _observe(folders: Mapping[str, tuple[str, ...]], see: Callable[[str, str], None]) -> InotifyFD:
    """Return watchdog's running reader of inotify events, which tells `see`. Raises OSError where there is no inotify.

    Its observers and emitters, which hand each event from thread to thread, are left out: that takes longer than all else here.
    """
    import logging

    from watchdog.observers.inotify_c import InotifyConstants, InotifyFD, Mask

    log = logging.getLogger("watchdog")
    log.propagate = False  # what matters to us comes by events
    if not log.handlers:
        log.addHandler(logging.NullHandler())
    came = InotifyConstants.IN_MOVED_TO | InotifyConstants.IN_CLOSE_WRITE | InotifyConstants.IN_ATTRIB
    came |= InotifyConstants.IN_CREATE  # of a link: it is never closed
    gone = InotifyConstants.IN_DELETE_SELF | InotifyConstants.IN_MOVE_SELF
    reader = InotifyFD()
    try:
        for folder, more in folders.items():
            mask = Mask(came | gone | _asked(more))
            if reader.add_callback(os.fsencode(folder), mask, _Teller(folder, see), "queuectl") == -1:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), folder)
        reader.start()
    except (OSError, RuntimeError) as error:  # the latter where no thread can be had
        reader._is_reading = False  # else it leaves its files to the thread that reads, to be closed
        reader.close()
        raise error if isinstance(error, OSError) else BlockingIOError(errno.EAGAIN, str(error)) from None
    return reader


def _asked(more: tuple[str, ...]) -> int:
    """Return the kernel's names for further events."""
    from watchdog.observers.inotify_c import InotifyConstants

    kinds = {"deleted": InotifyConstants.IN_DELETE, "modified": InotifyConstants.IN_MODIFY}
    return sum(kinds[word] for word in more)


class _Teller:
    """What watchdog calls for the events of one directory, from its reader's thread."""

    def __init__(self, folder: str, see: Callable[[str, str], None]) -> None:
        self._folder = folder
        self._see = see

    def on_event(self, event: InotifyEvent) -> None:
        """Tell of the name that came, or that the directory itself has gone or moved."""
        if event.name:
            self._see(self._folder, os.fsdecode(event.name))
        elif not event.is_attrib:
            self._see(self._folder, TOLD_TO_LOOK)

    def on_watch_deleted(self, _: int) -> None:
        """Tell that nothing more will be seen: the directory has gone, or its file system."""
        self._see(self._folder, TOLD_TO_LOOK)

    def on_queue_overflow(self) -> None:
        """Tell that events were lost."""
        self._see(self._folder, TOLD_TO_LOOK)
