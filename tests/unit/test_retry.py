"""Judging is pure: attempts and an outcome in, a verdict out."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobspool.retry import MOST_ATTEMPTS, Outcome, Verdict, backoff, judge, tries_used

RULES = SimpleNamespace(max_retries=3, backoff_base=2, backoff_max=3600, backoff_jitter=0.0)
FAILED = Outcome(90.0, 100.0, status=1)
verdicts = st.lists(st.sampled_from(["done", "failed", "dead", "interrupted"]))


def tried(*words):
    return [{"verdict": word} for word in words]


def rules(**changed):
    return SimpleNamespace(**{**vars(RULES), **changed})


def test_exit_0_is_done():
    assert judge([], Outcome(90.0, 100.0, status=0), RULES, 0.0) == Verdict("done", "done", None)


def test_a_job_that_fails_is_due_after_the_first_backoff():
    assert judge([], FAILED, RULES, 0.0) == Verdict("failed", "failed", 102.0)


def test_each_retry_waits_longer():
    waits = [judge(tried(*["failed"] * n), FAILED, RULES, 0.0).due - 100.0 for n in range(3)]
    assert waits == [2.0, 4.0, 8.0]


def test_a_job_that_fails_its_last_try_is_dead():
    assert judge(tried("failed", "failed", "failed"), FAILED, RULES, 0.0) == Verdict("dead", "dead", None)


def test_without_retries_the_first_failure_is_the_last():
    assert judge([], FAILED, rules(max_retries=0), 0.0) == Verdict("dead", "dead", None)


def test_a_job_whose_record_is_full_is_dead_however_many_retries_it_has():
    attempts = tried(*["failed"] * (MOST_ATTEMPTS - 2))
    assert judge(attempts, FAILED, rules(max_retries=1_000_000), 0.0).word == "failed"
    assert judge([*attempts, *tried("failed")], FAILED, rules(max_retries=1_000_000), 0.0).word == "dead"


def test_an_interrupted_attempt_goes_back_to_pending():
    interrupted = Outcome(90.0, 100.0, signal="SIGTERM", interrupted=True)
    assert judge(tried("failed"), interrupted, RULES, 0.0) == Verdict("interrupted", "pending", None)


def test_an_interrupted_attempt_is_not_counted():
    assert judge(tried("failed", "interrupted", "interrupted"), FAILED, RULES, 0.0).due == 104.0


def test_a_lost_worker_is_counted():
    assert judge(tried("failed", "failed", "failed"), Outcome(90.0, 100.0, reason="worker lost"), RULES, 0.0).state == "dead"


@pytest.mark.parametrize("end", ["dead", "done"])
def test_a_job_taken_out_of_its_end_has_all_its_tries_again(end):
    assert judge(tried("failed", "failed", "failed", end), FAILED, RULES, 0.0) == Verdict("failed", "failed", 102.0)


def test_the_wait_is_never_longer_than_backoff_max():
    assert backoff(50, RULES, 0.0) == 3600


def test_a_wait_beyond_every_number_is_backoff_max():
    assert backoff(1_000_000, rules(backoff_base=1_000_000), 0.0) == 3600


def test_jitter_adds_its_share_of_the_wait():
    assert backoff(1, rules(backoff_base=10, backoff_jitter=0.5), 0.5) == 12.5


def test_a_backoff_base_of_0_tries_again_at_once():
    assert backoff(1, rules(backoff_base=0), 0.9) == 0.0


@given(verdicts)
def test_a_job_that_always_fails_ends(words):
    attempts = tried(*words)
    for _ in range(RULES.max_retries + 1):
        attempts += tried(judge(attempts, FAILED, RULES, 0.0).word)
        if attempts[-1]["verdict"] == "dead":
            return
    raise AssertionError(attempts)


@given(verdicts)
def test_tries_used_are_the_failures_since_the_last_end(words):
    ends = [i for i, word in enumerate(words) if word in ("done", "dead")]
    since = words[ends[-1] + 1 :] if ends else words
    assert tries_used(tried(*words)) == since.count("failed")


@given(st.integers(1, 10_000), st.floats(0, 1_000_000), st.floats(0, 10), st.floats(0, 1, exclude_max=True))
def test_a_wait_is_from_nothing_to_the_longest_and_its_jitter(n, base, jitter, luck):
    assert 0 <= backoff(n, rules(backoff_base=base, backoff_jitter=jitter), luck) <= 3600 * (1 + jitter)
