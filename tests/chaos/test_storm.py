"""Kill anything, any time: a short run of `make chaos`, and what its witness is able to see."""

import os

import pytest
from chaos.storm import SOON, storm, storm_on_a_full_disk
from chaos.witness import FEW, Line, longest_pause, wrongs

from jobspool import Job

SEED = int(os.environ.get("SEED", 1))


@pytest.fixture(scope="module")
def report():
    print(f"SEED={SEED}")
    return storm(22, SEED)


def test_nothing_is_lost_nothing_runs_twice_and_tries_stay_in_bounds(report):
    assert report.wrong == []


def test_the_pools_go_on_by_themselves(report):
    assert (report.pause < SOON, report.stay < 3 * SOON) == (True, True), (report.pause, report.stay)


def test_it_was_a_storm(report):
    assert min(report.kills, report.jobs, report.runs) > 50
    assert {"KILL worker", "KILL job", "KILL group", "TERM worker", "STOP worker"} <= set(report.blows)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_loses_nothing_either():
    print(f"SEED={SEED}")
    report = storm_on_a_full_disk(6, SEED)
    assert report.wrong == []


# ---- what the witness sees


def attempt(verdict="done", reason=None, number=1):
    return {"number": number, "verdict": verdict, "reason": reason}


LOST = attempt("failed", "worker lost")
TRIED = [attempt("failed", "exit 3", 1), attempt("failed", "exit 3", 2), attempt("dead", "exit 3", 3)]
THREE = "start 1, start 2, start 3"


def lines(text, token="7"):
    return [Line(word, token, int(number), 4, 5, 0.0) for word, number in map(str.split, text.split(","))]


def seen(text, attempts, kind="plain", state="done", **more):
    """What the witness finds wrong with job 7, which said so and has these attempts on record."""
    jobs = [Job(f"job-{i}", state, {"meta": "7", "attempts": attempts}, 0.0, 0.0) for i in range(more.get("copies", 1))]
    hands = (more.get("touched", ()), more.get("removed", ()))
    said = [*more.get("killed", lines("killed 0", "-")), *lines(text)]
    return list(wrongs(jobs, {"7": kind}, ["7"], said, *hands))


def test_a_job_that_went_well_is_nothing_to_complain_of():
    assert seen("start 1, end 1", [attempt()]) == []
    assert seen("start 1, start 2, end 2", [LOST, attempt(number=2)]) == []
    assert seen(THREE, TRIED, "fails", "dead") == []
    assert len(TRIED) == FEW + 1


@pytest.mark.parametrize(
    ("text", "attempts", "more"),
    [
        ("start 1, end 1", [attempt()], {"copies": 0}),
        ("start 1, end 1", [attempt()], {"copies": 2}),
        ("start 1, end 1", [attempt()], {"removed": ["7"]}),
        ("added 1, start 1, end 1", [attempt()], {}),
        ("start 1, overlap 2, end 1", [attempt(), attempt(number=2)], {"touched": ["7"]}),
        ("start 1, end 1", [attempt()], {"kind": "endless", "state": "dead", "touched": ["7"]}),
        ("start 1, left 1, start 2, gone 1, end 2", [LOST, attempt(number=2)], {}),
        ("start 1", [attempt()], {}),
        ("start 1, end 1", [attempt()], {"state": "dead"}),
        ("start 1, end 1, start 2, end 2", [attempt(), attempt(number=2)], {}),
        ("start 1, start 1, end 1", [attempt()], {}),
        ("start 1, start 2, end 2", [attempt()], {}),
        ("start 1, start 2, end 2", [LOST, attempt(number=2)], {"killed": []}),
        ("start 1, start 2", TRIED[:2], {"kind": "fails", "state": "dead"}),
        (THREE, [*TRIED[:2], attempt("failed", "exit 3", 3), TRIED[2]], {"kind": "killer", "state": "dead"}),
    ],
    ids=[
        "gone", "there twice", "removed and back", "child gone", "overlap", "never ended", "beside its daemon", "done without end",
        "dead", "done and run again", "one number twice", "not on record", "lost without cause", "too few tries", "too many tries",
    ],
)  # fmt: skip
def test_the_witness_sees_what_is_wrong(text, attempts, more):
    assert len(seen(text, attempts, **more)) == 1


def test_what_a_job_left_behind_may_run_beside_the_next_attempt_unless_its_worker_was_lost():
    said = "start 1, left 1, start 2, gone 1, end 2"
    assert seen(said, [attempt("failed", "ended by SIGKILL"), attempt(number=2)]) == []


@pytest.mark.parametrize(
    ("text", "pause"),
    [
        ("up 0, start 1, start 4, calm 5", 3),
        ("up 0, calm 7", 7),
        ("up 0, start 1, killed 3, start 4, calm 5", 1),
        ("up 0, start 1, frozen 2, thawed 9, start 10, calm 11", 1),
        ("up 0, start 1, down 8, calm 20", 7),
        ("up 0, start 1, empty 6, start 7, calm 8", 1),
        ("up 0, start 1, down 2, start 3, calm 9", 1),
    ],
)
def test_a_pause_is_the_time_in_which_a_living_pool_could_have_started_something(text, pause):
    said = [
        Line(word, "-", 0, 4, 0 if word in ("calm", "empty") else 5, float(time))
        for word, time in map(str.split, text.split(","))
    ]
    assert longest_pause(said) == pause
