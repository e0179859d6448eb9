"""Rows of draining: our own queue in units of y, the system calls of a job, and our rate beside that of each peer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from bench import calls, ours
from bench.row import Failed, Row, alternate, tried
from bench.unit import SPAWNS, y

if TYPE_CHECKING:
    from bench import peers
    from bench.place import Place

JOBS, SOME_JOBS, FEW_JOBS = 20_000, 10_000, 1000  # SOME: beside slow peers; FEW: when quick
TRACED, FEW_TRACED = 500, 50
ROUNDS, FEW_ROUNDS = 5, 2
TOGETHER = 2  # workers, ours and the peers'


@dataclass(frozen=True)
class Drain:
    """A way to drain, and the bounds of its rate, in y."""

    key: str
    workers: int
    fsync: str
    command: str
    at_least: float
    aim: float | None
    more: str = ""


DRAINS = (
    Drain("drain-2-never", 2, "never", "true", 1.25, 1.45),
    Drain("drain-2-group", 2, "group", "true", 1.0, 1.2, ", the default"),
    Drain("drain-1-never", 1, "never", "true", 0.70, 0.85),
    Drain("drain-2-never-sh", 2, "never", ":", 0.75, None, ", by sh -c"),
)
AIMS = {
    "dirq": 1.15,
    "huey": 1.5,
    "task-spooler": 2.2,
    "celery": 4.0,
    "rq": 5.0,
    "nq": 7.0,
    "parallel": 7.0,
}  # by a word of the name
WORD = re.compile(r"[\w-]+")
SLOW = ("celery", "rq", "nq", "parallel")


def rows(place: Place, quick: bool) -> Iterator[Row | Failed]:
    """Yield our own drains, each behind its system calls; then a drain beside each peer."""
    jobs, traced = (FEW_JOBS, FEW_TRACED) if quick else (JOBS, TRACED)
    for one in DRAINS:
        key, how = f"calls-{one.key}", (one.key, one.workers, one.fsync, one.command, traced)
        yield (counted := tried(key, partial(calls.row, place, *how)))
        yield tried(one.key, partial(_own, place, one, jobs, quick, counted))
    yield from _beside_peers(place, quick)


def _own(place: Place, one: Drain, jobs: int, quick: bool, counted: Row | Failed) -> Row:
    """Return the row of one of our drains, in y."""
    commands = [one.command] * jobs
    drained, unit = alternate(
        FEW_ROUNDS if quick else ROUNDS,
        lambda: rate(place, commands, one.workers, one.fsync),
        partial(y, SPAWNS // 4 if quick else SPAWNS),
    )
    what = f"drain {jobs:,} `{one.command}`, {one.workers} worker{'s' * (one.workers > 1)}, fsync {one.fsync}{one.more}"
    note = f"{counted.middle:.0f} system calls for each job" if isinstance(counted, Row) else ""
    return Row(one.key, what, "jobs/s", drained, "y", unit, at_least=one.at_least, aim=one.aim, note=note)


def rate(place: Place, commands: list[str], workers: int, fsync: str) -> float:
    """Drain a new spool with these commands and return the jobs per second. Raises AssertionError where a job got lost."""
    root = ours.spool(place.fresh("drained"), fsync)
    ours.fill(root, commands)
    return len(commands) / ours.drain(root, workers)


# ---- beside peers


def _beside_peers(place: Place, quick: bool) -> Iterator[Row | Failed]:
    from bench.peers import available  # here: without peers, our own drains are measured all the same

    found = {word: peer for peer in available() for word in WORD.findall(peer.name.lower()) if word in AIMS}
    for word in AIMS:
        key = f"drain-beside-{word}"
        if word in found:
            yield tried(key, partial(_beside, place, key, found[word], word, quick))
        else:
            yield Failed(key, "this peer is not installed: what bench/peers said on stderr tells why")


def _beside(place: Place, key: str, peer: peers.Peer, word: str, quick: bool) -> Row:
    """Return the row of our default drain beside the peer's, and y: the same jobs, as many at once, in the same rounds."""
    jobs = FEW_JOBS if quick else SOME_JOBS if word in SLOW else JOBS
    commands = ["true"] * jobs
    drained, others, unit = alternate(
        FEW_ROUNDS if quick else ROUNDS,
        lambda: rate(place, commands, TOGETHER, "group"),
        lambda: peer_rate(place, peer, commands),
        partial(y, SPAWNS // 4 if quick else SPAWNS),
    )
    what = f"drain {jobs:,} `true`, {TOGETHER} workers, beside {peer.name}"
    bounds = {"at_least": 1.0, "aim": AIMS[word]}
    return Row(key, what, "jobs/s", drained, peer.name, others, note=peer.note, y=unit, **bounds)


def peer_rate(place: Place, peer: peers.Peer, commands: list[str]) -> float:
    """Let the peer drain the commands and return the jobs per second; its services are gone afterwards."""
    try:
        peer.prepare(place, commands)
        return len(commands) / peer.drain(TOGETHER)
    finally:
        peer.close()
