"""A program that notes the time of its first instruction, as a job and as a plain spawn: what lies between is the queue's."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import subprocess
import time
from dataclasses import dataclass

from bench.pool import PATIENCE

# note FIFO            writes "id attempt nanoseconds" and ends
# note FIFO hold GATE  waits then for a line from that FIFO
# note FIFO fail       fails its first attempt
C = r"""
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int main(int count, char **words)
{
    struct timespec now;
    char text[512], end;
    clock_gettime(CLOCK_REALTIME, &now);
    const char *id = getenv("QUEUECTL_JOB_ID"), *attempt = getenv("QUEUECTL_ATTEMPT");
    int length = snprintf(text, sizeof text, "%s %s %lld%09ld\n", id ? id : "-", attempt ? attempt : "0",
                          (long long)now.tv_sec, now.tv_nsec);
    if (write(open(words[1], O_WRONLY), text, length) != length)
        return 2;
    if (count == 4)
        return read(open(words[3], O_RDONLY), &end, 1) != 1;
    return count == 3 && attempt && atoi(attempt) == 1;
}
"""
SH = """\
echo "${QUEUECTL_JOB_ID:--} ${QUEUECTL_ATTEMPT:-0} $(date +%s%N)" >"$1"
case "$2" in
  hold) read -r end <"$3" ;;
  fail) [ "$QUEUECTL_ATTEMPT" != 1 ] ;;
esac
"""


@dataclass
class Noted:
    """What the program wrote: `when` is in nanoseconds since 1970."""

    id: str
    attempt: int
    when: int


class Note:
    """The program, and the FIFOs that it writes to and waits at, in a new directory. Use it in a with statement.

    It is C where a compiler is here (static, where that can be had), else sh and date(1); `how` says so for people.
    """

    def __init__(self, folder: str, compiler: str | None = shutil.which("cc")) -> None:
        os.mkdir(folder)
        self._fifo, self._gate = f"{folder}/noted", f"{folder}/gate"
        self._program = _compile(folder, compiler) if compiler else None
        self.how = "a small C program" if self._program else "sh and date(1)"

    def __enter__(self) -> Note:
        with contextlib.ExitStack() as stack:
            for path in (self._fifo, self._gate):
                os.mkfifo(path)
            self._reader, self._opener = (os.open(path, os.O_RDWR) for path in (self._fifo, self._gate))  # nobody waits
            for descriptor in (self._reader, self._opener):
                stack.callback(os.close, descriptor)
            self._unread = b""
            self._closing = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def words(self) -> list[str]:
        """Return what is to be run to note the time."""
        program = [self._program] if self._program else ["/bin/sh", "-c", SH, "note"]
        return [*program, self._fifo]

    def holding(self) -> list[str]:
        """Return what notes the time and waits until it is let go."""
        return [*self.words(), "hold", self._gate]

    def failing(self) -> list[str]:
        """Return what notes the time, and fails in its first attempt as a job."""
        return [*self.words(), "fail"]

    def let_go(self, count: int = 1) -> None:
        """Let so many of those that hold, or will, end."""
        os.write(self._opener, b"\n" * count)

    def read(self) -> Noted:
        """Wait for the next note and return it. Raises AssertionError when none comes."""
        while b"\n" not in self._unread:
            if not select.select([self._reader], [], [], PATIENCE)[0]:
                raise AssertionError(f"waited {PATIENCE:g} s for a job to begin")
            self._unread += os.read(self._reader, 65536)
        line, self._unread = self._unread.split(b"\n", 1)
        id, attempt, when = line.decode().split()
        return Noted(id, int(attempt), int(when))

    def spawned(self) -> float:
        """Return the seconds from a plain posix_spawn of the program to its first instruction."""
        begun = time.time_ns()
        child = os.posix_spawn(self.words()[0], self.words(), os.environ)
        took = (self.read().when - begun) / 1e9
        os.waitpid(child, 0)
        return took


def _compile(folder: str, compiler: str) -> str | None:
    """Return the path of the program, None where it can't be made."""
    for kind in (["-static"], []):
        words = [compiler, "-O1", *kind, "-x", "c", "-", "-o", f"{folder}/note"]
        if subprocess.run(words, input=C, text=True, capture_output=True).returncode == 0:
            return f"{folder}/note"
    return None
