"""Put right what a crash left: plan() looks and says what is to be done, mend() does it.

Nothing here needs a person, a clock or a lease: a file in processing/ whose lock is free is an orphan. One whose outcome was
recorded is moved to where its verdict says; any other is a lost attempt, and is judged as one.
"""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections import namedtuple

from jobspool import claim as claims
from jobspool import durable, logs, names, process, roster, whereabouts
from jobspool.retry import Outcome, judge
from jobspool.spool import READ
from jobspool.states import DEAD, FAILED, PENDING, PROCESSING, TOLD_FIRST
from jobspool.trouble import told

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from jobspool.config import Settings
    from jobspool.spool import Spool

A_DAY, A_MINUTE = 86_400.0, 60.0
LOST = "worker lost"

# kind and what: "printed" (the roster entry of a dead worker, whose logs may lack their names), "orphan" (its id, and the worker
# that died with it), "forget" (roster entry), "leftover" (path in tmp/), "links" (the id of a file that a power cut left with
# two names, and one of the states)
Step = namedtuple("Step", "kind what")

# What mend() did with an orphan: its id, the state it is in now, and the words for it. Where the disk refused the step, the state
# is None, and the id too if it was about something else.
Mended = namedtuple("Mended", "id state why")


def plan(
    spool: Spool, running: frozenset[str] = frozenset(), after_boot: bool = True, ours: frozenset[str] = roster.NOBODY
) -> list[Step]:
    """Return what might need mending, without taking a lock. `running` are the ids that the caller's own workers run.

    `ours` are the names in workers/ of the caller and of its workers, which live.

    With `after_boot`, what only a power cut leaves is looked for as well, in all that waits or is dead.
    """
    dead = roster.dead(spool, ours)
    held = {entry.job for entry in dead if roster.group_lives(entry)}
    last = {entry.job: entry.name for entry in dead}
    orphans = [Step("orphan", (id, last.get(id, "?"))) for id in spool.names(PROCESSING) if id not in running and id not in held]
    forget = [Step("forget", entry) for entry in dead if entry.job is None or entry.job not in held]
    forget += [Step("forget", entry) for entry in roster.strangers(spool, ours) if not roster.is_alive(entry)]
    links = _links(spool) if after_boot else []
    printed = [Step("printed", entry) for entry in dead if entry.role == roster.WORKER]
    return [*printed, *orphans, *forget, *(Step("leftover", path) for path in _leftovers(spool)), *links]


def mend(spool: Spool, steps: list[Step], settings: Settings, luck: float) -> list[Mended]:
    """Do the steps and return what became of the orphans. What turns out to be held or gone is left alone.

    A step that the disk refuses keeps nobody from the others.
    """
    mended = []
    alive = Alive(spool)
    for kind, what in steps:
        done = None
        try:
            if kind == "orphan":
                done = _mend_orphan(spool, *what, settings, luck, alive)
            elif kind == "printed":
                logs.name_left(spool, what)
            elif kind == "forget":
                roster.forget(what)
            elif kind == "links":
                keep_one(spool, *what)
            else:
                _remove_leftover(what)
        except OSError as error:
            done = Mended(what[0] if kind == "orphan" else None, None, told(error, spool.root))
        mended += [done] if done else []
    return mended


class Alive:
    """Which attempts have living processes, by the environment that these were started with; looked for when first asked.

    It is the last net: for what a job that closed its lock left outside of its process group.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._found: set[tuple[str, str]] | None = None

    def runs(self, id: str, number: int) -> bool:
        """Tell whether a process of that attempt lives."""
        if self._found is None:
            self._found = {(each.job, each.attempt) for each in roster.processes(self._spool)}
        return (id, str(number)) in self._found


class Leftovers:
    """The jobs of dead workers that have to end, and whose worker would have ended them: see leftovers()."""

    def __init__(
        self, spool: Spool, age: Callable[[int], float] = process.age, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._spool = spool
        self._age = age
        self._clock = clock
        self._told: dict[int, float] = {}  # group: since when it knows

    def end(self, settings: Settings, ours: frozenset[str] = roster.NOBODY) -> bool:
        """Send TERM to those that don't know yet, and KILL to those that have known for the grace. Tell whether there are any."""
        now = self._clock()
        found = leftovers(self._spool, settings, self._age, ours)
        for entry, grace in found:
            if not roster.may_end(entry):
                continue
            if entry.group not in self._told:
                process.end_group(entry.group, signal.SIGTERM)
            elif now > self._told[entry.group] + grace:
                process.end_group(entry.group, signal.SIGKILL)
        self._told = {entry.group: self._told.get(entry.group, now) for entry, _ in found}
        return bool(found)


def leftovers(
    spool: Spool, settings: Settings, age: Callable[[int], float], ours: frozenset[str] = roster.NOBODY
) -> list[tuple[roster.Entry, float]]:
    """Return the dead workers' entries, each with its job's grace, whose job is beyond its timeout or was moved away by hand.

    Raises DirectoryGone where nobody can tell.
    `age` tells for how many seconds a process has run, whatever the clock of the machine was set to meanwhile.
    """
    found = []
    for entry in roster.dead(spool, ours):
        if entry.job is None or not roster.group_lives(entry):
            continue
        job = spool.read(PROCESSING, entry.job)
        if job is None:
            durable.see_folder(spool.folder(PROCESSING))  # gone, it says nothing of what hands moved
        rules = settings.for_job(job.record) if job else settings
        late = job and rules.timeout is not None and entry.group_start is not None and age(entry.group_start) > rules.timeout
        if job is None or late:
            found.append((entry, rules.grace))
    return found


def _mend_orphan(spool: Spool, id: str, worker: str, settings: Settings, luck: float, alive: Alive) -> Mended | None:
    claim = claims.adopt(spool, id, settings)
    if isinstance(claim, claims.Refused):
        return _refuse(spool, id, claim)
    if claims.recorded_state(claim) not in TOLD_FIRST:  # there the journal may have it already
        whereabouts.tell_first(spool, id, PROCESSING, settings, patience=0, orphan=True)
    try:
        state = claims.finish(claim)
        if state is None and (roster.runs(spool, id) or alive.runs(id, claim.number)):
            claim.release()  # looked for behind the lock: its worker may have died since the plan
            return None
        entry = None if state else _lost(claim, worker, settings, luck)
        recorded = entry and claim.write(entry, settings)
    except OSError as error:
        claim.release()  # trouble, as with a full disk: nobody is kept from trying again
        if isinstance(error, FileNotFoundError) and not claim.holds():
            return None  # RACE: hands moved it
        raise
    if recorded is not None:
        return _settle_lost(spool, recorded, entry, settings)
    claim.release()
    return Mended(id, state, "its recorded outcome was moved to its place")


def _refuse(spool: Spool, id: str, refused: claims.Refused) -> Mended | None:
    if refused.kind == "unreadable":
        return Mended(id, None, refused.why)
    if refused.kind != "unfit":
        return None
    return Mended(id, DEAD, refused.why) if claims.give_up(spool, id, PROCESSING, why=refused.why) else None


def _lost(claim: claims.Claim, worker: str, settings: Settings, luck: float) -> dict:
    """Judge the attempt that nobody saw the end of, and return what the job's file is to say of it."""
    now = claim.spool.now()
    outcome = Outcome(min(claim.begun, now), now, reason=LOST)
    rules = settings.for_job(claim.record)
    verdict = judge(claim.record.get("attempts", []), outcome, rules, luck)
    return claims.entry_for(claim, outcome, verdict, worker)


def _settle_lost(spool: Spool, recorded: claims.Recorded, entry: dict, settings: Settings) -> Mended | None:
    try:
        recorded.sync()
        stayed = recorded.settle()
    except OSError:
        recorded.drop()
        raise
    if not stayed:
        return None
    spool.note("recovered", [recorded.claim.id], PROCESSING, recorded.state, settings, **claims.said_of(entry))
    durable.sync_directory(spool.folder(recorded.state))
    try:
        claim = recorded.claim
        logs.end(spool, claim.id, claim.number, claim.begun, settings.log_max_bytes, spool.file_mode(settings))
    except OSError as error:
        return Mended(recorded.claim.id, recorded.state, f"{LOST}, and its log stays as it is: {told(error, spool.root)}")
    return Mended(recorded.claim.id, recorded.state, LOST)


def _links(spool: Spool) -> list[Step]:
    """Return the files with a name in two of the states where jobs wait or are dead: what came to done/ was synced behind."""
    names_in = {state: set(spool.names(state)) for state in (PENDING, FAILED, DEAD)}
    pairs = itertools.combinations(names_in, 2)
    twice = {id: one for one, other in pairs for id in names_in[one] & names_in[other] if _is_one_file(spool, id, one, other)}
    return [Step("links", (id, state)) for id, state in twice.items()]


def _is_one_file(spool: Spool, id: str, *states: str) -> bool:
    try:
        return os.path.samestat(*(os.lstat(spool.path(state, id)) for state in states))
    except FileNotFoundError:
        return False  # RACE: it moved while we looked


def keep_one(spool: Spool, id: str, state: str) -> None:
    """Let the job that lies there, and perhaps in another state too, have one name: see names.keep_one()."""
    job = spool.read(state, id)
    try:
        names.keep_one(spool, id, os.lstat(spool.path(state, id)), job.record if job else {})
    except FileNotFoundError:
        pass  # RACE: it has moved on


def _remove_leftover(path: str) -> None:
    """Remove the file, unless it is an outcome that a living worker couldn't record yet: that is locked."""
    try:
        descriptor = os.open(path, READ)
    except FileNotFoundError:
        return  # RACE: somebody else removed it
    except PermissionError:
        return  # another user's: the supervisor who may read it sees to it
    try:
        if durable.lock(descriptor):
            durable.remove(path)
    finally:
        os.close(descriptor)


def _leftovers(spool: Spool) -> list[str]:
    """Return the files in tmp/ that nobody has touched for a day: somebody died while writing them.

    Of those that nothing was written to yet, for a minute: they were to hold the outcome of a job whose worker was killed.
    """
    old = []
    if os.path.islink(f"{spool.root}/tmp"):
        return old  # what lies behind it is nobody's leftover
    try:
        for entry in os.scandir(f"{spool.root}/tmp"):
            found = entry.stat(follow_symlinks=False)
            longest = A_DAY if found.st_size > len(durable.HELD) else A_MINUTE
            if entry.is_file(follow_symlinks=False) and spool.now() - found.st_ctime > longest:
                old.append(entry.path)
    except FileNotFoundError:
        pass
    return old
