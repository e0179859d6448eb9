"""Jobs that come after others: with real workers, by hand, and from the command."""

import json
import os
from pathlib import Path

import pytest
from kit import comes_to, drop, let_pass, mv, pool, queuectl, until, where


def add(spool, *words):
    return queuectl("enqueue", *words, spool=spool, check=True).stdout.strip()


def test_a_child_runs_when_its_parents_are_done_and_not_before(spool, tmp_path):
    for id in ("a", "b"):
        drop(spool, id, {"command": f"until test -e {tmp_path}/{id}; do sleep 0.01; done"})
    child = add(spool, "true", "--after", "a,b")
    with pool(spool, 3):
        until(lambda: spool.count("processing") == 2, "both parents")
        assert "it comes after b, which is processing: queuectl why b" in queuectl("why", child, spool=spool).stdout
        (tmp_path / "a").touch()
        comes_to(spool, "a", "done")
        assert where(spool, child) == ["pending"]
        (tmp_path / "b").touch()
        comes_to(spool, child, "done")


def test_a_chain_runs_in_order_and_a_drain_waits_for_it(spool, tmp_path):
    last = add(spool, f"echo 0 >> {tmp_path}/order")
    for i in range(1, 6):
        last = add(spool, f"echo {i} >> {tmp_path}/order", "--after", last)
    queuectl("start", "--drain", "--quiet", "--count", "3", spool=spool, check=True)
    assert (tmp_path / "order").read_text().split() == list("012345")


def test_a_child_of_a_dead_parent_waits_and_heals_when_that_is_retried(spool, tmp_path):
    drop(spool, "p", {"command": f"test -e {tmp_path}/well", "max_retries": 0})
    child = add(spool, "true", "--after", "p")
    queuectl("start", "--drain", "--quiet", spool=spool, check=True)
    assert (where(spool, "p"), where(spool, child)) == (["dead"], ["pending"])
    assert "it comes after p, which is dead" in queuectl("why", child, spool=spool).stdout
    (tmp_path / "well").touch()
    with pool(spool):
        queuectl("retry", "p", spool=spool, check=True)
        comes_to(spool, child, "done")


@pytest.mark.parametrize(("policy", "state"), [("cancel", "dead"), ("run", "done")])
def test_what_comes_of_a_child_when_its_parent_dies_is_its_own_to_say(spool, policy, state):
    drop(spool, "p", {"command": "false", "max_retries": 0})
    child = add(spool, "true", "--after", "p", "--dead-parent", policy)
    queuectl("start", "--drain", "--quiet", spool=spool, check=True)
    assert where(spool, child) == [state]
    if state == "dead":
        assert "p, which it comes after, is dead" in queuectl("why", child, spool=spool).stdout


def test_why_goes_up_to_the_first_that_keeps_all_from_running(spool):
    drop(spool, "make", {"command": "true"}, "dead")
    drop(spool, "test", {"command": "true", "after": ["make"]})
    drop(spool, "ship", {"command": "true", "after": ["test"]})
    said = "it comes after test, which is pending; test comes after make, which is dead: queuectl why make"
    assert said in queuectl("why", "ship", spool=spool).stdout


def test_a_wrong_policy_is_told_with_the_nearest(spool):
    drop(spool, "p", {"command": "true"})
    ran = queuectl("enqueue", "true", "--after", "p", "--dead-parent", "cancle", spool=spool)
    assert (ran.returncode, "must be one of wait, cancel, run, did you mean 'cancel'?" in ran.stderr) == (2, True)


def test_after_any_and_after_fail(spool):
    drop(spool, "dies", {"command": "false", "max_retries": 0})
    drop(spool, "ends", {"command": "true"})
    kids = {name: add(spool, "true", option, parent) for name, option, parent in [
        ("any of dead", "--after-any", "dies"), ("any of done", "--after-any", "ends"),
        ("fail of dead", "--after-fail", "dies"), ("fail of done", "--after-fail", "ends"),
    ]}  # fmt: skip
    queuectl("start", "--drain", "--quiet", spool=spool, check=True)
    assert {name: where(spool, id)[0] for name, id in kids.items()} == {
        "any of dead": "done",
        "any of done": "done",
        "fail of dead": "done",
        "fail of done": "dead",
    }


def test_hands_that_skip_the_parent_let_the_child_go(spool):
    drop(spool, "p", {"command": "true", "hold": "so"})
    drop(spool, "c", {"command": "true", "after": ["p"]})
    with pool(spool):
        drop(spool, "other", {"command": "true"})
        comes_to(spool, "other", "done")
        assert where(spool, "c") == ["pending"]
        mv(spool, "p", "pending", "done")
        comes_to(spool, "c", "done")


def test_jobs_that_come_after_themselves_are_refused(spool):
    for id, parent in (("a", "b"), ("b", "c"), ("c", "a"), ("self", "self")):
        drop(spool, id, {"command": "true", "after": [parent]})
    with pool(spool):
        comes_to(spool, "self", "dead")
        until(lambda: spool.count("dead") >= 2, "the circle to be broken")
    assert spool.count("done") == 0
    assert "it comes after itself" in queuectl("why", "self", spool=spool).stdout


def test_a_child_is_told_of_its_parents(spool):
    drop(spool, "p", {"command": "echo from the parent"})
    child = add(spool, 'cat "$QUEUECTL_PARENT_1_OUT"; echo $QUEUECTL_PARENTS $QUEUECTL_PARENT_1_ID', "--after", "p")
    queuectl("start", "--drain", "--quiet", spool=spool, check=True)
    assert Path(spool.log_path(child, 1, "out")).read_text() == "from the parent\np p\n"


def test_a_parent_that_is_not_there_is_refused_and_one_that_goes_is_named(spool):
    ran = queuectl("enqueue", "true", "--after", "nobody", spool=spool)
    assert (ran.returncode, "no job fits 'nobody'" in ran.stderr, spool.count("pending")) == (1, True, 0)
    drop(spool, "c", {"command": "true", "after": ["nobody"]})
    queuectl("start", "--drain", "--quiet", spool=spool, check=True)
    assert "nobody, which it comes after, is gone" in queuectl("why", "c", spool=spool).stdout


def test_a_thousand_that_wait_cost_nothing(spool, tmp_path):
    drop(spool, "p", {"command": "true", "hold": "so"})
    for i in range(1000):
        drop(spool, f"c{i:03}", {"command": "true", "after": ["p"]})
    with pool(spool) as one:
        drop(spool, "other", {"command": "true"})
        comes_to(spool, "other", "done")
        before = ticks(one)
        let_pass(2)
        assert ticks(one) - before <= 10
        queuectl("release", "p", spool=spool, check=True)
        until(lambda: spool.count("done") == 1002, "all of them")


def ticks(one):
    fields = Path(f"/proc/{one.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def test_the_tree_shows_each_below_what_it_comes_after(spool):
    drop(spool, "a", {"command": "make"})
    drop(spool, "b", {"command": "test", "after": ["a"]})
    drop(spool, "c", {"command": "ship", "after": ["b"]})
    drop(spool, "d", {"command": "other"})
    for place, id in enumerate("cbad"):
        os.utime(spool.path("pending", id), (1000 + place,) * 2)
    lines = queuectl("list", "--tree", spool=spool).stdout.splitlines()[1:]
    assert [line.split()[0] for line in lines] == ["a", "b", "c", "d"]
    assert [line[line.index("-") :].count("  ") for line in lines][:3] == sorted(
        [line[line.index("-") :].count("  ") for line in lines][:3]
    )
    assert json.loads(queuectl("list", "--json", "--name", "*", "--grep", "ship", spool=spool).stdout or "{}").get("after") == [
        "b"
    ]


def test_a_long_chain_and_many_children_are_known_at_once(sight, spool):
    for i in range(2000):
        drop(spool, f"c{i:04}", {"command": "true", "after": [f"c{i + 1:04}"]})
    for i in range(2000):
        drop(spool, f"k{i:04}", {"command": "true", "after": ["dead"]})
    drop(spool, "dead", {"command": "true"}, "dead")
    begun = os.times().user
    while len(sight._waiting) < 4000:
        sight.look_around(float("inf"))
    assert os.times().user - begun < 10
    before = os.times().user
    for _ in range(20):
        sight._look_for_parents()
        sight.look_around(0.0)
    assert os.times().user - before < 1


def test_a_job_behind_thousands_runs(spool):
    for i in range(5000):
        drop(spool, f"p{i:04}", {"command": "true"}, "done")
    drop(spool, "c", {"command": "echo ${QUEUECTL_PARENTS-none}", "after": [f"p{i:04}" for i in range(5000)]})
    queuectl("start", "--drain", "--quiet", spool=spool, check=True)
    assert queuectl("logs", "c", spool=spool).stdout == "none\n"
