"""Record outcomes: at once, or by the group, while the worker runs its next job.

With fsync "group" a thread takes all the outcomes that came while it was busy, lets them reach the disk, then moves their
files, then syncs each directory once. With "always" the worker waits for each; with "never" nothing is synced.
A disk that is full or broken doesn't lose an outcome: it is tried again until it is recorded, and nothing new is claimed.
"""

from __future__ import annotations

import queue
import threading
from collections import namedtuple

from jobspool import durable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

MOST = 32  # outcomes waiting for the disk: each holds two descriptors
RETRY_AFTER = 1.0  # seconds
END = None

# claim and entry: what to record. settings: fsync and modes. told: called with whether the record stayed, once it has.
Outcome = namedtuple("Outcome", "claim entry settings told")


class Recorder:
    """Records outcomes in the order they come. `well` is set while it can."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self.well = threading.Event()
        self.well.set()
        self._never = threading.Event()  # to wait for: the disk tells nobody when it is well again
        self._report = report
        self._waiting: queue.Queue = queue.Queue(MOST)
        self._thread: threading.Thread | None = None

    def record(self, outcome: Outcome) -> None:
        """Record the outcome: before this returns, or by the thread where the settings say "group"."""
        if outcome.settings.fsync != "group":
            self.finish()
            self._persist([outcome])
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="recorder", daemon=True)
            self._thread.start()
        self._waiting.put(outcome)

    def finish(self) -> None:
        """Return when every outcome so far is recorded."""
        if self._thread is not None:
            self._waiting.put(END)
            self._thread.join()
            self._thread = None

    def _serve(self) -> None:
        while True:
            batch = [self._waiting.get()]
            while not self._waiting.empty():
                batch.append(self._waiting.get())
            self._persist([outcome for outcome in batch if outcome is not END])
            if END in batch:
                return

    def _persist(self, batch: list[Outcome]) -> None:
        """Record the batch, however long the disk takes to be well again."""
        steps = [_Step(outcome) for outcome in batch]
        while True:
            try:
                _record_all(steps)
                self.well.set()
                return
            except OSError as error:
                if self.well.is_set():
                    self._report(f"can't record outcomes, so nothing new is claimed: {error.strerror} ({error.filename or ''})")
                self.well.clear()
                self._never.wait(RETRY_AFTER)


class _Step:
    """An outcome on its way to the disk: what is done stays done when a later step fails."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.recorded = None
        self.stayed: bool | None = None

    def write(self) -> None:
        if self.recorded is None:
            self.recorded = self.outcome.claim.write(self.outcome.entry, self.outcome.settings)

    def settle(self) -> str | None:
        """Move the file; return the directory to sync."""
        if self.stayed is None:
            self.stayed = self.recorded.settle()
        return self.outcome.claim.spool.folder(self.recorded.state) if self.stayed else None


def _record_all(steps: list[_Step]) -> None:
    synced = [step for step in steps if step.outcome.settings.fsync != "never"]
    for step in steps:
        step.write()
    for step in synced:
        if step.stayed is None:
            step.recorded.sync()
    folders = {step.settle() for step in steps} - {None}
    if synced:
        for folder in sorted(folders):
            durable.sync_directory(folder)
    for step in steps:
        step.outcome.told(step.stayed)
