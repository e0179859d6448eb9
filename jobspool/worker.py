"""A worker: claim, run, judge, record; one job at a time, for as long as its supervisor lives.

It gets the ids of jobs and other orders through a socket, and answers there. What it is told is a hint: the claim decides.
Orders: run (ids), look (the job may have been moved), give back (the ids that it hasn't come to), stop (end when idle), interrupt
(end the job now, put it back).
It may get several ids at once, which it runs one behind the other; those that it can't come to within an instant it gives back.
"""

from __future__ import annotations

import errno
import functools
import os
import random
import select
import signal
import time
from collections import deque

from jobspool import claim as claims
from jobspool import command, durable, journal, process, roster
from jobspool.channel import Channel, Ears, Wakeup, message
from jobspool.command import CannotStart
from jobspool.errors import BrokenConfig
from jobspool.job import command_line
from jobspool.logs import Pair
from jobspool.recorder import Outcome as ToRecord
from jobspool.recorder import Recorder
from jobspool.retry import judge
from jobspool.run import Attempt
from jobspool.states import PENDING, PROCESSING, TOLD_FIRST
from jobspool.trouble import cause, told

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from jobspool.config import Settings
    from jobspool.retry import Outcome
    from jobspool.spool import Spool
    from jobspool.tracer import Tracer

SHUTDOWN_GAP = 50  # milliseconds in which a shutdown's TERM reaches both a job and its worker
NOT_NOTED = "it is not noted what is run"
REST = 1.0  # seconds after trouble, until the next job is asked for
ASK_AT = 4  # the part of the ids that it got which is left when a worker asks for more
MOST_UNSAID = 16  # outcomes of which the supervisor isn't told yet
OF_THE_JOURNAL = (errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ELOOP)  # what lies there is no place for it
LOOK_BESIDE = 0.02  # seconds between looks at the settings, and at our file in workers/


def be_child(serve: Callable[[], object]) -> NoReturn:
    """Be the child that was forked to serve as a worker, to its end: it must not go back into what forked it."""
    status = 1
    try:
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # a terminal's: who forked us decides what they mean
        serve()
        status = 0
    except Exception:
        import sys

        sys.excepthook(*sys.exc_info())  # a bug: show it, and die
        raise
    finally:
        os._exit(status)


class Worker:
    """The worker's side of the socket `channel`, from serve() to its return."""

    def __init__(self, spool: Spool, channel: Channel, supervisor: int, settings: Settings | None = None) -> None:
        self.spool = spool
        self.channel = channel
        self.settings: Settings = settings or spool.settings()
        self.place = roster.Place(spool, roster.WORKER, spool.file_mode(self.settings), supervisor)
        self.logs = Pair(spool, self.place.pid, spool.file_mode(self.settings))
        self.recorder = Recorder(self._cannot_record, self._listen, self._say)
        self.environment = process.own_environment()
        self._by = {"worker": self.place.name, "by": roster.WORKER}
        self.spool.by = lambda: self._by
        self.verbose = False  # whether the supervisor is told of starts, too
        self.tracer: Tracer | None = None
        self.leaving = False
        self.interrupted = False
        self.terminated = False
        self._ids: deque[str] = deque()  # to run next
        self._prepared: claims.Claim | None = None  # of the first of them
        self._ask_at = 0  # how many of them are left when more are asked for
        self._unsaid: list[dict] = []  # messages that wait for others, to be sent at one go
        self._unwritten: list[bytes] = []  # lines for the journal that wait, too
        self._look_at = 0.0  # monotonic: when to look beside
        self._rests_until = 0.0  # monotonic
        self._wakeup = Wakeup({signal.SIGTERM: self._on_term, signal.SIGQUIT: self._on_quit})
        self._ears = Ears([self._wakeup, channel], [self.recorder])
        signal.signal(signal.SIGIO, signal.SIG_IGN)  # of the lease that durable.is_shared() takes
        self._alone = False  # the supervisor is gone: its channel is readable for ever, and not listened to

    def serve(self) -> None:
        """Run the jobs that are ordered until told to stop, or until the supervisor is gone."""
        while not self.leaving:
            if id := self._next():
                self.work(id)
        self.finish()

    def finish(self) -> None:
        """End: record what is still to be recorded, and leave nothing of ours behind."""
        self._unprepare()
        self.recorder.finish()
        self._try(self.logs.remove, "its files in logs/ stay")
        self._try(self.place.leave, "its file in workers/ stays")

    def work(self, id: str) -> None:
        """Claim the job, run it, judge and record; or say why not."""
        try:
            self._look_beside()
            claim = self._claim(id)
        except OSError as error:
            self._put_off(id, "nothing is claimed", error)
            return
        if isinstance(claim, claims.Refused):
            self.tell_soon("refused", id=id, refused=claim.kind, why=claim.why, until=claim.until)
            return
        rules = self.settings.for_job(claim.record)
        try:
            attempt = Attempt(claim, rules, self.logs)
            if self.tracer:
                self.tracer.begin(claim, attempt.started)
            problem = self._start(attempt)
        except OSError as error:  # nothing has run, so nothing is counted
            if self.tracer:
                self.tracer.drop(claim)
            self._put_back(claim)
            self._put_off(id, "no job can be started", error)
            return
        self._note_soon("claimed", id, PENDING, PROCESSING, attempt=claim.number, waited=claim.waited(attempt.started))
        if self.verbose:
            self.tell_soon("began", id=id, number=claim.number, command=command_line(claim.record))
        self.recorder.go_on(more=True)  # with the last one's outcome, while this one runs
        self._prepare()
        outcome = attempt.outcome_unstarted(problem) if problem else self.run(attempt)
        self._try(attempt.logs.close, "a log stays as it is")
        if outcome is None:
            claim.release()
            self._moved(claim)
            return
        entry = functools.partial(self._entry, claim, outcome, rules)
        self.recorder.record(ToRecord(claim, entry, rules, functools.partial(self._recorded, claim, outcome.ended)))

    def _claim(self, id: str) -> claims.Claim | claims.Refused:
        """Claim the job, as claims.take() does; what was prepared of it is done."""
        prepared, self._prepared = self._prepared, None
        return claims.take_prepared(prepared, self.settings) if prepared else claims.take(self.spool, id, self.settings)

    def _prepare(self) -> None:
        """Look at the job that is to run next, while this one runs. What is wrong with it, or the disk, its claim will say."""
        if not self._ids:
            return
        try:
            prepared = claims.prepare(self.spool, self._ids[0], self.settings)
        except OSError:
            return
        self._prepared = prepared if isinstance(prepared, claims.Claim) else None

    def _unprepare(self) -> None:
        """Let go of the job that was to run next."""
        if self._prepared is not None:
            self._prepared.release()
            self._prepared = None

    def _start(self, attempt: Attempt) -> CannotStart | None:
        """Start the attempt; return why that can't be done, where that is the job's fault. Raises OSError where it isn't."""
        self._note(attempt)  # killed now, we leave something that recovery looks for
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

    def _note(self, attempt: Attempt) -> None:
        """Let our file in workers/ say what we are about to start, or what runs as which process group."""
        claim, group = attempt.claim, attempt.pid or None
        self._try(
            lambda: self.place.says(roster.running(claim.id, claim.number, group, attempt.born, attempt.started)), NOT_NOTED
        )

    def run(self, attempt: Attempt) -> Outcome | None:
        """Stay with the attempt and return its outcome, or None when hands have moved the job away and it was ended."""
        self._note(attempt)
        stays = self._attend(attempt)
        if attempt.called:
            self._read_orders()
        outcome = attempt.outcome()
        if attempt.unclear:
            self.tell("trouble", why=f"what a job said of itself is not heeded: {attempt.unclear}", about=attempt.claim.id)
        if outcome.signal == "SIGTERM" and attempt.reason is None and self._is_shutdown():
            outcome = outcome._replace(interrupted=True, reason="shutdown")
        return outcome if stays else None

    def _attend(self, attempt: Attempt) -> bool:
        """Stay with the attempt until its main process has ended; False when hands moved the job away, so it was ended."""
        while not attempt.ended(self._ears):
            self.recorder.go_on(more=not attempt.slow)
            if not (attempt.slow or attempt.called):
                continue
            self._read_orders()
            if attempt.slow:
                self._take_time(attempt)
            if self.interrupted:
                self._end(attempt, "interrupted", interrupted=True)
            elif over := attempt.overdue():
                self._end(attempt, over)
            elif self._try(attempt.claim.holds, "a job goes on") is False:
                self._end(attempt, "moved away by hand")
                return False
            self._try(attempt.logs.look, "a log grows beyond log_max_bytes")
        return True

    def _take_time(self, attempt: Attempt) -> None:
        """The job takes its time: let its logs have their names, others run what we don't come to, and say what is unsaid."""
        self._try(attempt.logs.name, "a log hasn't its name yet")
        self._give_back()
        self._say()

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
        self._give_back()
        self.tell("refused", id=id, refused="trouble", why=told(error, self.spool.root))
        self._rests_until = time.monotonic() + REST
        if isinstance(error, durable.DirectoryGone):
            self._try(self.spool.furnish, consequence)

    def _rest(self) -> None:
        """Wait while outcomes can't be recorded, or after other trouble. Orders are heard meanwhile."""
        while not self.leaving and (not self.recorder.well or time.monotonic() < self._rests_until):
            self._listen(REST if not self.recorder.well else self._rests_until - time.monotonic())

    def trouble(self, consequence: str, error: OSError) -> None:
        """Tell the supervisor of a disk, or a machine, that fails."""
        said = f"{told(error, self.spool.root)}; {consequence}"
        self.tell("trouble", why=said, about=cause(error, self.spool.root))

    def tell(self, kind: str, **what: object) -> None:
        """Send the supervisor a message; if it is gone, nobody needs it."""
        if not self.channel.send(kind, **what):
            self.leaving = True

    def tell_soon(self, kind: str, **what: object) -> None:
        """Send the supervisor a message with others, so that it isn't woken for each: before we wait, or for more ids."""
        self._unsaid.append(message(kind, **what))
        if len(self._unsaid) >= MOST_UNSAID:
            self._say()

    def _note_soon(self, event: str, id: str, source: str, target: str, **what: object) -> None:
        """Have a line for the journal, to be written with others before anybody is told."""
        if self.settings.journal_bytes:
            what.update(self._by)
            self._unwritten.append(journal.lines(event, [id], source, target, self.spool.now(), what))

    def _write_journal(self) -> None:
        """Write the lines that wait. Where that can't be done they are lost; it is told, but for trouble that all others tell."""
        lines, self._unwritten = self._unwritten, []
        error = self.spool.write_journal(b"".join(lines), self.settings)
        if error is not None and error.errno in OF_THE_JOURNAL:
            self.trouble("what becomes of jobs is not in the journal", error)

    def _say(self) -> None:
        """Write the lines and send the messages that wait."""
        if self._unwritten:
            self._write_journal()
        unsaid, self._unsaid = self._unsaid, []
        if unsaid and not self.channel.send_all(unsaid):
            self.leaving = True

    def _entry(self, claim: claims.Claim, outcome: Outcome, rules: Settings) -> dict:
        """Judge the outcome and return what to write of it: while the next job runs."""
        verdict = judge(claim.record.get("attempts", []), outcome, rules, random.random())
        entry = claims.entry_for(claim, outcome, verdict, self.place.name) | (claim.span.entry if claim.span else {})
        if verdict.state in TOLD_FIRST:  # told first, or its next claim might be told before
            self._note_soon("ended", claim.id, PROCESSING, verdict.state, **claims.said_of(entry))
            self._write_journal()
        return entry

    def _recorded(self, claim: claims.Claim, ended: float, entry: dict, stayed: bool) -> None:
        if not stayed:
            self._moved(claim)
            return
        if (state := claims.STATE_OF[entry["verdict"]]) not in TOLD_FIRST:
            commit = round(max(0.0, self.spool.now() - ended), 6)
            self._note_soon("ended", claim.id, PROCESSING, state, **claims.said_of(entry), commit=commit)
        if self.tracer:
            self.tracer.end(claim, entry)
        self.tell_soon("ended", id=claim.id, attempt=entry)

    def _moved(self, claim: claims.Claim) -> None:
        """Hands have moved the job away while it ran: no record says how it ended."""
        if self.tracer:
            self.tracer.end(claim, None)
        self.tell_soon("moved", id=claim.id)

    def _next(self) -> str | None:
        """Return the next id to run, once there is one; None when it is time to leave."""
        self._rest()
        if not self._ids:
            self._be_idle()
        elif len(self._ids) == self._ask_at:
            self._ask()
        return self._ids.popleft() if self._ids and not self.leaving else None

    def _ask(self) -> None:
        """Ask for more ids, and say what became of those that we had."""
        self.tell_soon("free")
        self._say()
        self._ask_at = 0

    def _be_idle(self) -> None:
        """Wait for ids to run, or until it is time to leave."""
        self.recorder.go_on()
        self._try(self.place.says, NOT_NOTED)
        command.leave()
        self._ask()
        while not self._ids and not self.leaving:
            noted = self.place.noted or self._try(self.place.renew, NOT_NOTED)
            self._listen(None if noted and self.recorder.well else REST)

    def _give_back(self) -> None:
        """Let others run the ids that we haven't come to."""
        self._unprepare()
        if self._ids:
            self.tell("back", ids=list(self._ids))
            self._ids.clear()

    def _listen(self, seconds: float | None) -> None:
        """Wait for orders, at most so long, and take them."""
        self.recorder.go_on()
        self._say()
        self._ears.wait(seconds)
        self._read_orders()

    def _read_orders(self) -> None:
        """Take the orders that have come, without waiting."""
        self._wakeup.clear()
        try:
            while not self._alone and (orders := self.channel.receive()):
                for order in orders:
                    self._obey(order)
        except EOFError:  # the supervisor is gone: finish what runs, and end
            self.leaving = self._alone = True
            self._ears.forget(self.channel)

    def _obey(self, order: dict) -> None:
        kind = order["kind"]
        if kind == "run":
            self._ids.extend(order["ids"])
            self._ask_at = len(self._ids) // ASK_AT
        if kind == "give back":
            self._give_back()
        if kind == "look":
            self._try(self.place.renew, NOT_NOTED)
        if kind in ("stop", "interrupt"):
            self.leaving = True
        if kind == "interrupt":
            self.interrupted = True

    def _look_beside(self) -> None:
        """Look at the settings, and whether our file in workers/ is there, unless we have just done so. Raises OSError."""
        if (clock := time.monotonic()) >= self._look_at:
            self._read_settings()
            self.place.renew()
            self._look_at = clock + LOOK_BESIDE

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
