"""What a job says of itself: a JSON object in the file that QUEUECTL_RESULT names, which it may write and write again.

retry_after   seconds until it is tried again, in the place of the backoff, where it failed or snoozes
dead          a reason: it goes to dead/ at once, whatever its exit code
result        anything, which is kept with the attempt
progress      0 to 100, and `text`: shown while it runs
"""

from __future__ import annotations

import json
import os
import stat

from jobspool.job import TEN_YEARS, depth
from jobspool.trust import READ

COARSE = 0.05  # seconds: no kernel's ticks are longer, by which a file's times are told
MOST = 65_536  # bytes
DEEPEST = 50  # objects and lists within each other: it stands three deep in the job's file
WORDS = {
    "retry_after": lambda value: _is_number(value, TEN_YEARS),
    "dead": lambda value: isinstance(value, str) and "\0" not in value,
    "result": lambda value: True,
    "progress": lambda value: _is_number(value, 100),
    "text": lambda value: isinstance(value, str),
}


class Unclear(Exception):
    """What the file says can't be taken: the message says why."""


def read(path: str, since: float = 0.0) -> dict | None:
    """Return what the job has said so far, None where it has said nothing since. Raises Unclear, OSError where the disk fails."""
    if not os.access(path, os.F_OK):
        return None
    try:
        descriptor = os.open(path, READ)
    except OSError as error:
        raise Unclear(os.strerror(error.errno)) from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise Unclear("no regular file")
        if found.st_mtime < since - COARSE:
            return None  # an older job's of that name
        content = os.read(descriptor, MOST + 1)
    finally:
        os.close(descriptor)
    return _checked(content)


def _checked(content: bytes) -> dict:
    if len(content) > MOST:
        raise Unclear(f"longer than {MOST} bytes")
    try:
        said = json.loads(content)
        json.dumps(said, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise Unclear("not JSON") from None
    if depth(said) > DEEPEST:
        raise Unclear("nested too deep")
    if not isinstance(said, dict):
        raise Unclear("not a JSON object")
    for word, value in said.items():
        if word not in WORDS:
            raise Unclear(f"unknown key {word!r}: there are {', '.join(WORDS)}")
        if not WORDS[word](value):
            raise Unclear(f"{word} can't be {value!r}")
    return said


def _is_number(value: object, most: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= most
