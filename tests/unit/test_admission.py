"""What a job needs beside a worker, and whom it waits for: pure rules."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobspool import admission
from jobspool.admission import Need, Waits, take_rate, waits_for
from jobspool.config import Settings
from jobspool.index import Index

SETTINGS = Settings({"groups": {"crawl": {"concurrency": 2}, "off": {"paused": True}}, "slots": {"gpu": 2}})


def test_what_needs_nothing_concerns_nobody():
    assert not admission.concerns({"command": "true", "name": "group", "meta": {"locks": 1}})
    assert admission.concerns({"command": "true", "group": "x"})


def test_needs_come_in_one_order_so_that_nobody_waits_for_each_other():
    job = {"group": "crawl", "locks": ["db", "a", "db"], "slots": {"gpu": 2, "cpu": 1}}
    assert admission.needs(job, SETTINGS) == [
        *[Need("group crawl", 1, 2), Need("lock a", 1, 1), Need("lock db", 1, 1)],
        *[Need("slot cpu", 1, 0), Need("slot gpu", 2, 2)],
    ]
    assert admission.names(job) == ("group crawl", "lock a", "lock db", "slot cpu", "slot gpu", "slot gpu*2")
    assert admission.needs({"group": "free"}, SETTINGS) == []


@pytest.mark.parametrize(
    ("job", "name"),
    [
        ({"group": "off"}, "group off"),
        ({"slots": {"gpu": 3}}, "slot gpu=3"),
        ({"slots": {"tpu": 1}}, "slot tpu=1"),
        ({"group": "crawl"}, None),
    ],
)
def test_what_is_barred_until_the_settings_change(job, name):
    barred = admission.closed(job, SETTINGS)
    assert (barred and barred[0]) == name


@pytest.mark.parametrize(("text", "wanted"), [("10/m", (10, 60)), ("3/10s", (3, 10)), ("1/h", (1, 3600)), ("5/1h30m", (5, 5400))])
def test_a_rate(text, wanted):
    assert admission.rate(text) == wanted


@pytest.mark.parametrize("text", ["", "10", "/m", "0/m", "x/m", "10/", "10/x", "-1/m", "1.5/m", "10/0s"])
def test_what_is_no_rate(text):
    with pytest.raises(ValueError):
        admission.rate(text)


@given(st.lists(st.floats(0, 30), min_size=1, max_size=60), st.integers(1, 5), st.integers(1, 20))
def test_no_more_begin_within_the_time_than_the_bucket_has_and_what_flows_in(gaps, count, seconds):
    now, filled, begun = 1000.0, 0.0, []
    for gap in gaps:
        now += gap
        after, allowed = take_rate(filled, now, (count, seconds))
        if allowed <= now:
            filled = after
            begun.append(now)
    for first in begun:
        within = [each for each in begun if first <= each < first + seconds]
        assert len(within) <= 2 * count
    assert len(begun) <= count + 1 + (now - 1000.0) * count / seconds


def test_a_full_bucket_gives_what_it_has_at_once_and_then_one_after_another():
    filled = 0.0
    for _ in range(3):
        filled, allowed = take_rate(filled, 1000.0, (3, 60))
        assert allowed <= 1000.0
    assert take_rate(filled, 1000.0, (3, 60))[1] == 1020.0


def test_a_bucket_of_a_clock_that_was_set_is_full():
    assert take_rate(9e9, 1000.0, (3, 60))[1] <= 1000.0


@pytest.mark.parametrize(
    ("job", "state", "wanted"),
    [
        ({"after": ["p"]}, "done", None),
        ({"after": ["p"]}, "pending", Waits("p", "it comes after p, which is pending")),
        ({"after": ["p"]}, "dead", Waits("p", "it comes after p, which is dead")),
        ({"after": ["p"], "dead_parent": "cancel"}, "dead", Waits("p", "p, which it comes after, is dead", True)),
        ({"after": ["p"], "dead_parent": "run"}, "dead", None),
        ({"after": ["p"]}, None, Waits("p", "p, which it comes after, is gone")),
        ({"after_any": ["p"]}, "dead", None),
        ({"after_any": ["p"]}, "done", None),
        ({"after_any": ["p"]}, "failed", Waits("p", "it comes after p, which is failed")),
        ({"after_fail": ["p"]}, "dead", None),
        ({"after_fail": ["p"]}, "done", Waits("p", "p, which it comes after, is done", True)),
        ({"after_fail": ["p"]}, "processing", Waits("p", "it comes after p, which is processing")),
    ],
)
def test_whom_a_job_waits_for(job, state, wanted):
    assert waits_for(job, lambda _: state) == wanted


def test_each_parent_must_let_it_go():
    states = {"a": "done", "b": "failed"}
    assert waits_for({"after": ["a", "b"]}, states.get).parent == "b"
    states["b"] = "done"
    assert waits_for({"after": ["a"], "after_any": ["b"]}, states.get) is None


# ---- lines


def given_out(index, now=10, most=100):
    ids = []
    while len(ids) < most and (id := index.next(now)) is not None:
        ids.append(id)
    return ids


def test_a_head_that_needs_what_is_used_up_blocks_nobody_behind_it():
    index = Index()
    for place, (id, needs) in enumerate([("a", ("lock x",)), ("b", ("lock x",)), ("c", ()), ("d", ("lock y",))]):
        index.add(id, 0, place, needs)
    index.full("lock x", 100)
    assert given_out(index) == ["c", "d"]
    assert (len(index), index.next_time(10)) == (2, 100)
    index.free(["lock x"])
    assert given_out(index) == ["a", "b"]


def test_what_is_used_up_is_tried_again_at_its_time():
    index = Index()
    index.add("a", 0, 0, ("group x",))
    index.full("group x", 20)
    assert (index.next(10), index.next(19), index.next(20)) == (None, None, "a")


def test_lines_keep_the_order_between_them():
    index = Index()
    for id, priority, start, needs in [
        ("a", 0, 1, ("x",)),
        ("b", 5, 2, ()),
        ("c", 0, 0, ("y",)),
        ("d", 5, 1, ("x",)),
        ("e", 0, 3, ()),
    ]:
        index.add(id, priority, start, needs)
    index.full("x", 50)
    index.full("y", 50)
    assert given_out(index, 10, 1) == ["b"]
    index.free()
    assert given_out(index) == ["d", "c", "a", "e"]


def test_a_job_that_needs_something_else_by_now_is_in_that_line():
    index = Index()
    index.add("a", 0, 0, ("x",))
    index.full("x", 50)
    assert index.next(10) is None
    index.add("a", 0, 0, ("y",))
    assert (index.next(10), index.next(10)) == ("a", None)


def test_a_removed_job_leaves_its_line():
    index = Index()
    index.add("a", 0, 0, ("x",))
    index.full("x", 50)
    assert index.next(10) is None
    index.remove("a")
    index.free()
    assert (index.next(10), len(index), index.barred()) == (None, 0, 0)


def test_what_is_barred_for_good_is_counted():
    index = Index()
    index.add("a", 0, 0, ("x",))
    index.full("x")
    assert (index.next(10), index.barred(), index.next_time(10)) == (None, 1, None)


def test_groups_have_shares_by_their_weights():
    index = Index()
    index.weights = {"group a": 3}
    for i in range(40):
        index.add(f"a{i:02}", 0, i, ("group a",))
        index.add(f"b{i:02}", 0, i, ("group b",))
    first = given_out(index, 100, 20)
    assert 14 <= sum(id[0] == "a" for id in first) <= 16


def test_a_group_that_had_nothing_to_run_has_saved_nothing_up():
    index = Index()
    index.weights = {"group a": 1}
    for i in range(60):
        index.add(f"a{i:02}", 0, i, ("group a",))
    given_out(index, 100, 40)
    for i in range(60):
        index.add(f"b{i:02}", 0, i, ("group b",))
    assert 9 <= sum(id[0] == "b" for id in given_out(index, 100, 20)) <= 11


def test_waiting_makes_up_for_priority_where_that_is_wanted():
    for aging, order in ((None, ["high", "old"]), (10, ["old", "high"])):
        index = Index()
        index.aging = aging
        index.add("old", 0, 0)
        index.add("high", 1, 20)
        assert given_out(index, 20) == order


needs_of = st.sampled_from([(), ("x",), ("y",), ("x", "y")])


@given(
    st.lists(
        st.tuples(st.sampled_from("add remove full free next".split()), st.sampled_from("abcdef"), needs_of, st.integers(0, 3))
    )
)
def test_only_what_is_known_and_not_used_up_is_given_out(said):
    index, known, full = Index(), {}, set()
    for word, id, needs, start in said:
        if word == "add":
            index.add(id, 0, start, needs)
            known[id] = needs
        elif word == "remove":
            index.remove(id)
            known.pop(id, None)
        elif word == "full":
            for name in needs:
                index.full(name, 100)
            full |= set(needs)
        elif word == "free":
            index.free(needs)
            full -= set(needs)
        else:
            may = {each for each, needs in known.items() if not full & set(needs)}
            found = index.next(10)
            assert (found in may) if may else (found is None)
            known.pop(found, None)
    index.free()
    assert set(given_out(index)) == set(known)


def test_who_needs_two_keeps_nobody_who_needs_one_from_it():
    index = Index()
    index.add("two", 0, 0, ("slot gpu", "slot gpu*2"))
    index.add("one", 0, 1, ("slot gpu",))
    index.full("slot gpu*2", 100)
    assert given_out(index) == ["one"]
    index.free(("slot gpu",))
    assert given_out(index) == ["two"]


def test_what_may_be_tried_again_waits_for_a_worker_and_not_for_a_time():
    index = Index()
    index.add("a", 0, 0, ("lock x",))
    index.full("lock x", 20)
    assert (index.next(10), index.next_time(10), index.next_time(30), index.next(30)) == (None, 20, None, "a")


def test_a_group_has_its_share_also_beside_jobs_with_locks_of_their_own_and_where_ranks_age():
    for aging in (None, 1000.0):
        index = Index()
        index.weights, index.aging = {"group a": 1}, aging
        for i in range(40):
            index.add(f"a{i:02}", 0, 1000 + i, ("group a",))
            index.add(f"b{i:02}", 0, i, (f"lock {i}",))
        assert 9 <= sum(id[0] == "a" for id in given_out(index, 2000, 20)) <= 11


def test_thousands_of_lines_are_set_apart_at_once():
    index = Index()
    for i in range(4000):
        index.add(f"a{i:04}", 0, i, ("group p", f"lock {i}"))
    index.add("b", -1, 0)
    index.full("group p")
    begun = time.process_time()
    assert given_out(index, 10_000) == ["b"]
    assert time.process_time() - begun < 1
