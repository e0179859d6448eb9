"""A first job that holds a queue, for the queues that start jobs as they are added: it reads a FIFO until that is closed."""

from __future__ import annotations

import os


class Gate:
    """A FIFO at `path`. `words` are the command of the job that holds the queue until open() (or until we die)."""

    def __init__(self, path: str) -> None:
        self.path, self.words = path, ["/bin/cat", path]
        os.mkfifo(path)
        self._end: int | None = None

    def shut(self) -> None:
        """Return when the job, once added, runs: so the queue is held."""
        self._end = os.open(self.path, os.O_WRONLY)  # which waits for the reader

    def open(self) -> None:
        """Let the job end."""
        os.close(self._end)
        self._end = None

    def close(self) -> None:
        """Let go of the FIFO and remove it, whether it was opened or not."""
        if self._end is not None:
            self.open()
        os.unlink(self.path)
