"""Judge: what becomes of a job after an attempt. Pure: no clock, no luck and no disk of its own.

Exit 0 is done. Anything else is failed while fewer than max_retries tries have been used again since the job was last dead
(or done), due after backoff_base ** n seconds (n = 1 for the first retry), at most backoff_max, plus jitter; else it is dead.
An interrupted attempt isn't counted, a lost worker is. A job whose record is full, after MOST_ATTEMPTS, is dead.
"""

from __future__ import annotations

from collections import namedtuple

from jobspool.states import DEAD, DONE, FAILED, PENDING

INTERRUPTED = "interrupted"
MOST_ATTEMPTS = 10_000  # on record, in all a job's lives: its file is read whole each time

# started, ended: seconds since 1970. status, signal: how it ended, one of them, or neither where nobody saw the end.
# reason: words for people, None for exit 0. cpu: seconds. memory: bytes at most in use. None: nobody saw, or measured, it.
# took: seconds by a clock that nobody sets, None where nobody measured it.
Outcome = namedtuple(
    "Outcome",
    "started ended status signal reason cpu memory interrupted took",
    defaults=(None, None, None, None, None, False, None),
)

# word: what is recorded. state: where the job goes. due: when it may run again, None if it won't by itself.
Verdict = namedtuple("Verdict", "word state due")


def judge(attempts: list[dict], outcome: Outcome, rules: object, luck: float) -> Verdict:
    """Return the verdict on a job with these earlier `attempts` after `outcome`.

    `rules` has max_retries, backoff_base, backoff_max (seconds) and backoff_jitter; `luck` is from 0 up to 1.
    """
    if outcome.interrupted:
        return Verdict(INTERRUPTED, PENDING, None)
    if outcome.status == 0:
        return Verdict("done", DONE, None)
    used = tries_used(attempts)
    if used >= rules.max_retries or len(attempts) + 1 >= MOST_ATTEMPTS:
        return Verdict("dead", DEAD, None)
    return Verdict("failed", FAILED, outcome.ended + backoff(used + 1, rules, luck))


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
    try:
        wait = min(float(rules.backoff_base) ** n, rules.backoff_max)
    except OverflowError:
        wait = rules.backoff_max
    return wait * (1 + rules.backoff_jitter * luck)
