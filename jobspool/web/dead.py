"""The dead letter queue as a work place: its jobs by the reason that they died of, and what is done to many of them."""

from __future__ import annotations

import os
import threading

from jobspool import hands, say
from jobspool.errors import QueueError
from jobspool.job import id_of, iso
from jobspool.states import DEAD
from jobspool.web import deeds, typed
from jobspool.web.catalogue import SEP, id_in
from jobspool.web.problems import Problem, wrong

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jobspool.config import Settings
    from jobspool.job import Job
    from jobspool.web.site import Site
    from jobspool.web.undos import Back

MOST_READ = 5000  # files of one request
MOST_KNOWN = 200_000  # jobs, the newest, whose reasons are remembered
MOST_AT_ONCE = 1000  # jobs that one request retries or removes
EXAMPLES = 5


class Reasons:
    """Why each dead job died, as far as its file was read."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, float]] = {}  # by id: the reason, and when it came to dead/
        self._lock = threading.Lock()

    def forget(self, id: str) -> None:
        """Read the file again when it is asked for: it may say something else."""
        self._known.pop(id, None)

    def is_other(self, id: str, reason: str) -> bool:
        """Tell whether the job is known to have died of something else."""
        known = self._known.get(id)
        return known is not None and known[0] != reason

    def groups(self, site: Site) -> dict:
        """Return the reasons, those of most jobs first, and whether all files were read: if not, the next call reads on."""
        known, unread = self._read(site)
        kinds: dict[str, list[tuple[float, str]]] = {}
        for id, (reason, when) in known.items():
            kinds.setdefault(reason, []).append((when, id))
        found = sorted((_group(reason, there) for reason, there in kinds.items()), key=lambda one: (-one["count"], one["reason"]))
        complete = site.catalogue.complete and not unread and len(known) < MOST_KNOWN
        return {"groups": found, "complete": complete}

    def of(self, site: Site, reason: str) -> tuple[list[str], int]:
        """Return the ids of the dead jobs that died of that, as far as they are known, and how many files are still unread."""
        known, unread = self._read(site)
        return [id for id, (why, _) in known.items() if why == reason], unread

    def _read(self, site: Site) -> tuple[dict[str, tuple[str, float]], int]:
        """Read files that were not read yet, some; return what is known of the newest jobs, and how many are still unread."""
        with self._lock:
            ids = [id_in(key) for key, _ in site.catalogue.page((DEAD,), None, MOST_KNOWN)]
            before = self._known
            known = {id: found for id in ids if (found := before.get(id))}
            new = [id for id in ids if id not in known]
            most = site.spool.settings_or_default().max_job_bytes
            for id in new[:MOST_READ]:
                if job := site.spool.read(DEAD, id, most):
                    known[id] = (say.died_of(job), job.mtime)
            self._known = known
            return dict(known), len(new[MOST_READ:])


def _group(reason: str, there: list[tuple[float, str]]) -> dict:
    there.sort(reverse=True)
    return {
        "reason": reason,
        "count": len(there),
        "oldest": iso(there[-1][0]),
        "newest": iso(there[0][0]),
        "examples": [id for _, id in there[:EXAMPLES]],
    }


def chosen(site: Site, said: dict) -> tuple[list[str], int]:
    """Return the ids of the dead jobs that are meant, and how many may be meant beside these. Raises Problem."""
    if isinstance(said.get("ids"), list) and all(isinstance(id, str) for id in said["ids"]):
        if (odd := next((id for id in said["ids"] if not _can_be_a_name(id)), None)) is not None:
            raise Problem(422, "wrong-value", "A value breaks its rule", f"{odd[:50]!r} can't be the id of a job: no file has it")
        return list(dict.fromkeys(said["ids"])), 0
    if isinstance(said.get("reason"), str):
        return site.reasons.of(site, said["reason"])
    if said.get("all") is True:
        return [id_in(key) for key, _ in site.catalogue.page((DEAD,), None, MOST_KNOWN)], 0
    raise wrong('which ones? Send {"ids": [...]}, {"reason": "..."} or {"all": true}')


def _can_be_a_name(id: str) -> bool:
    try:
        os.fsencode(id)
    except UnicodeEncodeError:
        return False
    return True


def treat(site: Site, said: dict, purge: bool) -> dict:
    """Retry the dead jobs that are meant, or remove them; return how many, which not and why, how many are left, and the undo.

    What is no whole job is left out where it isn't named, as the command does. Where nothing could be done, nothing is left:
    to ask again would be of no use.
    """
    ids, left = chosen(site, said)
    settings = site.spool.settings()
    backs: list[Back] = []
    done, refused, rest = 0, [], len(ids)
    for id in ids:
        rest -= 1
        try:
            if (job := _dead(site, id)).problem and not purge and "ids" not in said:
                continue
            backs += _treated(site, job, purge, settings)
            done += 1
        except (QueueError, OSError) as error:
            refused.append({"id": id, "why": str(error)})
        if done == MOST_AT_ONCE or len(refused) == MOST_AT_ONCE:
            break
    site.forget()
    told = {"done": done, "refused": refused, "left": left + rest if done or left else 0}
    return {**told, "undo": site.undo.remember(backs), "command": _command(said, purge)}


def _dead(site: Site, id: str) -> Job:
    """Return the dead job of exactly that id. Raises QueueError."""
    no_name = SEP in id or "\0" in id or id_of(f"{id}.json") is None
    job = None if no_name else site.spool.read(DEAD, id)
    if job is None:
        raise QueueError(f"{id} is not dead (any more)")
    return job


def _treated(site: Site, job: Job, purge: bool, settings: Settings) -> list[Back]:
    if purge:
        return deeds.removed(site, job)
    hands.retry(site.spool, job, settings)
    now = deeds.seen_now(site, job)
    deeds.know(site, job, now)
    return deeds.way_back(job, now)


def _command(said: dict, purge: bool) -> str:
    verb = "purge" if purge else "retry"
    if "ids" not in said and (reason := said.get("reason")) is not None:
        return typed.by_reason(reason, "rm" if purge else "retry")
    which = "--all" if said.get("all") else "JOB..."
    return f"queuectl dlq {verb} {which}"
