"""dirq: a loop around python-dirq, which is a directory with a file for each job, as queuectl's."""

from __future__ import annotations

import os

from bench.peers import setup
from bench.peers.python_peer import PythonPeer

LOOP = f"{setup.BENCH}/peers/inside/dirq_loop.py"


class Dirq(PythonPeer):
    """N processes that go through one queue of dirq's faster kind."""

    name = "dirq, a hand-written loop"
    note = "QueueSimple, the faster of its two kinds; lock, get, posix_spawn, remove; no logs, no record of an outcome, no fsync"
    package = "dirq"
    ends_when_empty = True

    def serve(self) -> None:
        """Start nothing: a directory needs no service."""

    def variables(self) -> dict[str, str]:
        """Return what its programs find in their environment."""
        return {}

    def filling(self) -> list[str]:
        """Return the words of the program that reads commands, a line each, and adds them."""
        return [setup.PYTHON, LOOP, "fill", f"{self.folder}/queue"]

    def working(self, workers: int) -> list[list[str]]:
        """Return the words of each process that has to be started for so many workers."""
        return [[setup.PYTHON, LOOP, "work", f"{self.folder}/queue"]] * workers

    def left(self) -> int:
        """Return how many jobs wait in its own store."""
        return sum(len(files) for _, _, files in os.walk(f"{self.folder}/queue"))
