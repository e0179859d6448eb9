"""Priority, front and back, and jobs that there may be only one of."""

import json
import os
import subprocess
import time

import pytest
from kit import QUEUECTL, comes_to, drop, pool, queuectl, until, where


def order(spool):
    return queuectl("list", "--state", "pending", "-q", spool=spool, check=True).stdout.split()


@pytest.fixture
def three(spool):
    for place, id in enumerate("abc"):
        drop(spool, id, {"command": "true"})
        os.utime(spool.path("pending", id), (1000 + place,) * 2)
    return spool


def ran(spool):
    told = queuectl("start", "--drain", "--log-format", "json", spool=spool, check=True).stdout
    return [event["id"] for event in map(json.loads, told.splitlines()) if event["event"] == "ended"]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["priority", "c", "5"], "cab"),
        (["priority", "a", "-5"], "bca"),
        (["priority", "b", "c", "1"], "bca"),
        (["front", "c"], "cab"),
        (["front", "b", "c"], "bca"),
        (["back", "a"], "bca"),
    ],
    ids=" ".join,
)
def test_a_person_orders_what_waits_and_list_shows_how_it_runs(three, words, wanted):
    queuectl(*words, spool=three, check=True)
    assert order(three) == list(wanted)
    assert ran(three) == list(wanted)


def test_front_is_before_those_of_high_priority_too(three):
    queuectl("priority", "a", "7", spool=three, check=True)
    queuectl("front", "c", spool=three, check=True)
    assert ran(three) == ["c", "a", "b"]


def test_waiting_makes_up_for_priority_where_the_setting_says_so(three):
    queuectl("config", "--key", "priority_aging", "--value", "100", spool=three, check=True)
    drop(three, "new", {"command": "true", "priority": 5})
    assert order(three) == ["a", "b", "c", "new"]
    assert queuectl("why", "new", spool=three).stdout.startswith("3 before it")
    assert ran(three) == ["a", "b", "c", "new"]


def test_one_is_added_of_fifty_at_once(spool, tmp_path):
    with pool(spool, 2):
        line = [
            *QUEUECTL,
            "enqueue",
            f"until test -e {tmp_path}/go; do sleep 0.01; done",
            "--unique",
            "mail/42",
            "--spool",
            spool.root,
        ]
        many = [subprocess.Popen(line, stdout=subprocess.PIPE, text=True) for _ in range(50)]
        said = [each.communicate(timeout=60)[0] for each in many]
        assert ({each.returncode for each in many}, set(said)) == ({0}, {"mail%2F42\n"})
        (tmp_path / "go").touch()
        comes_to(spool, "mail%2F42", "done")
    assert [sum(spool.count(state) for state in ("pending", "done", "failed", "dead"))] == [1]
    assert len(spool.find("mail%2F42").attempts) == 1


def test_given_ids_are_one_job_each_while_workers_are_quick(spool, tmp_path):
    with pool(spool, 2):
        for i in range(12):
            line = [*QUEUECTL, "enqueue", "-q", f"echo >> {tmp_path}/runs", "--id", f"x{i}", "--spool", spool.root]
            pair = [subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(2)]
            assert sorted(each.wait(30) for each in pair) == [0, 1]
        until(lambda: spool.count("done") == 12, "all of them")
    assert len((tmp_path / "runs").read_text().splitlines()) == 12


def test_once_it_has_ended_another_may_come_but_not_within_the_time(spool):
    for _ in range(2):
        assert queuectl("enqueue", "true", "--unique", "k", spool=spool, check=True).stdout == "k\n"
        queuectl("start", "--drain", "--quiet", spool=spool, check=True)
    assert sorted(spool.names("done")) == ["k", "k~1"]
    queuectl("enqueue", "true", "--unique", "k", "--unique-for", "1h", spool=spool, check=True)
    assert spool.count("pending") == 0


def test_a_conflict_may_be_an_error(spool):
    queuectl("enqueue", "true", "--unique", "k", spool=spool, check=True)
    again = queuectl("enqueue", "true", "--unique", "k", "--fail", spool=spool)
    assert (again.returncode, "k is pending already" in again.stderr) == (1, True)


def test_the_last_that_was_added_counts(spool):
    for word in ("one", "two", "three"):
        queuectl("enqueue", f"echo {word}", "--unique", "k", "--replace", "--delay", "0.5", spool=spool, check=True)
    assert spool.count("pending") == 1
    assert os.stat(spool.path("pending", "k")).st_mtime > time.time()
    with pool(spool):
        assert comes_to(spool, "k", "done").record["command"] == "echo three"


def test_what_comes_while_it_runs_runs_behind_it(spool, tmp_path):
    command = f"echo >> {tmp_path}/runs; until test -e {tmp_path}/end; do sleep 0.01; done"
    with pool(spool, 2):
        queuectl("enqueue", command, "--unique", "k", spool=spool, check=True)
        until((tmp_path / "runs").exists, "the first")
        for _ in range(3):
            queuectl("enqueue", command, "--unique", "k", "--replace", spool=spool, check=True)
        (tmp_path / "end").touch()
        until(lambda: spool.count("done") == 2, "both")
    assert (tmp_path / "runs").read_text() == "\n\n"


def test_one_may_wait_behind_one_that_runs(spool, tmp_path):
    command = f"echo >> {tmp_path}/runs; until test -e {tmp_path}/end; do sleep 0.01; done"
    words = [command, "--unique", "k", "--unique-until", "started"]
    with pool(spool, 2):
        queuectl("enqueue", *words, spool=spool, check=True)
        until((tmp_path / "runs").exists, "the first")
        for _ in range(3):
            queuectl("enqueue", *words, spool=spool, check=True)
        assert spool.count("pending") == 1
        (tmp_path / "end").touch()
        until(lambda: spool.count("done") == 2, "both")


def test_a_failed_one_is_replaced_with_all_its_tries(spool):
    drop(spool, "k", {"command": "false", "attempts": [{"verdict": "failed", "ended": "2026-01-01T00:00:00Z"}]}, "failed")
    os.utime(spool.path("failed", "k"), (9e9, 9e9))
    queuectl("enqueue", "true", "--unique", "k", "--replace", spool=spool, check=True)
    assert (where(spool, "k"), spool.find("k").record["command"], spool.find("k").attempts) == (["pending"], "true", [])
