"""Judging is pure: attempts and an outcome in, a verdict out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobspool.config import Settings
from jobspool.retry import MOST_ATTEMPTS, Outcome, Verdict, backoff, judge, tries_used

RULES = Settings({"max_retries": 3, "backoff_base": 2, "backoff_max": 3600, "backoff_jitter": 0.0})
FAILED = Outcome(90.0, 100.0, status=1)
verdicts = st.lists(st.sampled_from(["done", "failed", "dead", "interrupted"]))


def tried(*words):
    return [{"verdict": word} for word in words]


def rules(**changed):
    return Settings({**RULES.given, **changed})


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


@pytest.mark.parametrize(
    ("changed", "waits"),
    [
        ({"backoff": "fixed", "backoff_base": 7}, [7, 7, 7]),
        ({"backoff": "linear", "backoff_base": 7}, [7, 14, 21]),
        ({"backoff": "exponential", "backoff_base": 3}, [3, 9, 27]),
        ({"backoff": [10, 60.5]}, [10, 60.5, 60.5]),
        ({"backoff": [9999], "backoff_max": 5}, [9999, 9999, 9999]),
        ({"backoff": "linear", "backoff_base": 7, "backoff_max": 10}, [7, 10, 10]),
    ],
)
def test_waits_grow_as_the_backoff_says(changed, waits):
    assert [backoff(n, rules(**changed), 0.0) for n in (1, 2, 3)] == waits


def test_any_backoff_has_its_jitter():
    assert backoff(1, rules(backoff=[100], backoff_jitter=0.5), 1.0) == 150


@pytest.mark.parametrize(
    ("exits", "code", "word"),
    [
        ({}, 0, "done"),
        ({}, 1, "failed"),
        ({}, 75, "snoozed"),
        ({"75": "retry"}, 75, "failed"),
        ({"3": "done"}, 3, "done"),
        ({"64": "dead"}, 64, "dead"),
        ({"0": "retry"}, 0, "failed"),
        ({"9": "snooze"}, 9, "snoozed"),
    ],
)
def test_an_exit_code_means_what_the_table_says(exits, code, word):
    verdict = judge([], Outcome(90.0, 100.0, status=code), rules(exits=exits), 0.0)
    assert verdict.word == word
    assert verdict.due == {"failed": 102.0, "snoozed": 160.0}.get(word)


def test_a_snooze_is_not_counted_but_by_the_room_for_attempts():
    snooze = Outcome(90.0, 100.0, status=75)
    assert judge(tried(*["snoozed"] * 50, *["failed"] * 3), snooze, RULES, 0.0) == Verdict("snoozed", "pending", 160.0)
    assert judge(tried("failed", "snoozed", "snoozed"), FAILED, RULES, 0.0).due == 104.0
    assert judge(tried(*["snoozed"] * (MOST_ATTEMPTS - 1)), snooze, RULES, 0.0).word == "dead"


def test_a_signal_or_a_timeout_is_no_exit_code():
    assert judge([], Outcome(90.0, 100.0, signal="SIGTERM"), rules(exits={"15": "done", "0": "dead"}), 0.0).word == "failed"


def test_what_a_job_says_of_itself_counts():
    def said(status, **words):
        return judge([], Outcome(90.0, 100.0, status=status, said=words), RULES, 0.0)

    assert said(1, retry_after=30) == Verdict("failed", "failed", 130.0)
    assert said(75, retry_after=5) == Verdict("snoozed", "pending", 105.0)
    assert said(0, retry_after=30).word == "done"
    assert (said(0, dead="no").word, said(1, dead="no").word) == ("dead", "dead")
    assert said(1, progress=50).due == 102.0


@pytest.mark.parametrize("word", ["retry_until", "deadline"])
def test_no_retry_is_due_beyond_the_last_moment(word):
    assert judge([], FAILED, rules(**{word: "1970-01-01T00:01:42Z"}), 0.0).word == "failed"
    assert judge([], FAILED, rules(**{word: "1970-01-01T00:01:41.9Z"}), 0.0).word == "dead"


def test_a_job_with_a_time_to_retry_until_has_any_number_of_tries():
    job = RULES.for_job({"retry_until": "1971-01-01T00:00:00Z"})
    assert judge(tried(*["failed"] * 20), FAILED, job, 0.0).word == "failed"
    both = RULES.for_job({"retry_until": "1971-01-01T00:00:00Z", "max_retries": 2})
    assert judge(tried("failed", "failed"), FAILED, both, 0.0).word == "dead"


def test_the_jobs_own_exit_codes_stand_beside_the_spools():
    job = rules(exits={"3": "done", "4": "done"}).for_job({"exits": {"4": "dead"}})
    assert job.exits == {"3": "done", "4": "dead"}
