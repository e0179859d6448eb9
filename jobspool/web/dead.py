"""The dead letter queue as a work place: its jobs by the reason that they died of, and what is done to many of them."""

from __future__ import annotations

import threading

from jobspool import hands
from jobspool.errors import QueueError
from jobspool.job import iso
from jobspool.states import DEAD
from jobspool.web import deeds, rows
from jobspool.web.catalogue import id_in
from jobspool.web.problems import wrong

TYPE_CHECKING = False
if TYPE_CHECKING:
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

    def groups(self, site: Site) -> dict:
        """Return the reasons, those of most jobs first, and whether all files were read: if not, the next call reads on."""
        with self._lock:
            ids, complete = self._read(site)
            kinds: dict[str, list[tuple[float, str]]] = {}
            for id in ids:
                reason, when = self._known[id]
                kinds.setdefault(reason, []).append((when, id))
        groups = [_group(reason, there) for reason, there in kinds.items()]
        return {"groups": sorted(groups, key=lambda group: (-group["count"], group["reason"])), "complete": complete}

    def of(self, site: Site, reason: str) -> list[str]:
        """Return the ids of the dead jobs that died of that, as far as they are known."""
        with self._lock:
            return [id for id in self._read(site)[0] if self._known[id][0] == reason]

    def _read(self, site: Site) -> tuple[list[str], bool]:
        ids = [id_in(key) for key, _ in site.catalogue.page((DEAD,), None, MOST_KNOWN)]
        complete = site.catalogue.complete and len(ids) < MOST_KNOWN
        self._known = {id: self._known[id] for id in ids if id in self._known}
        most, read = site.spool.settings_or_default().max_job_bytes, 0
        for id in ids:
            if id in self._known:
                continue
            if read == MOST_READ:
                complete = False
                break
            read += 1
            if job := site.spool.read(DEAD, id, most):
                self._known[id] = (rows.died_of(job), job.mtime)
        return [id for id in ids if id in self._known], complete


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
    """Return the ids that are meant, as many as are treated at once, and how many are left then. Raises Problem."""
    if isinstance(said.get("ids"), list) and all(isinstance(id, str) for id in said["ids"]):
        ids = list(dict.fromkeys(said["ids"]))
    elif isinstance(said.get("reason"), str):
        ids = site.reasons.of(site, said["reason"])
    elif said.get("all") is True:
        ids = [id_in(key) for key, _ in site.catalogue.page((DEAD,), None, MOST_KNOWN)]
    else:
        raise wrong('which ones? Send {"ids": [...]}, {"reason": "..."} or {"all": true}')
    return ids[:MOST_AT_ONCE], len(ids[MOST_AT_ONCE:])


def treat(site: Site, said: dict, purge: bool) -> dict:
    """Retry the dead jobs that are meant, or remove them, and return how many, which not and why, and how to undo it."""
    ids, left = chosen(site, said)
    settings = site.spool.settings()
    backs: list[Back] = []
    done, refused = 0, []
    for id in ids:
        try:
            job = site.spool.read(DEAD, id)
            if job is None:
                raise QueueError(f"{id} is not dead (any more)")
            if purge:
                backs += deeds.removed(site, job)
            else:
                hands.retry(site.spool, job, settings)
                now = deeds.seen_now(site, job)
                deeds.know(site, job, now)
                backs += deeds.way_back(job, now)
            done += 1
        except (QueueError, OSError) as error:
            refused.append({"id": id, "why": str(error)})
    site.forget()
    undo = site.undo.remember(backs)
    return {"done": done, "refused": refused, "left": left, "undo": undo, "command": _command(said, purge)}


def _command(said: dict, purge: bool) -> str:
    verb = "purge" if purge else "retry"
    which = "--all" if said.get("all") else "JOB..."
    return f"queuectl dlq {verb} {which}"
