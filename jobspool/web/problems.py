"""What can't be answered, as application/problem+json (RFC 9457): what was wrong, where, and what to type."""

from __future__ import annotations

import errno
import json
import re

from jobspool.errors import (
    AmbiguousJob,
    BrokenConfig,
    JobExists,
    NoSuchJob,
    NotAJob,
    NotASpool,
    NotInstalled,
    QueueError,
    TryAgain,
    WrongValue,
)
from jobspool.job import NEW_WORDS
from jobspool.trouble import MAY_PASS, told

MEDIA = b"application/problem+json"
NAME = "urn:queuectl:problem:"

# kind of error: (status, name, title). The first that fits counts.
KINDS = (
    (NoSuchJob, 404, "no-such-job", "No such job"),
    (AmbiguousJob, 409, "ambiguous", "Several jobs fit"),
    (NotAJob, 422, "not-a-job", "That is not a whole job"),
    (WrongValue, 422, "wrong-value", "A value breaks its rule"),
    (JobExists, 409, "job-exists", "There is such a job already"),
    (BrokenConfig, 503, "broken-config", "The spool's config.json is broken"),
    (NotASpool, 503, "no-spool", "The spool can't be used"),
    (TryAgain, 503, "try-again", "Something that will pass stands in the way"),
    (NotInstalled, 501, "no-metrics", "There are no metrics"),
    (QueueError, 409, "not-possible", "That can't be done to it now"),
)


class Problem(Exception):
    """An answer that is none: its HTTP `status`, the `name` that tells its kind, and what it says beside that."""

    def __init__(self, status: int, name: str, title: str, detail: str, **more: object) -> None:
        super().__init__(detail)
        self.status = status
        self.name = name
        self.headers: list[tuple[bytes, bytes]] = []
        self.said = {"type": f"{NAME}{name}", "title": title, "status": status, "detail": detail, **more}

    def body(self) -> bytes:
        """Return the JSON."""
        return json.dumps(self.said).encode()


def of_error(error: Exception, root: str) -> Problem:
    """Return what the project's error, or the disk's, is to who asked."""
    if isinstance(error, OSError):
        return _of_disk(error, root)
    status, name, title = next(each[1:] for each in KINDS if isinstance(error, each[0]))
    problem = Problem(status, name, title, str(error), **_more(error))
    if status == 503:
        problem.headers.append((b"retry-after", b"1"))
    return problem


def _of_disk(error: OSError, root: str) -> Problem:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    status = 507 if full else 503 if error.errno in MAY_PASS else 500
    return Problem(status, "disk", "The disk, or the machine, refused", told(error, root))


def _more(error: Exception) -> dict:
    """Return what a program may want to know of the error beside its words."""
    if isinstance(error, AmbiguousJob):
        return {"candidates": [{"state": state, "id": id} for state, id in error.candidates]}
    if not isinstance(error, NotAJob):
        return {}
    said, more = str(error), {}
    if found := re.match(r"unknown key (['\"])(.*?)\1", said):
        more["key"] = found[2]
    elif (word := said.partition(" ")[0]) in NEW_WORDS:
        more["key"] = word
    if "key" in more:
        more["pointer"] = "/" + more["key"].replace("~", "~0").replace("/", "~1")
    if found := re.search(r"did you mean '([^']+)'\?", said):
        more["near"] = found[1]
    if found := re.search(r"line (\d+) column (\d+)", said):
        more |= {"line": int(found[1]), "column": int(found[2])}
    return more


def wrong(detail: str, **more: object) -> Problem:
    """Return what is said of a request that can't be understood: `detail` says what, and what to send."""
    return Problem(400, "wrong-request", "The request can't be understood", detail, **more)
