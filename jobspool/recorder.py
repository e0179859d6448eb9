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
import time
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

    `report` is told each time that it can't; where it answers True there is no hope, and what waits is given up. `rest` lets the
    caller's thread wait for so many seconds: the disk tells nobody when it is well again.
    """

    def __init__(self, report: Callable[[OSError], bool | None], rest: Callable[[float], object] = time.sleep) -> None:
        self.well = threading.Event()
        self.well.set()
        self._report = report
        self._rest = rest
        self._waiting: queue.Queue = queue.Queue(MOST)
        self._thread: threading.Thread | None = None

    def record(self, outcome: Outcome) -> None:
        """Record the outcome: before this returns, or by the thread where the settings say "group"."""
        if outcome.settings.fsync != "group":
            self.finish()
            self._persist(outcome, self._rest)
            return
        if self._thread is None and not self._start():
            self._persist(outcome, self._rest)
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
        steps, ended = [], False
        while steps or not ended:
            for outcome in self._taken(wait=not steps):
                if outcome is END:
                    ended = True
                else:
                    steps.append(_Step(outcome))
            if steps:
                steps = self._try(steps, time.sleep)

    def _taken(self, wait: bool) -> list:
        """Take the outcomes that have come; with `wait` there is at least one."""
        taken = [self._waiting.get()] if wait else []
        while not self._waiting.empty():
            taken.append(self._waiting.get())
        return taken

    def _persist(self, outcome: Outcome, rest: Callable[[float], object]) -> None:
        """Record the outcome, however long the disk takes to be well again."""
        steps = [_Step(outcome)]
        while steps:
            steps = self._try(steps, rest)

    def _try(self, steps: list[_Step], rest: Callable[[float], object]) -> list[_Step]:
        """Record what can be recorded now, and return the rest of the steps, after a rest; none where there is no hope."""
        error = _record_all(steps)
        if error is None:
            self.well.set()
            return []
        self.well.clear()
        if self._report(error):
            return []
        rest(RETRY_AFTER)
        return [step for step in steps if not step.done]


class _Step:
    """An outcome on its way to the disk: what is done stays done when a later step fails."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.recorded = None
        self.entered: bool | None = None
        self.stayed: bool | None = None
        self.done = False

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


def _record_all(steps: list[_Step]) -> OSError | None:
    """Take every step; between two that a disk must not see in another order, what the first changed is synced.

    One that the disk refuses keeps nobody from the others: return why, None when all are done.
    """
    spool, refused = steps[0].outcome.claim.spool, []
    try:
        steps = _each(steps, _Step.write, refused)
        steps = _each(steps, _Step.sync, refused)
        if left := {state for step in steps if step.synced and step.entered is None for state in step.outcome.claim.trail}:
            spool.sync_left(left)
        steps = _each(steps, _Step.enter, refused)
        _sync(spool, {PROCESSING} if any(step.synced and step.entered and step.stayed is None for step in steps) else ())
        steps = _each(steps, _Step.move_on, refused)
        _sync(spool, {step.recorded.state for step in steps if step.synced and step.stayed})
    except OSError as error:
        return error
    for step in steps:
        step.done = True
        step.outcome.told(step.stayed)
    return refused[0] if refused else None


def _each(steps: list[_Step], deed: Callable[[_Step], None], refused: list[OSError]) -> list[_Step]:
    """Do it for each and return those for which it could be done; why not for the others comes to `refused`."""
    well = []
    for step in steps:
        try:
            deed(step)
            well.append(step)
        except OSError as error:
            refused.append(error)
    return well


def _sync(spool: Spool, states: Iterable[str]) -> None:
    for state in sorted(states):
        durable.sync_directory(spool.folder(state))
