"""Run one attempt: start its processes, keep its logs, end it when told, and say how it ended.

An attempt is a process group of its own, with stdin from /dev/null, output straight into its log files, default signals, and
nothing of the worker's left open but the lock of its job, which is held until the last of its processes has ended.
"""

from __future__ import annotations

import errno
import os
import resource
import select
import signal
import stat
import time

from jobspool import command, durable, process
from jobspool.command import CannotStart
from jobspool.retry import Outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jobspool.claim import Claim
    from jobspool.config import Settings

LOCK = 100  # the lock's descriptor in the job: beyond those that shell scripts use
LOOK_EVERY = 1.0  # seconds between looks at a running job: is it still in its place, how long are its logs
LOOK_SOON = 0.05  # the same, while its logs are being cut
DEFAULTED = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
REASONS = {errno.ENOENT: 127, errno.ENOTDIR: 127}
OF_THE_MACHINE = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)  # no fault of the command, and it may pass


class Attempt:
    """The processes of one attempt, from start() to outcome()."""

    def __init__(self, claim: Claim, settings: Settings) -> None:
        self.claim = claim
        self.settings = settings
        self.logs = Logs(claim, settings)
        self.started = claim.spool.now()
        self._began = time.monotonic()
        self.reason: str | None = None
        self.interrupted = False
        self.pid = 0
        self._pidfd: int | None = None
        self._deadline: float | None = None

    def start(self, environment: dict[str, str]) -> None:
        """Start the processes. Raises CannotStart; then outcome_unstarted() says how it ended.

        Raises OSError when the machine, not the command, is at fault; then nothing has run.
        """
        record = self.claim.record
        folder = record.get("cwd") or os.path.dirname(self.claim.spool.root)
        own = {**environment, "PWD": folder, **record.get("env", {}), **self._names()}
        command.enter(folder)
        try:
            self.pid = self._spawn(command.words(record), own)
        finally:
            command.leave()
        self._pidfd = _pidfd(self.pid)
        timeout = self.settings.timeout
        self._deadline = None if timeout is None else time.monotonic() + timeout

    def ended(self, others: list) -> bool:
        """Wait until the main process has ended, something else wants attention, or it is time to look; tell the first.

        `others` are descriptors, or what has one, that also end the waiting when they become readable.
        """
        poll = select.poll()
        for source in others if self._pidfd is None else (self._pidfd, *others):
            poll.register(source, select.POLLIN)
        wait = LOOK_SOON if self.logs.cutting or self._pidfd is None else LOOK_EVERY
        if self._deadline is not None:
            wait = min(wait, max(0.0, self._deadline - time.monotonic()))
        ready = poll.poll(wait * 1000 + 1)
        if self._pidfd is None:
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        return any(descriptor == self._pidfd for descriptor, _ in ready)

    def overdue(self) -> bool:
        """Tell whether the attempt has taken longer than its timeout."""
        return self._deadline is not None and time.monotonic() >= self._deadline

    def end(self, reason: str, interrupted: bool = False) -> bool:
        """End every process of the attempt: TERM, the grace, KILL. `reason` is recorded. Tell whether none is left."""
        self.reason, self.interrupted = reason, interrupted
        return process.close_group(self.pid, self.settings.grace)

    def outcome(self) -> Outcome:
        """Return how the attempt ended, once its main process has."""
        _, status, used = os.wait4(self.pid, 0)
        if self._pidfd is not None:
            os.close(self._pidfd)
        code = os.waitstatus_to_exitcode(status)
        name = signal.Signals(-code).name if -code in signal.valid_signals() else f"SIG{-code}"
        reason = self.reason or (None if code == 0 else f"exit {code}" if code > 0 else f"ended by {name}")
        return Outcome(
            self.started,
            self.claim.spool.now(),
            code if code >= 0 and not self.reason else None,
            name if code < 0 else None,
            reason,
            round(used.ru_utime + used.ru_stime, 6),
            used.ru_maxrss * 1024,
            self.interrupted,
            time.monotonic() - self._began,
        )

    def outcome_unstarted(self, problem: CannotStart) -> Outcome:
        """Return the outcome of an attempt whose command couldn't be started."""
        return Outcome(self.started, self.claim.spool.now(), problem.status, None, problem.reason)

    def _names(self) -> dict[str, str]:
        claim = self.claim
        return {
            "QUEUECTL_JOB_ID": claim.id,
            "QUEUECTL_ATTEMPT": str(claim.number),
            "QUEUECTL_SPOOL": claim.spool.root,
        }

    def _spawn(self, words: list[str], environment: dict[str, str]) -> int:
        program = command.find_program(words[0], environment.get("PATH", os.defpath))
        try:
            return self._execute(program, words, environment)
        except OSError as error:
            if error.errno == errno.ENOEXEC:  # a script without #!: a shell runs it, as POSIX has it for execvp
                return self._execute(command.SHELL, [command.SHELL, program, *words[1:]], environment)
            if error.errno in OF_THE_MACHINE:
                raise
            raise CannotStart(REASONS.get(error.errno, 126), f"can't run {words[0]}: {error.strerror}") from None

    def _execute(self, program: str, words: list[str], environment: dict[str, str]) -> int:
        lock = min(LOCK, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 1)
        return os.posix_spawn(
            program,
            words,
            environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, self.logs.out, 1),
                (os.POSIX_SPAWN_DUP2, self.logs.err, 2),
                (os.POSIX_SPAWN_DUP2, self.claim.descriptor, lock),
            ],
            setpgroup=0,
            setsigmask=[],
            setsigdef=DEFAULTED,
        )


class Logs:
    """What an attempt prints, in its two files: kept whole up to log_max_bytes each, then its beginning and its end.

    `out` and `err` are the descriptors the job writes to; `cutting` tells that a file is being kept short.
    """

    def __init__(self, claim: Claim, settings: Settings) -> None:
        self.limit = settings.log_max_bytes
        self.mode = claim.spool.file_mode(settings)
        self.spare = claim.spool.spare
        self.cutting = False
        self._paths = [claim.spool.log_path(claim.id, claim.number, stream) for stream in ("out", "err")]
        self._cut = [0, 0]  # up to which byte each file was cut, 0 for not at all
        self.out = self._open(self._paths[0])
        try:
            self.err = self._open(self._paths[1])
        except OSError:
            os.close(self.out)
            durable.remove(self._paths[0])
            raise
        self._files = (self.out, self.err)

    def look(self) -> None:
        """Keep the files from filling the disk: what is neither their beginning nor their end is given back."""
        for i, descriptor in enumerate(self._files):
            size = os.fstat(descriptor).st_size
            start = max(self.limit // 2, self._cut[i])
            if size - start > self.limit // 2:
                end = size - self.limit // 2
                if durable.cut_out(descriptor, start, end - start):
                    self._cut[i] = end
                self.cutting = True

    def say(self, text: str) -> None:
        """Write a line of our own into the error log. Raises OSError."""
        durable.write_all(self.err, f"queuectl: {text}\n".encode("utf-8", "surrogateescape"))

    def close(self) -> None:
        """Close the files: an empty one goes, one that was too long says where it was cut.

        Raises OSError, once both are closed; then they may stay as they are.
        """
        try:
            files = [(os.fstat(file).st_size, path, file) for path, file in zip(self._paths, self._files, strict=True)]
            for size, path, descriptor in sorted(files):
                if (size == 0 or size > self.limit) and durable.lies_at(path, descriptor):  # else hands took it
                    durable.remove(path) if size == 0 else durable.shorten(path, self.spare(), self.limit // 2, self.mode)
        finally:
            for descriptor in self._files:
                os.close(descriptor)

    def _open(self, path: str) -> int:
        while True:
            try:
                return durable.open_log(path, self.mode)
            except FileExistsError:  # of an older job of this name, or of an attempt whose worker was lost with its record
                durable.set_aside(path, durable.LONGEST_LOG)


def end_logs(claim: Claim, settings: Settings) -> None:
    """Do to the logs of an attempt whose worker is dead what Logs.close() would have done. Raises OSError."""
    for stream in ("out", "err"):
        path = claim.spool.log_path(claim.id, claim.number, stream)
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            continue
        if not stat.S_ISREG(found.st_mode) or found.st_mtime < claim.mtime - 1:
            continue  # it is another's, which hands put there
        size = found.st_size
        if size == 0:
            durable.remove(path)
        elif size > settings.log_max_bytes:
            durable.shorten(path, claim.spool.spare(), settings.log_max_bytes // 2, claim.spool.file_mode(settings))


def _pidfd(pid: int) -> int | None:
    """Return a descriptor of the process, None where no more may be open: it runs, and is looked at all the oftener."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None
