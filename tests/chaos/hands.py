"""Hands in a storm: a person who moves, touches, removes and drops jobs with mv -n, touch and rm, at any time."""

import contextlib
import os

from jobspool import durable
from jobspool.errors import NoSuchJob
from jobspool.job import written
from jobspool.states import DEAD, DONE, FAILED, PENDING, PROCESSING

SOURCES = [PROCESSING] * 4 + [PENDING] * 2 + [FAILED, DONE, DEAD]
TARGETS = [PENDING] * 4 + [DEAD] * 2 + [DONE, FAILED]


class Hands:
    """One person's. `touched` are the names of the jobs that were moved, `removed` the tokens of those that were removed."""

    def __init__(self, spool, luck):
        self.spool = spool
        self.luck = luck
        self.touched = set()
        self.removed = set()
        self.names = {}  # token: the name its file was added under; a newcomer may share one

    def move(self):
        """Move a job, a running one rather than not."""
        state, target = self.luck.choice(SOURCES), self.luck.choice(TARGETS)
        if state != target and (id := self._some(state)):
            self.put(state, id, target)

    def put(self, state, id, target):
        """Do what `mv -n` does."""
        self.touched.add(name_of(id))
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            durable.move(self.spool.path(state, id), self.spool.path(target, id))

    def cancel(self, job):
        """Do what `queuectl cancel` does: a job of its name that is dead is set aside."""
        self.touched.add(name_of(job.id))
        with contextlib.suppress(NoSuchJob):
            self.spool.move(job, DEAD)

    def touch(self):
        """Put a waiting job off for half a second."""
        state = self.luck.choice((PENDING, FAILED))
        if id := self._some(state):
            later = self.spool.now() + 0.5
            with contextlib.suppress(FileNotFoundError):
                os.utime(self.spool.path(state, id), (later, later))

    def remove(self):
        """Remove a job that is alone with its name."""
        state = self.luck.choice((PENDING, PROCESSING, FAILED))
        id = self._some(state)
        tokens = [token for token, name in self.names.items() if name == id]
        if id and len(tokens) == 1:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.spool.path(state, id))
                self.removed.update(tokens)

    def drop(self, token, record):
        """Drop a new job under a name that another has; tell whether it is there now."""
        names = sorted({name for other, name in self.names.items() if other not in self.removed})
        if not names:
            return False
        name, spare = self.luck.choice(names), self.spool.spare()
        os.close(durable.write_new(spare, written(record)))
        try:
            durable.move(spare, self.spool.path(PENDING, name))
        except FileExistsError:
            durable.remove(spare)
            return False
        self.names[token] = name
        return True

    def pause(self):
        open(f"{self.spool.root}/paused", "w").close()

    def resume(self):
        durable.remove(f"{self.spool.root}/paused")

    def _some(self, state):
        names = sorted(self.spool.names(state))
        return self.luck.choice(names) if names else None


def name_of(id):
    """The name that a job was added under: one that was set aside is called NAME~N."""
    return id.partition("~")[0]
