"""How a supervisor and its worker talk: messages over a socket, and signals that wake a poll(2)."""

from __future__ import annotations

import fcntl
import json
import os
import select
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


def message(kind: str, **what: object) -> dict:
    """Return the message, its texts no longer than fits."""
    return {"kind": kind, **{word: _short(value) for word, value in what.items()}}


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
        return self.send_all([message(kind, **what)])

    def send_all(self, messages: list[dict]) -> bool:
        """Send messages, as far as they fit at one go; False when the other end has gone."""
        content = json.dumps(messages).encode()
        if len(content) > LARGEST and (half := len(messages) // 2):
            return self.send_all(messages[:half]) and self.send_all(messages[half:])
        try:
            self._end.send(content)
        except OSError:
            return False
        return True

    def hint(self, kind: str) -> None:
        """Send a message that may be lost: it is, where the other end doesn't listen and has others to read."""
        try:
            unread = struct.unpack("i", fcntl.ioctl(self._end, termios.TIOCOUTQ, bytes(4)))[0]
            if unread > MOST_UNREAD:
                return  # else orders, which may not be lost, would wait for room
            self._end.send(json.dumps([message(kind)]).encode(), socket.MSG_DONTWAIT)
        except OSError:
            pass

    def receive(self) -> list[dict]:
        """Return the next messages, none when there are none yet. Raises EOFError when the other end has gone."""
        try:
            content = self._receive()
        except BlockingIOError:
            return []
        except OSError:
            content = b""
        if not content:
            raise EOFError
        return json.loads(content.decode())

    def _receive(self) -> bytes:
        try:
            return self._end.recv(LARGEST, socket.MSG_DONTWAIT)
        except ConnectionResetError:  # it went with orders unread, which is told before what it has said itself
            return self._end.recv(LARGEST, socket.MSG_DONTWAIT)

    def close(self) -> None:
        """Close this end: the other is told so."""
        self._end.close()


class Ears:
    """What a process always listens to, and one thing more at a time: poll(2)."""

    def __init__(self, heeded: list, beside: list = ()) -> None:
        self._poll = select.poll()
        self._heeded = {source.fileno() for source in heeded}
        for source in (*heeded, *beside):
            self._poll.register(source, select.POLLIN)

    def wait(self, seconds: float | None, other: int | None = None) -> set[int]:
        """Wait until something can be read, at most so long, and return the descriptors of what can."""
        if other is not None:
            self._poll.register(other, select.POLLIN)
        try:
            rest = None if seconds is None else max(0.0, seconds) * 1000 + 1  # one more: none is waited for twice
            return {descriptor for descriptor, _ in self._poll.poll(rest)}
        finally:
            if other is not None:
                self._poll.unregister(other)

    def heed(self, ready: set[int]) -> bool:
        """Tell whether something of that is to be heeded at once, not only seen to."""
        return not self._heeded.isdisjoint(ready)

    def forget(self, source: object) -> None:
        """Listen to that no more."""
        self._poll.unregister(source)
        self._heeded.discard(source.fileno())


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
