"""Who listens to the workers' log: a syslog and a journal of our own, on sockets of the test's."""

import array
import contextlib
import fcntl
import os
import re
import socket
import struct
import threading
from pathlib import Path


def lines(path):
    """The lines of the log so far, without their time."""
    return [line.split(" ", 2)[2] for line in Path(path).read_text().splitlines()] if Path(path).exists() else []


def kinds(path):
    """The first word of each line."""
    return [line.split()[0] for line in lines(path)]


class Listener:
    """Takes the datagrams that come to the socket at `path`: `heard`, and the seals of those that came as files."""

    def __init__(self, path, kind=socket.SOCK_DGRAM):
        self.path = str(path)
        self.heard, self.seals = [], []
        self._kind = kind
        self.socket = socket.socket(socket.AF_UNIX, kind)
        self.socket.bind(self.path)
        self._ears = []

    def __enter__(self):
        if self._kind == socket.SOCK_STREAM:
            self.socket.listen()
        self._ears = [threading.Thread(target=self._listen, daemon=True)]
        self._ears[0].start()
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)

    def _listen(self):
        with contextlib.suppress(OSError):
            if self._kind == socket.SOCK_STREAM:
                speaker, _ = self.socket.accept()
                rest = b""
                while piece := speaker.recv(65536):
                    *whole, rest = (rest + piece).split(b"\0")
                    self.heard += whole
            while self._kind == socket.SOCK_DGRAM:
                self._take(*self.socket.recvmsg(1 << 20, socket.CMSG_SPACE(4))[:2])

    def _take(self, content, ancillary):
        for _, _, descriptors in ancillary:
            [descriptor] = array.array("i", descriptors)
            self.seals.append(fcntl.fcntl(descriptor, fcntl.F_GET_SEALS))
            content = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
            os.close(descriptor)
        if content:
            self.heard.append(content)

    @property
    def said(self):
        """What syslog was told: (priority, line)."""
        found = (re.fullmatch(rb"<(\d+)>queuectl\[\d+\]: (.*)", each, re.S) for each in list(self.heard))
        return [(int(each[1]) & 7, each[2].decode()) for each in found]

    @property
    def entries(self):
        """What the journal was told: the fields of each."""
        return [fields(each) for each in list(self.heard)]


def fields(content):
    """The fields of an entry of the journal's native protocol."""
    found = {}
    while content:
        head, content = content.split(b"\n", 1)
        name, equals, value = head.partition(b"=")
        if not equals:
            (length,) = struct.unpack("<Q", content[:8])
            value, content = content[8 : 8 + length], content[8 + length + 1 :]
        found[name.decode()] = value.decode()
    return found
