"""Pages of jobs, and those that fit what somebody types: ids are searched in memory, files are read for so many and no more."""

from __future__ import annotations

import base64
import os
import re
import shlex
from fnmatch import fnmatchcase

from jobspool import say
from jobspool.job import Job
from jobspool.states import DEAD
from jobspool.web import rows
from jobspool.web.catalogue import id_in
from jobspool.web.problems import Problem, wrong

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jobspool.web.site import Site

MOST_READ = 2000  # files of one request
MOST_ROWS = 500
KEY = re.compile(r"[A-Za-z_]+:[^/\\]")  # what is meant for one: not http://x, C:\\x or 12:30


class Words:
    """What somebody typed: `tag:x`, `name:glob*`, `reason:text`, `command:text`, `group:`, `batch:`, `id:`, and plain words.

    `reason`: only what died of exactly that, as the groups of dead jobs tell it. Raises Problem for a key that there isn't.
    """

    def __init__(self, text: str, reason: str | None = None) -> None:
        self.reason = reason
        self.plain: list[str] = []
        self.named: list[tuple[str, str]] = []
        for word in _split(text):
            name, colon, value = word.partition(":")
            if colon and value and name in TESTS:
                self.named.append((name, value))
            elif KEY.match(word):
                raise _no_such_key(name)
            else:
                self.plain.append(word.lower())

    @property
    def fit_all(self) -> bool:
        """Whether nothing was typed."""
        return not self.plain and not self.named and self.reason is None

    @property
    def are_plain(self) -> bool:
        """Whether only plain words were typed, which an id may have."""
        return bool(self.plain) and not self.named and self.reason is None

    def fit_id(self, id: str) -> bool:
        """Tell whether the id alone shows that the job fits."""
        return self.are_plain and all(word in id for word in self.plain)

    def fit(self, job: Job) -> bool:
        """Tell whether the job fits all of them."""
        if self.reason is not None and say.died_of(job) != self.reason:
            return False
        if not all(TESTS[name](job, value) for name, value in self.named):
            return False
        said = f"{job.id}\0{job.record.get('name', '')}\0{job.command}".lower() if self.plain else ""
        return all(word in said for word in self.plain)


def _no_such_key(name: str) -> Problem:
    keys = ", ".join(f"{key}:" for key in TESTS)
    told = f"there is no key {name[:50]!r}: there are {keys} and plain words; command:{name[:50]}:... looks for it in the command"
    return Problem(422, "wrong-value", "A value breaks its rule", told)


def _split(text: str) -> list[str]:
    """Return the words, which may be quoted as in a shell; a quote that isn't closed yet is being typed."""
    for end in ("", '"', "'"):
        try:
            return shlex.split(text + end)
        except ValueError:
            continue
    return text.split()


def _has(text: str | None, part: str) -> bool:
    return text is not None and part.lower() in text.lower()


TESTS = {
    "id": lambda job, value: value in job.id,
    "name": lambda job, value: fnmatchcase(job.record.get("name", ""), value),
    "tag": lambda job, value: value in job.record.get("tags", ()),
    "reason": lambda job, value: _has(rows.reason(job), value),
    "command": lambda job, value: _has(job.command, value),
    "group": lambda job, value: job.record.get("group") == value,
    "batch": lambda job, value: job.record.get("batch") == value,
}


def page(site: Site, states: tuple[str, ...], words: Words, newest: bool, limit: int, after: str | None) -> dict:
    """Return a page of the jobs in these states that fit, and where the next page begins."""
    find = _all if words.fit_all else _search
    jobs, following, searched, cut = find(site, states, words, newest, limit, after)
    settings = site.spool.settings_or_default()
    return {
        "jobs": [rows.row(site.spool, job, settings) for job in jobs],
        "next": following and sealed(following),
        "total": site.catalogue.count(states),
        "searched": searched,
        "complete": site.catalogue.complete and not cut,
    }


def _all(
    site: Site, states: tuple[str, ...], words: Words, newest: bool, limit: int, after: str | None
) -> tuple[list[Job], str | None, int, bool]:
    """Return what _search() does where everything fits."""
    found = site.catalogue.page(states, after, limit + 1, newest)
    most = site.spool.settings_or_default().max_job_bytes
    jobs = [job for key, state in found[:limit] if (job := site.spool.read(state, id_in(key), most))]
    return jobs, found[limit - 1][0] if len(found) > limit else None, len(found[:limit]), False


def _search(
    site: Site, states: tuple[str, ...], words: Words, newest: bool, limit: int, after: str | None
) -> tuple[list[Job], str | None, int, bool]:
    """Return the jobs that fit, where to go on, how many were looked at, and whether files were left unread among them."""
    jobs, searched, read, cut = [], 0, 0, False
    most = site.spool.settings_or_default().max_job_bytes
    for piece in site.catalogue.pieces(states, after, newest):
        if cut:
            searched += len(piece)
            piece = [(key, state) for key, state in piece if words.plain[0] in key]  # the rest of a million, quickly
        for key, state in piece:
            searched += not cut
            id = id_in(key)
            if words.reason is not None and (state != DEAD or site.reasons.is_other(id, words.reason)):
                continue  # without a look at its file
            by_id = words.fit_id(id)
            if not by_id and read >= MOST_READ:
                if not words.are_plain:
                    return jobs, key, searched, True
                cut = True
                continue
            read += 1
            job = site.spool.read(state, id, most)
            if job is not None and (by_id or words.fit(job)):
                jobs.append(job)
                if len(jobs) == limit:
                    return jobs, key, searched, cut
    return jobs, None, searched, cut


def sealed(key: str) -> str:
    """Return the key as a client hands it back."""
    return base64.urlsafe_b64encode(os.fsencode(key)).decode().rstrip("=")


def opened(text: str) -> str:
    """Return the key that sealed() made that of. Raises Problem."""
    try:
        return os.fsdecode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except ValueError:
        raise wrong("after is not what `next` said: leave it out to begin anew") from None
