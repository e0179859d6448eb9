"""What hands do comes to the journal, and what commands do is not taken for it."""

import os
import signal
import time
from pathlib import Path

import pytest
from kit import drop, mv

from jobspool import audit, durable, hands, journal, ledger, whereabouts


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(whereabouts, "SETTLED", 0.05)


def by_hand(spool):
    events = journal.Reader(spool.root).read(10_000)
    return [(event["job"], event["from"], event["to"]) for event in events if event.get("by") == "hand"]


def audited(spool):
    audit.audit(spool, patience=0.1)
    return by_hand(spool)


def test_what_commands_do_is_not_by_hand(spool):
    spool.add("true", id="x")
    spool.add("true", id="y")
    hands.cancel(spool, spool.find("x"), "by ann", spool.settings())
    hands.retry(spool, spool.find("x"), spool.settings())
    hands.remove(spool, spool.find("y"))
    assert audited(spool) == []


@pytest.mark.parametrize("target", ["done", "dead", "failed"])
def test_a_job_that_hands_moved_is_told(spool, target):
    spool.add("true", id="x")
    audit.audit(spool)
    mv(spool, "x", "pending", target)
    assert audited(spool) == [("x", "pending", target)]


def test_a_job_that_was_dropped_and_one_that_was_removed_are_told(spool):
    spool.add("true", id="gone")
    drop(spool, "came", {"command": "true"})
    os.unlink(spool.path("pending", "gone"))
    assert sorted(audited(spool)) == [("came", None, "pending"), ("gone", "pending", None)]


def test_a_journal_that_hands_cut_is_gone_on_with(spool):
    for number in range(50):
        spool.add("true", id=f"x{number}")
    audit.audit(spool)
    os.truncate(journal.path_of(spool.root, 1), 10)
    mv(spool, "x1", "pending", "done")
    audit.audit(spool)
    mv(spool, "x2", "pending", "done")
    assert audited(spool) == [("x2", "pending", "done")]


def test_each_deed_is_told_once(spool):
    drop(spool, "x", {"command": "true"})
    assert (audited(spool), audited(spool)) == ([("x", None, "pending")],) * 2


def test_a_line_that_is_on_its_way_is_waited_for(spool):
    """A worker writes many lines at one go, so a job may be where no line has it yet."""
    drop(spool, "x", {"command": "true"}, "done")
    whereabouts.SETTLED = 1000.0
    assert audited(spool) == []
    spool.note("ended", ["x"], "processing", "done")
    whereabouts.SETTLED = 0.05
    assert audited(spool) == []


def test_what_is_told_while_the_directories_are_listed_is_not_by_hand(spool, monkeypatch):
    """An enqueue between our reading of the journal and our listing has told what it does, and we have not read it."""
    listed = type(spool).names

    def names(self, state):
        if state == "pending":
            monkeypatch.setattr(type(spool), "names", listed)
            spool.add("true", id="meanwhile")
        return listed(self, state)

    monkeypatch.setattr(type(spool), "names", names)
    assert audited(spool) == []


def test_what_a_supervisor_tells_while_it_is_looked_at_is_not_told_twice(spool, monkeypatch):
    settled = audit._has_settled

    def looked(spool, id, *more):
        spool.note("added", [id], None, "pending", by="hand")  # as arrivals.py does
        return settled(spool, id, *more)

    monkeypatch.setattr(audit, "_has_settled", looked)
    drop(spool, "x", {"command": "true"})
    assert audited(spool) == [("x", None, "pending")]


def told(spool):
    return [(event["event"], event["from"], event["to"]) for event in journal.Reader(spool.root).read() if event["job"]]


def test_an_add_is_told_before_it_is_done(spool, monkeypatch):
    """Else its claim might be told first, and a supervisor take it for a file that hands dropped."""
    rename, seen = durable.move_own, []
    monkeypatch.setattr(durable, "move_own", lambda *paths: seen.extend(told(spool)) or rename(*paths))
    spool.add("true")
    assert seen == [("added", None, "pending")]


def test_what_goes_to_pending_is_told_before_it_is_done_and_all_else_behind(spool):
    drop(spool, "x", {"command": "true"}, "failed")
    with spool.noting("due", "x", "failed", "pending"):
        assert told(spool) == [("added", None, "failed"), ("due", "failed", "pending")]
    with spool.noting("moved", "x", "pending", "done"):
        assert len(told(spool)) == 2
    assert told(spool)[2:] == [("moved", "pending", "done")]


def test_a_move_that_could_not_be_made_is_taken_back(spool):
    drop(spool, "x", {"command": "true"}, "failed")
    for target in ("pending", "done"):
        with pytest.raises(PermissionError), spool.noting("moved", "x", "failed", target):
            raise PermissionError
    assert told(spool) == [("added", None, "failed"), ("moved", "failed", "pending"), ("back", "pending", "failed")]


def test_an_outcome_that_a_slow_disk_has_not_recorded_yet_is_no_deed_of_hands(spool):
    """A retry is told before it is recorded, and until then its file is where it was claimed, however long ago that was."""
    drop(spool, "x", {"command": "true"}, "processing")
    spool.note("claimed", ["x"], None, "processing")
    spool.note("ended", ["x"], "processing", "failed")
    time.sleep(2 * whereabouts.SETTLED)
    assert audited(spool) == []
    mv(spool, "x", "processing", "failed")
    assert audited(spool) == []


def test_a_claim_whose_line_was_lost_is_told_as_one(spool, monkeypatch):
    monkeypatch.setattr(whereabouts, "SLOW", 0.01)
    spool.add("true", id="x")
    mv(spool, "x", "pending", "processing")
    time.sleep(2 * whereabouts.SETTLED)
    assert (audited(spool), told(spool)[-1]) == ([], ("claimed", "pending", "processing"))


def test_in_a_spool_that_had_no_journal_it_begins_with_what_is_there(spool):
    spool.add("true", id="x")
    drop(spool, "y", {"command": "true"}, "done")
    for name in os.listdir(f"{spool.root}/journal"):
        os.unlink(f"{spool.root}/journal/{name}")
    journal._newest.clear()
    assert audited(spool) == []
    assert ledger.folded(spool.root).counts == {"pending": 1, "processing": 0, "done": 1, "failed": 0, "dead": 0}
    mv(spool, "x", "pending", "dead")
    assert audited(spool) == [("x", "pending", "dead")]


def test_counts_are_right_again_after_lines_were_lost(spool):
    """As after a power cut: the journal is never synced."""
    spool.add_many([(f"x{number}", {"command": "true"}) for number in range(5)])
    audit.audit(spool)
    spool.note("ended", ["x1"], "processing", "done")  # of which the claim was lost, and the job is pending still
    audited(spool)
    assert audit.current(spool).counts == {"pending": 5, "processing": 0, "done": 0, "failed": 0, "dead": 0}


def test_counts_of_a_spool_without_a_journal_are_those_of_its_directories(spool):
    spool.add("true")
    with open(f"{spool.root}/config.json", "w") as file:
        file.write('{"format": 1, "journal_bytes": 0}')
    assert audit.current(spool).counts["pending"] == 1


def test_a_spool_in_which_nothing_changed_is_not_listed_again(spool, monkeypatch):
    spool.add("true")
    past = time.time() - 100
    for state in ("pending", "processing", "done", "failed", "dead"):
        os.utime(spool.folder(state), (past, past))
    audit.audit(spool)
    monkeypatch.setattr(type(spool), "names", lambda self, state: pytest.fail("listed"))
    assert audit.audit(spool) == 0


def test_only_one_audit_is_made_at_a_time(spool):
    lock = durable.open_to_append(f"{spool.root}/{audit.LOCK}", 0o600)
    assert durable.lock(lock)
    assert audit.audit(spool) is None
    os.close(lock)
    assert audit.audit(spool) == 0


def test_an_older_record_that_a_newcomer_set_aside_is_not_by_hand(spool):
    drop(spool, "x", {"command": "true"}, "done")
    spool.add("true", id="y")
    audited(spool)
    before = by_hand(spool)
    os.rename(spool.path("pending", "y"), spool.path("pending", "x"))
    audited(spool)
    spool.move(spool.find(spool.path("pending", "x")), "done")
    assert os.path.exists(spool.path("done", "x~1"))
    assert ("x~1", None, "done") not in audited(spool)[len(before) :]


def test_an_audit_that_is_ended_leaves_nothing_that_it_was_writing(spool):
    auditor = audit.Auditor(spool)
    spool.add("true")
    auditor.step(spool.settings(), time.monotonic() + 1000)
    os.kill(auditor._pid, signal.SIGSTOP)
    Path(spool.root, "tmp", f"{auditor._pid}-1").touch()
    auditor.end()
    assert os.listdir(f"{spool.root}/tmp") == []


def test_the_next_audit_comes_when_it_is_time_to_and_again_where_one_failed(spool):
    auditor = audit.Auditor(spool, every=10.0)
    for deed, clock, made in (("kill", 0.0, True), ("end", 11.0, True), ("end", 15.0, False), ("end", 22.0, False)):
        auditor.step(spool.settings(), clock)
        assert (auditor._pid > 0) is made, clock
        if made and deed == "kill":
            os.kill(auditor._pid, signal.SIGKILL)
        if made:
            os.waitid(os.P_PID, auditor._pid, os.WEXITED | os.WNOWAIT)
            auditor.step(spool.settings(), clock)
            assert auditor._pid == 0
    spool.add("true")
    auditor.step(spool.settings(), 33.0)
    assert auditor._pid > 0
    auditor.end()


@pytest.mark.parametrize("known", ['{"looked": 5}', '{"cursor": "1:0", "looked": {"x": "y"}, "ids": {}}', "[]", "\0"])
def test_what_is_known_may_be_garbage(spool, known):
    spool.add("true", id="x")
    with open(f"{spool.root}/{whereabouts.FILE}", "w") as file:
        file.write(known)
    assert audited(spool) == []


def test_a_job_that_came_back_by_hands_unseen_is_not_told_to_have_gone(spool):
    """A supervisor has told that it came, and not from where."""
    drop(spool, "x", {"command": "true"}, "done")
    audited(spool)
    mv(spool, "x", "done", "pending")
    spool.note("added", ["x"], None, "pending", by="hand")
    assert audited(spool) == [("x", None, "done"), ("x", None, "pending")]
    assert audit.current(spool).counts == {"pending": 1, "processing": 0, "done": 0, "failed": 0, "dead": 0}
