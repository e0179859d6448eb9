"""A file that a power cut left under two names keeps the one that it was moved to."""

import os
from pathlib import Path

import pytest
from kit import drop, where

from jobspool import claim as claims
from jobspool import names, recovery
from jobspool.claim import Claim
from jobspool.job import seconds


def linked(spool, *states, id="x", record=None):
    """One file, under its name in each of the states."""
    first = drop(spool, id, record or {"command": "make"}, states[0])
    os.utime(first, (1_000_000_000,) * 2)
    for state in states[1:]:
        os.link(first, spool.path(state, id))
    return os.lstat(first)


def recorded(verdict):
    when = "2001-09-09T01:46:40Z"  # 1,000,000,000 s
    return {"command": "make", "attempts": [{"ended": when, "verdict": verdict}]}


@pytest.mark.parametrize(
    ("states", "stays"),
    [
        (["pending", "done"], "pending"),
        (["pending", "dead"], "pending"),
        (["pending", "failed"], "pending"),
        (["failed", "dead"], "dead"),
        (["pending", "processing"], "processing"),
    ],
    ids=str,
)
def test_one_name_stays(spool, states, stays):
    spool.ready()
    found = linked(spool, *states)
    assert (names.keep_one(spool, "x", found, {}), where(spool, "x")) == (stays, [stays])
    assert os.listdir(f"{spool.root}/tmp") == []


@pytest.mark.parametrize("state", ["pending", "done", "failed", "dead"])
def test_a_recorded_job_leaves_processing(spool, state):
    spool.ready()
    record = recorded("done")
    assert names.keep_one(spool, "x", linked(spool, "processing", state, record=record), record) == state
    assert where(spool, "x") == [state]


@pytest.mark.parametrize("states", [["pending", "failed"], ["failed", "dead"], ["pending", "dead"]], ids=str)
def test_recovery_finds_the_second_name_though_nobody_touches_the_job(spool, states):
    spool.ready()
    linked(spool, *states)
    recovery.mend(spool, recovery.plan(spool), spool.settings(), 0.0)
    assert len(where(spool, "x")) == 1


def test_recovery_leaves_two_jobs_of_one_name_where_they_are(spool):
    for state in ("pending", "failed", "dead"):
        drop(spool, "x", {"command": "make"}, state)
    assert recovery.plan(spool) == []


def test_the_name_in_tmp_goes(spool):
    spool.ready()
    found = linked(spool, "pending")
    os.link(spool.path("pending", "x"), f"{spool.root}/tmp/1-spare")
    assert names.keep_one(spool, "x", found, {}) == "pending"
    assert (where(spool, "x"), os.listdir(f"{spool.root}/tmp")) == (["pending"], [])


def test_another_file_of_the_name_is_not_touched(spool):
    spool.ready()
    found = linked(spool, "pending")
    drop(spool, "x", {"command": "other"}, "done")
    assert (names.keep_one(spool, "x", found, {}), where(spool, "x")) == ("pending", ["pending", "done"])


def test_a_link_from_outside_is_none_of_ours(spool, tmp_path):
    spool.ready()
    found = linked(spool, "pending")
    os.link(spool.path("pending", "x"), tmp_path / "mine")
    assert names.keep_one(spool, "x", found, {}) == "pending"
    assert claims.take(spool, "x", spool.settings()).kind == "unsafe"
    assert (tmp_path / "mine").exists()


def test_a_job_under_two_names_can_be_claimed(spool):
    spool.ready()
    linked(spool, "pending", "dead")
    claim = claims.take(spool, "x", spool.settings())
    assert (type(claim), where(spool, "x")) == (Claim, ["processing"])
    claim.release()


def test_a_failed_job_that_hands_had_put_to_the_dead_does_not_come_back(spool):
    spool.ready()
    linked(spool, "failed", "dead")
    assert claims.due_again(spool, "x", spool.now()) is None
    assert where(spool, "x") == ["dead"]


def test_a_job_that_is_set_aside_takes_its_logs_along(spool):
    """Those that were in another's way have another name already: their time tells whose they are."""
    spool.ready()

    def tried(day):
        return {"started": f"2026-01-0{day}T00:00:00Z", "ended": f"2026-01-0{day}T00:00:09Z", "verdict": "failed"}

    drop(spool, "x", {"command": "older", "attempts": [tried(1), tried(2)]}, "done")
    drop(spool, "x", {"command": "newer", "attempts": [tried(5)]}, "processing")
    logs = {"x.1~1.out": 1, "x.1~2.out": 3, "x.1.out": 5, "x.2.out": 2, "x.2.err": 2}
    for name, day in logs.items():
        path = Path(spool.root, "logs", name)
        path.write_text(f"day {day}")
        os.utime(path, (seconds(f"2026-01-0{day}T00:00:05Z"),) * 2)
    claims.move(spool, "x", "processing", "done")
    assert {name: Path(spool.root, "logs", name).read_text() for name in os.listdir(f"{spool.root}/logs")} == {
        "x~1.1.out": "day 1", "x.1~2.out": "day 3", "x.1.out": "day 5", "x~1.2.out": "day 2", "x~1.2.err": "day 2"}  # fmt: skip
    assert (spool.read("done", "x").record["command"], spool.read("done", "x~1").record["command"]) == ("newer", "older")
