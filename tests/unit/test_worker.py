"""A worker between two jobs."""

import errno
import os

from kit import drop

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


def test_what_was_looked_at_ahead_is_let_go_with_what_is_given_back(spool, in_child):
    """The files that have the room for the outcomes stay in tmp/ no longer than that."""

    def work():
        ours, theirs = Channel.pair()
        worker = Worker(spool, theirs, os.getpid())
        worker._ids.extend("xy")
        worker.work(worker._ids.popleft())
        worker.recorder.finish()
        ahead = len(os.listdir(f"{spool.root}/tmp"))
        worker._give_back()
        assert [said["kind"] for said in ours.receive()] == ["ended"]
        assert ours.receive() == [{"kind": "back", "ids": ["y"]}]
        return 10 * ahead + len(os.listdir(f"{spool.root}/tmp"))

    spool.ready()
    for id in "xy":
        drop(spool, id, {"command": "true"})
    assert in_child(work) == 10
    assert (spool.names("done"), spool.names("pending")) == (["x"], ["y"])
