"""What a person does to a job by command: each deed is a move, or the job's file written anew where it lies.

Everybody may be quicker: a worker, a supervisor, or another person. Then the deed is tried again on the job as it lies now, or
refused with what has become of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import time
from signal import SIGKILL, SIGTERM

from jobspool import claim as claims
from jobspool import durable, process, recovery, retention, roster, schedule, whereabouts
from jobspool.errors import JobExists, NoSuchJob, QueueError, TryAgain
from jobspool.job import Job, iso, seconds, waits_until, written
from jobspool.spool import PAUSED
from jobspool.states import DEAD, DONE, FAILED, PENDING, PROCESSING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from jobspool.config import Settings
    from jobspool.spool import Spool

PATIENCE = 1.0  # seconds for somebody who is at the file just now
BEYOND_GRACE = 10.0  # seconds beyond a job's grace, in which its processes have to be gone
MOST_ROUNDS = 10  # in which a job may move under our hands
ROUND = 0.05  # seconds between two looks for processes
EDITED = "edited by"  # begins the reason for which an editor holds a job
UNDONE = "undone"  # what the journal says of a deed that is taken back
OF_ONE_LIFE = ("attempts", "hold", "cancelled")  # words of a record that a copy doesn't have, and no editor shows


def cancel(spool: Spool, job: Job, why: str, settings: Settings) -> None:
    """Let the job lie in dead/ with the reason on record; one that runs has ended, and none of its processes is left.

    Raises QueueError where it has ended already, TryAgain where its processes can't be ended, NoSuchJob.
    """
    begun = _begun(spool, job)
    ran = {} if begun is None else {"attempt": begun["number"], "verdict": "dead", "worker": begun["worker"]}
    if job.state == DEAD and any(_processes(spool, job.id)):  # an earlier cancel has not come to its end
        moved, source = job, PROCESSING
    else:
        moved, source = _moved(spool, job, (PENDING, FAILED, PROCESSING), DEAD, "cancelled", reason=f"cancelled {why}", **ran)
    if source == PROCESSING:
        wait_until_ended(spool, job.id, settings.for_job(moved.record).grace, settings)
    now = spool.now()

    def told(record: dict) -> dict:
        said = {**record, "cancelled": why}
        known = begun is not None and source == PROCESSING and len(record.get("attempts", ())) < begun["number"]
        return {**said, "attempts": [*record.get("attempts", ()), _ended(begun, now, why)]} if known else said

    try:
        _rewrite(spool, moved, told, settings, now if source == PROCESSING else None)
    except OSError as error:
        raise TryAgain(f"{job.id} is in {DEAD}/, but the reason can't be written to its file: {error.strerror}") from None


def _begun(spool: Spool, job: Job) -> dict | None:
    """Return what is known of the attempt that runs, None where none does: whoever ends it has to put it on record."""
    for entry in roster.entries(spool, job.id):
        if entry.attempt is not None and entry.since is not None:
            return {"number": entry.attempt, "started": entry.since, "worker": entry.name}
    return None


def _ended(begun: dict, now: float, why: str) -> dict:
    """Return what the job's file says of an attempt that was cancelled."""
    took = round(max(0.0, now - seconds(begun["started"])), 6)
    return {
        "number": begun["number"],
        "started": begun["started"],
        "ended": iso(now),
        "duration": took,
        "worker": begun["worker"],
        "reason": f"cancelled {why}",
        "verdict": "dead",
    }


def wait_until_ended(spool: Spool, id: str, grace: float, settings: Settings) -> None:
    """Return when no process of a job of that name is left, which others end; where nobody does, as its worker is dead, end it.

    Raises TryAgain when that takes too long.
    """
    leftovers, begun, known = recovery.Leftovers(spool), time.monotonic(), set()
    while True:
        group, apart = _processes(spool, id)
        if not group and not apart:
            return
        leftovers.end(settings)
        late = time.monotonic() - begun > grace
        for pid in apart if not group else ():
            if late or pid not in known:
                _send(pid, SIGKILL if late else SIGTERM)
            known.add(pid)
        if time.monotonic() - begun > grace + BEYOND_GRACE:
            raise TryAgain(f"{id} is in dead/, but not all of it has ended: {' '.join(map(str, sorted(group | apart)))}")
        process.wait_for(min(group | apart), ROUND)


def _processes(spool: Spool, id: str) -> tuple[set[int], set[int]]:
    """Return the processes in the group that the job runs as, and those that left it: by the environment that they came with."""
    group = set()
    for entry in roster.entries(spool, id):
        if roster.group_lives(entry):
            group.update(process.members(entry.group))
    started = {each.pid for each in roster.processes(spool) if each.job == id}
    return group, started - group - {os.getpid()}


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass  # RACE: it has just ended; or it is another user's by now, and who waits for it sees that it lives


def signal(spool: Spool, job: Job, number: int) -> None:
    """Send the signal to every process of the running job. Raises QueueError where none runs."""
    groups = {entry.group for entry in roster.entries(spool, job.id) if roster.group_lives(entry) and roster.may_end(entry)}
    group, apart = _processes(spool, job.id)
    if not group and not apart:
        raise QueueError(f"{job.id} is {job.state}: no process of it runs")
    for each in groups:
        process.end_group(each, number)
    for pid in apart:
        _send(pid, number)


def retry(spool: Spool, job: Job, settings: Settings, reset: bool = False) -> None:
    """Let the job lie in pending/, to run now: a dead one with all its tries, a failed one with those that are left, or `reset`.

    Raises QueueError where it waits, runs or is done.
    """
    if job.problem:
        raise QueueError(f"{job.id} is not a whole job ({job.problem}): queuectl edit {job.id}")
    if job.state == DEAD or reset:
        _rewrite(spool, job, lambda record: _reborn(record, spool.now()), settings)
    moved, _ = _moved(spool, job, (DEAD, FAILED), PENDING, "retried")
    if waits_until(moved.record, moved.mtime) > spool.now() and "hold" not in moved.record:
        with contextlib.suppress(FileNotFoundError):  # RACE: hands moved it on
            durable.stamp_now(spool.path(PENDING, job.id), spool.now())


def _reborn(record: dict, now: float) -> dict:
    """Return the record of a job that has all its tries again; times that have gone by no longer keep it from running."""
    past = [word for word in ("expires", "deadline", "retry_until") if word in record and seconds(record[word]) <= now]
    record = claims.with_tries_again(record)
    return {word: value for word, value in record.items() if word not in ("cancelled", *past)}


def hold(spool: Spool, job: Job, reason: str, settings: Settings) -> None:
    """Let the waiting job wait until it is released. Raises QueueError where it doesn't wait."""
    _change(spool, job, (PENDING, FAILED), lambda record: {**record, "hold": reason}, settings, "held", reason=reason)


def release(spool: Spool, job: Job, settings: Settings) -> None:
    """Let the held job be in line again. Raises QueueError where it isn't held."""
    if "hold" not in job.record:
        raise QueueError(f"{job.id} is {job.state}, and not held")
    _change(spool, job, (PENDING, FAILED), lambda record: _without(record, "hold"), settings, "released")


def replace(spool: Spool, job: Job, record: dict, held: str | None, settings: Settings, seen: dict | None = None) -> None:
    """Let the job say this, where it lies by now; what the queue wrote of it stays, and a hold but `held`, the editor's own.

    With `seen`, nothing is changed where its file says something else by now.
    Raises QueueError where it runs.
    """

    def changed(old: dict) -> dict:
        if seen is not None and old != seen:
            return old
        kept = {word: old[word] for word in ("hold", "cancelled", "attempts") if word in old and old[word] != held}
        return {**record, **kept}

    _change(spool, job, (PENDING, FAILED, DONE, DEAD), changed, settings)


def mend(spool: Spool, job: Job, record: dict, settings: Settings) -> None:
    """Let the file that is no whole job say this, where it lies. Raises QueueError for a file that is never run as it is."""
    path = spool.path(job.state, job.id)
    if odd := _oddity(spool, job, settings):
        raise QueueError(f"{job.id} is not edited: {odd}")
    spool.tell_hands(job.id, job.state, settings)
    durable.replace(path, spool.spare(), written(record), spool.file_mode(settings))
    spool.note("changed", [job.id], job.state, job.state, settings)


def put_back(spool: Spool, before: Job, now: Job, settings: Settings) -> None:
    """Let the job, which a deed made what it is `now`, be as it was before: there, saying that, from then on.

    Raises QueueError where it has moved on since, runs, or says something else by now: nobody's later change is taken back.
    """
    state = now.state
    job = spool.read(state, before.id)
    if job is None:
        raise NoSuchJob(f"{before.id} is no longer in {state}/: it can't be put back")
    if job.record != now.record:
        raise QueueError(f"{before.id} has been changed since, or has run: it can't be put back")
    if before.state != state:
        job = spool.move(job, before.state, reason=UNDONE)
    if not _rewrite(spool, job, lambda record: before.record if record == now.record else record, settings, before.mtime):
        try:
            durable.stamp(spool.path(before.state, before.id), before.mtime)
        except FileNotFoundError:
            raise NoSuchJob(f"{before.id} is no longer in {before.state}/: somebody was quicker") from None
    if before.state == state:
        spool.note("changed", [job.id], state, state, settings, reason=UNDONE)


def restore(spool: Spool, job: Job, content: bytes, mode: int) -> None:
    """Let a job that was removed lie where it lay, with this content: on the disk on return. Raises JobExists."""
    spare = spool.spare()
    descriptor = durable.write_new(spare, content, mode)
    try:
        durable.stamp(descriptor, job.mtime)
        durable.sync(descriptor)
        with spool.noting("moved", job.id, None, job.state, reason=UNDONE):
            durable.move(spare, spool.path(job.state, job.id))
    except OSError as error:
        durable.remove(spare)
        if isinstance(error, FileExistsError):
            raise JobExists(f"{spool.path(job.state, job.id)} is there by now") from None
        raise
    finally:
        os.close(descriptor)
    durable.sync_directory(spool.folder(job.state))


def remove(spool: Spool, job: Job) -> None:
    """Remove the job, and its logs if it is the last of its name. Raises QueueError where it runs or is no file, NoSuchJob."""
    _refuse(job, (PENDING, FAILED, DONE, DEAD), "removed")
    try:
        found = os.lstat(path := spool.path(job.state, job.id))
        if stat.S_ISDIR(found.st_mode):
            raise QueueError(f"{path} is a directory, and stays as it is: move it elsewhere, or rmdir it")
        spool.tell_hands(job.id, job.state)
        gone = retention.prune(spool, job.state, job.id, found)
    except FileNotFoundError:
        gone = False
    if not gone:
        raise NoSuchJob(f"{job.id} is no longer in {job.state}/: somebody was quicker")


def change(spool: Spool, job: Job, words: dict, settings: Settings) -> None:
    """Let the waiting job's file have these words. Raises QueueError where it doesn't wait."""
    _change(spool, job, (PENDING, FAILED), lambda record: {**record, **words}, settings)


def to_front(spool: Spool, job: Job, settings: Settings) -> None:
    """Let the pending job be the next one: of the highest priority that any has, and older than the oldest of that."""
    _refuse(job, (PENDING,), "put in front")
    others = [each for each in spool.jobs(PENDING) if each.id != job.id and not each.problem and "hold" not in each.record]
    highest = max((each.record.get("priority", 0) for each in others), default=0)
    oldest = min((each.mtime for each in others if each.record.get("priority", 0) == highest), default=spool.now())
    if max(highest, job.record.get("priority", 0)) != job.record.get("priority", 0):
        change(spool, job, {"priority": highest}, settings)
    _stamp(spool, job, min(oldest, spool.now()) - 0.001)


def to_back(spool: Spool, job: Job) -> None:
    """Let the pending job be the last one of its priority."""
    _refuse(job, (PENDING,), "put back in line")
    _stamp(spool, job, spool.now())


def _stamp(spool: Spool, job: Job, mtime: float) -> None:
    try:
        durable.stamp_now(spool.path(PENDING, job.id), mtime)
    except FileNotFoundError:
        raise NoSuchJob(f"{job.id} is no longer in {PENDING}/: somebody was quicker") from None


def add_unique(
    spool: Spool, id: str, record: dict, start: float | None, within: float, policy: str, settings: Settings
) -> tuple[Job, bool]:
    """Add the job under that id unless one of that name waits or runs, or has ended less than `within` seconds ago.

    Where that is negative, one that runs doesn't count.

    Returns it, or with the policy "skip" the other one, and whether it was added. With "replace" one that waits becomes this
    one; if it runs, this one waits for its end. With "fail" raises JobExists. The name decides: whoever drops a file under it
    takes part.
    """
    _tell_of_name(spool, id, settings)
    with spool.naming():
        for _ in range(MOST_ROUNDS):
            other = _other(spool, id, within)
            if other is not None and policy == "fail":
                raise JobExists(f"{id} is {other.state} already")
            if other is not None and policy == "skip":
                return other, False
            with contextlib.suppress(JobExists):  # RACE: hands have just put one there
                if other is None or other.state == PROCESSING:
                    return spool.put(id, record, start), True
                if _replaced(spool, other, record, spool.now() if start is None else start, settings):
                    return spool.read(PENDING, id) or other, True
    raise TryAgain(f"{id} moves while it is replaced: try again")


def _tell_of_name(spool: Spool, id: str, settings: Settings) -> None:
    """Let the journal tell what hands did to one of that name before another is added."""
    state = spool.state_of(id)
    if state is None:
        whereabouts.tell_gone(spool, [id], settings)
    elif state != PROCESSING:
        spool.tell_hands(id, state, settings)


def _other(spool: Spool, id: str, within: float) -> Job | None:
    """Return the job of that name that waits or runs, or that ended within so many seconds; if that is negative, that waits."""
    job = None
    while job is None:
        state = spool.state_of(id)
        if state is None or (within < 0 and state == PROCESSING):
            return None
        job = spool.read(state, id)  # RACE: None where it has just moved on
    ended = state in (DONE, DEAD)
    return None if ended and (within <= 0 or spool.now() - job.mtime > within) else job


def _replaced(spool: Spool, other: Job, record: dict, when: float, settings: Settings) -> bool:
    """Let the waiting job be another, from then on; False where it has moved, and nothing is replaced."""
    if other.state != PENDING:  # first, as a supervisor moves it when it is due
        try:
            with spool.noting("moved", other.id, other.state, PENDING, settings):
                durable.move(spool.path(other.state, other.id), spool.path(PENDING, other.id))
        except (FileNotFoundError, FileExistsError, BlockingIOError):
            return False
    if other.problem:
        claims.give_up(spool, other.id, PENDING, why=other.problem)
        return False
    if _rewrite(spool, Job(other.id, PENDING, other.record, other.mtime, other.ctime), lambda _: record, settings, when):
        return True
    now = spool.read(PENDING, other.id)
    if now is None or now.record != record:
        return False
    _stamp(spool, other, when)
    return True


def write_schedule(spool: Spool, name: str, record: dict, settings: Settings) -> schedule.Schedule:
    """Write the schedule's file and return the schedule. Raises NotASchedule."""
    content = (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode()
    made = schedule.parse(name, content)
    path = schedule.path_of(spool, name)
    durable.make_parents(path)
    durable.replace(path, spool.spare(), content, spool.file_mode(settings))
    return made


def is_edited(job: Job) -> bool:
    """Tell whether the job is held by an editor that still runs."""
    hold = job.record.get("hold", "")
    pid = hold.rpartition(" ")[2]
    return hold.startswith(EDITED) and pid.isdecimal() and process.started(int(pid)) is not None


def again(spool: Spool, job: Job) -> Job:
    """Add a copy of the job, and return that. Raises QueueError where the file is no whole job."""
    if job.problem:
        raise QueueError(f"{job.id} is not a whole job ({job.problem}): it can't be copied")
    return spool.add_many([(None, {word: value for word, value in job.record.items() if word not in OF_ONE_LIFE})])[0]


def pause(spool: Spool, reason: str, settings: Settings) -> None:
    """Let nothing new start, until resume(). The reason is the content of the file that says so."""
    content = f"{reason}\n".encode("utf-8", "surrogateescape") if reason else b""
    durable.replace(f"{spool.root}/{PAUSED}", spool.spare(), content, spool.file_mode(settings))


def resume(spool: Spool) -> bool:
    """Let jobs start again; False where they did."""
    return durable.remove(f"{spool.root}/{PAUSED}")


def _moved(spool: Spool, job: Job, sources: tuple[str, ...], target: str, event: str, **what: object) -> tuple[Job, str]:
    """Move the job from whichever of these states it is in by now; return it as it lies there then, and the state it was in.

    `event`, and what is said of it, are for the journal.
    """
    until = time.monotonic() + PATIENCE
    while True:
        _refuse(job, sources, "tried again" if target == PENDING else "cancelled")
        try:
            return spool.move(job, target, event, **what), job.state
        except NoSuchJob:
            if time.monotonic() > until:
                raise
        job = spool.find(f"{job.id}.json")


def _refuse(job: Job, states: tuple[str, ...], what: str) -> None:
    if job.state == PENDING and "hold" in job.record and states == (DEAD, FAILED):
        raise QueueError(f"{job.id} is held ({job.record['hold']}): queuectl release {job.id}")
    if job.state not in states:
        raise QueueError(f"{job.id} is {job.state}: it can't be {what}")


def _change(
    spool: Spool,
    job: Job,
    states: tuple[str, ...],
    change: Callable[[dict], dict],
    settings: Settings,
    event: str = "changed",
    **what: object,
) -> None:
    """Write the job anew where it waits by now. `event`, and what is said of it, are for the journal."""
    until = time.monotonic() + PATIENCE
    while True:
        _refuse(job, states, "changed while it runs" if DONE in states else "held: it does not wait")
        if odd := job.problem or _oddity(spool, job, settings):
            raise QueueError(f"{job.id} is never run: {odd}")
        if _rewrite(spool, job, change, settings):
            return spool.note(event, [job.id], job.state, job.state, settings, **what)
        if change(job.record) == job.record:
            return None
        if time.monotonic() > until:
            raise TryAgain(f"{job.id} moves while it is changed: try again")
        job = spool.find(f"{job.id}.json")


def _oddity(spool: Spool, job: Job, settings: Settings) -> str | None:
    try:
        return spool.distrust(os.lstat(spool.path(job.state, job.id)), settings)
    except FileNotFoundError:
        return None  # RACE: it has moved on


def _rewrite(spool: Spool, job: Job, change: Callable[[dict], dict], settings: Settings, mtime: float | None = None) -> bool:
    """Write the job anew where it was seen; False where it isn't there or says so already. Raises TryAgain where it is held."""
    if job.state != PROCESSING:
        spool.tell_hands(job.id, job.state, settings)
    until = time.monotonic() + PATIENCE
    while (written := claims.rewrite(spool, job.id, job.state, change, settings, mtime)) is None:
        if time.monotonic() > until:
            raise TryAgain(f"{job.id} is just being ended, or held by somebody: try again in a moment")
        time.sleep(ROUND)
    return written


def _without(record: dict, word: str) -> dict:
    return {each: value for each, value in record.items() if each != word}
