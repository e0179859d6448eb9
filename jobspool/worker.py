"""A worker: claim, run, judge, record; one job at a time, for as long as its supervisor lives.

It gets the ids of jobs and other orders through a socket, and answers there. What it is told is a hint: the claim decides.
Orders: run (id), look (the job may have been moved), stop (end when idle), interrupt (end the job now, put it back).
"""

from __future__ import annotations

import functools
import os
import random
import select
import signal
import time

from jobspool import claim as claims
from jobspool import durable, process, roster
from jobspool.channel import Channel, Wakeup
from jobspool.command import CannotStart
from jobspool.errors import BrokenConfig
from jobspool.recorder import Outcome as ToRecord
from jobspool.recorder import Recorder
from jobspool.retry import judge
from jobspool.run import Attempt
from jobspool.trouble import cause, told

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from jobspool.config import Settings
    from jobspool.retry import Outcome
    from jobspool.spool import Spool

SHUTDOWN_GAP = 50  # milliseconds in which a shutdown's TERM reaches both a job and its worker
NOT_NOTED = "it is not noted what is run"
REST = 1.0  # seconds after trouble, until the next job is asked for


class Worker:
    """The worker's side of the socket `channel`, from serve() to its return."""

    def __init__(self, spool: Spool, channel: Channel, supervisor: int, settings: Settings | None = None) -> None:
        self.spool = spool
        self.channel = channel
        self.settings: Settings = settings or spool.settings()
        self.place = roster.Place(spool, roster.WORKER, spool.file_mode(self.settings), supervisor)
        self.recorder = Recorder(self._cannot_record, self._listen)
        self.environment = process.own_environment()
        self.leaving = False
        self.interrupted = False
        self.terminated = False
        self._rests_until = 0.0  # monotonic
        self._wakeup = Wakeup({signal.SIGTERM: self._on_term, signal.SIGQUIT: self._on_quit})
        self._alone = False  # the supervisor is gone: its channel is readable for ever, and not listened to

    def serve(self) -> None:
        """Run the jobs that are ordered until told to stop, or until the supervisor is gone."""
        while not self.leaving:
            self._rest()
            self.tell("free")
            if (id := self._next()) and not self.leaving:
                self.work(id)
        self.recorder.finish()
        self._try(self.place.leave, "its file in workers/ stays")

    def work(self, id: str) -> None:
        """Claim the job, run it, judge and record; or say why not."""
        self._read_settings()
        try:
            self.place.renew()
            claim = claims.take(self.spool, id, self.settings)
        except OSError as error:
            self._put_off(id, "nothing is claimed", error)
            return
        if isinstance(claim, claims.Refused):
            self.tell("refused", id=id, refused=claim.kind, why=claim.why)
            return
        rules = self.settings.for_job(claim.record)
        try:
            attempt = Attempt(claim, rules)
            problem = self._start(attempt)
        except OSError as error:  # nothing has run, so nothing is counted
            self._put_back(claim)
            self._put_off(id, "no job can be started", error)
            return
        outcome = attempt.outcome_unstarted(problem) if problem else self.run(attempt)
        self._try(attempt.logs.close, "a log stays as it is")
        if outcome is None:
            claim.release()
            self.tell("moved", id=id)
            return
        verdict = judge(claim.record.get("attempts", []), outcome, rules, random.random())
        entry = claims.entry_for(claim, outcome, verdict, self.place.name)
        self.recorder.record(ToRecord(claim, entry, rules, lambda stayed: self._recorded(claim.id, entry, stayed)))

    def _start(self, attempt: Attempt) -> CannotStart | None:
        """Start the attempt; return why that can't be done, where that is the job's fault. Raises OSError where it isn't."""
        claim = attempt.claim
        self._note(claim)  # killed now, we leave something that recovery looks for
        try:
            attempt.start(self.environment)
        except CannotStart as problem:
            self._try(self.place.says, NOT_NOTED)
            self._try(functools.partial(attempt.logs.say, problem.reason), "a log lacks why a command can't be run")
            return problem
        except OSError:
            self._try(self.place.says, NOT_NOTED)
            attempt.logs.close()
            raise
        return None

    def _note(self, claim: claims.Claim, group: int | None = None) -> None:
        """Let our file in workers/ say what we are about to start, or what runs as which process group."""
        self._try(lambda: self.place.says(**roster.running(claim.id, claim.number, group)), NOT_NOTED)

    def run(self, attempt: Attempt) -> Outcome | None:
        """Stay with the attempt and return its outcome, or None when hands have moved the job away and it was ended."""
        self._note(attempt.claim, attempt.pid)
        stays = self._attend(attempt)
        outcome = attempt.outcome()
        self._try(self.place.says, NOT_NOTED)
        if outcome.signal == "SIGTERM" and attempt.reason is None and self._is_shutdown():
            outcome = outcome._replace(interrupted=True, reason="shutdown")
        return outcome if stays else None

    def _attend(self, attempt: Attempt) -> bool:
        """Stay with the attempt until its main process has ended; False when hands moved the job away, so it was ended."""
        while not attempt.ended([self._wakeup] if self._alone else [self._wakeup, self.channel]):
            self._read_orders()
            if self.interrupted:
                self._end(attempt, "interrupted", interrupted=True)
            elif attempt.overdue():
                self._end(attempt, f"timeout after {attempt.settings.timeout:g} s")
            elif self._try(attempt.claim.holds, "a job goes on") is False:
                self._end(attempt, "moved away by hand")
                return False
            self._try(attempt.logs.look, "a log grows beyond log_max_bytes")
        return True

    def _end(self, attempt: Attempt, reason: str, interrupted: bool = False) -> None:
        """End the attempt, and stay until none of its processes is left: what can't be ended must not run beside its next try."""
        over = attempt.end(reason, interrupted)
        while not over:
            left = " ".join(map(str, process.members(attempt.pid)))
            job = f"job {attempt.claim.id}"
            why = f"{job} is to end ({reason}), but not these processes of it: {left or '?'}; its worker waits for them"
            self.tell("trouble", why=why, about=job)
            self._listen(REST)
            over = process.kill_group(attempt.pid)

    def _try(self, deed: Callable[[], object], consequence: str) -> object:
        """Do what a job can do without, and return what it returned; where the disk fails None, and a word of trouble."""
        try:
            return deed()
        except OSError as error:
            self.trouble(consequence, error)
            return None

    def _put_back(self, claim: claims.Claim) -> None:
        """Put a job that has not run back into pending/, however long the disk takes to let it."""
        while not self._is_hopeless():
            try:
                return claims.give_back(claim)
            except OSError as error:
                self.trouble("a job that has not run waits in processing/", error)
                self._listen(REST)
        return None

    def _cannot_record(self, error: OSError) -> bool:
        self.trouble("outcomes wait, and nothing new is claimed", error)
        return self._is_hopeless()

    def _is_hopeless(self) -> bool:
        """Tell whether nobody waits for us any more: the spool is gone, and we were told to end or have no supervisor."""
        return self.leaving and not os.path.isdir(self.spool.root)

    def _put_off(self, id: str, consequence: str, error: OSError) -> None:
        """Say why the job was not run, and rest."""
        self.trouble(consequence, error)
        self.tell("refused", id=id, refused="trouble", why=told(error, self.spool.root))
        self._rests_until = time.monotonic() + REST
        if isinstance(error, durable.DirectoryGone):
            self._try(self.spool.furnish, consequence)

    def _rest(self) -> None:
        """Wait while outcomes can't be recorded, or after other trouble. Orders are heard meanwhile."""
        while not self.leaving and (not self.recorder.well.is_set() or time.monotonic() < self._rests_until):
            self._listen(REST if not self.recorder.well.is_set() else self._rests_until - time.monotonic())

    def trouble(self, consequence: str, error: OSError) -> None:
        """Tell the supervisor of a disk, or a machine, that fails."""
        said = f"{told(error, self.spool.root)}; {consequence}"
        self.tell("trouble", why=said, about=cause(error, self.spool.root))

    def tell(self, kind: str, **what: object) -> None:
        """Send the supervisor a message; if it is gone, nobody needs it."""
        if not self.channel.send(kind, **what):
            self.leaving = True

    def _recorded(self, id: str, entry: dict, stayed: bool) -> None:
        if stayed:
            self.tell("ended", id=id, attempt=entry)
        else:
            self.tell("moved", id=id)

    def _next(self) -> str | None:
        """Wait for an order; return the id to run, None when it is time to leave."""
        id = None
        while id is None and not self.leaving:
            noted = self.place.noted or self._try(self.place.renew, NOT_NOTED)
            id = self._listen(None if noted else REST)
        return id

    def _listen(self, seconds: float | None) -> str | None:
        """Wait for orders, at most so long, and take them; return the id to run, if there is one."""
        poll = select.poll()
        for source in [self._wakeup] if self._alone else [self._wakeup, self.channel]:
            poll.register(source, select.POLLIN)
        poll.poll(None if seconds is None else max(0.0, seconds) * 1000 + 1)
        return self._read_orders()

    def _read_orders(self) -> str | None:
        """Take the orders that have come, without waiting; return the id of the last `run` among them."""
        id = None
        self._wakeup.clear()
        try:
            while not self._alone and (order := self.channel.receive()):
                id = self._obey(order) or id
        except EOFError:  # the supervisor is gone: finish what runs, and end
            self.leaving = self._alone = True
        return id

    def _obey(self, order: dict) -> str | None:
        kind = order["kind"]
        if kind == "run":
            return order["id"]
        if kind == "look":
            self._try(self.place.renew, NOT_NOTED)
        if kind in ("stop", "interrupt"):
            self.leaving = True
        if kind == "interrupt":
            self.interrupted = True
        return None

    def _read_settings(self) -> None:
        try:
            self.settings = self.spool.settings()
        except BrokenConfig as error:
            self.tell("trouble", why=f"the last good settings stay in force: {error}")
        except OSError as error:
            self.trouble("the last good settings stay in force", error)

    def _is_shutdown(self) -> bool:
        """Tell whether the TERM that ended the job came to this worker too: the machine, or its service, goes down."""
        if not self.terminated:
            poll = select.poll()
            poll.register(self._wakeup, select.POLLIN)
            poll.poll(SHUTDOWN_GAP)
        return self.terminated

    def _on_term(self, *_: object) -> None:
        self.leaving = self.terminated = True

    def _on_quit(self, *_: object) -> None:
        self.leaving = self.interrupted = True
