"""Outcomes are recorded by a thread; what happens to it happens to the worker."""

import errno
import os
import signal

from kit import drop

from jobspool import claim as claims
from jobspool import recorder
from jobspool.retry import Outcome, Verdict


def test_a_bug_in_the_thread_ends_the_worker_so_that_its_jobs_are_seen_to(spool, monkeypatch):
    drop(spool, "x", {"command": "x"})
    monkeypatch.setattr(recorder, "_record_all", lambda steps: 1 / 0)
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            claim = claims.take(spool, "x", spool.settings())
            entry = claims.entry_for(claim, Outcome(1.0, 2.0, 0), Verdict("done", "done", None), "here:1")
            one = recorder.Recorder(print)
            one.record(recorder.Outcome(claim, entry, spool.settings(), print))
            one.finish()
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert spool.names("processing") == ["x"]


def outcome_of(spool, id, told):
    claim = claims.take(spool, id, spool.settings())
    entry = claims.entry_for(claim, Outcome(1.0, 2.0, 0), Verdict("done", "done", None), "here:1")
    return recorder.Outcome(claim, entry, spool.settings(), lambda stayed: told.append((id, stayed)))


def test_an_outcome_that_the_disk_refuses_keeps_nobody_from_the_others(spool, monkeypatch):
    for id in "abc":
        drop(spool, id, {"command": id})
    told, troubles = [], []
    batch = [outcome_of(spool, id, told) for id in "abc"]
    enter, refused = claims.Recorded.enter, ["b"]

    def refuse(recorded):
        if recorded.claim.id in refused:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        return enter(recorded)

    def report(error):
        troubles.append((error.errno, sorted(spool.names("done"))))
        refused.clear()

    monkeypatch.setattr(claims.Recorded, "enter", refuse)
    one = recorder.Recorder(report)
    steps = one._try([recorder._Step(outcome) for outcome in batch], lambda seconds: None)
    assert (len(steps), one.well.is_set()) == (1, False)
    assert one._try(steps, print) == []
    assert troubles == [(errno.EPERM, ["a", "c"])]
    assert told == [("a", True), ("c", True), ("b", True)]
    assert (sorted(spool.names("done")), spool.names("processing"), one.well.is_set()) == (["a", "b", "c"], [], True)


def test_an_outcome_that_comes_while_another_is_refused_is_recorded(spool, monkeypatch):
    for id in "ab":
        drop(spool, id, {"command": id})
    told, refused, enter = [], ["a"], claims.Recorded.enter
    first, second = (outcome_of(spool, id, told) for id in "ab")

    def refuse(recorded):
        if recorded.claim.id in refused:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        return enter(recorded)

    def report(error):
        if told:
            refused.clear()
        elif second not in sent:
            sent.append(second)
            one.record(second)

    sent = []
    monkeypatch.setattr(claims.Recorded, "enter", refuse)
    monkeypatch.setattr(recorder, "RETRY_AFTER", 0.01)
    one = recorder.Recorder(report)
    one.record(first)
    one.finish()
    assert told == [("b", True), ("a", True)]
