"""The journal of real workers: each job's way is whole and in order, whoever moved it."""

import json
import os
import signal
import time

import pytest
from kit import comes_to, drop, end, everyone, family, gone, is_audit, mv, pool, queuectl, until, until_it_runs, where

from jobspool import audit, hands, journal, roster, vital

# From which states a job may go to which, by one line. None: outside of the spool.
WAYS = {
    (None, "pending"), ("pending", "processing"), ("processing", "done"), ("processing", "failed"), ("processing", "dead"),
    ("processing", "pending"), ("failed", "pending"), ("dead", "pending"), ("done", "pending"), ("pending", "dead"),
    ("pending", "done"), ("dead", None), ("done", None), ("pending", None), ("failed", "dead"),
}  # fmt: skip


def lines(spool, id=None):
    return [event for event in journal.Reader(spool.root).read(100_000) if id in (None, event["job"]) and event["job"]]


def way(spool, id):
    """The states of the job, one behind the other, as the journal has them. Each line begins where the last one ended."""
    states = [None]
    for event in lines(spool, id):
        if event["from"] != event["to"]:
            assert (event["from"] == states[-1], (event["from"], event["to"]) in WAYS) == (True, True), (states, event)
            states.append(event["to"])
    return states


def told(spool, id, state):
    """Wait until the journal has the job there."""
    until(lambda: (events := lines(spool, id)) and events[-1]["to"] == state, f"the line of {id} in {state}")


def test_a_job_that_fails_its_tries_leaves_its_whole_way(spool):
    spool.add("exit 3", id="x", max_retries=1, backoff_base=0)
    with pool(spool):
        told(spool, "x", "dead")
    assert way(spool, "x") == [None, "pending", "processing", "failed", "pending", "processing", "dead"]
    *_, last = lines(spool, "x")
    assert {word: last[word] for word in ("attempt", "verdict", "reason", "exit", "by")} == {
        "attempt": 2, "verdict": "dead", "reason": "exit 3", "exit": 3, "by": "worker",
    }  # fmt: skip
    assert (last["duration"] > 0, last["commit"] >= 0) == (True, True)


def test_many_quick_jobs_of_several_workers_and_supervisors_are_in_order(spool):
    often = {"max_retries": 2, "backoff_base": 0}
    spool.add_many([(f"x{number}", {"command": "true" if number % 3 else "exit 1", **often}) for number in range(300)])
    with pool(spool, 2), pool(spool, 2):
        until(lambda: len(where_all(spool)) == 300, "the end of all")
    for number in range(300):
        expected = [None, "pending", "processing", "done"]
        if number % 3 == 0:
            expected = [None, "pending", *["processing", "failed", "pending"] * 2, "processing", "dead"]
        assert way(spool, f"x{number}") == expected


def where_all(spool):
    return spool.names("done") + spool.names("dead")


def test_what_hands_bring_to_pending_is_told_before_it_runs(spool):
    with pool(spool):
        drop(spool, "x", {"command": "exit 1", "max_retries": 0})
        told(spool, "x", "dead")
        mv(spool, "x", "dead", "pending")
        until(lambda: len(way(spool, "x")) == 7, "its second end")
    assert way(spool, "x") == [None, "pending", "processing", "dead", "pending", "processing", "dead"]
    assert [event["by"] for event in lines(spool, "x")] == ["hand", "worker", "worker", "hand", "worker", "worker"]


def test_what_lay_there_when_a_supervisor_began_is_no_arrival_however_much_that_is(spool):
    spool.add_many([(f"x{number}", {"command": "true", "priority": number % 3}) for number in range(3000)])
    for number in range(20_000):
        drop(spool, f"old{number}", {"command": "true"}, "done")
    with pool(spool, 2):
        until(lambda: spool.count("done") == 23_000, "the end of all", 120)
        drop(spool, "new", {"command": "true"})
        told(spool, "new", "done")
    found = [event["job"] for event in lines(spool) if event["by"] == "hand" and event["to"] == "pending"]
    assert found == ["new"]


def test_two_supervisors_tell_a_deed_of_hands_once(spool):
    for number in range(20):
        drop(spool, f"before{number}", {"command": "true"})
    with pool(spool), pool(spool):
        for number in range(40):
            drop(spool, f"x{number}", {"command": "true"})
        until(lambda: len(spool.names("done")) == 60, "the end of all")
        audit.audit(spool)
    assert sorted(event["job"] for event in lines(spool) if event["event"] == "added") == sorted(spool.names("done"))


def test_a_running_job_that_hands_take_away_and_bring_back_is_told(spool, tmp_path):
    spool.add(f"echo >> {tmp_path}/runs; sleep 1000", id="x")
    with pool(spool):
        until((tmp_path / "runs").exists, "the job")
        mv(spool, "x", "processing", "pending")
        until(lambda: (tmp_path / "runs").read_text().count("\n") == 2, "its second start")
        told(spool, "x", "processing")
        assert way(spool, "x") == [None, "pending", "processing", "pending", "processing"]
        assert [event["by"] for event in lines(spool, "x")] == ["program", "worker", "hand", "worker"]


def test_what_hands_take_away_is_told_by_the_next_audit(spool):
    with pool(spool):
        comes_to(spool, spool.add("true", id="x").id, "done")
        told(spool, "x", "done")
        os.unlink(spool.path("done", "x"))
        until(lambda: audit.audit(spool) is not None and way(spool, "x")[-1] is None, "the line")
    assert lines(spool, "x")[-1]["by"] == "hand"


def test_an_interrupted_job_and_one_that_snoozes_go_back_by_their_worker(spool, tmp_path):
    spool.add(f"touch {tmp_path}/runs; sleep 1000", id="x")
    with pool(spool) as supervisor:
        until((tmp_path / "runs").exists, "the job")
        supervisor.send_signal(signal.SIGQUIT)
        supervisor.wait(30)
    assert way(spool, "x") == [None, "pending", "processing", "pending"]
    assert (lines(spool, "x")[-1]["verdict"], lines(spool, "x")[-1]["by"]) == ("interrupted", "worker")


def test_a_lost_attempt_is_told_by_who_recovers_it(spool):
    spool.add("sleep 1000", id="x", max_retries=0)
    with pool(spool):
        until_it_runs(spool)
        told(spool, "x", "processing")
        [entry] = [each for each in everyone(spool) if each.get("group")]
        os.kill(entry["pid"], signal.SIGKILL)
        os.killpg(entry["group"], signal.SIGKILL)
        until(lambda: where(spool, "x") == ["dead"], "the recovery")
        told(spool, "x", "dead")
    last = lines(spool, "x")[-1]
    assert way(spool, "x") == [None, "pending", "processing", "dead"]
    assert (last["event"] in ("recovered", "ended"), last["by"] in ("supervisor", "worker")) == (True, True)


def test_commands_say_who_did_it(spool):
    id = queuectl("enqueue", "true", spool=spool, check=True).stdout.strip()
    queuectl("cancel", id, "--reason", "too slow", spool=spool, check=True)
    queuectl("retry", id, spool=spool, check=True)
    queuectl("rm", id, spool=spool, check=True)
    found = [(event["by"], event["command"], event["user"] != "") for event in lines(spool, id)]
    assert found == [("command", word, True) for word in ("enqueue", "cancel", "retry", "rm")]
    assert lines(spool, id)[1]["reason"].endswith(": too slow")


def test_a_full_way_of_hold_release_and_edit_is_told(spool):
    job = spool.add("true", id="x")
    hands.hold(spool, job, "wait", spool.settings())
    hands.release(spool, spool.find("x"), spool.settings())
    hands.change(spool, spool.find("x"), {"priority": 3}, spool.settings())
    assert [event["event"] for event in lines(spool, "x")] == ["added", "held", "released", "changed"]


def test_a_supervisor_says_what_waits(spool):
    past = time.time() - 100
    spool.add("true", id="old", start=past)
    with pool(spool):
        comes_to(spool, "old", "done")
        hold = spool.add("true", id="later", start=time.time() + 1000)
        until(lambda: (found := vital.read(roster.living(spool))) and found["waiting"] == 1, "what it says")
        assert vital.read(roster.living(spool))["oldest"] is None
        hands.cancel(spool, hold, "by ann", spool.settings())
    assert vital.read(roster.living(spool)) is None


def test_the_audit_that_is_being_made_ends_with_its_supervisor(spool):
    with pool(spool) as supervisor:
        for number in range(20):
            drop(spool, f"x{number}", {"command": "true"}, "done")

        def look_again():
            mv(spool, "x0", "done", "dead")
            mv(spool, "x0", "dead", "done")
            return audits(supervisor.pid)

        [pid] = until(look_again, "an audit")
        end(spool, supervisor)
    until(lambda: gone(pid), "its end")


def audits(parent):
    return list(filter(is_audit, family(parent)))


def test_without_a_journal_jobs_run_as_ever(spool):
    queuectl("config", "set", "journal_bytes", "0", spool=spool, check=True)
    before = lines(spool)
    with pool(spool):
        comes_to(spool, spool.add("true").id, "done")
    assert lines(spool) == before


@pytest.mark.parametrize("way", ["retry", "mv"])
def test_a_job_that_was_brought_back_has_not_waited_since_it_died(spool, way):
    spool.add("false", id="x", max_retries=0)
    queuectl("start", "--drain", spool=spool)
    long_ago = time.time() - 172_800
    os.utime(spool.path("dead", "x"), (long_ago, long_ago))
    queuectl("retry", "x", spool=spool, check=True) if way == "retry" else mv(spool, "x", "dead", "pending")
    [line] = [line for line in queuectl("metrics", spool=spool).stdout.splitlines() if line.startswith("queuectl_oldest_p")]
    said = queuectl("list", spool=spool).stdout, queuectl("status", spool=spool).stdout
    assert (float(line.split()[1]) < 1000, "2 d" in "".join(said)) == (True, False)
    queuectl("start", "--drain", spool=spool)
    events = [json.loads(line) for line in queuectl("events", "--json", spool=spool).stdout.splitlines()]
    assert [event["waited"] < 1000 for event in events if event["event"] == "claimed"] == [True, True]


def test_a_supervisor_tells_since_when_what_was_brought_back_waits(spool):
    spool.add("false", id="x", max_retries=0)
    queuectl("start", "--drain", spool=spool)
    long_ago = time.time() - 172_800
    os.utime(spool.path("dead", "x"), (long_ago, long_ago))
    queuectl("pause", spool=spool, check=True)
    queuectl("retry", "x", spool=spool, check=True)
    with pool(spool, 1):
        assert until(lambda: (found := vital.read(roster.living(spool))) and found["oldest"], "what it says") > long_ago + 1000
