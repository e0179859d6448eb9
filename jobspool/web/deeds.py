"""What a person does by the page: each deed is done as the command does it, and told with the command line that does the same.

What can be undone is remembered for a minute: how the job was, and where. A job that has moved on since then is not touched.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import stat

from jobspool import durable, hands, say
from jobspool.errors import JobExists, NoSuchJob, NotAJob, QueueError
from jobspool.job import NEW_WORDS, Job, parse, seconds
from jobspool.logs import STREAMS
from jobspool.states import PROCESSING
from jobspool.web import rows, typed, undos
from jobspool.web.problems import Problem, wrong
from jobspool.web.undos import Back

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from jobspool.config import Settings
    from jobspool.web.site import Site

LONGEST_REASON = 1000  # characters
OF_THE_QUEUE = ("attempts", "cancelled")  # words that it writes
KEPT_BY_EDIT = (*OF_THE_QUEUE, "hold")  # words that hands.replace() leaves as they are
KEPT = (*STREAMS, "result")  # what a job leaves in logs/


def do(site: Site, verb: str, handle: str, said: dict) -> dict:
    """Do it to the job, and return the job as it is then, how to undo it, and the command line. Raises QueueError, Problem."""
    job = site.job(handle)
    if why := rows.why_not(verb, job):
        raise QueueError(f"{job.id}: {why}")
    settings = site.spool.settings()
    options = DEEDS[verb](site, job, said, settings)
    copied = options if isinstance(options, Job) else None
    now = copied or seen_now(site, job)
    undo = None if verb in ("kill", "copy") else site.undo.remember(way_back(job, now), said.get("undo"))
    know(site, job, now)
    line = typed.command(rows.VERBS[verb][2], job, *(() if copied else options))
    return {"job": now and rows.row(site.spool, now, settings), "undo": undo, "command": line}


def way_back(before: Job, now: Job | None) -> list[Back]:
    """Return, in a list, how the job gets back to where it was; there is no way for what ran, or runs by now."""
    known = now is not None and PROCESSING not in (before.state, now.state) and not before.problem
    return [Back(before, now)] if known and len(now.attempts) == len(before.attempts) else []


def seen_now(site: Site, job: Job) -> Job | None:
    """Return the job as it lies there now, None where it is no more."""
    try:
        return site.job(f"{job.id}.json")
    except NoSuchJob:
        return None  # RACE: it was removed


def know(site: Site, before: Job | None, now: Job | None) -> None:
    """Let the next answer show what was done."""
    if now is not None:
        site.catalogue.note(now.id, before.state if before and before.id == now.id else None, now.state)
    elif before is not None:
        site.catalogue.note(before.id, before.state, None)
    site.reasons.forget(now.id if now else before.id)
    site.forget()


def _cancel(site: Site, job: Job, said: dict, settings: Settings) -> list[str]:
    reason = _reason(said)
    hands.cancel(site.spool, job, f"by {say.person()}" + (f": {reason}" if reason else ""), settings)
    return [f"--reason={reason}"] if reason else []


def _hold(site: Site, job: Job, said: dict, settings: Settings) -> list[str]:
    reason = _reason(said)
    hands.hold(site.spool, job, reason or f"by {say.person()}", settings)
    return [f"--reason={reason}"] if reason else []


def _kill(site: Site, job: Job, said: dict, settings: Settings) -> list[str]:
    word = str(said.get("signal") or "TERM").upper().removeprefix("SIG")
    try:
        number = signal.Signals(int(word)) if word.isdecimal() else signal.Signals[f"SIG{word}"]
    except (ValueError, KeyError):
        raise wrong(f"there is no signal {word!r}: send its name, as TERM, HUP or USR1") from None
    hands.signal(site.spool, job, number)
    return [f"-{number.name.removeprefix('SIG')}"]


def _nothing_to_add(deed: Callable[..., object]) -> Callable[..., list[str]]:
    """Return the deed as one that takes nothing from what was said, and whose command has no options."""

    def done(site: Site, job: Job, said: dict, settings: Settings) -> list[str]:
        deed(site.spool, job, settings)
        return []

    return done


DEEDS: dict[str, Callable[..., object]] = {
    "retry": _nothing_to_add(hands.retry),
    "cancel": _cancel,
    "hold": _hold,
    "kill": _kill,
    "release": _nothing_to_add(hands.release),
    "front": _nothing_to_add(hands.to_front),
    "back": _nothing_to_add(lambda spool, job, settings: hands.to_back(spool, job)),
    "copy": lambda site, job, said, settings: hands.again(site.spool, job),
}


def _reason(said: dict) -> str:
    """Return the reason that was given, "" for none. Raises Problem."""
    reason = said.get("reason") or ""
    if not isinstance(reason, str) or len(reason) > LONGEST_REASON or not _is_text(reason):
        raise wrong(f"reason must be a text of at most {LONGEST_REASON} characters, without NUL")
    return reason


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


# ---- removing


def remove(site: Site, handle: str) -> str | None:
    """Remove the job as `rm` does, and return the token that undoes it, None where it can't be undone."""
    job = site.job(handle)
    if why := rows.why_not("rm", job):
        raise QueueError(f"{job.id}: {why}")
    return site.undo.remember(removed(site, job))


def removed(site: Site, job: Job) -> list[Back]:
    """Remove the job, and return how to put it back, where its file can be read."""
    path = site.spool.path(job.state, job.id)
    try:
        found = os.lstat(path)
        content = rows.content_of(site.spool, job, site.spool.settings_or_default())
    except FileNotFoundError:
        raise NoSuchJob(f"{job.id} is no longer in {job.state}/: somebody was quicker") from None
    whole = stat.S_ISREG(found.st_mode) and len(content) == found.st_size
    kept = _keep_logs(site, job) if whole else []
    back = Back(job, None, content, stat.S_IMODE(found.st_mode) & 0o777, kept)
    try:
        hands.remove(site.spool, job)
    except (QueueError, OSError):
        undos.drop([back])
        raise
    know(site, job, None)
    return [back] if whole else []


def _keep_logs(site: Site, job: Job) -> list[tuple[str, str]]:
    """Give the job's logs second names in tmp/, so that they are there still when it is put back."""
    kept = []
    for number in range(1, len(job.attempts) + 1):
        for stream in KEPT:
            path, spare = site.spool.log_path(job.id, number, stream), site.spool.spare()
            if durable.link(path, spare):
                kept.append((path, spare))
    return kept


def undo(site: Site, token: str) -> dict:
    """Put back what the token stands for, and return how many were, and which not and why."""
    backs = site.undo.take(token)
    settings = site.spool.settings()
    done, refused = 0, []
    for back in backs:
        try:
            _put_back(site, back, settings)
            done += 1
        except (QueueError, OSError) as error:
            refused.append({"id": back.before.id, "why": str(error)})
    undos.drop(backs)
    site.forget()
    return {"done": done, "refused": refused}


def _put_back(site: Site, back: Back, settings: Settings) -> None:
    before = back.before
    if back.now is None:
        _put_file_back(site, back)
    else:
        hands.put_back(site.spool, before, back.now, settings)
    know(site, back.now, before)


def _put_file_back(site: Site, back: Back) -> None:
    spool, before = site.spool, back.before
    with spool.naming():
        if state := spool.state_of(before.id):
            raise JobExists(f"{spool.path(state, before.id)} is there by now")
        hands.restore(spool, before, back.content, back.mode)
    for path, spare in back.kept:
        try:
            durable.move(spare, path)
        except OSError:
            pass  # hands have put another there, or emptied tmp/: the job is back, and that counts


# ---- adding and changing


def parsed(body: bytes, limit: int) -> tuple[dict, str | None]:
    """Return the new job that the body tells of, and from when it may run: the words, or {"job": words, "start": time}.

    Raises NotAJob.
    """
    start = None
    if _is_wrapped(body):
        outer = json.loads(body)
        if extra := outer.keys() - {"job", "start"}:
            raise NotAJob(f"unknown key {min(extra)!r}: beside job there is start")
        start = outer.get("start")
        body = json.dumps(outer["job"], ensure_ascii=False).encode("utf-8", "surrogatepass")
    record = parse(body, limit, NEW_WORDS)
    for word in OF_THE_QUEUE:
        if word in record:
            raise NotAJob(f"{word} {'are' if word == 'attempts' else 'is'} the queue's to write: leave that key out")
    _check_start(start)
    return record, start


def _is_wrapped(body: bytes) -> bool:
    try:
        outer = json.loads(body)
    except (ValueError, RecursionError):
        return False  # parse() says what is wrong
    return isinstance(outer, dict) and isinstance(outer.get("job"), dict)


def _check_start(start: object) -> None:
    if start is None:
        return
    try:
        seconds(start)
    except (TypeError, ValueError, OverflowError):
        raise NotAJob(f"start must be a time with its zone, as 2026-11-24T10:15:30Z, not {start!r}") from None


def check_new_id(id: str) -> None:
    """Return if a job may be given that id by hand. Raises NotAJob."""
    if id.startswith("@") or id == "-" or re.search(r"~\d+$", id):
        raise NotAJob(f"id {id!r} means something else: @ and - name jobs, and ~1 ends what was set aside")


def check(site: Site, body: bytes) -> dict:
    """Return the command line that adds what the body tells of. Raises NotAJob."""
    record, start = parsed(body, site.spool.settings_or_default().max_job_bytes)
    id = record.pop("id", None)
    if id is not None:
        check_new_id(id)
    return {"ok": True, "command": typed.enqueue(record, id, start)}


def add(site: Site, body: bytes, id: str | None = None) -> tuple[dict, bool]:
    """Add the job and return it with the command line, and whether it was added: False where the same one is there already.

    Raises NotAJob, JobExists.
    """
    settings = site.spool.settings()
    record, start = parsed(body, settings.max_job_bytes)
    inside = record.pop("id", None)
    if id is not None and inside not in (None, id):
        raise NotAJob(f"id {inside!r} is not the one it is sent to: {id!r}")
    name = inside if id is None else id
    if name is not None:
        check_new_id(name)
    line = typed.enqueue(record, name, start)
    try:
        job = site.spool.add_many([(name, record, None if start is None else seconds(start))])[0]
    except JobExists:
        job = _the_same(site, name, record)
        return {"job": rows.row(site.spool, job, settings), "undo": None, "command": line}, False
    know(site, None, job)
    return {"job": rows.row(site.spool, job, settings), "undo": None, "command": line}, True


def _the_same(site: Site, id: str, record: dict) -> Job:
    """Return the job of that id, if it says the same but for what the queue wrote, and whether it is held. Raises JobExists."""
    job = site.job(f"{id}.json")
    if job.problem or _own_words(job.record) != _own_words(record):
        raise JobExists(f"{site.spool.path(job.state, id)} is there already, and another job: choose another id")
    return job


def _own_words(record: dict) -> dict:
    return {word: value for word, value in record.items() if word not in KEPT_BY_EDIT}


def change(site: Site, handle: str, said: dict, seen: str | None) -> dict:
    """Let the job say something else: a whole {"record"}, if its file is still as `seen`, or another {"priority"}.

    Raises QueueError, NotAJob, Problem.
    """
    job = site.job(handle)
    settings = site.spool.settings()
    if "priority" in said and len(said) == 1:
        options = _change_priority(site, job, said["priority"], settings)
        line = f"{typed.command('priority', job)} {options}"
    elif "record" in said and len(said) == 1:
        _edit(site, job, said["record"], seen, settings)
        line = typed.command("edit", job)
    else:
        raise wrong('send {"record": {...}} with If-Match, or {"priority": N}')
    now = seen_now(site, job)
    know(site, job, now)
    return {
        "job": now and rows.row(site.spool, now, settings),
        "undo": site.undo.remember(way_back(job, now)),
        "command": line,
    }


def _change_priority(site: Site, job: Job, number: object, settings: Settings) -> object:
    if why := rows.why_not("priority", job):
        raise QueueError(f"{job.id}: {why}")
    if problem := NEW_WORDS["priority"](number):
        raise NotAJob(f"priority {problem}")
    hands.change(site.spool, job, {"priority": number}, settings)
    return number


def _edit(site: Site, job: Job, record: object, seen: str | None, settings: Settings) -> None:
    if why := rows.why_not("edit", job):
        raise QueueError(f"{job.id}: {why}")
    if seen is None:
        raise Problem(428, "if-match", "If-Match is missing", "send the etag of what was edited: GET tells it")
    if seen != "*" and rows.etag(rows.content_of(site.spool, job, settings)) != seen:
        raise Problem(412, *CHANGED)
    words = _own_words(record) if isinstance(record, dict) else record
    new = parse(json.dumps(words).encode(), settings.max_job_bytes)
    if job.problem:
        hands.mend(site.spool, job, new, settings)
    else:
        hands.replace(site.spool, job, new, None, settings, seen=job.record)
        if (now := seen_now(site, job)) is not None and _own_words(now.record) != new:
            raise Problem(412, *CHANGED)  # RACE: in this instant


CHANGED = ("changed", "It was changed meanwhile", "its file is not as it was when you began: look at it again")


# ---- the whole spool


def pause(site: Site, said: dict) -> dict:
    """Let nothing new start."""
    reason = _reason(said)
    hands.pause(site.spool, reason, site.spool.settings())
    site.forget()
    options = [f"--reason={reason}"] if reason else []
    return {"paused": {"reason": reason}, "command": shlex.join(["queuectl", "pause", *options])}


def resume(site: Site) -> dict:
    """Let jobs start again."""
    hands.resume(site.spool)
    site.forget()
    return {"paused": None, "command": "queuectl resume"}
