"""rq on Redis."""

from __future__ import annotations

from bench.peers import setup
from bench.peers.redis_peer import RedisPeer

OPTIONS = ["--burst", "--quiet", "--serializer", "json", "--worker-class", "rq.SimpleWorker"]


class Rq(RedisPeer):
    """N of rq's simple workers."""

    name = "rq on Redis"
    note = "SimpleWorker, which forks for no job, burst, json, no results; Redis on a unix socket without persistence"
    package = "rq"
    ends_when_empty = True
    waiting = "rq:queue:bench"

    def filling(self) -> list[str]:
        """Return the words of the program that reads commands, a line each, and adds them."""
        return [setup.PYTHON, "-m", "rq_fill"]

    def working(self, workers: int) -> list[list[str]]:
        """Return the words of each process that has to be started for so many workers."""
        return [[f"{setup.PEERS}/venv/bin/rq", "worker", *OPTIONS, "--url", f"unix://{self.socket}", "bench"]] * workers
