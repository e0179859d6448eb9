"""Record outcomes: at once, or by the group, while the worker runs its next job.

With fsync "group" all the outcomes that came while the disk was busy reach it together, in two steps: first written, then in
their places in processing/. While one group takes its first step, the one before takes its second; only then do they move on to
where people look. All that waits for the disk is done by a thread, and nothing else is: two threads that run Python keep each
other from it.
With "always" the worker waits for each; with "never" nothing is synced.
A disk that is full or broken doesn't lose an outcome: it is tried again until it is recorded, and nothing new is claimed.
"""

from __future__ import annotations

import os
import queue
import resource
import select
import signal
import sys
import threading
import time
from collections import deque, namedtuple

from jobspool import durable
from jobspool.states import PROCESSING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


MOST = 64  # outcomes that may wait for the disk: each holds two descriptors
OTHER_FILES = 32  # descriptors that a worker needs for all else
PASSES = 4  # of the disk that MOST are enough for
GATHER = 0.02  # seconds that an outcome waits for others, at most, while more of them come
RETRY_AFTER = 1.0  # seconds

# claim: what to record. entry: called for what to write of its attempt. settings: fsync and modes. told: called with that, and
# whether the record stayed, once it has.
Outcome = namedtuple("Outcome", "claim entry settings told")


class Recorder:
    """Records outcomes in the order they come. `well` tells whether it can; fileno() is readable when go_on() has work to do.

    `report` is told each time that it can't; where it answers True there is no hope, and what waits is given up. `rest` lets the
    caller wait for so many seconds: the disk tells nobody when it is well again. `said` is called when outcomes were recorded of
    which nobody may have heard yet.
    """

    def __init__(
        self,
        report: Callable[[OSError], bool | None],
        rest: Callable[[float], object] = time.sleep,
        said: Callable[[], object] = lambda: None,
    ) -> None:
        self.well = True
        self._most = _most()
        self._report = report
        self._rest = rest
        self._said = said
        self._held: deque[Outcome] = deque()
        self._steps: list[_Step] = []
        self._again_at = 0.0  # monotonic: when what the disk refused is tried again
        self._disk = _Disk()
        self._passing: _Pass | None = None  # what the disk is at

    def fileno(self) -> int:
        """Return a descriptor that is readable when go_on() has something to do."""
        return self._disk.fileno()

    def record(self, outcome: Outcome) -> None:
        """Take the outcome, which is to be recorded: before this returns where the settings say "always", else by go_on()."""
        self._held.append(outcome)
        if outcome.settings.fsync == "always":
            self._record_all()

    def go_on(self, more: bool = False) -> None:
        """Record what was taken as far as that goes without waiting for the disk; with "never" that is all of it.

        A worker does this once its next job has been started, before it waits, and when fileno() is readable. Where it expects
        `more` soon, the disk is only troubled when there is enough for it to do, or something has waited for it for long enough.
        """
        while self._held:
            step = _Step(self._held.popleft())
            if step.synced or not self.well or not _record_now(step):
                self._steps.append(step)
        if len(self._steps) >= self._most:
            self._record_all()
        if self._passing is not None and self._disk.has_ended():
            self._take_in()
        if self._passing is None and self._steps and (not more or self._is_enough()) and time.monotonic() >= self._again_at:
            self._pass_on(beside=True)

    def _is_enough(self) -> bool:
        new = sum(step.entered is None for step in self._steps)
        return new >= self._most // PASSES or time.monotonic() > self._steps[0].since + GATHER

    def finish(self) -> None:
        """Return when every outcome so far is recorded."""
        self._record_all()
        self._said()

    def _record_all(self) -> None:
        """Return when each outcome that was taken is recorded, however long the disk takes to be well again."""
        steps, self._held = [_Step(outcome) for outcome in self._held], deque()
        self._steps += steps
        while self._steps:
            if self._passing is None:
                self._rest_first()
                self._pass_on(beside=False)
            self._disk.wait()
            self._take_in()

    def _rest_first(self) -> None:
        if (left := self._again_at - time.monotonic()) > 0:
            self._rest(left)

    def _pass_on(self, beside: bool) -> None:
        self._passing = _Pass(self._steps)
        self._disk.begin(self._passing, beside)

    def _take_in(self) -> None:
        """The disk has done its part: do ours, and see what is left."""
        passed, self._passing = self._passing, None
        error = passed.end()
        self.well = error is None
        if error is not None:
            self._again_at = time.monotonic() + RETRY_AFTER
            if self._report(error):
                self._steps = []
        self._steps = [step for step in self._steps if not step.done]


class _Pass:
    """One pass of the disk for all the steps that are there: sync() is its part, the rest is done before and behind.

    What has entered processing/ moves on once that is on the disk, and what is new enters there once it is written there. Between
    two steps that a disk must not see in another order, what the first changed is synced. One that the disk refuses keeps nobody
    from the others.
    """

    def __init__(self, steps: list[_Step]) -> None:
        self._refused: list[OSError] = []
        self._failed: OSError | None = None  # so that nothing can go on
        self._entered = [step for step in steps if step.entered is not None]
        self._new = self._each([step for step in steps if step.entered is None], _Step.write)
        self.waits = any(step.synced for step in steps)

    def sync(self) -> None:
        """Return when all is on the disk that must be before end(). Changes nothing else, and raises nothing."""
        durable.begin_writing([step.recorded.descriptor for step in self._new if step.synced])
        self._new = self._each(self._new, _Step.sync)
        try:
            _see_in_order(self._entered, self._new)
        except OSError as error:
            self._failed = error

    def end(self) -> OSError | None:
        """Let each take its step, and return why one couldn't, or None."""
        if self._failed is not None:
            return self._failed
        new = self._each(self._new, _Step.enter)
        for step in self._each([*self._entered, *(step for step in new if not step.synced or not step.entered)], _Step.move_on):
            step.done = True
            step.outcome.told(step.entry, step.stayed)
        return self._refused[0] if self._refused else None

    def _each(self, steps: list[_Step], deed: Callable[[_Step], None]) -> list[_Step]:
        """Do it for each and return those for which it could be done; why not for the others is kept."""
        well = []
        for step in steps:
            try:
                deed(step)
                well.append(step)
            except OSError as error:
                self._refused.append(error)
        return well


class _Disk:
    """Waits for the disk, in a thread that is made when first needed; or at once, where the machine has none for us."""

    def __init__(self) -> None:
        self._asked: queue.SimpleQueue[_Pass] = queue.SimpleQueue()
        self._ended = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread: threading.Thread | None = None

    def fileno(self) -> int:
        """Return a descriptor that is readable when has_ended() would be true."""
        return self._ended

    def begin(self, passing: _Pass, beside: bool) -> None:
        """Begin the disk's part, `beside` what the caller does meanwhile; else, and where nothing waits for it, do it."""
        if beside and passing.waits and (self._thread is not None or self._start()):
            self._asked.put(passing)
            return
        passing.sync()
        os.eventfd_write(self._ended, 1)

    def has_ended(self) -> bool:
        """Tell, once, that the disk has done its part."""
        try:
            os.eventfd_read(self._ended)
        except BlockingIOError:
            return False
        return True

    def wait(self) -> None:
        """Return when the disk has done its part."""
        while not self.has_ended():
            select.select([self._ended], [], [])

    def _start(self) -> bool:
        thread = threading.Thread(target=self._serve, name="disk", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return False
        self._thread = thread
        return True

    def _serve(self) -> None:
        try:
            while True:
                self._asked.get().sync()
                os.eventfd_write(self._ended, 1)
        except BaseException:  # noqa: BLE001
            sys.excepthook(*sys.exc_info())  # a bug: show it, and die with the worker, so that others see to what it ran
            os.kill(os.getpid(), signal.SIGKILL)


class _Step:
    """An outcome on its way to the disk: what is done stays done when a later step fails."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.entry = outcome.entry()
        self.recorded = None
        self.entered: bool | None = None
        self.stayed: bool | None = None
        self.done = False
        self.since = time.monotonic()  # when it took its last step

    @property
    def synced(self) -> bool:
        return self.outcome.settings.fsync != "never"

    def write(self) -> None:
        if self.recorded is not None and self.entered is None and self.recorded.vanished():
            self._abandon()
        if self.recorded is None:
            self.recorded = self.outcome.claim.write(self.entry, self.outcome.settings)

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
            self.since = time.monotonic()

    def move_on(self) -> None:
        if self.stayed is None:
            self.stayed = self.entered and self.recorded.move_on()


def _most() -> int:
    """Return how many outcomes may wait: as many as leave us the descriptors for all else."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MOST if limit == resource.RLIM_INFINITY else max(1, min(MOST, (limit - OTHER_FILES) // 2))


def _record_now(step: _Step) -> bool:
    """Record an outcome that isn't synced, and tell; False where the disk refused: the step may be tried again."""
    try:
        step.write()
        step.enter()
        step.move_on()
    except OSError:
        return False
    step.outcome.told(step.entry, step.stayed)
    return True


def _see_in_order(entered: list[_Step], new: list[_Step]) -> None:
    """Return when the disk knows that those have entered, and will know that these left pending/ before it sees them enter.

    Where a journal keeps the order of all changes, it needn't be told of what left pending/.
    """
    new, entered = ([step for step in steps if step.synced] for steps in (new, entered))
    if not new and not entered:
        return
    spool = (new or entered)[0].outcome.claim.spool
    if new and not spool.keeps_order:
        spool.sync_left({PROCESSING}.union(*(step.outcome.claim.trail for step in new)))
    elif entered:
        durable.sync_directory(spool.folder(PROCESSING))
