"""A real pseudo-terminal in which a command runs, with a person's eyes and keys."""

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import termios

from kit import QUEUECTL, until


class Terminal:
    """A terminal of 80 columns in which a command runs; `shown` is all that appeared there, without colours."""

    def __init__(self, spool, *words, lines=24, columns=80, program=QUEUECTL, **environment):
        leader, follower = pty.openpty()
        self.leader = leader
        self.resize(lines, columns)
        env = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
        self.program = subprocess.Popen(
            [*program, *words],
            stdin=follower,
            stdout=follower,
            stderr=follower,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            env={**env, "TERM": "xterm", "QUEUECTL_SPOOL": spool.root, **environment},
        )
        os.close(follower)
        os.set_blocking(leader, False)
        self.raw = b""

    def resize(self, lines, columns):
        fcntl.ioctl(self.leader, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    @property
    def shown(self):
        with contextlib.suppress(OSError):
            while piece := os.read(self.leader, 65536):
                self.raw += piece
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.raw.decode("utf-8", "replace")).replace("\r\n", "\n")

    def expect(self, text):
        try:
            until(lambda: text in self.shown)
        except AssertionError:
            raise AssertionError(f"waited for {text!r} in {self.shown!r}") from None

    def forget(self):
        """Let what is shown begin anew."""
        _, self.raw = self.shown, b""

    def type(self, keys):
        os.write(self.leader, keys.encode())

    def end(self):
        """Wait for the command's end, and return its exit status."""
        until(lambda: (self.shown, self.program.poll())[1] is not None, "its end")
        return self.program.returncode

    def close(self):
        os.close(self.leader)
