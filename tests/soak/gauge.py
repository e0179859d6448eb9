"""How much there is of what must not grow: memory, descriptors, threads and processes of one pool, and files of the spool."""

import os
import statistics
import time
from collections import namedtuple

from jobspool import roster
from jobspool.states import DEAD, DONE

MIB = 1 << 20
STALE = 5.0  # seconds: what lies in tmp/ for longer is nobody's
WARM = 0.25  # of the time, before which nothing is compared

# share, more: the last third may have so much more than the first, as a share and beside it.
Bound = namedtuple("Bound", "share more")
BOUNDS = {
    "supervisor: memory": Bound(0.1, 2 * MIB),
    "supervisor: descriptors": Bound(0, 1),
    "supervisor: threads": Bound(0, 0),
    "worker: memory": Bound(0.1, 2 * MIB),
    "worker: descriptors": Bound(0, 4),  # two for each outcome on its way to the disk
    "worker: threads": Bound(0, 1),
    "processes": Bound(0, 1),
    "tmp/": Bound(0, 2),
    "workers/": Bound(0, 1),
    "logs/": Bound(1, 60),
    "done/": Bound(1, 60),
    "dead/": Bound(1, 15),
}


class Gauge:
    """Samples of the pool whose supervisor is `pid`, which is never restarted, so that what it loses would add up."""

    def __init__(self, spool, pid, ledger):
        self.spool, self.pid, self.ledger = spool, pid, ledger
        self.samples = []

    def sample(self):
        living = roster.living(self.spool)
        workers = [entry.pid for entry in living if entry.supervisor == self.pid]
        found = {"processes": len(living), "workers/": len(os.listdir(f"{self.spool.root}/workers"))}
        for name, look in (("memory", memory), ("descriptors", descriptors), ("threads", threads)):
            found[f"supervisor: {name}"] = look(self.pid)
            found[f"worker: {name}"] = max(map(look, workers))
        found |= {f"{state}/": self.ledger.lie(state) for state in (DONE, DEAD)}
        found["tmp/"] = self._stale()
        found["logs/"] = sum(not name.startswith("laid-") for name in os.listdir(f"{self.spool.root}/logs"))
        self.samples.append(found)

    def thirds(self):
        """Return the medians of the first and of the last third behind the warming up, by name."""
        warm = self.samples[int(len(self.samples) * WARM) :]
        third = max(1, len(warm) // 3)
        return {name: (_median(warm[:third], name), _median(warm[-third:], name)) for name in BOUNDS}

    def grown(self):
        """Yield what is more in the end than it was, beyond its bound."""
        for name, (first, last) in self.thirds().items():
            if last > first * (1 + BOUNDS[name].share) + BOUNDS[name].more:
                yield f"{name} has grown from {first:g} to {last:g}"

    def _stale(self):
        before, count = time.time() - STALE, 0
        for entry in os.scandir(f"{self.spool.root}/tmp"):
            try:
                count += entry.stat().st_ctime < before
            except FileNotFoundError:
                pass  # RACE: it was being written
        return count


def _median(samples, name):
    return statistics.median(sample[name] for sample in samples)


def memory(pid):
    """The process's share of the memory that it uses, in bytes: PSS of proc_pid_smaps(5)."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("Pss:"))


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def threads(pid):
    return len(os.listdir(f"/proc/{pid}/task"))
