"""What the API tells of the whole spool: its status, groups, schedules and batches, and what happened in the last hour."""

from __future__ import annotations

import os

from jobspool import roster, say, vital
from jobspool.config import Settings
from jobspool.durable import DirectoryGone
from jobspool.errors import BrokenConfig
from jobspool.job import iso
from jobspool.spool import PAUSED
from jobspool.states import FAILED, PENDING, PROCESSING, STATES
from jobspool.trouble import told
from jobspool.web import rows
from jobspool.web.catalogue import id_in
from jobspool.web.history import HOUR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobspool.web.site import Site

MOST_LOOKED_AT = 1000  # files of a state, for the oldest one
MOST_READ = 20_000  # files, for groups and batches
MOST_CHILDREN = 300  # pending jobs, the newest, that are asked whom they come after
EXAMPLES = 5


def status(site: Site) -> dict:
    """Return the spool and its workers at a glance."""
    spool, trouble = site.spool, site.pulse.trouble
    try:
        settings, broken = spool.settings(), None
    except BrokenConfig as error:
        settings, broken = spool.settings_or_default(), str(error)
    except DirectoryGone as error:
        settings, broken = Settings(), told(error, spool.root)
    alive = roster.living(spool) if os.path.isdir(spool.root) else []
    paused = os.path.lexists(f"{spool.root}/{PAUSED}")
    return {
        "spool": spool.root,
        "version": site.version,
        "read_only": site.read_only,
        "user": say.person(),
        "counts": site.catalogue.counts(),
        "complete": site.catalogue.complete,
        "workers": [rows.worker(spool, entry) for entry in alive if entry.role == roster.WORKER],
        "supervisors": sum(entry.role == roster.SUPERVISOR for entry in alive),
        "paused": {"reason": say.pause_reason(spool)} if paused else None,
        **_times(site, alive),
        "limits": {"max_job_bytes": settings.max_job_bytes},
        "journal": site.pulse.has_journal,
        "trouble": broken or (told(trouble, spool.root) if trouble else None),
    }


def _times(site: Site, alive: list[roster.Entry]) -> dict:
    """Return since when the oldest pending job waits, and when the next failed one is due: by a supervisor, or a look."""
    if known := vital.read(alive):
        return {word: None if known[key] is None else iso(known[key]) for word, key in TIMES}
    since = vital.oldest(site.spool, sorted((mtime, id) for id, mtime in _mtimes(site, PENDING)))
    due = min((mtime for _, mtime in _mtimes(site, FAILED)), default=None)
    return {"oldest_pending": None if since is None else iso(since), "next_due": None if due is None else iso(due)}


TIMES = (("oldest_pending", "oldest"), ("next_due", "next_due"))


def _mtimes(site: Site, state: str) -> Iterator[tuple[str, float]]:
    """Yield the ids and mtimes of those that were added first."""
    for id in site.catalogue.oldest(state, MOST_LOOKED_AT):
        try:
            yield id, os.lstat(site.spool.path(state, id)).st_mtime
        except OSError:
            continue  # RACE: it has moved on


def groups(site: Site) -> dict:
    """Return the groups with their limits, and how many of their jobs wait or run, as `queuectl group --json` does."""
    limits = site.spool.settings_or_default().groups
    counts: dict[str, dict[str, int]] = {name: {} for name in limits}
    complete = _count(site, (PENDING, FAILED, PROCESSING), "group", counts)
    found = [
        {"group": name, **{state: counts[name].get(state, 0) for state in (PENDING, FAILED, PROCESSING)}, **limits.get(name, {})}
        for name in sorted(counts)
    ]
    return {"groups": found, "complete": complete}


def batches(site: Site) -> dict:
    """Return the batches and how far they are, as `queuectl batch --json` does."""
    counts: dict[str, dict[str, int]] = {}
    complete = _count(site, STATES, "batch", counts)
    found = []
    for name in sorted(counts):
        there = {state: counts[name].get(state, 0) for state in STATES}
        found.append({"batch": name, "total": sum(there.values()), "ended": there["done"] + there["dead"], **there})
    return {"batches": found, "complete": complete}


def _count(site: Site, states: tuple[str, ...], word: str, counts: dict[str, dict[str, int]]) -> bool:
    """Count the jobs by what their file says for the word, of the newest ones; tell whether these were all.

    One that has moved since the last look counts where it lies by now: once, also where two lists have it meanwhile.
    """
    counted: set[tuple[str, str]] = set()
    found = site.catalogue.page(states, None, MOST_READ + 1)
    most = site.spool.settings_or_default().max_job_bytes
    for key, state in found[:MOST_READ]:
        job = site.read(state, id_in(key), most)
        if job is None or job.state not in states or (job.id, job.state) in counted:
            continue
        counted.add((job.id, job.state))
        if (name := job.record.get(word)) is not None:
            there = counts.setdefault(name, {})
            there[job.state] = there.get(job.state, 0) + 1
    return site.catalogue.complete and len(found) <= MOST_READ


def schedules(site: Site) -> dict:
    """Return the schedules and when they are next, as `queuectl schedule --json` does."""
    from jobspool import schedule

    return {"schedules": schedule.all_told(site.spool, site.spool.settings_or_default())}


def failures(site: Site) -> dict:
    """Return the failures of the last hour by their reasons, those of most first."""
    kinds: dict[str, list[dict]] = {}
    for event in site.pulse.failures(site.spool.now() - HOUR):
        kinds.setdefault(event.get("reason") or "no reason on record", []).append(event)
    found = [
        {
            "reason": reason,
            "count": len(there),
            "last": there[-1]["time"],
            "examples": list(dict.fromkeys(event["job"] for event in reversed(there)))[:EXAMPLES],
        }
        for reason, there in kinds.items()
    ]
    return {"groups": sorted(found, key=lambda group: (-group["count"], group["reason"]))}


def children(site: Site, id: str) -> list[str]:
    """Return the ids of the pending jobs that come after this one, of those few that can be read in a moment."""
    most = site.spool.settings_or_default().max_job_bytes
    found = []
    for key, state in site.catalogue.page((PENDING,), None, MOST_CHILDREN):
        job = site.spool.read(state, id_in(key), most)
        if job is not None and any(id in job.record.get(word, ()) for word in ("after", "after_any", "after_fail")):
            found.append(job.id)
    return found
