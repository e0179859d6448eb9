"""A worker: claim, run, judge, record; one job at a time, for as long as its supervisor lives.

It gets the ids of jobs and other orders through a socket, and answers there. What it is told is a hint: the claim decides.
Orders: run (id), look (the job may have been moved), stop (end when idle), interrupt (end the job now, put it back).
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import socket

from jobspool import claim as claims
from jobspool import roster
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

LARGEST = 65536  # bytes of one message
SHUTDOWN_GAP = 50  # milliseconds in which a shutdown's TERM reaches both a job and its worker


class Worker:
    """The worker's side of the socket `channel`, from serve() to its return."""

    def __init__(self, spool: Spool, channel: socket.socket, supervisor: int) -> None:
        self.spool = spool
        self.channel = channel
        self.settings: Settings = spool.settings()
        self.place = roster.Place(spool, roster.WORKER, spool.file_mode(self.settings), supervisor)
        self.recorder = Recorder(lambda why: self.tell("trouble", why=why))
        self.environment = dict(os.environ)
        self.leaving = False
        self.interrupted = False
        self.terminated = False
        self._wakeup = _wake_on_signals({signal.SIGTERM: self._on_term, signal.SIGQUIT: self._on_quit})

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
        try:
            attempt.start(self.environment)
        except CannotStart as problem:
            return attempt.outcome_unstarted(problem)
        self.place.says(**roster.running(attempt.claim.id, attempt.pid))
        stays = self._attend(attempt)
        outcome = attempt.outcome()
        self.place.says()
        if outcome.signal == "SIGTERM" and attempt.reason is None and self._is_shutdown():
            outcome = outcome._replace(interrupted=True, reason="shutdown")
        return outcome if stays else None

    def _attend(self, attempt: Attempt) -> bool:
        """Stay with the attempt until its main process has ended; False when hands moved the job away, so it was ended."""
        while not attempt.ended([self.channel.fileno(), self._wakeup]):
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
        try:
            self.channel.send(json.dumps({"kind": kind, **what}).encode())
        except OSError:
            self.leaving = True

    def _recorded(self, id: str, entry: dict, stayed: bool) -> None:
        if stayed:
            self.tell("ended", id=id, attempt=entry)
        else:
            self.tell("moved", id=id)

    def _next(self) -> str | None:
        """Wait for an order; return the id to run, None for any other order."""
        if self.channel.fileno() < 0:
            return None
        poll = select.poll()
        poll.register(self.channel, select.POLLIN)
        poll.register(self._wakeup, select.POLLIN)
        id = None
        while id is None and not self.leaving:
            poll.poll()
            id = self._read_orders()
        return id

    def _read_orders(self) -> str | None:
        """Take the orders that have come, without waiting; return the id of the last `run` among them."""
        id = None
        _drain(self._wakeup)
        while True:
            try:
                message = self.channel.recv(LARGEST, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError:
                message = b""
            if not message:  # the supervisor is gone: finish what runs, and end
                self.leaving = True
                self._quiet_channel()
                break
            id = self._obey(json.loads(message)) or id
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

    def _quiet_channel(self) -> None:
        """Let the channel be readable no more: its end was seen."""
        quiet, self._kept = socket.socketpair()
        os.dup2(quiet.fileno(), self.channel.fileno(), inheritable=False)
        quiet.close()

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


def _wake_on_signals(handlers: dict) -> int:
    """Install the handlers and return a descriptor that becomes readable when one was called."""
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    return reader


def _drain(descriptor: int) -> None:
    try:
        while os.read(descriptor, 4096):
            pass
    except BlockingIOError:
        pass
