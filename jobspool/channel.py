"""How a supervisor and its worker talk: messages over a socket, and signals that wake a poll(2)."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import struct
import termios

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

LARGEST = 65536  # bytes of one message
LONGEST = 2000  # characters of a text in it
MOST_UNREAD = 16384  # bytes, as the kernel counts them, that hints may fill


def _short(value: object) -> object:
    return value[: LONGEST - 1] + "…" if isinstance(value, str) and len(value) > LONGEST else value


class Channel:
    """One end. Messages keep their bounds and their order; each is a kind, and words that belong to it."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        """Return both ends."""
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(one), cls(other)

    def fileno(self) -> int:
        """Return the descriptor that is readable when a message has come, or the other end has gone."""
        return self._end.fileno()

    def send(self, kind: str, **what: object) -> bool:
        """Send a message; False when the other end has gone."""
        try:
            self._end.send(json.dumps({"kind": kind, **{word: _short(value) for word, value in what.items()}}).encode())
        except OSError:
            return False
        return True

    def hint(self, kind: str) -> None:
        """Send a message that may be lost: it is, where the other end doesn't listen and has others to read."""
        try:
            unread = struct.unpack("i", fcntl.ioctl(self._end, termios.TIOCOUTQ, bytes(4)))[0]
            if unread > MOST_UNREAD:
                return  # else orders, which may not be lost, would wait for room
            self._end.send(json.dumps({"kind": kind}).encode(), socket.MSG_DONTWAIT)
        except OSError:
            pass

    def receive(self) -> dict | None:
        """Return the next message, None when there is none yet. Raises EOFError when the other end has gone."""
        try:
            message = self._end.recv(LARGEST, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        except OSError:
            message = b""
        if not message:
            raise EOFError
        return json.loads(message)

    def close(self) -> None:
        """Close this end: the other is told so."""
        self._end.close()


class Wakeup:
    """A descriptor that becomes readable when one of the signals has come and its handler was called."""

    def __init__(self, handlers: dict[int, Callable[..., None]]) -> None:
        self._reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number, handler in handlers.items():
            signal.signal(number, handler)

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._reader

    def clear(self) -> None:
        """Let it be readable no more, until the next signal."""
        try:
            while os.read(self._reader, 4096):
                pass
        except BlockingIOError:
            pass
