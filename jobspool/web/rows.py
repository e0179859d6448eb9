"""Jobs as the API shows them: a row of a list, and all about one. Reads, and changes nothing."""

from __future__ import annotations

import hashlib
import os
import stat
from urllib.parse import quote_from_bytes

from jobspool import say
from jobspool.job import Job, iso
from jobspool.logs import STREAMS
from jobspool.spool import read_file
from jobspool.states import DEAD, DONE, FAILED, PENDING, PROCESSING
from jobspool.web import typed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jobspool.config import Settings
    from jobspool.spool import Spool

LONGEST_COMMAND = 200  # characters in a row
MOST_TEXT = 2_097_152  # bytes of a file's content that are shown

# verb: label, states it is for, the word of the command. What more keeps it from being done, why_not() knows.
VERBS = {
    "retry": ("Retry", (FAILED, DEAD), "retry"),
    "cancel": ("Cancel", (PENDING, FAILED, PROCESSING), "cancel"),
    "kill": ("Signal", (PROCESSING,), "kill"),
    "hold": ("Hold", (PENDING, FAILED), "hold"),
    "release": ("Release", (PENDING, FAILED), "release"),
    "front": ("Run next", (PENDING,), "front"),
    "back": ("Run last", (PENDING,), "back"),
    "priority": ("Priority", (PENDING, FAILED), "priority"),
    "edit": ("Edit", (PENDING, FAILED, DONE, DEAD), "edit"),
    "copy": ("Again", (PENDING, PROCESSING, DONE, FAILED, DEAD), "again"),
    "rm": ("Remove", (PENDING, FAILED, DONE, DEAD), "rm"),
}
FOR_ANY_FILE = ("cancel", "edit", "rm", "kill", "front", "back")  # also for what is no whole job


def row(spool: Spool, job: Job, settings: Settings) -> dict:
    """Return the job as a row of a list."""
    last = job.attempts[-1] if job.attempts else {}
    told = say.said_so_far(spool, job) if job.state == PROCESSING and not job.problem else {}
    command = job.command
    return {
        "id": job.id,
        "ref": quote_from_bytes(os.fsencode(job.id), safe=""),
        "state": job.state,
        "handle": job.handle,
        "name": job.record.get("name"),
        "command": command if len(command) <= LONGEST_COMMAND else command[: LONGEST_COMMAND - 1] + "…",
        "priority": job.record.get("priority", 0),
        "tries": say.tries(job, settings),
        "when": iso(job.mtime),
        "age": say.age(job),
        "reason": reason(job),
        "exit": last.get("exit"),
        "signal": last.get("signal"),
        "group": job.record.get("group"),
        "batch": job.record.get("batch"),
        "tags": job.record.get("tags", []),
        "problem": job.problem,
        "held": job.record.get("hold"),
        "progress": told.get("progress"),
        "text": told.get("text"),
    }


def reason(job: Job) -> str | None:
    """Return why the job ended as it did last, None where nobody said."""
    if job.state == DEAD:
        return say.why_dead(job)
    return job.attempts[-1].get("reason") if job.attempts else None


def whole(spool: Spool, job: Job, settings: Settings) -> dict:
    """Return all that is known of the job from its file and its logs. Raises FileNotFoundError when it has moved on."""
    content = content_of(spool, job, settings)
    why, cure = say.why(spool, job, settings)
    return {
        "row": row(spool, job, settings),
        "record": job.record,
        "text": content[:MOST_TEXT].decode("utf-8", "replace"),
        "etag": etag(content),
        "why": why,
        "cure": cure,
        "size": len(content),
        "file": spool.path(job.state, job.id),
        "attempts": [
            {**entry, "number": number, "logs": logs(spool, job.id, number)} for number, entry in enumerate(job.attempts, 1)
        ],
        "running": running(spool, job),
    }


def content_of(spool: Spool, job: Job, settings: Settings) -> bytes:
    """Return what the job's file holds, b"" of what is no file to be read. Raises FileNotFoundError."""
    try:
        return read_file(spool.path(job.state, job.id), settings.max_job_bytes)[0]
    except FileNotFoundError:
        raise
    except OSError:
        return b""  # a link, a FIFO, or not ours: its problem says so


def etag(content: bytes) -> str:
    """Return what tells this content of a file from another, as If-Match takes it."""
    return f'"{hashlib.sha256(content).hexdigest()[:24]}"'


def logs(spool: Spool, id: str, number: int) -> dict[str, int | None]:
    """Return how many bytes the attempt has printed on each stream, None where it has no log."""
    return {stream: _size(spool.log_path(id, number, stream)) for stream in STREAMS}


def _size(path: str) -> int | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def running(spool: Spool, job: Job) -> dict | None:
    """Return what is known of the attempt that runs, None where none does."""
    if job.state != PROCESSING:
        return None
    from jobspool import roster

    number, said = len(job.attempts) + 1, say.said_so_far(spool, job)
    entry = next(iter(roster.entries(spool, job.id)), None)
    return {
        "attempt": number,
        "worker": entry and entry.name,
        "since": (entry and entry.since) or iso(job.ctime),
        "logs": logs(spool, job.id, number),
        **said,
    }


def actions(job: Job, read_only: bool) -> list[dict]:
    """Return what can be done to the job, what can't be and why not, and the command line of each."""
    rows = []
    for verb, (label, _, word) in VERBS.items():
        why = "this page only shows: --read-only" if read_only else why_not(verb, job)
        line = f"{typed.command(word, job)} N" if verb == "priority" else typed.command(word, job)
        rows.append({"verb": verb, "label": label, "command": line, "possible": not why, "why": why})
    return rows


def why_not(verb: str, job: Job) -> str:
    """Return why the job can't be treated so now, "" where it can."""
    _, states, _ = VERBS[verb]
    if job.state not in states:
        return f"it is {job.state}: this is for what is {' or '.join(states)}"
    if job.problem and verb not in FOR_ANY_FILE:
        return f"it is not a whole job: {job.problem}"
    held = "hold" in job.record
    if (verb == "hold" and held) or (verb == "release" and not held):
        return "it is held already" if held else "it is not held"
    if verb == "retry" and held and job.state == PENDING:
        return "it is held"
    return ""


def worker(spool: Spool, entry: object) -> dict:
    """Return what a worker does, as `status` tells it, and a little more."""
    told = say.worker(spool, entry)
    return {
        **told,
        "state": "busy" if entry.job else "idle",
        "attempt": entry.attempt if entry.job else None,
        "since": told["since"] if entry.job else None,
        "command": told["command"] and told["command"][:LONGEST_COMMAND],
    }
