"""Outcomes are recorded by a thread; what happens to it happens to the worker."""

import errno
import os
import resource
import signal

import pytest
from kit import drop, until

from jobspool import claim as claims
from jobspool import recorder
from jobspool.retry import Outcome, Verdict


def test_a_bug_in_the_thread_ends_the_worker_so_that_its_jobs_are_seen_to(spool, monkeypatch):
    drop(spool, "x", {"command": "x"})
    monkeypatch.setattr(recorder._Pass, "sync", lambda passing: 1 / 0)
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            claim = claims.take(spool, "x", spool.settings())
            entry = claims.entry_for(claim, Outcome(1.0, 2.0, 0), Verdict("done", "done", None), "here:1")
            one = recorder.Recorder(print)
            one.record(recorder.Outcome(claim, lambda: entry, spool.settings(), print))
            one.go_on()
            one.finish()
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert spool.names("processing") == ["x"]


def outcome_of(spool, id, told):
    claim = claims.take(spool, id, spool.settings())
    entry = claims.entry_for(claim, Outcome(1.0, 2.0, 0), Verdict("done", "done", None), "here:1")
    return recorder.Outcome(claim, lambda: entry, spool.settings(), lambda _, stayed: told.append((id, stayed)))


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
    monkeypatch.setattr(recorder, "RETRY_AFTER", 0.01)
    one = recorder.Recorder(report)
    for outcome in batch:
        one.record(outcome)
    one.finish()
    assert troubles == [(errno.EPERM, [])]
    assert told == [("a", True), ("c", True), ("b", True)]
    assert (sorted(spool.names("done")), spool.names("processing"), one.well) == (["a", "b", "c"], [], True)


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
            one.go_on()

    sent = []
    monkeypatch.setattr(claims.Recorded, "enter", refuse)
    monkeypatch.setattr(recorder, "RETRY_AFTER", 0.01)
    one = recorder.Recorder(report)
    one.record(first)
    one.finish()
    assert told == [("b", True), ("a", True)]


def test_outcomes_wait_for_each_other_only_while_more_come(spool, monkeypatch):
    monkeypatch.setattr(recorder, "GATHER", 1e9)
    passes, told = [], []
    sync = recorder._Pass.sync
    monkeypatch.setattr(recorder._Pass, "sync", lambda passing: (passes.append(len(passing._new)), sync(passing)))
    one = recorder.Recorder(print)
    ids = [f"job{number}" for number in range(12)]
    for id in ids[:7]:
        drop(spool, id, {"command": id})
        one.record(outcome_of(spool, id, told))
        one.go_on(more=True)
    assert (passes, told) == ([], [])
    for id in ids[7:]:
        drop(spool, id, {"command": id})
        one.record(outcome_of(spool, id, told))
    one.go_on()
    one.finish()
    assert passes[0] == 12
    assert (told, sorted(spool.names("done"))) == ([(id, True) for id in ids], sorted(ids))


def test_a_group_is_not_waited_for_longer_than_a_moment(spool, monkeypatch):
    monkeypatch.setattr(recorder, "GATHER", 0)
    told = []
    one = recorder.Recorder(print)
    drop(spool, "x", {"command": "x"})
    one.record(outcome_of(spool, "x", told))
    until(lambda: one.go_on(more=True) or told, "the record")
    assert told == [("x", True)]


@pytest.mark.parametrize(("files", "most"), [(1 << 20, recorder.MOST), (40, 4), (32, 1), (resource.RLIM_INFINITY, recorder.MOST)])
def test_no_more_outcomes_wait_than_descriptors_allow(monkeypatch, files, most):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    assert recorder.Recorder(print)._most == most
