"""The order of what waits."""

from hypothesis import given
from hypothesis import strategies as st

from jobspool.index import Index

names = st.sampled_from("abcdefgh")
some = st.dictionaries(names, st.tuples(st.integers(-2, 2), st.integers(0, 5)))


def all_of(index, now):
    """What the index gives out, one after the other."""
    ids = []
    while (id := index.next(now)) is not None:
        ids.append(id)
    return ids


@given(some)
def test_jobs_run_by_priority_then_age_then_name(jobs):
    index = Index()
    for id, (priority, start) in jobs.items():
        index.add(id, priority, start)
    assert all_of(index, now=5) == sorted(jobs, key=lambda id: (-jobs[id][0], jobs[id][1], id))


@given(some, st.integers(0, 5))
def test_a_job_doesnt_run_before_its_time_whatever_its_priority(jobs, now):
    index = Index()
    for id, (priority, start) in jobs.items():
        index.add(id, priority, start)
    assert set(all_of(index, now)) == {id for id, (_, start) in jobs.items() if start <= now}


@given(st.lists(st.tuples(st.sampled_from(["add", "remove", "look"]), names, st.integers(-1, 1), st.integers(0, 3))))
def test_only_the_last_that_was_said_of_a_job_counts(said):
    index, known = Index(), {}
    for word, id, priority, start in said:
        if word == "add":
            index.add(id, priority, start)
            known[id] = (-priority, start, id)
        elif word == "remove":
            index.remove(id)
            known.pop(id, None)
        else:
            index.next_time(start)
            index.take_due(start)
    assert index.pending() == set(known)
    assert all_of(index, now=3) == [key[2] for key in sorted(known.values())]
    assert (len(index), index.next_time(0)) == (0, None)


@given(st.lists(st.tuples(st.sampled_from(["add", "remove"]), names, st.integers(0, 3))), st.integers(0, 3))
def test_failed_jobs_are_due_once_their_time_has_come(said, now):
    index, known = Index(), {}
    for word, id, due in said:
        if word == "add":
            index.add_failed(id, due)
            known[id] = due
        else:
            index.remove_failed(id)
            known.pop(id, None)
    assert sorted(index.take_due(now)) == sorted(id for id, due in known.items() if due <= now)
    assert index.take_due(now) == []
    assert index.failed() == {id for id, due in known.items() if due > now}


def test_the_next_time_is_the_earliest_of_both_kinds():
    index = Index()
    index.add("a", 0, 30)
    assert index.next_time(0) == 30
    index.add_failed("b", 20)
    assert index.next_time(0) == 20


def test_the_next_time_forgets_what_was_removed_or_put_off():
    index = Index()
    index.add("a", 0, 10)
    index.add("a", 0, 40)
    index.add_failed("b", 20)
    index.remove_failed("b")
    assert index.next_time(0) == 40


def test_a_job_that_may_run_and_waits_for_a_free_worker_is_no_reason_to_wake():
    index = Index()
    index.add("a", 0, 10)
    assert (index.next_time(now=10), index.next(now=10)) == (None, "a")


def test_a_job_that_is_put_off_while_it_waits_for_a_free_worker_waits():
    index = Index()
    index.add("a", 0, 10)
    index.next_time(now=10)
    index.add("a", 0, 20)
    assert (index.next(now=10), index.next_time(now=10), index.next(now=20)) == (None, 20, "a")


def test_a_job_whose_priority_falls_while_it_waits_for_a_free_worker_lets_others_go_first():
    index = Index()
    index.add("a", 1, 10)
    index.next_time(now=10)
    index.add("a", -1, 10)
    index.add("b", 0, 10)
    assert all_of(index, now=10) == ["b", "a"]


def test_a_job_that_was_taken_out_can_be_added_again():
    index = Index()
    index.add("a", 0, 10)
    assert all_of(index, now=10) == ["a"]
    index.add("a", 0, 10)
    assert all_of(index, now=10) == ["a"]


def test_a_job_that_is_known_to_be_pending_is_in_the_index():
    index = Index()
    index.add("a", 0, 10)
    index.add_failed("b", 10)
    assert ("a" in index, "b" in index, len(index)) == (True, False, 2)
