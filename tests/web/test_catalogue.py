"""What lies where is known in memory, in the order in which it was added, and follows what happens."""

import os
from types import SimpleNamespace

import pytest
from kit import drop, mv, until

from jobspool.errors import AmbiguousJob, NoSuchJob
from jobspool.job import new_id
from jobspool.states import STATES
from jobspool.web import catalogue, looks
from jobspool.web.catalogue import Catalogue, Looked, id_in, in_order
from jobspool.web.site import Site


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
    known.look_anew()
    known._looked["done"] = Looked(os.stat(spool.folder("done")).st_mtime_ns, 0.0, 0.0)
    assert [(event["from"], event["to"]) for event in known.look()] == [("pending", "done")]
    assert known.counts()["done"] == 1


def test_a_directory_that_takes_long_is_read_seldom(known, spool):
    for state in STATES:
        known._looked[state] = known._looked[state]._replace(took=10.0)
    drop(spool, "x", {"command": "true"})
    assert (known.look(), ids(known), known.behind) == ([], [], True)
    assert see(known) == [("added", "x", None, "pending")]


def test_what_the_journal_tells_is_applied(known):
    known.take([("x", None, "pending"), ("x", "pending", "processing")])
    assert known.counts() == dict.fromkeys(STATES, 0) | {"processing": 1}
    known.take([("x", "processing", "processing")])
    known.take([("x", None, "processing")])
    assert known.counts()["processing"] == 1
    known.take([("x", "processing", None)])
    assert ids(known) == []


def test_a_job_that_is_known_to_be_further_on_its_way_is_in_one_state_only(known):
    known.move("x", (), "pending")  # a listing was newer than what is told now
    known.take([("x", "failed", "pending"), ("x", "pending", "processing"), ("x", "processing", "done")])
    assert known.counts() == dict.fromkeys(STATES, 0) | {"done": 1}


def test_pages_go_on_where_they_ended_whatever_comes_and_goes(known):
    names = [new_id(1e9 + number, number) for number in range(100)]
    for name in names:
        known.move(name, (), "pending" if int(name[14]) % 2 else "done")
    found, after = [], None
    while page := known.page(STATES, after, 7):
        found += [id_in(key) for key, _ in page]
        after = page[-1][0]
        known.move(found[-1], ("pending", "done"), None)
        known.move(new_id(2e9 + len(found), 1), (), "pending")
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


def test_what_was_told_before_it_is_done_is_not_taken_back(known, spool):
    known.take([("x", None, "pending")])  # the journal's line comes before the rename
    assert (see(known), known.counts()["pending"]) == ([], 1)
    assert known._looked["pending"].mtime == 0


def test_what_was_told_and_never_done_is_found_out(known, spool, monkeypatch):
    known.take([("ghost", None, "done")])
    known.look()
    assert known.counts()["done"] == 1
    monkeypatch.setattr(catalogue, "SETTLED", 0.0)
    until(lambda: known.look() is not None and not known.counts()["done"], "the look at done/")


def test_one_id_in_two_states_is_counted_in_both(known, spool):
    drop(spool, "x", {"command": "true"}, "done")
    see(known)
    drop(spool, "x", {"command": "true"})
    known.look_anew()
    known._looked["done"] = Looked(os.stat(spool.folder("done")).st_mtime_ns, 0.0, 0.0)
    known.look()
    assert (known.counts()["pending"], known.counts()["done"]) == (1, 1)


def test_a_listing_that_is_older_than_what_was_told_changes_nothing(known, spool):
    drop(spool, "x", {"command": "true"}, "done")
    known.take([("x", "pending", "processing")])
    see(known)
    assert (known.counts()["done"], known.counts()["processing"]) == (1, 0)


def test_what_never_came_is_forgotten_in_the_end(known, spool, monkeypatch):
    known.take([("x", None, "pending")])
    monkeypatch.setattr(catalogue, "SETTLED", 0.0)
    see(known)
    assert known.counts()["pending"] == 0


@pytest.mark.parametrize(("source", "target"), [("failed", "pending"), ("pending", "processing"), ("dead", "failed")])
def test_what_moves_while_directories_are_read_is_known_once(spool, source, target):
    spool.add("true", id="other")
    drop(spool, "x", {"command": "true"}, source)
    known = Catalogue(spool)
    known.look()
    plain = known._list

    def list_late(state):
        if state == max(source, target, key=STATES.index):
            mv(spool, "x", source, target)
        return plain(state)

    known._list = list_late
    see(known)
    assert (sorted(ids(known)), ids(known, [target]).count("x")) == (["other", "x"], 1)


# ---- what is counted by it


def site_of(spool):
    catalogue = Catalogue(spool)
    catalogue.look()
    return Site(spool, catalogue, SimpleNamespace(), version="test")


def test_a_batch_is_counted_whole_while_its_jobs_move(spool):
    for number in range(5):
        spool.add("true", id=f"x{number}", batch="render")
    site = site_of(spool)
    for number, state in enumerate(("processing", "done", "failed", "dead")):
        mv(spool, f"x{number}", "pending", state)
    told = {"batch": "render", "total": 5, "ended": 2, **dict.fromkeys(STATES, 1)}
    assert looks.batches(site) == {"batches": [told], "complete": True}


def test_a_job_that_two_lists_have_is_counted_once(spool):
    spool.add("true", id="x", batch="render", group="crawl")
    site = site_of(spool)
    mv(spool, "x", "pending", "processing")
    site.catalogue.move("x", (), "processing")
    assert [each["total"] for each in looks.batches(site)["batches"]] == [1]
    assert [(each["pending"], each["processing"]) for each in looks.groups(site)["groups"]] == [(0, 1)]


def test_a_group_counts_what_waits_or_runs_wherever_it_has_moved(spool):
    for id in "abc":
        spool.add("true", id=id, group="crawl")
    site = site_of(spool)
    mv(spool, "a", "pending", "processing")
    mv(spool, "b", "pending", "done")
    assert looks.groups(site)["groups"] == [{"group": "crawl", "pending": 1, "failed": 0, "processing": 1}]


def test_a_job_that_is_gone_is_not_counted(spool):
    spool.add("true", id="x", batch="render")
    site = site_of(spool)
    os.unlink(spool.path("pending", "x"))
    assert looks.batches(site) == {"batches": [], "complete": True}
