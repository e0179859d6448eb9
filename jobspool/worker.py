"""A worker: claim, run, judge, record; one job at a time, for as long as its supervisor lives.

It gets the ids of jobs and other orders through a socket, and answers there. What it is told is a hint: the claim decides.
Orders: run (id), look (the job may have been moved), stop (end when idle), interrupt (end the job now, put it back).
"""

from __future__ import annotations

import os
import random
import select
import signal

from jobspool import claim as claims
from jobspool import roster
from jobspool.channel import Channel, Wakeup
from jobspool.command import CannotStart
from jobspool.errors import BrokenConfig
from jobspool.recorder import Outcome as ToRecord
from jobspool.recorder import Recorder
from jobspool.retry import judge
from jobspool.run import Attempt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jobspool.config import Settings
    from jobspool.retry import Outcome
    from jobspool.spool import Spool

SHUTDOWN_GAP = 50  # milliseconds in which a shutdown's TERM reaches both a job and its worker


class Worker:
    """The worker's side of the socket `channel`, from serve() to its return."""

    def __init__(self, spool: Spool, channel: Channel, supervisor: int) -> None:
        self.spool = spool
        self.channel = channel
        self.settings: Settings = spool.settings()
        self.place = roster.Place(spool, roster.WORKER, spool.file_mode(self.settings), supervisor)
        self.recorder = Recorder(lambda why: self.tell("trouble", why=why))
        self.environment = dict(os.environ)
        self.leaving = False
        self.interrupted = False
        self.terminated = False
        self._wakeup = Wakeup({signal.SIGTERM: self._on_term, signal.SIGQUIT: self._on_quit})
        self._alone = False  # the supervisor is gone: its channel is readable for ever, and not listened to

    def serve(self) -> None:
        """Run the jobs that are ordered until told to stop, or until the supervisor is gone."""
        while not self.leaving:
            self.recorder.well.wait()  # nothing is claimed that could not be recorded
            self.tell("free")
            if (id := self._next()) and not self.leaving:
                self.work(id)
        self.recorder.finish()
        self.place.leave()

    def work(self, id: str) -> None:
        """Claim the job, run it, judge and record; or say why not."""
        self._read_settings()
        claim = claims.take(self.spool, id, self.settings)
        if isinstance(claim, claims.Refused):
            self.tell("refused", id=id, refused=claim.kind, why=claim.why)
            return
        rules = self.settings.for_job(claim.record)
        try:
            attempt = Attempt(claim, rules)
        except OSError as error:  # no room for its logs: nothing has run, so nothing is counted
            claims.give_back(claim)
            self.tell("trouble", why=f"can't open the logs of {id}, so it was put back: {error.strerror}")
            self.tell("refused", id=id, refused="held", why=str(error))
            return
        outcome = self.run(attempt)
        if outcome is None:
            claim.release()
            self.tell("moved", id=id)
            return
        verdict = judge(claim.record.get("attempts", []), outcome, rules, random.random())
        entry = claims.entry_for(claim, outcome, verdict, self.place.name)
        self.recorder.record(ToRecord(claim, entry, rules, lambda stayed: self._recorded(claim.id, entry, stayed)))

    def run(self, attempt: Attempt) -> Outcome | None:
        """Run the attempt and return its outcome, or None when hands have moved the job away and it was ended."""
        claim = attempt.claim
        self.place.says(**roster.running(claim.id, claim.number))  # killed now, we leave something that recovery looks for
        try:
            attempt.start(self.environment)
        except CannotStart as problem:
            self.place.says()
            return attempt.outcome_unstarted(problem)
        self.place.says(**roster.running(claim.id, claim.number, attempt.pid))
        stays = self._attend(attempt)
        outcome = attempt.outcome()
        self.place.says()
        if outcome.signal == "SIGTERM" and attempt.reason is None and self._is_shutdown():
            outcome = outcome._replace(interrupted=True, reason="shutdown")
        return outcome if stays else None

    def _attend(self, attempt: Attempt) -> bool:
        """Stay with the attempt until its main process has ended; False when hands moved the job away, so it was ended."""
        while not attempt.ended([self._wakeup] if self._alone else [self._wakeup, self.channel]):
            self._read_orders()
            if self.interrupted:
                attempt.end("interrupted", interrupted=True)
            elif attempt.overdue():
                attempt.end(f"timeout after {attempt.settings.timeout:g} s")
            elif not attempt.claim.holds():
                attempt.end("moved away by hand")
                return False
            attempt.logs.look()
        return True

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
        poll = select.poll()
        for source in (self.channel, self._wakeup):
            poll.register(source, select.POLLIN)
        id = None
        while id is None and not self.leaving:
            poll.poll()
            id = self._read_orders()
        return id

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
        if kind in ("stop", "interrupt"):
            self.leaving = True
        if kind == "interrupt":
            self.interrupted = True
        return None

    def _read_settings(self) -> None:
        try:
            self.settings = self.spool.settings()
        except BrokenConfig as error:  # the last good ones stay in force
            self.tell("trouble", why=str(error))

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
