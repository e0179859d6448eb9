"""Who brought a job to pending/: a command says so in the journal before it does it, so what nobody told was done by hand."""

from __future__ import annotations

import os

from jobspool import journal
from jobspool.states import DEAD, DONE, FAILED, PENDING, PROCESSING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from jobspool.config import Settings
    from jobspool.spool import Spool

TO, FROM = b'"to": "pending"', b'"from": "pending"'
HAND = "hand"
CAME_FROM = {"done": DONE, "dead": DEAD, "failed": FAILED}  # by the verdict on its last attempt


class Arrivals:
    """What one supervisor knows of those who came. It reads along in the journal, from when these jobs were `pending`."""

    def __init__(self, spool: Spool, cursor: str, pending: Iterable[str]) -> None:
        self._spool = spool
        self._reader = journal.Reader(spool.root, cursor)
        self._pending = set(map(_known_as, pending))  # jobs that are there, by what the journal tells

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
        return came

    def tell(self, ids: Iterable[str], settings: Settings, source: str | None = None) -> None:
        """Let the journal tell which of these jobs, just come to pending/, hands brought; from `source`, where that is known.

        They are looked at first: whoever brought one that is there has told it before, and it may have gone on since.
        """
        there = {_known_as(id): id for id in ids if os.path.lexists(self._spool.path(PENDING, id))}
        told = self._pending & there.keys()
        told |= self.read_along()
        for job, id in there.items():
            if job not in told:
                self._tell(id, settings, source or self._came_from(id))

    def _tell(self, id: str, settings: Settings, source: str | None) -> None:
        self._spool.note("moved" if source else "added", [id], source, PENDING, settings, by=HAND)

    def _came_from(self, id: str) -> str | None:
        """Return the state that the job was in last and isn't any more, None where it is new, or a copy."""
        job = self._spool.read(PENDING, id)
        state = CAME_FROM.get(job.attempts[-1]["verdict"], PROCESSING) if job and job.attempts else None
        return None if state is None or os.path.lexists(self._spool.path(state, id)) else state


def _known_as(id: str) -> int:
    """Return what the job is known as here: there may be a million of them."""
    return hash(_job_in(journal.lines("", [id], None, None, 0.0, {})))


def _job_in(line: bytes) -> bytes:
    """Return the job's id in the line, as it is written there; of an odd one the part up to its first quotation mark."""
    return line.split(b'"', 12)[11]
