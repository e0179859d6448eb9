"""Which ways jobs went, from the journal's lines at a glance: that costs a fraction of parsing each."""

from __future__ import annotations

import re

from jobspool import journal
from jobspool.errors import NotAJob
from jobspool.job import check_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    Way = tuple[str, str | None, str | None]  # which job, from which state, to which

BEGIN = journal.BEGIN.encode()
PLACE = {written.encode(): state for state, written in journal.STATE.items()}
ID = rb'"job": "([!#-\-0-\[\]-~][ !#-.0-\[\]-~]{0,99})"'  # as a file may be called, and as JSON writes it unchanged
STATE = b"(" + b"|".join(PLACE) + b")"
WAY = re.compile(
    rb'^\{"time": "[^"\\\n]*", "event": "[a-z]+", ' + ID + b', "from": ' + STATE + b', "to": ' + STATE + b"[,}]", re.MULTILINE
)


def way(line: bytes) -> Way | None:
    """Return which job the line tells of, from which state to which, None where it tells of none.

    What begins and ends as journal.lines() writes it is known at a glance, whatever else it says; all else is parsed.
    """
    seen = WAY.match(line)
    if seen and line.endswith(b"}") and line.rfind(BEGIN) == 0:
        return _read(seen.groups())
    event = journal.parsed(line)
    return (event["job"], event["from"], event["to"]) if event and _is_id(event["job"]) else None


def ways(piece: bytes) -> Iterator[Way]:
    """Yield the ways that these whole lines tell of, in their order."""
    found = WAY.findall(piece)
    if piece.count(b"\n") == len(found) == piece.count(BEGIN) == piece.count(b"}\n"):
        return map(_read, found)  # each line begins with one, and nothing is left over
    return filter(None, map(way, piece.split(b"\n")[:-1]))


def _read(found: tuple[bytes, ...]) -> Way:
    id, source, target = found
    return id.decode(), PLACE[source], PLACE[target]


def _is_id(text: str) -> bool:
    """Tell whether a file can be called so: anybody may write to the journal."""
    try:
        return bool(check_id(text))
    except (NotAJob, UnicodeError):
        return False
