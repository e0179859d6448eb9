"""What became of every job: where it was seen, when it ran, and by which rule it was let go of.

The jobs say that they run by a file each in `said`; the rest is seen in the spool's directories, many times a second.
"""

import bisect
import os
import time
from collections import Counter, namedtuple

from soak.load import KINDS

from jobspool.states import DEAD, DONE, STATES
from jobspool.times import keep_of

RULED = 15.0  # seconds in which a walk may still go by the rule before
BLINKED = 2.0  # seconds without a look, as on a busy machine: what went meanwhile may have ended unseen
KEPT = 20_000  # ends that are remembered

# since: from when a rule for that state was in force (seconds since 1970).
Rule = namedtuple("Rule", "since state rule")


class Seen:
    """A job that is not gone. Times are seconds since 1970."""

    def __init__(self, kind, start):
        self.kind = kind
        self.start = start  # from when it may run
        self.state = None  # where it was last
        self.ended = None  # its mtime there, in done/ and dead/
        self.runs = set()  # the attempts that said so
        self.missing = False


class Ledger:
    """`wrong` is what broke a promise, `pause` the longest time in seconds until a job that could start did, `count` what there was."""

    def __init__(self, spool, said):
        self.spool, self.said = spool, said
        self.wrong = []
        self.pause = 0.0
        self.count = Counter()  # added, laid, runs, gone
        self._jobs = {}
        self._ends = {DONE: [], DEAD: []}  # the mtimes of all that ever came there, in order
        self._rules = []
        self._looked = [time.time()] * 2

    def added(self, id, kind, start=None):
        """Note that the job comes now, and may run from `start` on."""
        self._jobs[id] = Seen(kind, start or time.time())
        self.count["added"] += 1

    def laid(self, id, ended):
        """Note that a job is put into done/ that ended then."""
        job = self._jobs[id] = Seen("laid", ended)
        job.state, job.ended = DONE, ended
        bisect.insort(self._ends[DONE], ended)
        self.count["laid"] += 1

    def ruled(self, state, rule):
        """Note that the rule for what is kept in that state is in force from now on."""
        self._rules.append(Rule(time.time(), state, rule))

    def look(self):
        """Look where every job is, and judge those that are gone."""
        self._hear()
        there = {id for state in STATES for id in self.spool.names(state) if self._see(state, id)}
        for id, job in list(self._jobs.items()):
            if id in there:
                job.missing = False
            elif not job.missing:
                job.missing = True  # RACE: it may have moved against the order of our looking
            else:
                del self._jobs[id]
                self._gone(id, job)
        self._looked = [self._looked[1], time.time()]

    def lie(self, state):
        """How many jobs lie there that the load added one by one."""
        return sum(job.state == state and job.kind != "laid" for job in self._jobs.values())

    def left(self):
        """The jobs that have not ended."""
        return [id for id, job in self._jobs.items() if job.ended is None]

    def knows(self, id):
        return id in self._jobs

    def _say(self, wrong):
        if wrong not in self.wrong:
            self.wrong.append(wrong)

    def _hear(self):
        """Take the words of the runs."""
        for entry in list(os.scandir(self.said)):
            id, _, attempt = entry.name.rpartition(".")
            begun = entry.stat().st_mtime
            os.unlink(entry.path)
            job = self._jobs.get(id)
            if job is None:
                self._say(f"{id} ran, and is not there")
                continue
            if attempt in job.runs:
                self._say(f"{id} ran twice as attempt {attempt}")
            if not job.runs:
                self.pause = max(self.pause, begun - job.start)
            job.runs.add(attempt)
            self.count["runs"] += 1

    def _see(self, state, id):
        """Note where the job is."""
        job = self._jobs.get(id)
        if job is None:
            self._say(f"{state}/{id} is there, though nobody added it, or it was gone")
        elif job.state != state:
            job.state = state
            if state in self._ends:
                self._has_ended(id, job)
        return True

    def _has_ended(self, id, job):
        try:
            job.ended = os.lstat(self.spool.path(job.state, id)).st_mtime
        except FileNotFoundError:
            return  # RACE: it went in this instant
        ends = self._ends[job.state]
        bisect.insort(ends, job.ended)
        del ends[:-KEPT]
        if job.state != KINDS[job.kind].ends:
            self._say(f"{id} is {job.state}")

    def _gone(self, id, job):
        """Judge a job that is in no state: it had ended, had run, and a rule let it go."""
        before, now = self._looked[0], time.time()
        self.count["gone"] += 1
        if job.kind not in ("junk", "laid") and not job.runs:
            self._say(f"{id} is gone from {job.state}/ and never ran")
        elif job.ended is None:
            if now - before < BLINKED:
                self._say(f"{id} is gone from {job.state}/")
        elif not any(self._lets_go(rule, job, now) for rule in self._in_force(job.state, before)):
            self._say(f"{id} is gone from {job.state}/, {now - job.ended:.1f} s old, against the rules")

    def _in_force(self, state, before):
        """The rules that a walk may have gone by since then."""
        rules = [rule for rule in self._rules if rule.state == state]
        ends = [rule.since for rule in rules[1:]] + [time.time()]
        return [rule.rule for rule, end in zip(rules, ends, strict=True) if end > before - RULED]

    def _lets_go(self, rule, job, now):
        age, count = keep_of(rule)
        newer = len(self._ends[job.state]) - bisect.bisect_right(self._ends[job.state], job.ended)
        return (age is not None and now >= job.ended + age) or (count is not None and newer >= count)
