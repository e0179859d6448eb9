"""Record outcomes: at once, or by the group, while the worker runs its next job.

With fsync "group" a thread takes all the outcomes that came while it was busy, lets them reach the disk, puts them in their
places in processing/, moves them on, and syncs each directory once for all of them. With "always" the worker waits for each;
with "never" nothing is synced.
A disk that is full or broken doesn't lose an outcome: it is tried again until it is recorded, and nothing new is claimed.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from collections import namedtuple

from jobspool import durable
from jobspool.states import PROCESSING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from jobspool.spool import Spool

MOST = 32  # outcomes waiting for the disk: each holds two descriptors
RETRY_AFTER = 1.0  # seconds
END = None

# claim and entry: what to record. settings: fsync and modes. told: called with whether the record stayed, once it has.
Outcome = namedtuple("Outcome", "claim entry settings told")


class Recorder:
    """Records outcomes in the order they come. `well` is set while it can.

    `report` is told each time that it can't; where it answers True there is no hope, and what waits is given up.
    """

    def __init__(self, report: Callable[[OSError], bool | None]) -> None:
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
        if self._thread is None and not self._start():
            self._persist([outcome])
            return
        self._waiting.put(outcome)

    def _start(self) -> bool:
        thread = threading.Thread(target=self._serve, name="recorder", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return False  # the machine has no thread for us now
        self._thread = thread
        return True

    def finish(self) -> None:
        """Return when every outcome so far is recorded."""
        if self._thread is not None:
            self._waiting.put(END)
            self._thread.join()
            self._thread = None

    def _serve(self) -> None:
        try:
            self._serve_on()
        except BaseException:  # noqa: BLE001
            sys.excepthook(*sys.exc_info())  # a bug: show it, and die with the worker, so that others see to what it ran
            os.kill(os.getpid(), signal.SIGKILL)

    def _serve_on(self) -> None:
        while True:
            batch = [self._waiting.get()]
            while not self._waiting.empty():
                batch.append(self._waiting.get())
            if outcomes := [outcome for outcome in batch if outcome is not END]:
                self._persist(outcomes)
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
                self.well.clear()
                if self._report(error):
                    return
                self._never.wait(RETRY_AFTER)


class _Step:
    """An outcome on its way to the disk: what is done stays done when a later step fails."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.recorded = None
        self.entered: bool | None = None
        self.stayed: bool | None = None

    @property
    def synced(self) -> bool:
        return self.outcome.settings.fsync != "never"

    def write(self) -> None:
        if self.recorded is not None and self.entered is None and self.recorded.vanished():
            self._abandon()
        if self.recorded is None:
            self.recorded = self.outcome.claim.write(self.outcome.entry, self.outcome.settings)

    def sync(self) -> None:
        if self.entered is None and self.synced:
            try:
                self.recorded.sync()
            except OSError:
                self._abandon()  # the kernel takes what it couldn't write for written: a second sync would succeed, fsync(2)
                raise

    def _abandon(self) -> None:
        if self.recorded.abandon():
            self.recorded = None

    def enter(self) -> None:
        if self.entered is None:
            self.entered = self.recorded.enter()

    def move_on(self) -> None:
        if self.stayed is None:
            self.stayed = self.entered and self.recorded.move_on()


def _record_all(steps: list[_Step]) -> None:
    """Take every step; between two that a disk must not see in another order, what the first changed is synced."""
    spool = steps[0].outcome.claim.spool
    synced = [step for step in steps if step.synced]
    for step in steps:
        step.write()
    for step in steps:
        step.sync()
    if left := {state for step in synced if step.entered is None for state in step.outcome.claim.trail}:
        spool.sync_left(left)
    for step in steps:
        step.enter()
    _sync(spool, {PROCESSING} if any(step.entered and step.stayed is None for step in synced) else ())
    for step in steps:
        step.move_on()
    _sync(spool, {step.recorded.state for step in synced if step.stayed})
    for step in steps:
        step.outcome.told(step.stayed)


def _sync(spool: Spool, states: Iterable[str]) -> None:
    for state in sorted(states):
        durable.sync_directory(spool.folder(state))
