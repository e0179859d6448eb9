"""Run one attempt: start its processes, keep its logs, end it when told, and say how it ended.

An attempt is a process group of its own, with stdin from /dev/null, output straight into its log files, default signals, and
nothing of the worker's left open but the lock of its job, which is held until the last of its processes has ended.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import signal
import time

from jobspool import admission, cgroup, command, durable, process
from jobspool import said as tell
from jobspool.command import CannotStart
from jobspool.errors import shortened
from jobspool.job import seconds
from jobspool.logs import Logs, Pair
from jobspool.retry import Outcome
from jobspool.states import DEAD, DONE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jobspool.channel import Ears
    from jobspool.claim import Claim
    from jobspool.config import Settings

LOCK = 100  # the lock's descriptor in the job: beyond those that shell scripts use
AN_INSTANT = 0.02  # seconds, behind which a job counts as one that takes its time
LOOK_EVERY = 1.0  # seconds between looks at a running job: is it still in its place, how long are its logs
MEMORY_EVERY = 0.25  # seconds between looks at how much memory a job has in use that may have only so much
LOOK_SOON = 0.05  # the same, while its logs are being cut
SIGNALS = signal.valid_signals()
DEFAULTED = sorted(SIGNALS - {signal.SIGKILL, signal.SIGSTOP})
REASONS = {errno.ENOENT: 127, errno.ENOTDIR: 127}
OF_THE_MACHINE = (errno.EBADF, errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)  # no fault of the command, and it may pass


class Attempt:
    """The processes of one attempt, from start() to outcome()."""

    def __init__(self, claim: Claim, settings: Settings, pair: Pair) -> None:
        self.claim = claim
        self.settings = settings
        mode = claim.spool.file_mode(settings)
        self.logs = Logs(pair, claim.spool, claim.id, claim.number, settings.log_max_bytes, mode)
        self.started = claim.spool.now()
        self._result = claim.spool.log_path(claim.id, claim.number, "result")
        self._began = time.monotonic()
        self.reason: str | None = None
        self._watched = Watched(claim.record, self.logs) if not WATCHED.isdisjoint(claim.record) else None
        self._limit = f"timeout after {settings.timeout:g} s" if settings.timeout is not None else ""  # what its deadline means
        self.unclear = ""  # why what the job said of itself can't be taken
        self.interrupted = False
        self.pid = 0
        self.born: int | None = None  # the main process's start in clock ticks since boot, where it is known without looking
        self.slow = False  # whether it takes longer than AN_INSTANT
        self.called = False  # whether something else wants attention
        self._pidfd: int | None = None
        self._deadline: float | None = None

    def start(self, environment: dict[str, str]) -> None:
        """Start the processes. Raises CannotStart; then outcome_unstarted() says how it ended.

        The working directory is the job's then: see command.leave(). Raises OSError when the machine, not the command, is at
        fault; then nothing has run.
        """
        record, span = self.claim.record, self.claim.span
        folder = record.get("cwd") or os.path.dirname(self.claim.spool.root)
        own = {**environment, "PWD": folder, **record.get("env", {}), **(span.environment if span else {}), **self._names()}
        command.enter(folder)
        before = process.ticks()
        self.pid = self._spawn(command.words(record), own)
        self.born = before if process.ticks() == before else None
        self._pidfd = _pidfd(self.pid)
        timeout = self.settings.timeout
        self._deadline = None if timeout is None else time.monotonic() + timeout
        if self.settings.deadline is not None:
            left = seconds(self.settings.deadline) - self.started
            if timeout is None or left < timeout:
                self._deadline, self._limit = time.monotonic() + left, f"deadline {self.settings.deadline}"

    def ended(self, ears: Ears) -> bool:
        """Wait until the main process has ended, something else can be heard, or it is time to look; tell the first.

        It is `called` where that is to be heeded.
        """
        ready = ears.wait(self._time_to_look(), self._pidfd)
        if self._pidfd is None:
            ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        else:
            ended = self._pidfd in ready
        self.called = ears.heed(ready)
        self.slow = self.slow or (not ended and time.monotonic() >= self._began + AN_INSTANT)
        return ended

    def _time_to_look(self) -> float:
        """Return the seconds until it is to be looked at, if nothing happens."""
        if not self.slow:
            wait = self._began + AN_INSTANT - time.monotonic()
        else:
            wait = LOOK_SOON if self.logs.cutting or self._pidfd is None else LOOK_EVERY
            wait = wait if self._watched is None else min(wait, self._watched.every)
        return max(0.0, wait if self._deadline is None else min(wait, self._deadline - time.monotonic()))

    def overdue(self) -> str:
        """Return why the attempt is to be ended: it has taken longer, or more, than it may; "" for it may go on."""
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return self._limit
        return "" if self._watched is None else self._watched.over(self.pid)

    def end(self, reason: str, interrupted: bool = False) -> bool:
        """End every process of the attempt: TERM, the grace, KILL. `reason` is recorded. Tell whether none is left."""
        self.reason, self.interrupted = reason, interrupted
        first = signal.Signals[f"SIG{self.claim.record.get('stop_signal', 'TERM')}"]
        return process.close_group(self.pid, self.settings.grace, first)

    def outcome(self) -> Outcome:
        """Return how the attempt ended, once its main process has."""
        _, status, used = os.wait4(self.pid, 0)
        if self._pidfd is not None:
            os.close(self._pidfd)
        code = os.waitstatus_to_exitcode(status)
        name = None if code >= 0 else signal.Signals(-code).name if -code in SIGNALS else f"SIG{-code}"
        reason = self.reason or (None if code == 0 else f"exit {code}" if code > 0 else f"ended by {name}")
        if name == "SIGXCPU" and "cpu" in self.claim.record.get("limits", ()):
            reason = f"over {self.claim.record['limits']['cpu']} s of processor time"
        if name == "SIGKILL" and self.reason is None and "memory" in self.claim.record.get("limits", ()) and cgroup.available():
            reason = f"over {_bytes(self.claim.record['limits']['memory'])} of memory"  # nobody else had a reason to
        said = self._said()
        if said and said.get("dead") and not self.reason:
            reason = shortened(said["dead"])
        return Outcome(
            self.started,
            self.claim.spool.now(),
            code if code >= 0 and not self.reason else None,
            name,
            reason,
            round(used.ru_utime + used.ru_stime, 6),
            used.ru_maxrss * 1024,
            self.interrupted,
            time.monotonic() - self._began,
            said,
        )

    def _said(self) -> dict | None:
        """Return what the job has said of itself, None for nothing; the file goes."""
        try:
            said = tell.read(self._result, self.started)
        except tell.Unclear as unclear:
            self.unclear = f"{self._result}: {unclear}"
            return None  # the file stays, for whoever wonders
        if said is not None:
            durable.remove_if_possible(self._result)
        return said

    def outcome_unstarted(self, problem: CannotStart) -> Outcome:
        """Return the outcome of an attempt whose command couldn't be started."""
        return Outcome(self.started, self.claim.spool.now(), problem.status, None, problem.reason)

    def _names(self) -> dict[str, str]:
        claim = self.claim
        plain = {
            "QUEUECTL_JOB_ID": claim.id,
            "QUEUECTL_ATTEMPT": str(claim.number),
            "QUEUECTL_SPOOL": claim.spool.root,
            "QUEUECTL_RESULT": self._result,
        }
        return {**plain, **_names_of_needs(claim)} if admission.concerns(claim.record) else plain

    def _spawn(self, words: list[str], environment: dict[str, str]) -> int:
        program = command.find_program(words[0], environment.get("PATH", os.defpath))
        try:
            return self._execute(program, words, environment)
        except OSError as error:
            if error.errno == errno.ENOEXEC:  # a script without #!: a shell runs it, as POSIX has it for execvp
                return self._execute(command.SHELL, [command.SHELL, program, *words[1:]], environment)
            if error.errno in OF_THE_MACHINE or not self.logs.are_there():
                raise
            raise CannotStart(REASONS.get(error.errno, 126), f"can't run {words[0]}: {error.strerror}") from None

    def _execute(self, program: str, words: list[str], environment: dict[str, str]) -> int:
        if before := command.limiting(self.claim.record):
            program, words = before[0], [*before, program, *words[1:]]
        held = [self.claim.descriptor, *(token.descriptor for token in self.claim.tokens)]
        lock = min(LOCK, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - len(held))
        held, copies = _beyond(held, lock)
        out, err = self.logs.own_paths  # opened anew, so that we can tell whether somebody still has them
        try:
            return os.posix_spawn(
                program,
                words,
                environment,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 1, out, durable.APPENDING, 0),
                    (os.POSIX_SPAWN_OPEN, 2, err, durable.APPENDING, 0),
                    *((os.POSIX_SPAWN_DUP2, descriptor, lock + i) for i, descriptor in enumerate(held)),
                ],
                setpgroup=0,
                setsigmask=[],
                setsigdef=DEFAULTED,
            )
        finally:
            for descriptor in copies:
                os.close(descriptor)


MOST_PARENTS = 100  # of which a job is told
WATCHED = frozenset(("idle_timeout", "limits"))


class Watched:
    """What of a running job has to be looked at: how much memory it has in use, and whether it prints. `every` is how often."""

    def __init__(self, record: dict, logs: Logs) -> None:
        self._memory = record.get("limits", {}).get("memory")
        self._idle = record.get("idle_timeout")
        self._logs = logs
        self._printed, self._since = 0, time.monotonic()
        self.every = MEMORY_EVERY if self._memory is not None else LOOK_EVERY
        if self._idle is not None:
            self.every = min(self.every, max(LOOK_SOON, self._idle / 4))

    def over(self, group: int) -> str:
        """Return why the job is to be ended, "" for nothing."""
        if self._memory is not None and process.memory(group) > self._memory:
            return f"over {_bytes(self._memory)} of memory"
        if self._idle is not None:
            printed = self._logs.printed()
            if printed != self._printed:
                self._printed, self._since = printed, time.monotonic()
            elif time.monotonic() - self._since >= self._idle:
                return f"no output for {self._idle:g} s"
        return ""


def _bytes(count: int) -> str:
    """Return the number of bytes as people say it: 512 MiB."""
    for size, unit in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= size:
            return f"{count / size:.4g} {unit}"
    return f"{count} bytes"


def _names_of_needs(claim: Claim) -> dict[str, str]:
    """Return what a job is told of its slots, and of those that it comes after: their ids, and where their last logs lie."""
    named: dict[str, str] = {}
    for token in claim.tokens:
        kind, _, name = token.name.partition(" ")
        if kind == admission.SLOT:
            variable = f"QUEUECTL_SLOT_{name}"
            named[variable] = f"{named[variable]},{token.number}" if variable in named else str(token.number)
    ids = admission.parents(claim.record)
    if len(ids) > MOST_PARENTS:
        return named  # the kernel has no room for so many words
    if ids:
        named["QUEUECTL_PARENTS"] = " ".join(ids)
    for place, id in enumerate(ids, 1):
        found = (claim.spool.read(state, id) for state in (DONE, DEAD))
        tried = next((len(job.attempts) for job in found if job), 0)
        named[f"QUEUECTL_PARENT_{place}_ID"] = id
        for stream in ("out", "err"):
            named[f"QUEUECTL_PARENT_{place}_{stream.upper()}"] = claim.spool.log_path(id, max(1, tried), stream)
    return named


def _beyond(descriptors: list[int], first: int) -> tuple[list[int], list[int]]:
    """Return descriptors of the same files, none of which is among the numbers from `first` on that they get; and the copies."""
    last = first + len(descriptors) - 1
    if max(descriptors) < first:
        return descriptors, []
    copies: dict[int, int] = {}
    try:
        for descriptor in descriptors:
            if first <= descriptor <= last:
                copies[descriptor] = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, last + 1)
    except OSError:
        for copy in copies.values():
            os.close(copy)
        raise
    return [copies.get(descriptor, descriptor) for descriptor in descriptors], list(copies.values())


def _pidfd(pid: int) -> int | None:
    """Return a descriptor of the process, None where no more may be open: it runs, and is looked at all the oftener."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None
