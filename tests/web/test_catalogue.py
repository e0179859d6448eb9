"""What lies where is known in memory, in the order in which it was added, and follows what happens."""

import os

import pytest
from kit import drop

from jobspool.errors import AmbiguousJob, NoSuchJob
from jobspool.job import new_id
from jobspool.states import STATES
from jobspool.web import catalogue
from jobspool.web.catalogue import Catalogue, id_in, in_order


@pytest.fixture
def known(spool):
    found = Catalogue(spool)
    found.look()
    return found


def ids(known, states=STATES, newest=True):
    return [id_in(key) for piece in known.pieces(tuple(states), None, newest) for key, _ in piece]


def see(known):
    """Look at all directories, whatever they cost."""
    known.look_anew()
    return [(event["event"], event["job"], event["from"], event["to"]) for event in known.look()]


def test_nothing_is_complete_before_the_first_look(spool):
    found = Catalogue(spool)
    assert (found.complete, found.counts()) == (False, dict.fromkeys(STATES, 0))
    found.look()
    assert found.complete


def test_what_comes_and_goes_by_hand_is_seen(known, spool):
    drop(spool, "x", {"command": "true"})
    assert see(known) == [("added", "x", None, "pending")]
    os.rename(spool.path("pending", "x"), spool.path("dead", "x"))
    assert see(known) == [("moved", "x", "pending", "dead")]
    os.unlink(spool.path("dead", "x"))
    assert see(known) == [("removed", "x", "dead", None)]
    assert (see(known), ids(known)) == ([], [])


def test_a_move_is_told_as_one_though_only_one_directory_was_read_again(known, spool):
    drop(spool, "x", {"command": "true"})
    see(known)
    os.rename(spool.path("pending", "x"), spool.path("done", "x"))
    known._looked["done"] = (os.stat(spool.folder("done")).st_mtime_ns, 0.0, 0.0)
    known._looked["pending"] = (0, 0.0, 0.0)
    assert [(event["from"], event["to"]) for event in known.look()] == [("pending", "done")]
    assert known.counts()["done"] == 1


def test_a_directory_that_takes_long_is_read_seldom(known, spool):
    for state in STATES:
        known._looked[state] = (0, known._looked[state][1], 10.0)
    drop(spool, "x", {"command": "true"})
    assert (known.look(), ids(known)) == ([], [])
    assert see(known) == [("added", "x", None, "pending")]


def test_what_the_journal_tells_is_applied(known):
    known.take([{"job": "x", "from": None, "to": "pending"}, {"job": "x", "from": "pending", "to": "processing"}])
    known.take([{"job": "x", "from": "nonsense", "to": "done"}, {"job": "x", "from": "processing", "to": "processing"}])
    assert known.counts()["processing"] == 1
    known.take([{"job": "x", "from": None, "to": "processing"}])
    assert known.counts()["processing"] == 1
    known.take([{"job": "x", "from": "processing", "to": None}])
    assert ids(known) == []


def test_pages_go_on_where_they_ended_whatever_comes_and_goes(known):
    names = [new_id(1e9 + number, number) for number in range(100)]
    for name in names:
        known.move(name, None, "pending" if int(name[14]) % 2 else "done")
    found, after = [], None
    while page := known.page(STATES, after, 7):
        found += [id_in(key) for key, _ in page]
        after = page[-1][0]
        known.move(found[-1], "pending" if int(found[-1][14]) % 2 else "done", None)
        known.move(new_id(2e9 + len(found), 1), None, "pending")
    assert found == sorted(names, reverse=True)


def test_what_a_handle_means_is_found_in_memory(known, spool):
    job = spool.add("true")
    drop(spool, "mine", {"command": "true"}, "dead")
    see(known)
    assert (known.meant(job.handle), known.meant("mine"), known.meant("min"), known.meant("mine.json")) == (
        job.id,
        "mine",
        "mine",
        "mine",
    )
    spool.add("true")
    see(known)
    with pytest.raises(AmbiguousJob):
        known.meant("20")
    for handle in ("nix", "", "a/b", "\0"):
        with pytest.raises(NoSuchJob):
            known.meant(handle)


def test_many_are_sorted_in_runs(monkeypatch):
    monkeypatch.setattr(catalogue, "RUN", 10)
    import random

    keys = [str(number) for number in range(1234)]
    random.Random(1).shuffle(keys)
    assert in_order(keys) == sorted(keys)
    assert in_order([]) == []


def test_too_many_to_tell_of_are_known_all_the_same(spool, monkeypatch):
    monkeypatch.setattr(catalogue, "FEW", 5)
    found = Catalogue(spool)
    found.look()
    for number in range(10):
        drop(spool, f"x{number}", {"command": "true"})
    assert (see(found), len(ids(found))) == ([], 10)


def test_a_spool_that_is_gone_is_trouble_and_no_end(known, spool):
    os.rename(spool.root, f"{spool.root}.away")
    known.look_anew()
    with pytest.raises(OSError, match="No such file"):
        known.look()
    os.rename(f"{spool.root}.away", spool.root)
    assert see(known) == []
