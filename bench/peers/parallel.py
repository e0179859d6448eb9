"""GNU parallel: no queue, but a list that is run."""

from __future__ import annotations

import os
import shlex
import time

from bench.peers import setup
from bench.peers.crew import Crew
from bench.place import Place

EXIT = 6  # the field of a job log's line, as its manual says


class Parallel:
    """N parallels, each of which runs its share of the list: as the manual has it in "Speeding up fast jobs"."""

    name = "GNU parallel"
    note = (
        "-j N spawns N parallels with -j 1, a share of the list each: 1.3 times as fast as one with -j N; ungrouped, with a job "
        "log; timed from its start; each line goes through /bin/sh, as always with it; nothing outlives it but the log"
    )

    def __init__(self) -> None:
        self.crew = Crew()

    @property
    def missing(self) -> list[str]:
        """What it needs that install() didn't get."""
        return [] if "parallel" in setup.versions() else ["parallel"]

    def version(self) -> str:
        """Return the program's version."""
        return f"GNU parallel {setup.versions()['parallel']}"

    def prepare(self, place: Place, commands: list[str]) -> None:
        """Write the list."""
        self.folder, self.jobs = place.fresh("parallel"), len(commands)
        os.makedirs(f"{self.folder}/logs")
        with open(f"{self.folder}/list", "w") as file:
            file.writelines(f"{command}\n" for command in commands)

    def drain(self, workers: int) -> float:
        """Let so many run the list, and return the seconds. Raises AssertionError where a job isn't in the logs as ended well."""
        program = [setup.program("parallel"), "--plain", "--ungroup"]
        each = shlex.join([*program, "-j1", "--joblog", f"{self.folder}/logs/{{#}}"])
        split = ["--pipe-part", "-a", f"{self.folder}/list", "--block", "-1"]
        begun = time.perf_counter()
        with open(f"{self.folder}/log", "wb") as log:
            self.crew.start([*program, f"-j{workers}", *split, each], log, **self._variables())
        self.crew.wait()
        took = time.perf_counter() - begun
        if (well := self._ended_well()) != self.jobs:
            raise AssertionError(f"{self.name}: {well} of {self.jobs} jobs ended well")
        return took

    def close(self) -> None:
        """End all that was started."""
        self.crew.end()

    def _variables(self) -> dict[str, str]:
        return {"PARALLEL_SHELL": "/bin/sh", "PARALLEL_HOME": f"{self.folder}/home", "TMPDIR": self.folder}

    def _ended_well(self) -> int:
        """Return how many lines of the logs, but for their heads, have exit status 0."""
        lines: list[str] = []
        for name in os.listdir(f"{self.folder}/logs"):
            with open(f"{self.folder}/logs/{name}") as log:
                lines += log.readlines()[1:]
        return sum(line.split("\t")[EXIT] == "0" for line in lines)
