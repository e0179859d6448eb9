"""What hands did is told before the deed that follows on it, whoever does that: else nobody could find it any more."""

import errno
import os
import threading
import time
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from kit import drop, mv, until

from jobspool import Spool, audit, durable, hands, journal, recovery, retention, whereabouts
from jobspool.claim import bury, due_again
from jobspool.errors import QueueError
from jobspool.job import iso

ELSEWHERE = ["pending", "failed", "done", "dead"]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(whereabouts, "SETTLED", 0.02)
    monkeypatch.setattr(whereabouts, "ROUND", 0.005)
    monkeypatch.setattr(whereabouts, "PATIENCE", 0.1)
    monkeypatch.setattr(whereabouts, "_whereabouts", {})


def told(spool, id="x"):
    """How the job went, and by whom, as the journal has it."""
    events = [event for event in journal.Reader(spool.root).read(10_000) if event["job"] == id]
    return [(event["from"], event["to"], event["by"]) for event in events]


def way(spool, id="x"):
    """The states that the job was in, one behind the other. Each line begins where the last one ended."""
    states = [None]
    for source, target, _ in told(spool, id):
        assert source == states[-1], told(spool, id)
        states += [target] if target != source else []
    return states


def cancel(spool):
    hands.cancel(spool, spool.find("x.json"), "by ann", spool.settings())


def retry(spool):
    hands.retry(spool, spool.find("x.json"), spool.settings())


def hold(spool):
    hands.hold(spool, spool.find("x.json"), "by ann", spool.settings())


def release(spool):
    hands.release(spool, spool.find("x.json"), spool.settings())


def prefer(spool):
    hands.change(spool, spool.find("x.json"), {"priority": 1 + spool.find("x.json").record.get("priority", 0)}, spool.settings())


def remove(spool):
    hands.remove(spool, spool.find("x.json"))


def retry_and_undo(spool):
    before = spool.find("x.json")
    hands.retry(spool, before, spool.settings())
    hands.put_back(spool, before, spool.find("x.json"), spool.settings())


def add(spool):
    spool.add("true", id="x")


def add_unique(spool):
    hands.add_unique(spool, "x", {"command": "true"}, None, 0.0, "fail", spool.settings())


def replace(spool):
    record = {"command": f"echo {time.monotonic_ns()}"}
    hands.add_unique(spool, "x", record, None, 0.0, "replace", spool.settings())


def come_due(spool):
    see(spool, "failed")
    due_again(spool, "x", time.time() + 1)


def too_late(spool):
    see(spool, "pending")
    bury(spool, "x", "pending", "too late", spool.settings())


def see(spool, state):
    if not os.path.exists(spool.path(state, "x")):
        raise QueueError(f"x is not in {state}/")


def look(spool):
    audit.audit(spool, patience=0.1)


WHERE_IT_LEADS = {  # by the state that the job is in: through which it goes
    cancel: {"pending": ["dead"], "failed": ["dead"]},
    retry: {"dead": ["pending"], "failed": ["pending"]},
    retry_and_undo: {"dead": ["pending", "dead"], "failed": ["pending", "failed"]},
    hold: {},
    release: {},
    prefer: {},
    remove: {state: [None] for state in ELSEWHERE},
    add: {None: ["pending"]},
    add_unique: {None: ["pending"], "done": ["pending"], "dead": ["pending"]},
    replace: {None: ["pending"], "done": ["pending"], "dead": ["pending"], "failed": ["pending"]},
    come_due: {"failed": ["pending"]},
    too_late: {"pending": ["dead"]},
    look: {},
}


@pytest.mark.parametrize("looked", [False, True])
@pytest.mark.parametrize("target", ELSEWHERE[1:])
@pytest.mark.parametrize("deed", [cancel, retry, retry_and_undo, hold, prefer, remove, replace, come_due, look])
def test_a_move_by_hand_is_told_before_the_deed_that_follows(spool, deed, target, looked):
    spool.add("true", id="x")
    if looked:
        look(spool)
    mv(spool, "x", "pending", target)
    with suppress(QueueError):  # it can't be done where the job is: then the next look tells
        deed(spool)
    expected = [None, "pending", target, *WHERE_IT_LEADS[deed].get(target, [])]
    if deed is replace and target in ("done", "dead"):  # this one is another of the name
        assert (told(spool)[1], told(spool)[2][:2]) == (("pending", target, "hand"), (None, "pending"))
        return
    look(spool)
    assert (way(spool), told(spool)[1]) == (expected, ("pending", target, "hand"))


def test_a_removal_by_hand_is_told_before_another_job_gets_the_name(spool):
    spool.add("true", id="x")
    for deed in (add, add_unique, replace):
        os.unlink(spool.path("pending", "x"))
        deed(spool)
    look(spool)
    assert [step for step in told(spool) if step[2] == "hand"] == [("pending", None, "hand")] * 3
    assert way(spool) == [None, *["pending", None] * 3, "pending"]


def test_a_dropped_job_is_told_of_before_it_is_removed(spool):
    drop(spool, "x", {"command": "true"})
    remove(spool)
    look(spool)
    assert told(spool) == [(None, "pending", "hand"), ("pending", None, "program")]


def test_a_job_that_hands_put_into_done_is_told_of_before_it_is_kept_no_longer(spool):
    spool.add("true", id="x")
    mv(spool, "x", "pending", "done")
    walk = [lambda: list(retention.prune_state(spool, "done", 0, spool.settings(), []))]
    walk[0]()  # nobody waits there for a line that may be on its way: the next walk will do
    time.sleep(2 * whereabouts.SETTLED)
    walk[0]()
    assert (way(spool), spool.names("done")) == ([None, "pending", "done", None], [])


def test_two_of_one_name_are_told_of_each_for_itself(spool):
    """One that is dead may have a name that another has by now, as with --unique: no hands were at either."""
    spool.add("true", id="x")
    cancel(spool)
    add_unique(spool)
    hands.remove(spool, spool.read("dead", "x"))
    look(spool)
    assert [step for step in told(spool) if step[2] == "hand"] == []
    drop(spool, "x", {"command": "true"}, "done")
    hands.remove(spool, spool.read("done", "x"))
    look(spool)
    assert [step for step in told(spool) if step[2] == "hand"] == [(None, "done", "hand")]


def test_one_that_runs_is_not_where_another_of_its_name_came_from(spool):
    spool.add("true", id="x")
    spool.note("claimed", ["x"], "pending", "processing", by="worker")
    mv(spool, "x", "pending", "processing")
    drop(spool, "x", {"command": "true"}, "dead")
    retry(spool_of_dead(spool))
    assert told(spool)[2:] == [(None, "dead", "hand"), ("dead", "pending", "program")]


def spool_of_dead(spool):
    """The spool, in which the dead job is found first."""
    spool.find = lambda handle, first=None: spool.read("dead", "x")
    return spool


@pytest.mark.parametrize("age", [0.0, 2.0])
def test_a_claim_whose_line_died_with_its_worker_is_told_before_the_recovery(spool, age, monkeypatch):
    spool.add("true", id="x")
    mv(spool, "x", "pending", "processing")
    if age:
        monkeypatch.setattr(spool, "now", lambda: time.time() + age)
        look(spool)  # as a supervisor does first, which can't tell whether its line is on its way
    recovery.mend(spool, recovery.plan(spool), spool.settings(), 0.5)
    assert [where[:2] for where in told(spool)[:2]] == [(None, "pending"), ("pending", "processing")]
    assert (way(spool)[:3], way(spool)[-1]) == ([None, "pending", "processing"], spool.find("x").state)


@pytest.mark.parametrize("verdict", ["failed", "interrupted"])
def test_what_was_told_before_its_worker_died_is_no_claim(spool, verdict):
    """What waits again is told first; a kill then leaves it in processing/ with its outcome on record."""
    now = round(time.time(), 6)
    attempt = {"number": 1, "started": iso(now - 1), "ended": iso(now), "duration": 1.0, "worker": "w", "verdict": verdict}
    path = drop(spool, "x", {"command": "true", "attempts": [{**attempt, "due": iso(now), "reason": "exit 1"}]}, "processing")
    os.utime(path, (now, now))
    state = {"failed": "failed", "interrupted": "pending"}[verdict]
    spool.note("claimed", ["x"], None, "processing", by="worker")
    spool.note("ended", ["x"], "processing", state, by="worker")
    recovery.mend(spool, recovery.plan(spool), spool.settings(), 0.5)
    assert (spool.find("x").state, [event for event in told(spool) if event[1] == "processing"]) == (
        state,
        [(None, "processing", "worker")],
    )


def test_a_clock_that_was_set_back_hides_nothing(spool):
    spool.add("true", id="x")
    spool.now = lambda: time.time() + 1000
    look(spool)
    spool.now = time.time
    mv(spool, "x", "pending", "dead")
    retry(spool)
    assert way(spool) == [None, "pending", "dead", "pending"]


def test_a_child_waits_for_no_lock_that_another_thread_of_its_parent_had(spool):
    with whereabouts._lock:
        pid = os.fork()
        if pid == 0:
            spool.add("true", id="x")
            os._exit(0)
        until(lambda: os.waitpid(pid, os.WNOHANG) == (pid, 0), "the child")


def test_nobody_else_waits_while_a_line_is_waited_for(spool, monkeypatch):
    """Who gives names of his own choice is alone at that."""
    monkeypatch.setattr(whereabouts, "PATIENCE", 20.0)
    spool.add("true", id="x")
    os.unlink(spool.path("pending", "x"))
    waits = threading.Thread(target=add, args=(spool,))
    waits.start()
    spool.add("true", id="y")
    assert waits.is_alive()
    spool.note("removed", ["x"], "pending", None, by="command")
    waits.join()
    assert [by for _, _, by in told(spool)] == ["program", "command", "program"]


def test_who_doesnt_wait_is_not_kept_by_who_tells(spool):
    spool.add("true", id="x")
    mv(spool, "x", "pending", "failed")
    with whereabouts.telling(spool, spool.settings()):
        assert not whereabouts.tell_first(spool, "x", "failed", spool.settings(), patience=0)
        come_due(spool)
    assert spool.find("x").state == "pending"


def test_a_line_that_is_on_its_way_is_waited_for(spool, monkeypatch):
    """A worker writes of several ends at one go: who is quicker than that doesn't take it for a deed of hands."""
    monkeypatch.setattr(whereabouts, "SETTLED", 30.0)
    monkeypatch.setattr(whereabouts, "PATIENCE", 60.0)
    spool.add("true", id="x")
    mv(spool, "x", "pending", "dead")

    def write():
        spool.note("claimed", ["x"], "pending", "processing", by="worker")
        spool.note("ended", ["x"], "processing", "dead", by="worker")

    late = threading.Timer(0.2, write)
    late.start()
    retry(spool)
    late.join()
    assert [by for _, _, by in told(spool)] == ["program", "worker", "worker", "program"]


def test_one_that_is_just_being_moved_by_another_is_not_told_of(spool):
    """Who brings a job to pending/ says so first: until it is there, it lies elsewhere, and no hands were at it."""
    spool.add("true", id="x")
    mv(spool, "x", "pending", "failed")
    with spool.noting("due", "x", "failed", "pending"):
        assert not whereabouts.tell_first(spool, "x", "failed", spool.settings(), patience=0)
        mv(spool, "x", "failed", "pending")
    look(spool)
    assert told(spool)[1:] == [("pending", "failed", "hand"), ("failed", "pending", "program")]


def test_who_looks_meanwhile_tells_it_once(spool, monkeypatch):
    """An audit, or another command, may see the same in the same moment: who is first tells it."""
    spool.add("true", id="x")
    mv(spool, "x", "pending", "dead")
    monkeypatch.setattr(whereabouts, "is_settled", lambda *_: spool.note("moved", ["x"], "pending", "dead", by="hand") or True)
    retry(spool)
    assert way(spool) == [None, "pending", "dead", "pending"]


def test_what_was_there_before_the_journal_is_no_deed_of_hands(spool):
    spool.add("true", id="x")
    for name in os.listdir(f"{spool.root}/journal"):
        os.unlink(f"{spool.root}/journal/{name}")
    journal._newest.clear()
    spool.note("counted", [""], None, None, counts={}, all=False, by="audit")
    cancel(spool)
    assert told(spool) == [("pending", "dead", "program")]


def test_without_a_journal_nothing_is_told(spool):
    with open(f"{spool.root}/config.json", "w") as file:
        file.write('{"journal_bytes": 0}')
    drop(spool, "x", {"command": "true"})
    before = journal.size(spool.root)
    remove(spool)
    assert journal.size(spool.root) == before


def test_a_full_disk_keeps_nobody_from_the_deed(spool, monkeypatch):
    spool.add("true", id="x")
    mv(spool, "x", "pending", "dead")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(durable, "open_for_all", full)
    retry(spool)
    assert spool.find("x").state == "pending"


def test_of_many_ids_none_is_searched_for_on_its_own(spool, monkeypatch):
    """What is known is large where there are a million jobs: it is searched for a few, and else taken apart once."""
    spool.add_many([(f"old{number}", {"command": "true"}) for number in range(100)])
    look(spool)
    read = []
    content = whereabouts._content
    monkeypatch.setattr(whereabouts, "_content", lambda *given: read.append(given) or content(*given))
    spool.add_many([(f"new{number}", {"command": "true"}) for number in range(1000)])
    assert len(read) <= whereabouts.FEW + 2


def model(state, deed):
    return WHERE_IT_LEADS[deed].get(state, [])


BY_HAND = some.sampled_from([*ELSEWHERE, None])
BY_COMMAND = some.sampled_from(list(WHERE_IT_LEADS))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=some.lists(some.tuples(BY_HAND, BY_COMMAND), min_size=1, max_size=6))
def test_whatever_hands_and_commands_do_in_turn_the_journal_has_it_whole(tmp_path_factory, steps):
    spool = Spool.init(tmp_path_factory.mktemp("walk") / "spool")
    state, expected = None, [None]
    for target, deed in steps:
        if target != state:
            by_hand(spool, state, target)
            state = target
            expected.append(state)
        if deed in (add_unique, replace) and state in ("done", "dead"):
            deed = look  # there would be two of the name
        try:
            deed(spool)
        except QueueError:
            look(spool)  # it can't be done where the job is
        passed = leads(spool, state, deed, expected)
        state = passed[-1] if passed else state
        expected += passed
        if os.path.exists(f"{spool.root}/journal") and state != target:
            assert way(spool) == expected
    look(spool)
    assert way(spool) == expected


def by_hand(spool, state, target):
    if state is None:
        drop(spool, "x", {"command": "true"}, target)
    elif target is None:
        os.unlink(spool.path(state, "x"))
    else:
        mv(spool, "x", state, target)


def leads(spool, state, deed, before):
    """Through which states the deed has led: nowhere where it was refused, as for a job that is held."""
    passed = model(state, deed)
    now = spool.state_of("x")
    if deed is retry_and_undo:
        return passed if len(way(spool)) == len(before) + len(passed) else []
    return passed if passed and now == passed[-1] and now != state else []
