"""The witness of a storm: a file that jobs and storm append lines to, and what these prove against what the spool says.

    WORD TOKEN ATTEMPT WORKER POOL TIME

A job says start, end, overlap (a run of it lives already), added (its child is acknowledged), left and gone (what it left behind).
Whoever sends a worker kill -9 says killed, and the storm struck for other blows. Of a pool it says up, down, frozen, thawed; and empty
when nothing waits, calm when it is over.
"""

import time
from collections import Counter, defaultdict, namedtuple

from jobspool.recovery import LOST
from jobspool.states import DEAD, DONE

FEW = 2  # max_retries of what ends in dead/
ALWAYS = 1000  # of what must end in done/, however often it is killed
DOOMED = ("fails", "killer", "stubborn")
NEVER_ENDS = ("stubborn", "endless")  # by itself

# token: which job; its file carries it as `meta`, for two jobs may have one name. attempt: its number. worker, pool: the pids of
# its worker and its supervisor, 0 where they are dead.
Line = namedtuple("Line", "word token attempt worker pool time")


class Witness:
    """The file at `folder`/said."""

    def __init__(self, folder):
        self.folder = folder
        self.path = f"{folder}/said"

    def note(self, word, pool=0, worker=0):
        """Let the storm say something."""
        with open(self.path, "ab", buffering=0) as file:
            file.write(f"{word} - 0 {worker} {pool} {time.monotonic()}\n".encode())

    def lines(self):
        with open(self.path) as file:
            return [line_of(text) for text in file]


def line_of(text):
    word, token, attempt, worker, pool, when = text.split()
    return Line(word, token, int(attempt), int(worker), int(pool), float(when))


def longest_pause(lines):
    """Return the longest time, in seconds, in which a living pool started nothing, though something waited.

    It is counted from when it last did, was struck at itself, a worker or a job, or went on after it was stopped.
    """
    since, longest = {}, 0.0
    for line in lines:
        pools = list(since) if line.word in ("calm", "empty") else [line.pool]
        for pool in pools:
            if pool in since and line.word in ("start", "frozen", "down", "calm"):
                longest = max(longest, line.time - since[pool])
            if line.word in ("up", "thawed") or (pool in since and line.word in ("start", "struck", "killed", "empty")):
                since[pool] = line.time
            elif line.word in ("frozen", "down"):
                since.pop(pool, None)
        if line.word == "calm":
            break
    return longest


def wrongs(jobs, kinds, kept, lines, touched, removed):
    """Yield what breaks a promise: `jobs` as they lie when all is over, of the `kinds` (by token); `kept` are those whose add was
    acknowledged.

    `touched` are tokens that hands moved, of which less can be said; `removed` those that hands removed.
    """
    said = defaultdict(list)
    for line in lines:
        said[line.token].append(line)
    found = Counter(token_of(job) for job in jobs)
    killed = {line.worker for line in lines if line.word == "killed"}
    added = {f"child-{line.token}" for line in lines if line.word == "added"}
    for token in [*kept, *added]:
        if not found[token] and token not in removed:
            yield f"job {token} ({kinds.get(token, 'a child')}) is gone"
    for token, count in found.items():
        if count > 1:
            yield f"job {token} is there {count} times"
        if token in removed:
            yield f"job {token} was removed, and is there"
    for job in jobs:
        token = token_of(job)
        kind = kinds.get(token, "plain")
        bad = [
            *_while_it_ran(kind, said[token], job),
            *(() if token in touched else _in_the_end(kind, said[token], job, killed)),
        ]
        yield from (f"{job.state}/{job.id} ({kind}) {wrong}: {verdicts(job)}" for wrong in bad)


def token_of(job):
    return job.record.get("meta", f"? {job.id}: {job.problem}")


def verdicts(job):
    return " ".join(f"{attempt['number']}:{attempt['verdict']} ({attempt.get('reason')})" for attempt in job.attempts)


def _while_it_ran(kind, lines, job):
    words = Counter(line.word for line in lines)
    if words["overlap"]:
        yield "ran twice at once"
    if kind in NEVER_ENDS and words["end"]:
        yield "came to its end by itself, though it was to be ended"


def _beside(lines, lost):
    """Yield the attempts that started while a process lived that a lost one had left behind."""
    lives = set()
    for line in lines:
        if line.word == "left":
            lives.add(line.attempt)
        elif line.word == "gone":
            lives.discard(line.attempt)
        elif line.word == "start" and lives & lost:
            yield f"started attempt {line.attempt} beside what the lost {min(lives & lost)} had left behind"


def lost_of(job):
    return {attempt["number"] for attempt in job.attempts if attempt.get("reason") == LOST}


def _in_the_end(kind, lines, job, killed):
    """Yield what is wrong with a job that nobody touched."""
    starts = [line.attempt for line in lines if line.word == "start"]
    said = [attempt["verdict"] for attempt in job.attempts]
    if job.state != (DEAD if kind in DOOMED else DONE):
        yield "should not be there"
    if job.state == DONE and not any(line.word == "end" for line in lines):
        yield "never came to its end"
    if {"done", "dead"} & set(said[:-1]):
        yield "ran again after its end was recorded"
    if len(set(starts)) < len(starts):
        yield "ran twice under one number"
    yield from _beside(lines, lost_of(job))
    for line in lines:
        if line.word == "start" and line.worker and line.attempt in lost_of(job) and line.worker not in killed:
            yield f"lost attempt {line.attempt}, though nobody killed its worker"
    if missing := set(starts) - {attempt["number"] for attempt in job.attempts}:
        yield f"started attempts {missing}, which are not on record"
    if kind in DOOMED and [word for word in said if word != "interrupted"] != ["failed"] * FEW + ["dead"]:
        yield f"was to be tried {FEW + 1} times"
