"""What the machine must have before anything new is started: a load that isn't too high, room, and what a command says."""

from __future__ import annotations

import os
import signal
import subprocess
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

EVERY = 1.0  # seconds between looks
ASK_EVERY = 2.0  # seconds between two runs of the command
ANSWERS_WITHIN = 30.0  # seconds, behind which it is ended, and has not said yes


class Gate:
    """Tells why nothing new is to be started just now: why(), "" for nothing. Each limit may be None. Never waits."""

    def __init__(
        self,
        root: str,
        max_load: float | None = None,
        min_free_memory: int | None = None,
        min_free_disk: int | None = None,
        when: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._root = root
        self._load, self._memory, self._disk = max_load, min_free_memory, min_free_disk
        self._when = Question(when, clock) if when is not None else None
        self._clock = clock
        self._at = 0.0
        self._why = ""

    def why(self) -> str:
        """Return why nothing new is to be started; looked at no oftener than EVERY."""
        if self._clock() >= self._at:
            self._at = self._clock() + EVERY
            try:
                self._why = self._looked()
            except OSError as error:
                self._why = f"nobody can look: {error.strerror}"
        return self._why

    def _looked(self) -> str:
        if self._load is not None and (load := os.getloadavg()[0]) > self._load:
            return f"the load is {load:.2f}, over {self._load:g}"
        if self._memory is not None and (free := free_memory()) < self._memory:
            return f"{free >> 20} MiB of memory are free, less than {self._memory >> 20}"
        if self._disk is not None and (free := free_disk(self._root)) < self._disk:
            return f"{free >> 20} MiB of the disk are free, less than {self._disk >> 20}"
        return self._when.why() if self._when is not None else ""


class Question:
    """A command that is run again and again beside all else: exit 0 says yes."""

    def __init__(self, command: str, clock: Callable[[], float]) -> None:
        self._command = command
        self._clock = clock
        self._asked: subprocess.Popen | None = None
        self._at = 0.0
        self._why = f"`{command}` has not said yes yet"

    def why(self) -> str:
        """Return why not, as it was answered last."""
        if self._asked is not None:
            self._hear(self._asked)
        elif self._clock() >= self._at:
            self._at = self._clock() + ASK_EVERY
            self._asked = subprocess.Popen(
                self._command,
                shell=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        return self._why

    def _hear(self, asked: subprocess.Popen) -> None:
        status = asked.poll()
        if status is None and self._clock() < self._at - ASK_EVERY + ANSWERS_WITHIN:
            return
        if status is None:
            os.killpg(asked.pid, signal.SIGKILL)
            asked.wait()
        self._asked = None
        self._why = "" if status == 0 else f"`{self._command}` says no ({'too slow' if status is None else f'exit {status}'})"


def free_memory() -> int:
    """Return the bytes of memory that a new program may have without others being swapped out: proc_meminfo(5)."""
    with open("/proc/meminfo", "rb") as file:
        return int(file.read().partition(b"MemAvailable:")[2].split()[0]) << 10


def free_disk(folder: str) -> int:
    """Return the bytes that the file system has free for users."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize
