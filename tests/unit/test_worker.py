"""A worker between two jobs."""

import errno
import os

from jobspool import durable, roster
from jobspool.channel import Channel
from jobspool.worker import Worker


def test_a_worker_that_could_not_be_noted_is_noted_when_there_is_room_though_it_gets_no_job(spool, in_child, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def idle():
        ours, theirs = Channel.pair()
        with monkeypatch.context() as disk:
            disk.setattr(durable, "write_new", full)
            worker = Worker(spool, theirs, os.getpid())
        before = len(roster.living(spool))
        ours.send("stop")
        worker._next()
        return 10 * before + len(roster.living(spool))

    spool.ready()
    assert in_child(idle) == 1
