"""What a supervisor sees of its spool, and forgets again."""

import os
import time

import pytest
from kit import drop, mv, see, until

from jobspool import sight as sights


def there(sight, word):
    """See, and tell whether an event of that kind was told of."""
    see(sight)
    return [what for kind, what in sight.events if kind == word]


def test_what_others_run_or_hands_remove_is_forgotten(spool, sight):
    for number in range(50):
        drop(spool, f"x{number}", {"command": "true"})
        drop(spool, f"f{number}", {"command": "true"}, "failed")
        os.utime(spool.path("failed", f"f{number}"), (time.time() + 99,) * 2)
        os.mkfifo(spool.path("pending", f"odd{number}"))
    sight.watch.stop()  # no event tells of it
    sight.scan_at = 0.0
    sight.look_around(time.monotonic())
    assert len(sight._index) == 100
    for state in ("pending", "failed"):
        for name in os.listdir(spool.folder(state)):
            os.unlink(os.path.join(spool.folder(state), name))
    assert see(sight) is None
    assert (len(sight._index), sight._odd) == (0, {})


def test_what_a_worker_has_run_meanwhile_is_not_waited_for(spool, sight, monkeypatch):
    """A scan that met it while it was handed out would have the end of a drain wait until it is looked at again."""
    drop(spool, "a", {"command": "true"})
    with monkeypatch.context() as handed_out:
        handed_out.setattr(sight, "_runs", lambda id: True)
        sight.look("a")
    assert "a" in sight.again
    os.unlink(spool.path("pending", "a"))
    sight.look("a")
    assert sight.knows_nothing()


def test_what_hands_remove_is_not_offered(spool, sight):
    for id in "abc":
        drop(spool, id, {"command": "true"})
    sight.look_around(time.monotonic())
    os.unlink(spool.path("pending", "a"))
    os.unlink(spool.path("pending", "b"))
    until(lambda: sight.watch.seen, "the events")
    until(lambda: (sight.look_around(0.0), len(sight._index) == 1)[1], "them to be seen")
    assert sight.next() == ["c"]


def test_an_odd_file_is_told_of_again_when_another_comes_in_its_place(spool, sight):
    for number in range(sights.NAMED + 5):
        os.mkfifo(spool.path("pending", f"odd{number}"))
    told = len(there(sight, "trouble"))
    for number in range(sights.NAMED + 5):
        os.unlink(spool.path("pending", f"odd{number}"))
    see(sight)
    os.mkfifo(spool.path("pending", "fresh"))
    assert there(sight, "trouble")[told:] == [{"why": "pending/fresh.json is not run: a FIFO, not a regular file"}]


def test_what_a_claim_refused_is_not_offered_before_it_changes_or_the_next_scan(spool, sight):
    path = drop(spool, "x", {"command": "true"})
    assert see(sight) == "x"
    sight.refuse("x", "can't be claimed")
    sight.look("x")
    assert sight.next() == []
    os.utime(path, (1, 1))
    sight.look("x")
    assert sight.next() == ["x"]
    sight.refuse("x", "can't be claimed")
    sight.look("x")
    assert (sight.next(), see(sight)) == ([], "x")


@pytest.mark.parametrize("state", ["pending", "failed"])
def test_a_job_that_is_touched_again_and_again_takes_no_room(spool, sight, state):
    path = drop(spool, "x", {"command": "true"}, state)
    for number in range(3000):
        os.utime(path, (time.time() + 100 + number,) * 2)
        sight.look("x") if state == "pending" else sight.look_failed("x")
    index = sight._index
    assert len(index._later) + len(index._failed._heap) < 1500


def test_what_was_touched_or_set_while_nothing_was_watched_is_known_when_that_is_said(spool, sight):
    path = drop(spool, "x", {"command": "true"})
    os.utime(path, (time.time() + 3600,) * 2)
    assert see(sight) is None
    sight.watch.stop()
    os.utime(path)
    sight.watch.start()
    sight.miss()
    sight.look_around(time.monotonic())
    assert sight.next() == ["x"]


def test_a_job_is_noted_as_dead_that_was_put_there_while_somebody_held_it_or_before(spool, sight):
    """At the first look, and after events were lost, dead/ is gone through."""
    tried = {"attempts": [{"number": 1, "ended": "2026-01-01T00:00:00Z", "verdict": "failed"}]}
    drop(spool, "x", {"command": "true", **tried}, "failed")
    sight.watch.stop()
    mv(spool, "x", "failed", "dead")
    with open(spool.path("dead", "x")) as held:
        assert sights.durable.lock(held.fileno())
        sight.miss()
        see(sight)
        assert spool.read("dead", "x").attempts[-1]["verdict"] == "failed"
    see(sight)
    assert spool.read("dead", "x").attempts[-1]["verdict"] == "dead"


def test_dead_jobs_are_looked_at_once_where_nothing_tells_of_events(spool, sight, monkeypatch):
    sight.watch.stop()
    for number in range(250):
        drop(spool, f"x{number}", {"command": "true"}, "dead")
    looks = []
    monkeypatch.setattr(sights.claims, "note_dead", lambda spool, id, settings: looks.append(id) or False)
    monkeypatch.setattr(sight.watch, "start", lambda: None)
    for _ in range(6):
        see(sight)
    assert sorted(looks) == sorted(f"x{number}" for number in range(250))
