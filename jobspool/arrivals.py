"""Who brought a job to pending/: a command says so in the journal before it does it, so what nobody told was done by hand."""

from __future__ import annotations

import os
from json.encoder import encode_basestring_ascii

from jobspool import journal, whereabouts
from jobspool.states import DEAD, DONE, FAILED, PENDING, PROCESSING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from jobspool.config import Settings
    from jobspool.spool import Spool

BEGIN = journal.BEGIN.encode()
TO, FROM = b'"to": "pending"', b'"from": "pending"'
ENDED_IN = (DONE, DEAD, FAILED)  # states that have the name of the verdict that leads there


class Arrivals:
    """What one supervisor knows of those who came. It reads along in the journal, from when these jobs were `pending`.

    Where that is None nobody knows who was there, and it isn't `complete`: only what came since then counts.
    """

    def __init__(self, spool: Spool, cursor: str, pending: Iterable[str] | None) -> None:
        self._spool = spool
        self.complete = pending is not None
        self._began = spool.now()
        self._reader = journal.Reader(spool.root, cursor)
        self._pending = set(map(_known_as, pending or ()))  # jobs that are there, by what the journal tells

    def read_along(self) -> set[int]:
        """Read what the journal has got since, and return the jobs that came to pending/ by what it tells."""
        came = set()
        while (line := self._reader.line()) is not None:
            if TO in line:
                job = hash(_job_in(line))
                came.add(job)
                self._pending.add(job)
            elif FROM in line:
                self._pending.discard(hash(_job_in(line)))
        if self._reader.lost:
            self._reader.lost = self.complete = False
        return came

    def tell(self, ids: Iterable[str], settings: Settings, source: str | None = None) -> None:
        """Let the journal tell which of these jobs, just come to pending/, hands brought; from `source`, where that is known.

        Each is looked at first, as it is told before it is done, and twice, as it may be claimed and come again meanwhile: by
        nobody else who tells. Raises OSError.
        """
        there = self._there(ids)
        self.read_along()
        there = {job: id for job, id in there.items() if job not in self._pending}
        if not there:
            return
        with whereabouts.telling(self._spool, settings):
            there = self._there(there.values())
            came = self.read_along()
            for job, id in there.items():
                if job not in came and job not in self._pending:
                    self._tell(id, settings, source or self._came_from(id))

    def _there(self, ids: Iterable[str]) -> dict[int, str]:
        return {_known_as(id): id for id in ids if self._is_there(id)}

    def _is_there(self, id: str) -> bool:
        """Tell whether the job is pending, and came here in our time, which a rename notes in its ctime."""
        try:
            changed = os.lstat(self._spool.path(PENDING, id)).st_ctime
        except FileNotFoundError:
            return False
        return self.complete or changed > self._began

    def _tell(self, id: str, settings: Settings, source: str | None) -> None:
        self._spool.note("moved" if source else "added", [id], source, PENDING, settings, by=whereabouts.HAND)

    def _came_from(self, id: str) -> str | None:
        """Return the state that the job was in last and isn't any more, as its record tells, None where it is new, or a copy."""
        job = self._spool.read(PENDING, id)
        if job is None or not (job.attempts or "cancelled" in job.record):
            return None
        verdict = DEAD if "cancelled" in job.record else job.attempts[-1]["verdict"]
        state = verdict if verdict in ENDED_IN else PROCESSING
        return None if os.path.lexists(self._spool.path(state, id)) else state


def _known_as(id: str) -> int:
    """Return what the job is known as here: there may be a million of them."""
    return hash(_job_in(journal.lines("", [id], None, None, 0.0, {})))


def _job_in(line: bytes) -> bytes | None:
    """Return the job's id in the line, as it is written there; None where there is none."""
    line = line[max(0, line.rfind(BEGIN)) :]  # behind half a line that a full disk left
    parts = line.split(b'"', 12)
    if len(parts) < 13 or parts[11].endswith(b"\\"):  # its id has quotation marks, or it is no line of ours
        event = journal.parsed(line)
        return encode_basestring_ascii(event["job"]).encode() if event else None
    return parts[11]
