"""What the peers that are Python packages have in common: a program fills the queue, N processes drain it and count."""

from __future__ import annotations

import os
import subprocess
import time
from abc import ABC, abstractmethod

from bench.peers import setup
from bench.peers.crew import Crew
from bench.peers.tally import Tally
from bench.place import Place


class PythonPeer(ABC):
    """A peer whose workers run each job with inside/job.py."""

    name: str
    note: str
    package: str  # its distribution
    ends_when_empty = False  # whether its workers do
    tally: Tally | None = None

    def __init__(self) -> None:
        self.servers, self.crew = Crew(), Crew()

    @property
    def missing(self) -> list[str]:
        """What it needs that install() didn't get."""
        return [name for name in self.needs() if name not in setup.versions()]

    def version(self) -> str:
        """Return the versions of all that it is made of."""
        return ", ".join(f"{name} {setup.versions()[name]}" for name in self.needs())

    def prepare(self, place: Place, commands: list[str]) -> None:
        """Fill a new queue with the commands. Nothing runs yet."""
        self.folder = place.fresh(self.package)
        os.mkdir(self.folder)
        self.log = f"{self.folder}/log"
        self.tally = Tally(f"{self.folder}/tally", len(commands))
        self.serve()
        given, variables = "\n".join(commands), setup.environment(**self.variables())
        subprocess.run(self.filling(), input=given, text=True, check=True, cwd="/", env=variables)

    def drain(self, workers: int) -> float:
        """Let so many workers run all, and return the seconds from their start to the last job's end.

        Raises AssertionError where a job didn't run, or the queue still has one.
        """
        words = self.working(workers)
        with open(self.log, "ab") as log:
            begun = time.perf_counter()
            for each in words:
                self.crew.start(each, log, **self.variables(), BENCH_TALLY=self.tally.path)
            self.tally.wait(self.crew)
            took = time.perf_counter() - begun
        if self.ends_when_empty:
            self.crew.wait()
        if (self.tally.count(), self.left()) != (self.tally.expected, 0):
            raise AssertionError(f"{self.name}: {self.tally.count()} of {self.tally.expected} jobs ran, {self.left()} are left")
        return took

    def close(self) -> None:
        """End all that was started."""
        self.crew.end()
        self.servers.end()
        if self.tally:
            self.tally.close()
            self.tally = None

    def needs(self) -> list[str]:
        """Return the packages and programs that it is made of."""
        return [self.package]

    @abstractmethod
    def serve(self) -> None:
        """Start the service that keeps the queue, where there is one."""

    @abstractmethod
    def variables(self) -> dict[str, str]:
        """Return what its programs find in their environment."""

    @abstractmethod
    def filling(self) -> list[str]:
        """Return the words of the program that reads commands, a line each, and adds them."""

    @abstractmethod
    def working(self, workers: int) -> list[list[str]]:
        """Return the words of each process that has to be started for so many workers."""

    @abstractmethod
    def left(self) -> int:
        """Return how many jobs wait in its own store."""
