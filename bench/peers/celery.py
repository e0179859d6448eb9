"""celery on Redis."""

from __future__ import annotations

from bench.peers import setup
from bench.peers.redis_peer import RedisPeer

QUIET = ["--loglevel", "ERROR", "--without-gossip", "--without-mingle", "--without-heartbeat"]


class Celery(RedisPeer):
    """One celery worker with N processes."""

    name = "celery on Redis"
    note = "prefork, prefetch 128, no results, no gossip, mingle or heartbeat; Redis on a unix socket without persistence"
    package = "celery"
    waiting = "celery"

    def filling(self) -> list[str]:
        """Return the words of the program that reads commands, a line each, and adds them."""
        return [setup.PYTHON, "-m", "celery_tasks"]

    def working(self, workers: int) -> list[list[str]]:
        """Return the words of each process that has to be started for so many workers."""
        return [[f"{setup.PEERS}/venv/bin/celery", "-A", "celery_tasks", "worker", "-c", str(workers), *QUIET]]
