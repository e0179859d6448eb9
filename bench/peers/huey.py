"""huey on Redis."""

from __future__ import annotations

from bench.peers import setup
from bench.peers.redis_peer import RedisPeer


class Huey(RedisPeer):
    """huey's consumer with N processes."""

    name = "huey on Redis"
    note = "worker type process, no results, no periodic tasks, quiet, hiredis; Redis on a unix socket without persistence"
    package = "huey"
    waiting = "huey.redis.bench"

    def filling(self) -> list[str]:
        """Return the words of the program that reads commands, a line each, and adds them."""
        return [setup.PYTHON, "-m", "huey_tasks"]

    def working(self, workers: int) -> list[list[str]]:
        """Return the words of each process that has to be started for so many workers."""
        options = ["-k", "process", "-w", str(workers), "--no-periodic", "--quiet", "--disable-health-check"]
        return [[f"{setup.PEERS}/venv/bin/huey_consumer", "huey_tasks.huey", *options]]
