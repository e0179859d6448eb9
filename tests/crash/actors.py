"""A process that asks before each change of the disk, so that a test can cut it anywhere and mix it with others.

An Actor is a forked child in which each of durable's system calls waits for the test's word. The test may let it go on, let a
write come to its half, or kill it there with -9, and is told how each call ended. Nothing in the program is made otherwise:
its `os` is looked through, not changed.
"""

import os
import pickle
import signal
import socket
from collections import namedtuple

from jobspool import durable

DONE = "done"  # how a call ended
MOST = 1 << 20  # bytes in a message: what a job file holds in a test is far less

# name: the system call. args: what it was given; an open file stands there as its (device, inode).
Op = namedtuple("Op", "name args")

# What an Actor says: an op that it is about to do, a word of its own (said), or that it has ended (an error's text, or None).
Next = namedtuple("Next", "kind what")

BY_PATH = ("rename", "unlink", "utime", "mkdir", "chmod", "chown", "makedirs")
BY_DESCRIPTOR = ("write", "pwrite", "ftruncate", "fsync", "fchmod")


class Actor:
    """A child that does `act(say)`, one change of the disk at a time. `ops` are those that were done, with their result."""

    def __init__(self, act):
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (self._ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MOST)
        self.ops = []
        self.alive = True
        self.pid = os.fork()
        if self.pid == 0:
            self._ours.close()
            _play(act, theirs)
        theirs.close()
        self.now = self._hear()

    def step(self, word="go"):
        """Let it do what it is about to do, and return what comes next. "half": let a write do half its work, then die."""
        self._ours.send(word.encode())
        self.now = self._hear()
        return self.now

    def kill(self):
        """Kill it where it stands, and return when it is gone, with its locks."""
        os.kill(self.pid, signal.SIGKILL)
        self._bury()

    def run(self, steps=None):
        """Let it go on for so many ops (to its end, by default); return the words that it said."""
        words = []
        while self.alive and (self.now.kind == "said" or steps is None or steps > 0):
            if self.now.kind == "said":
                words.append(self.now.what)
            elif steps is not None:
                steps -= 1
            self.step()
        if self.now.kind == "ended" and self.now.what:
            raise AssertionError(self.now.what)
        return words

    def _hear(self):
        message = self._ours.recv(MOST)
        if not message:
            self._bury()
            return Next("ended", "killed")
        kind, what, result = pickle.loads(message)
        if self.ops and self.ops[-1][1] is None:
            self.ops[-1] = (self.ops[-1][0], result)
        if kind == "op":
            self.ops.append((what, None))
        if kind == "ended":
            self._bury()
        return Next(kind, what)

    def _bury(self):
        if self.alive:
            os.waitpid(self.pid, 0)
            self._ours.close()
            self.alive = False


def _play(act, channel):
    """Be the child: do `act`, asking before each change."""
    ended = None
    asking = _Asking(channel)
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        durable.os = asking
        durable.fcntl = _Locks(asking)
        plain = durable._call
        durable._call = lambda name, *args: asking.do(Op(name, _plain(name, args)), lambda: plain(name, *args))
        act(asking.say)
    except BaseException:
        import traceback

        ended = traceback.format_exc()
        raise
    finally:
        asking.send("ended", ended)
        os._exit(0)


def _plain(name, args):
    if name == "sync_file_range":
        return _file(args[0]), args[-1]
    return tuple(arg if isinstance(arg, (str, bytes, int)) else repr(arg) for arg in args)


def _named(args, words):
    """The arguments of a call by path; an open file in the path's place by its (device, inode)."""
    first, *rest = args
    return (_file(first) if isinstance(first, int) else first, *rest, *words.values())


def _file(descriptor):
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino


class _Asking:
    """Stands for the module os: what changes the disk asks first, all else goes through."""

    def __init__(self, channel):
        self._channel = channel
        self._result = None

    def __getattr__(self, name):
        if name in BY_PATH:
            return lambda *args, **words: self.do(Op(name, _named(args, words)), lambda: getattr(os, name)(*args, **words))
        if name in BY_DESCRIPTOR:
            return lambda *args: self._on_open_file(name, *args)
        return getattr(os, name)

    def open(self, path, flags, mode=0o777):
        if not flags & os.O_CREAT:
            return os.open(path, flags, mode)
        return self.do(Op("create", (path,)), lambda: os.open(path, flags, mode), result=_file)

    def _on_open_file(self, name, descriptor, *args):
        op = Op(name, (_file(descriptor), *(bytes(arg) if isinstance(arg, memoryview) else arg for arg in args)))

        def half():
            os.write(descriptor, op.args[1][: len(op.args[1]) // 2])

        return self.do(op, lambda: getattr(os, name)(descriptor, *args), half if name == "write" else None)

    def do(self, op, deed, half=None, result=lambda done: DONE):
        """Ask, then do it; the next message tells how it ended: DONE, the file that it made, or the number of its error."""
        if self.send("op", op) == "half":
            half()
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            done = deed()
        except OSError as error:
            self._result = error.errno
            raise
        by_number = op.name in ("renameat2", "syncfs", "fallocate")
        self._result = result(done) if not by_number or done == 0 else done
        return done

    def say(self, word):
        self.send("said", word)

    def send(self, kind, what):
        self._channel.send(pickle.dumps((kind, what, self._result)))
        if kind == "ended":
            return None
        word = self._channel.recv(16).decode()
        if not word:
            os._exit(0)  # the test is gone
        return word


class _Locks:
    """Stands for the module fcntl: to take a lock is asked too, for the order of locks matters."""

    def __init__(self, asking):
        self._asking = asking

    def __getattr__(self, name):
        import fcntl

        return getattr(fcntl, name)

    def flock(self, descriptor, how):
        import fcntl

        return self._asking.do(Op("flock", (_file(descriptor), how)), lambda: fcntl.flock(descriptor, how))
