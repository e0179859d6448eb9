"""Those that queuectl is compared with: each used as its manual says, with its best settings for many short commands.

peers.install()
for peer in peers.available():
    try:
        peer.prepare(place, commands)
        seconds = peer.drain(2)
    finally:
        peer.close()
"""

from __future__ import annotations

from typing import Protocol

from bench.peers import litequeue
from bench.peers.celery import Celery
from bench.peers.dirq import Dirq
from bench.peers.huey import Huey
from bench.peers.nq import Nq
from bench.peers.parallel import Parallel
from bench.peers.rq import Rq
from bench.peers.setup import install
from bench.peers.task_spooler import TaskSpooler
from bench.place import Place

__all__ = ["PEERS", "Peer", "available", "install", "litequeue"]


class Peer(Protocol):
    """A queue that runs commands, used once: prepare(), drain(), close()."""

    name: str
    note: str  # settings and why, and what its time has in it: for who reads the table

    @property
    def missing(self) -> list[str]:
        """What it needs that install() didn't get."""

    def version(self) -> str:
        """Return the versions of what it is made of."""

    def prepare(self, place: Place, commands: list[str]) -> None:
        """Fill a new queue with the commands, which need no shell. Nothing runs yet, services are up."""

    def drain(self, workers: int) -> float:
        """Run all, so many at once, and return the seconds from the start of its workers to the last job's end.

        Raises AssertionError where one didn't run, as its own store or log says, or ended with another status than 0.
        """

    def close(self) -> None:
        """End every process that was started, also where something was interrupted. Doing it twice does no harm."""


PEERS: list[type[Peer]] = [Dirq, Huey, TaskSpooler, Celery, Rq, Nq, Parallel]


def available() -> list[Peer]:
    """Return a new one of each peer that install() could get."""
    return [peer for peer in (kind() for kind in PEERS) if not peer.missing]
