"""The life of a job is one table of moves."""

import pytest

from jobspool.states import MOVES, STATES, drawing, may_put, state_named


@pytest.mark.parametrize("state", STATES)
def test_each_state_is_called_by_its_name(state):
    assert state_named(state.upper()) == state


def test_completed_is_done():
    assert state_named("Completed") == "done"


@pytest.mark.parametrize("word", ["", "tmp", "pend", "processing/", "dlq"])
def test_other_words_are_no_state(word):
    assert state_named(word) is None


def test_people_may_put_a_job_anywhere_but_where_jobs_run():
    assert [word for word in (*STATES, "tmp", "") if may_put(word)] == ["pending", "done", "failed", "dead"]


def test_a_job_comes_in_as_pending():
    assert [move.target for move in MOVES if move.source == ""] == ["pending"]


def test_a_job_runs_only_from_pending():
    assert {move.source for move in MOVES if move.target == "processing"} == {"pending"}


def test_no_move_leads_out_of_done_or_dead_but_a_persons():
    assert [(move.source, move.who) for move in MOVES if move.source in ("done", "dead")] == [("dead", "dlq retry")]


def test_every_move_is_between_states_and_made_once():
    pairs = [(move.source, move.target) for move in MOVES]
    assert len(set(pairs)) == len(pairs)
    assert {state for pair in pairs for state in pair} == {"", *STATES}


def test_the_drawing_has_a_line_for_each_move():
    lines = drawing().splitlines()
    assert len(lines) == len(MOVES)
    assert lines[1] == "pending    -> processing  worker      claimed"
