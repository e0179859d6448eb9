"""Run one job here, under all the rules, in a worker of its own: for who will not wait for a pool."""

from __future__ import annotations

import os
import signal
import time

from jobspool import claim as claims
from jobspool.channel import Channel
from jobspool.errors import NoSuchJob
from jobspool.job import too_late, waits_until
from jobspool.states import DEAD, DONE, FAILED, PENDING
from jobspool.worker import Worker, be_child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jobspool.spool import Spool

LOOK_EVERY = 0.2  # seconds between looks at a job that waits for its retry, or that another worker runs


class Here:
    """A process that sees the job to its end, every retry of it, unless another worker is quicker."""

    def __init__(self, spool: Spool, id: str) -> None:
        spool.ready()
        self._pid = os.fork()
        if self._pid == 0:
            be_child(lambda: _serve(spool, id))

    def end(self) -> None:
        """Return when that process has ended; a job that it still runs is interrupted, and put back."""
        try:
            os.kill(self._pid, signal.SIGQUIT)
        except ProcessLookupError:
            pass
        os.waitpid(self._pid, 0)


def _serve(spool: Spool, id: str) -> None:
    ours, theirs = Channel.pair()
    worker = Worker(spool, theirs, os.getppid())
    while not worker.leaving and _is_unfinished(spool, id, worker):
        ours.receive()
    worker.finish()


def _is_unfinished(spool: Spool, id: str, worker: Worker) -> bool:
    """Bring the job one step further; False when it has come to its end."""
    try:
        job = spool.find(f"{id}.json")
    except NoSuchJob:
        return False
    if job.state in (DONE, DEAD):
        return False
    if job.state == PENDING and (why := too_late(job.record, spool.now())):
        claims.bury(spool, id, PENDING, why, worker.settings)
    elif job.state == PENDING and waits_until(job.record, job.mtime) <= spool.now():
        worker.work(id)
        worker.recorder.finish()
        if spool.read(PENDING, id):
            time.sleep(LOOK_EVERY)  # it was refused: another worker is at it, or the disk fails
    elif job.state == FAILED:
        due = claims.due_again(spool, id, spool.now())
        time.sleep(min(LOOK_EVERY, max(0.0, (due or 0.0) - spool.now())))
    else:
        time.sleep(LOOK_EVERY)
    return True
