"""How many jobs the workers of a Python peer have ended: counted by the job itself, once it has waited for its command.

A file of 64-bit counts, mapped into each worker by inside/job.py: it costs a job less than a microsecond, and no queue is asked.
"""

from __future__ import annotations

import os
import select
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bench.peers.crew import Crew

WORKERS = 1024  # at most
HEAD = 2  # fields before the counts of each worker: how many jobs are expected, how many workers count
GLANCE = 1.0  # seconds between looks at whether the workers live


class Tally:
    """The count of `expected` jobs, in a file at `path`; a FIFO beside it says when the last of them has ended, or one failed."""

    def __init__(self, path: str, expected: int) -> None:
        self.path, self.expected = path, expected
        with open(path, "wb") as file:
            file.write(struct.pack("Q", expected) + bytes(8 * (WORKERS + HEAD - 1)))
        os.mkfifo(f"{path}.bell")
        self._bell = os.open(f"{path}.bell", os.O_RDWR | os.O_NONBLOCK)

    def count(self) -> int:
        """Return how many jobs have ended well until now."""
        with open(self.path, "rb") as file:
            return sum(struct.unpack(f"{WORKERS + HEAD}Q", file.read())[HEAD:])

    def wait(self, workers: Crew) -> None:
        """Return with the last job's end, or a failure. Raises AssertionError where the workers end before it."""
        while not select.select([self._bell], [], [], GLANCE)[0]:
            ended = workers.has_ended()
            if (count := self.count()) == self.expected:
                return  # RACE: two counted at the same instant, and neither saw the other's
            if ended:
                raise AssertionError(f"the workers ended after {count} of {self.expected} jobs")

    def close(self) -> None:
        """Close the FIFO, and remove it and the file."""
        os.close(self._bell)
        for path in (self.path, f"{self.path}.bell"):
            os.unlink(path)
