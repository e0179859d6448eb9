"""A steady load: so many jobs a second, of each kind, by each way in."""

import math
import os
import random
import time
from collections import namedtuple

from jobspool.job import iso, seconds, written
from jobspool.states import DEAD, DONE, PENDING

MARK = ": > {said}/$QUEUECTL_JOB_ID.$QUEUECTL_ATTEMPT"  # a run's word to the witness: the time of the file is when it started
LATER = 2.0  # seconds
OLD = 86_400.0  # seconds
OLD_JOBS = 2000  # that are laid into done/ at once
AT_ONCE = 60  # that are written between two looks

# weight: how often it comes. script: what it does after its word. ends: where. more: of its record.
Kind = namedtuple("Kind", "weight script ends more")
KINDS = {
    "silent": Kind(10, "", DONE, {}),
    "talks": Kind(6, "; echo out; echo err >&2", DONE, {}),
    "later": Kind(2, "; echo late", DONE, {}),
    "flaky": Kind(4, "; echo $QUEUECTL_ATTEMPT; test $QUEUECTL_ATTEMPT -gt 1", DONE, {"backoff_base": 0.5}),
    "fails": Kind(4, "; echo no; exit 3", DEAD, {"backoff_base": 0.5, "max_retries": 1}),
    "junk": Kind(1, None, DEAD, {}),
}


class Load:
    """`rate` jobs a second, told to the ledger as they are added."""

    def __init__(self, spool, ledger, seed, rate):
        self.spool, self.ledger = spool, ledger
        self.luck = random.Random(seed)
        self.rate = rate
        self.count = 0
        self._since = time.monotonic()
        self._old = []
        self._outside = f"{os.path.dirname(spool.root)}/outside"
        os.mkdir(self._outside)

    def go_on(self):
        """Add what has become due."""
        due = int((time.monotonic() - self._since) * self.rate) - self.count
        for way in (self._add, self._move, self._write):
            share = due if way == self._write else self.luck.randint(0, due)
            way([self._new() for _ in range(share)])
            due -= share

    def prepare(self):
        """Write some old jobs, with a log each, until there are OLD_JOBS to lay."""
        then = time.time() - OLD
        entry = {"number": 1, "ended": iso(then), "verdict": "done"}
        for number in range(len(self._old), min(len(self._old) + AT_ONCE, OLD_JOBS)):
            id = f"laid-{self.count}-{number}"
            log, file = self._file(f"{id}.log", b"said\n"), self._file(id, written({"command": "true", "attempts": [entry]}))
            os.utime(file, (seconds(entry["ended"]),) * 2)
            self._old.append((id, log, file))

    def lay(self):
        """Put OLD_JOBS old jobs into done/, all at once, as if they had been there for a day; what is not prepared yet is, first."""
        while len(self._old) < OLD_JOBS:
            self.prepare()
        old, self._old = self._old, []
        for id, log, file in old:
            self.ledger.laid(id, os.stat(file).st_mtime)
            os.rename(log, self.spool.log_path(id, 1, "out"))
            os.rename(file, self.spool.path(DONE, id))

    def _new(self):
        """Return the id, the kind and the content of a new job."""
        self.count += 1
        name = self.luck.choices(list(KINDS), [kind.weight for kind in KINDS.values()])[0]
        kind = KINDS[name]
        record = {"command": MARK.format(said=self.ledger.said) + (kind.script or ""), **kind.more}
        return f"{name}-{self.count}", name, None if kind.script is None else record

    def _add(self, jobs):
        """By the library: one barrier for the lot. What is no job, or is for later, comes by mv."""
        good = [(id, record) for id, name, record in jobs if record and name != "later"]
        self._move([job for job in jobs if not job[2] or job[1] == "later"])
        for id, name, _ in jobs:
            self.ledger.added(id, name)
        self.spool.add_many(good)

    def _move(self, jobs):
        for id, name, record in jobs:
            path = self._file(id, _content(record))
            later = time.time() + LATER if name == "later" else time.time()
            os.utime(path, (later, later))
            self.ledger.added(id, name, later)
            os.rename(path, self.spool.path(PENDING, id))

    def _write(self, jobs):
        """As `echo >` does, in two halves."""
        for id, name, record in jobs:
            content = _content(record)
            self.ledger.added(id, name, math.inf)  # when it is seen half, it is looked at again after 2 seconds
            with open(self.spool.path(PENDING, id), "wb", buffering=0) as file:
                file.write(content[:20])
                file.write(content[20:])

    def _file(self, id, content):
        path = f"{self._outside}/{id}"
        with open(path, "wb") as file:
            file.write(content)
        return path


def _content(record):
    return b'{"command": ' if record is None else written(record)
