"""What the tests of drops have in common: how a file looked before, whether anything ran, and what is said of it."""

import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import stat
import struct
import subprocess
import termios
import time

from kit import PATIENCE, QUEUECTL, comes_to

KEPT = ("st_ino", "st_mode", "st_nlink", "st_uid", "st_gid", "st_size", "st_mtime_ns")


def look(path):
    """What must stay as it is: the file's inode, mode, owner, links, size, time, and its beginning."""
    found = os.lstat(path)
    content = None
    if stat.S_ISLNK(found.st_mode):
        content = os.readlink(path)
    elif stat.S_ISREG(found.st_mode):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        content = os.pread(descriptor, 65536, 0)
        os.close(descriptor)
    return [getattr(found, word) for word in KEPT], content


def fence(spool):
    """Let a job run to its end: the pool has looked at all that lay there before."""
    return comes_to(spool, spool.add("true").id, "done")


def touches(path, **words):
    """A job that says in `path` that it ran."""
    return {"command": f"echo ran >> {path}", **words}


def times_run(path):
    return path.read_text().count("ran\n") if path.exists() else 0


def said(*words, spool):
    """Run the command with --json and return what it printed, each line as an object. Its bytes are plain ASCII."""
    place = words.index("--") if "--" in words else len(words)
    command = [*QUEUECTL, "--spool", spool.root, *words[:place], "--json", *words[place:]]
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE * 2, stdin=subprocess.DEVNULL)
    assert (done.stderr, done.returncode in (0, 3)) == (b"", True), done.stderr.decode()
    return [json.loads(line) for line in done.stdout.decode("ascii").splitlines()]


def warnings(spool):
    """What status warns of, as {what: why} for the files, in any state."""
    (seen,) = said("status", spool=spool)
    found = {}
    for warning in seen["warnings"]:
        for verb in (" is not run: ", " is ignored: "):
            if verb in warning:
                what, _, why = warning.partition(verb)
                found[what] = why
    return found


@contextlib.contextmanager
def on_terminal(command, env, cwd=None):
    """Start the command on a pseudo-terminal: yields it, how to read what it shows until that will do, and how to type."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 200, 0, 0))
    program = subprocess.Popen(command, stdin=follower, stdout=follower, stderr=follower, env=env, cwd=cwd)
    os.close(follower)

    def read(enough):
        shown, deadline = b"", time.monotonic() + PATIENCE
        with contextlib.suppress(OSError):  # the other end is closed
            while not enough(shown) and time.monotonic() < deadline:
                if select.select([leader], [], [], 1)[0]:
                    piece = os.read(leader, 65536)
                    shown += piece
                    if not piece:
                        break
        return shown

    try:
        yield program, read, lambda keys: os.write(leader, keys)
    finally:
        if program.poll() is None:
            program.send_signal(signal.SIGQUIT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                program.wait(10)
        program.kill()
        program.wait()
        os.close(leader)
