"""Judge: what becomes of a job after an attempt. Pure: no clock, no luck and no disk of its own.

What an exit code means stands in the table of the job, then of the spool, then here: 0 is done, 75 (EX_TEMPFAIL of sysexits.h)
a snooze, anything else a failure. A job may say more of itself: see said.py.

A failed job is tried again while fewer than max_retries tries have been used since it was last dead (or done), or until
`retry_until`, due as `backoff` says; else it is dead. An interrupted attempt and a snooze aren't counted, a lost worker is. A job
whose record is full, after MOST_ATTEMPTS, is dead.
"""

from __future__ import annotations

from collections import namedtuple

from jobspool.job import seconds
from jobspool.states import DEAD, DONE, FAILED, PENDING

INTERRUPTED, SNOOZED = "interrupted", "snoozed"
MOST_ATTEMPTS = 10_000  # on record, in all a job's lives: its file is read whole each time
MEANS = {"0": "done", "75": "snooze"}  # of an exit code; all others: retry

# started, ended: seconds since 1970. status, signal: how it ended, one of them, or neither where nobody saw the end.
# reason: words for people, None for exit 0. cpu: seconds. memory: bytes at most in use. None: nobody saw, or measured, it.
# took: seconds by a clock that nobody sets, None where nobody measured it. said: what the job said of itself, see said.py.
Outcome = namedtuple(
    "Outcome",
    "started ended status signal reason cpu memory interrupted took said",
    defaults=(None, None, None, None, None, False, None, None),
)

# word: what is recorded. state: where the job goes. due: when it may run again, None if it won't by itself.
Verdict = namedtuple("Verdict", "word state due")


def judge(attempts: list[dict], outcome: Outcome, rules: object, luck: float) -> Verdict:
    """Return the verdict on a job with these earlier `attempts` after `outcome`.

    `rules` are the settings for the job; `luck` is from 0 up to 1.
    """
    if outcome.interrupted:
        return Verdict(INTERRUPTED, PENDING, None)
    meant = meaning(outcome, rules)
    if meant == "done":
        return Verdict("done", DONE, None)
    used, said = tries_used(attempts), outcome.said or {}
    if meant == "dead" or len(attempts) + 1 >= MOST_ATTEMPTS or (meant == "retry" and used >= rules.max_retries):
        return Verdict("dead", DEAD, None)
    wait = said.get("retry_after", rules.snooze if meant == "snooze" else None)
    due = outcome.ended + (backoff(used + 1, rules, luck) if wait is None else wait)
    if any(due > seconds(last) for last in (rules.retry_until, rules.deadline) if last is not None):
        return Verdict("dead", DEAD, None)
    return Verdict(SNOOZED, PENDING, due) if meant == "snooze" else Verdict("failed", FAILED, due)


def meaning(outcome: Outcome, rules: object) -> str:
    """Return what the outcome means: done, retry, dead or snooze."""
    if outcome.said and "dead" in outcome.said:
        return "dead"
    code = str(outcome.status)
    return rules.exits.get(code) or MEANS.get(code, "retry")


def tries_used(attempts: list[dict]) -> int:
    """Count the failed attempts since the job was last dead or done."""
    used = 0
    for attempt in reversed(attempts):
        if attempt["verdict"] in ("dead", "done"):
            break
        used += attempt["verdict"] == "failed"
    return used


def backoff(n: int, rules: object, luck: float) -> float:
    """Return the seconds to wait before retry `n` (1 is the first)."""
    return _wait(n, rules) * (1 + rules.backoff_jitter * luck)


def _wait(n: int, rules: object) -> float:
    if isinstance(rules.backoff, list):
        return rules.backoff[min(n, len(rules.backoff)) - 1]
    base = float(rules.backoff_base)
    try:
        wait = {"exponential": lambda: base**n, "linear": lambda: base * n, "fixed": lambda: base}[rules.backoff]()
    except OverflowError:
        return rules.backoff_max
    return min(wait, rules.backoff_max)
