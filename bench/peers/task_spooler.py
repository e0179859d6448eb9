"""task-spooler: a server in memory, and a waiting client for each job."""

from __future__ import annotations

import os
import time

from bench.peers import setup
from bench.peers.crew import Crew
from bench.peers.gate import Gate
from bench.place import Place

ROOM = 900  # jobs at a time: its server serves at most 1,000 clients, and each waiting job is one
FINISHED, RUNNING = "finished", "running"


class TaskSpooler:
    """A server with N slots, filled while a first job holds all of them."""

    name = "task-spooler"
    note = (
        "-S N, -n: no output files; in memory; filled 900 at a time, about the most it takes, while a job holds all slots; timed "
        "from that job's end to the last one's: adding isn't counted, and its clients are forked before"
    )
    gate: Gate | None = None

    def __init__(self) -> None:
        self.crew = Crew()

    @property
    def missing(self) -> list[str]:
        """What it needs that install() didn't get."""
        return [] if "tsp" in setup.versions() else ["tsp"]

    def version(self) -> str:
        """Return the program's version."""
        return f"task-spooler {setup.versions()['tsp']}"

    def prepare(self, place: Place, commands: list[str]) -> None:
        """Make the place for a new queue."""
        self.folder, self.commands = place.fresh("task-spooler"), commands
        os.mkdir(self.folder)
        self.variables = {"TS_SOCKET": f"{self.folder}/s", "TMPDIR": self.folder}
        self.added = 0

    def drain(self, workers: int) -> float:
        """Let so many slots run all, and return the seconds. Raises AssertionError where a job isn't in its list as finished."""
        self._ask("-S", str(workers))
        batches = [self.commands[i : i + ROOM] for i in range(0, len(self.commands), ROOM)]
        return sum(self._drained(batch, workers) for batch in batches)

    def close(self) -> None:
        """End the server, and all that waits."""
        self.crew.end()
        self._forget_gate()

    def _drained(self, batch: list[str], workers: int) -> float:
        self.gate = Gate(f"{self.folder}/gate")
        self._add("-N", str(workers), *self.gate.words)
        self.gate.shut()
        self._add_all([["-n", *command.split()] for command in batch])
        begun = time.perf_counter()
        self.gate.open()
        took, states = self._ended(begun, workers)
        if (well := states.count((FINISHED, "0"))) != len(batch) + 1:
            raise AssertionError(f"{self.name}: {well} of {len(batch) + 1} jobs ended well")
        self._forget_gate()
        self._ask("-C")
        return took

    def _forget_gate(self) -> None:
        if self.gate:
            self.gate.close()
            self.gate = None

    def _ended(self, begun: float, last: int) -> tuple[float, list[tuple[str, str]]]:
        """Wait for all: the last ones, and then what still runs. Return the seconds, and what the list says of each."""
        names = [str(name) for name in range(max(0, self.added - last), self.added)]
        while True:
            for name in names:
                self._ask("-w", name)
            took = time.perf_counter() - begun
            rows = [line.split() for line in self._ask("-l").splitlines()[1:]]
            names = [row[0] for row in rows if row[1] == RUNNING]
            if not names:
                return took, [(row[1], row[3]) for row in rows]

    def _add(self, *words: str) -> None:
        self._add_all([["-n", *words]])

    def _add_all(self, jobs: list[list[str]]) -> None:
        self.crew.add([[setup.program("tsp"), *words] for words in jobs], **self.variables)
        self.added += len(jobs)

    def _ask(self, *words: str) -> str:
        return self.crew.ask([setup.program("tsp"), *words], **self.variables)
