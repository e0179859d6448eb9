"""nq: a directory with a log for each job, and a waiting process for each."""

from __future__ import annotations

import os
import shutil
import time

from bench.peers import setup
from bench.peers.crew import Crew
from bench.peers.gate import Gate
from bench.place import Place

ROOM = 50  # jobs in a queue at a time: each looks at all logs before its own, so that long queues are slow
APPEARS_WITHIN = 10.0  # seconds
ENDED_WELL = b"[exited with status 0.]\n"


class Nq:
    """N queues, since each runs one job at a time, filled while a first job holds each."""

    name = "nq"
    note = (
        "N queue directories; filled 50 jobs each at a time, as more are slower, while a job holds each; timed from that job's "
        "end to the last one's: adding, which costs it most, isn't counted, and its processes are forked before"
    )

    def __init__(self) -> None:
        self.crew = Crew()
        self.gates: list[Gate] = []

    @property
    def missing(self) -> list[str]:
        """What it needs that install() didn't get."""
        return [] if "nq" in setup.versions() else ["nq"]

    def version(self) -> str:
        """Return the package's version."""
        return f"nq {setup.versions()['nq']}"

    def prepare(self, place: Place, commands: list[str]) -> None:
        """Make the place for new queues."""
        self.folder, self.commands = place.fresh("nq"), commands
        os.mkdir(self.folder)

    def drain(self, workers: int) -> float:
        """Let so many queues run all, and return the seconds. Raises AssertionError where a job's log doesn't say that it did."""
        room = ROOM * workers
        batches = [self.commands[i : i + room] for i in range(0, len(self.commands), room)]
        return sum(self._drained(batch, workers) for batch in batches)

    def close(self) -> None:
        """End all that waits."""
        self.crew.end()
        self._forget_gates()

    def _drained(self, batch: list[str], workers: int) -> float:
        queues = {f"{self.folder}/{i}": batch[i::workers] for i in range(workers)}
        for queue, commands in queues.items():
            self._fill(queue, [command.split() for command in commands])
        begun = time.perf_counter()
        for gate in self.gates:
            gate.open()
        for queue in queues:
            self.crew.ask([setup.program("nq"), "-w"], NQDIR=queue)
        took = time.perf_counter() - begun
        self.crew.settle()  # a log says how its job ended just after the job has let go of it, for which -w waits
        if (well := sum(map(_ended_well, queues))) != len(batch) + len(queues):
            raise AssertionError(f"nq: {well} of {len(batch) + len(queues)} jobs ended well")
        self._forget_gates()
        return took

    def _fill(self, queue: str, jobs: list[list[str]]) -> None:
        """Make the queue anew, with these jobs behind a gate. All wait in it when this returns."""
        shutil.rmtree(queue, ignore_errors=True)
        os.mkdir(queue)
        self.gates.append(Gate(f"{queue}.gate"))
        self._add(queue, [self.gates[-1].words])
        self.gates[-1].shut()
        self._add(queue, jobs)
        _await(queue, 1 + len(jobs))

    def _add(self, queue: str, jobs: list[list[str]]) -> None:
        self.crew.add([[setup.program("nq"), "-q", *words] for words in jobs], NQDIR=queue)

    def _forget_gates(self) -> None:
        while self.gates:
            self.gates.pop().close()


def _await(queue: str, jobs: int) -> None:
    """Wait until so many jobs have their logs: nq returns a little before that."""
    deadline = time.monotonic() + APPEARS_WITHIN
    while sum(name.startswith(",") for name in os.listdir(queue)) < jobs:
        if time.monotonic() > deadline:
            raise AssertionError(f"nq: not all of {jobs} jobs came into {queue}")
        os.sched_yield()


def _ended_well(queue: str) -> int:
    """Return how many logs in the queue say so."""
    found = 0
    for name in os.listdir(queue):
        with open(f"{queue}/{name}", "rb") as log:
            found += log.read().endswith(ENDED_WELL)
    return found
