"""See that something came: the only module that knows watchdog. What it tells is a hint; a scan is what counts.

watchdog holds an event back for 500 ms behind each rename out of a watched directory, waiting for its other half, and a
claim is such a rename. So the kernel is asked for the few kinds of event that matter and never for that one.
"""

from __future__ import annotations

import errno
import os
import select
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

TOLD_TO_LOOK = ""  # the name that stands for: read the whole directory again


class Watch:
    """Watches directories and collects (directory, name) of what came, was closed after writing, or was touched.

    Takes a mapping from each directory to further events: ("deleted",) or (). `works` is False where inotify can't be had;
    then wait() only waits and whoever uses this has to look by itself. Use it in a with statement.
    """

    def __init__(self, folders: Mapping[str, tuple[str, ...]]) -> None:
        self.folders = dict(folders)
        self.works = False
        self.seen: deque[tuple[str, str]] = deque()
        self._observer = None
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
            self._observer = _observe(self.folders, self._see)
        except OSError:  # no inotify instance or watch left, or a directory is gone: the caller scans oftener
            self._observer = None
        self.works = self._observer is not None

    def stop(self) -> None:
        """End watching and its threads; what was seen stays to be taken. start() may follow."""
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
            self._observer = None
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
        """Wait until something is seen, at most `timeout` seconds; tell whether it was."""
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        ready = bool(poll.poll(timeout * 1000))
        self.take()
        return ready

    def _see(self, folder: str, name: str) -> None:
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


def _observe(folders: Mapping[str, tuple[str, ...]], see: object) -> object:
    """Return a running watchdog observer. Raises OSError where there is no inotify to be had."""
    import logging

    from watchdog.events import (
        DirDeletedEvent,
        FileAttribEvent,
        FileClosedEvent,
        FileCreatedEvent,
        FileDeletedEvent,
        FileSystemEventHandler,
    )
    from watchdog.observers.api import BaseObserver
    from watchdog.observers.inotify import InotifyEmitter, InotifyWatchGroup
    from watchdog.observers.inotify_c import InotifyConstants, InotifyFD, Mask

    log = logging.getLogger("watchdog")
    log.propagate = False  # it calls each stop that meets an event an error; what matters to us comes by events
    if not log.handlers:
        log.addHandler(logging.NullHandler())
    came = InotifyConstants.IN_MOVED_TO | InotifyConstants.IN_CLOSE_WRITE | InotifyConstants.IN_ATTRIB
    came |= InotifyConstants.IN_CREATE  # of a link: it is never closed
    gone = InotifyConstants.IN_DELETE_SELF | InotifyConstants.IN_MOVE_SELF

    class Group(InotifyWatchGroup):
        def on_queue_overflow(self) -> None:
            super().on_queue_overflow()
            see(os.fsdecode(self.path), TOLD_TO_LOOK)

        def on_event(self, event: object) -> None:
            super().on_event(event)
            if event.is_move_self:  # of the directory itself, which no event of watchdog's tells
                see(os.fsdecode(self.path), TOLD_TO_LOOK)

    class Emitter(InotifyEmitter):
        def get_event_mask_from_filter(self) -> Mask:
            more = InotifyConstants.IN_DELETE if "deleted" in folders[self.watch.path] else 0
            return Mask(came | gone | more)

        def on_thread_start(self) -> None:
            self._inotify = Group(self._inotify_fd, os.fsencode(self.watch.path), event_mask=self.get_event_mask_from_filter())

    class Handler(FileSystemEventHandler):
        def on_any_event(self, event: object) -> None:
            folder, name = os.path.split(event.src_path)
            if event.src_path in folders:
                folder, name = event.src_path, TOLD_TO_LOOK
            see(folder, name)

    descriptor = InotifyFD()  # one inotify instance for all the directories: they are few
    observer = BaseObserver(Emitter, inotify_fd=descriptor)
    kinds = [FileCreatedEvent, FileClosedEvent, FileAttribEvent, FileDeletedEvent, DirDeletedEvent]
    try:
        for folder in folders:
            observer.schedule(Handler(), folder, event_filter=kinds)
        descriptor.start()
        observer.start()
    except (OSError, RuntimeError) as error:  # the latter where no thread can be had
        observer.unschedule_all()
        if not descriptor.is_alive():
            descriptor._is_reading = False  # else it leaves its files to the thread that reads, to be closed
        descriptor.stop()
        if descriptor.is_alive():
            descriptor.join()
        raise error if isinstance(error, OSError) else BlockingIOError(errno.EAGAIN, str(error)) from None
    return _Both(observer, descriptor)


class _Both:
    """The observer and the thread that reads for it, ended together."""

    def __init__(self, observer: object, descriptor: object) -> None:
        self.observer = observer
        self.descriptor = descriptor

    def stop(self) -> None:
        self.observer.stop()
        self.observer.join()
        self.descriptor.stop()

    def join(self) -> None:
        self.descriptor.join()
