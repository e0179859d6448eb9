"""Where the workers' own log goes: a stream, a file that is rotated, the journal of systemd, or syslog.

Each is a Handler of the logging module that takes what it is told at once, and hands it on when it is flushed. None fails, and
but for a stream, as a terminal, none waits: what a full disk doesn't take, or a log that isn't there, is kept up to MOST_UNSAID
bytes, the newest, and said later.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import select
import socket
import stat
import struct
from collections import deque

from jobspool import durable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

MOST_UNSAID = 65_536  # bytes that are kept while nobody takes them
MODE = 0o640  # of a log file, which the umask may narrow
NOBODY_READS = (errno.EPIPE, errno.EIO)  # the pipe's reader, or the terminal, is gone for good
AN_INSTANT = 0.02  # seconds that a reader of datagrams gets to take one
TOO_LARGE = (errno.EMSGSIZE, errno.ENOBUFS)  # for a datagram
JOURNAL, SYSLOG = "/run/systemd/journal/socket", "/dev/log"
PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}  # syslog(3)'s
SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


class Outlet(logging.Handler):
    """Takes records, and hands them on at flush()."""

    def __init__(self) -> None:
        super().__init__()
        self._unsaid: deque[bytes] = deque()
        self.lost = 0  # how many were too many to be kept

    def emit(self, record: logging.LogRecord) -> None:
        """Take the record."""
        self._unsaid.append(self.packed(record))

    def packed(self, record: logging.LogRecord) -> bytes:
        """Return the record as it is handed on."""
        raise NotImplementedError

    def flush(self) -> None:
        """Hand on what was taken. What can't be is kept, as far as there is room for it; of what was lost the number is told."""
        unsaid = self._unsaid
        told = self.packed(_lost(self.lost)) if self.lost else None
        if told is not None:
            unsaid.appendleft(told)
        try:
            self.hand_on(unsaid)
        except OSError:
            if told is not None and unsaid[0] is told:
                unsaid.popleft()
            else:
                self.lost = 0
            self._keep_newest()
        else:
            self.lost = 0

    def hand_on(self, unsaid: deque[bytes]) -> None:
        """Take from `unsaid` what could be handed on. Raises OSError where some is left."""
        raise NotImplementedError

    def _keep_newest(self) -> None:
        size = sum(map(len, self._unsaid))
        while size > MOST_UNSAID and len(self._unsaid) > 1:
            size -= len(self._unsaid.popleft())
            self.lost += 1


def _lost(count: int) -> logging.LogRecord:
    return logging.makeLogRecord({"levelno": logging.WARNING, "kept": 0, "event": {"event": "lost", "count": count}})


class Stream(Outlet):
    """A descriptor that was open when we were started. Where nobody can read any more, all is dropped from then on."""

    def __init__(self, descriptor: int, encoding: str = "utf-8") -> None:
        super().__init__()
        self.descriptor = descriptor
        self._encoding = encoding

    def packed(self, record: logging.LogRecord) -> bytes:
        """Return its line."""
        return f"{self.format(record)}\n".encode(self._encoding, "backslashreplace")

    def hand_on(self, unsaid: deque[bytes]) -> None:
        """Write the lines at one go."""
        while unsaid:
            text = b"".join(unsaid)
            if rest := text[self._write(text) :]:
                unsaid.append(rest)
            while len(unsaid) > bool(rest):
                unsaid.popleft()

    def _write(self, text: bytes) -> int:
        try:
            return os.write(self.descriptor, text)
        except OSError as error:
            if error.errno not in NOBODY_READS:
                raise
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.descriptor)
        os.close(null)
        return len(text)


class File(Stream):
    """A file that is opened anew where it was rotated away, as logrotate(8) does, or removed. `copies` become the same file."""

    def __init__(self, path: str, mode: int = MODE, copies: tuple[int, ...] = ()) -> None:
        super().__init__(-1)
        self.path = path
        self._mode = mode
        self._copies = copies

    def open(self) -> None:
        """Return when the file is open. Raises OSError."""
        if self.descriptor >= 0 and durable.lies_at(self.path, self.descriptor):
            return
        descriptor = self._open_anew() if self.descriptor >= 0 else durable.open_to_append(self.path, self._mode)
        self.close()
        self.descriptor = descriptor
        for copy in self._copies:
            os.dup2(descriptor, copy)

    def _open_anew(self) -> int:
        """Open what lies there now; where it is made, with the mode of the one before, whatever our umask is by now."""
        return durable.open_for_all(self.path, stat.S_IMODE(os.fstat(self.descriptor).st_mode))

    def hand_on(self, unsaid: deque[bytes]) -> None:
        """Write the lines into what lies at the path now."""
        if unsaid:
            self.open()
            super().hand_on(unsaid)

    def close(self) -> None:
        """Let go of the file."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


class Datagrams(Outlet):
    """A socket of the file system that takes a datagram for each record. It is connected anew where its reader was restarted."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path
        self._socket: socket.socket | None = None

    def open(self) -> None:
        """Return when the socket is connected. Raises OSError."""
        if self._socket is None:
            self._socket = self.connected()
            self._socket.setblocking(False)

    def connected(self) -> socket.socket:
        """Return a socket that is connected. Raises OSError."""
        ours = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        try:
            ours.connect(self.path)
        except OSError:
            ours.close()
            raise
        return ours

    def hand_on(self, unsaid: deque[bytes]) -> None:
        """Send them, one by one. Whoever reads as we write is waited for an instant; whoever doesn't read at all is not."""
        sent = 0
        while unsaid:
            try:
                self._send(unsaid[0])
            except BlockingIOError:
                if not sent or not self._may_write(AN_INSTANT):
                    raise
                sent = 0
                continue
            unsaid.popleft()
            sent += 1

    def _send(self, content: bytes) -> None:
        try:
            self.open()
            self.send(content)
        except BlockingIOError:
            raise
        except OSError:
            self.close()
            self.open()
            self.send(content)

    def _may_write(self, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self._socket, select.POLLOUT)
        return bool(poll.poll(seconds * 1000))

    def send(self, content: bytes) -> None:
        """Send one. Raises OSError."""
        self._socket.send(content)

    def close(self) -> None:
        """Let go of the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class Journal(Datagrams):
    """The journal of systemd, by its own protocol: https://systemd.io/JOURNAL_NATIVE_PROTOCOL.

    `fields` returns what else is said of a record, by the names of the fields.
    """

    def __init__(self, fields: Callable[[logging.LogRecord], dict[str, object]], path: str = JOURNAL) -> None:
        super().__init__(path)
        self._fields = fields

    def packed(self, record: logging.LogRecord) -> bytes:
        """Return the record as the journal takes it."""
        known = {"MESSAGE": self.format(record), "PRIORITY": PRIORITIES[record.levelno], "SYSLOG_IDENTIFIER": "queuectl"}
        return b"".join(_field(name, value) for name, value in {**known, **self._fields(record)}.items())

    def send(self, content: bytes) -> None:
        """Send it; what is too large for a datagram in a sealed file without a name, whose descriptor goes instead."""
        try:
            self._socket.send(content)
        except OSError as error:
            if error.errno not in TOO_LARGE:
                raise
            descriptor = os.memfd_create("queuectl", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
            try:
                durable.write_all(descriptor, content)
                fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, SEALS)
                socket.send_fds(self._socket, [b""], [descriptor])
            finally:
                os.close(descriptor)


def _field(name: str, value: object) -> bytes:
    content = str(value).encode("utf-8", "backslashreplace")
    if b"\n" not in content:
        return b"%s=%s\n" % (name.encode(), content)
    return b"%s\n%s%s\n" % (name.encode(), struct.pack("<Q", len(content)), content)


class Syslog(Datagrams):
    """syslog(3), as SysLogHandler of the standard library speaks it; but it never waits."""

    def __init__(self, path: str = SYSLOG) -> None:
        from logging.handlers import SysLogHandler

        super().__init__(path)
        self._kind = SysLogHandler
        self._head = f"queuectl[{os.getpid()}]: "

    def packed(self, record: logging.LogRecord) -> bytes:
        """Return the record as syslog takes it."""
        priority = self._kind.LOG_DAEMON << 3 | PRIORITIES[record.levelno]
        return f"<{priority}>{self._head}{self.format(record)}".encode("utf-8", "backslashreplace")

    def connected(self) -> socket.socket:
        """Return a socket that is connected, of the kind that listens there. Raises OSError."""
        ours = self._kind(self.path, self._kind.LOG_DAEMON).socket
        return ours if ours.fileno() >= 0 else super().connected()  # the handler keeps to itself why it can't be

    def send(self, content: bytes) -> None:
        """Send it; a stream of them has a zero byte behind each."""
        if self._socket.type == socket.SOCK_STREAM:
            content += b"\0"
        if (sent := self._socket.send(content)) < len(content):
            raise OSError(errno.EMSGSIZE, f"syslog took {sent} bytes of {len(content)}")
