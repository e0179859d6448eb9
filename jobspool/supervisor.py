"""The supervisor: it hands what waits to its workers, starts a worker where one died, and puts right what crashed.

Any number of supervisors may serve one spool: the protocol in claim.py keeps the promises, not this. It sleeps until an
event, a message of a worker, a signal, or the next time that something falls due.
"""

from __future__ import annotations

import errno
import gc
import os
import random
import select
import signal
import time
from dataclasses import dataclass, field

from jobspool import audit, durable, journal, recovery, roster, vital
from jobspool import claim as claims
from jobspool.arrivals import Arrivals
from jobspool.channel import Channel, Wakeup
from jobspool.hooks import Hooks
from jobspool.job import ENDING
from jobspool.retention import Pruner
from jobspool.schedule import Calendar
from jobspool.sight import AFTER_TROUBLE, LOOK_AGAIN, Sight
from jobspool.spool import Spool
from jobspool.states import DEAD, FAILED, PENDING, PROCESSING
from jobspool.trouble import cause, told
from jobspool.worker import Worker, be_child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from jobspool.machine import Gate
    from jobspool.tracer import Tracer

SETTLE = 2.0  # seconds without change until a file that is no whole job is given up
MEND_EVERY = 5.0  # seconds between looks for what a crash left
QUICK_DEATH = 1.0  # seconds: a worker that dies sooner is not replaced before that time
FORK_AGAIN = 2.0  # seconds until it is tried again to fork a worker
HEARD = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1)
QUICK = 0.02  # seconds for what a worker got, of which it may get more then
GARBAGE = 20_000  # new objects, until garbage is looked for
MOST_AT_ONCE = 16
COMES_WITHIN = 2.0  # seconds, in which a worker has long come to what it got, or given it back
MOST_HEARD = 16  # times that one worker is listened to, until the others are heard
LOOK_AT_HOOKS = 0.1  # seconds between looks at hooks that run
LOOK_AT_GATE = 1.0  # seconds between looks whether the machine lets new jobs start
CALM = 1.0  # seconds after trouble in which no time that has come wakes us


@dataclass
class Hand:
    """The supervisor's side of one worker."""

    pid: int
    channel: Channel
    born: float
    free: bool = False
    running: set[str] = field(default_factory=set)  # handed out, and not yet ended or given back
    most: int = 1  # ids that it gets at one go
    given: float = 0.0  # when it got the last ones (monotonic)
    called_back: bool = False  # whether it was told to give back what it has not come to
    leaving: bool = False  # whether it is one too many, and ends with what it runs


class Supervisor:
    """One supervisor and its workers, from serve() to its return.

    `report` takes the events that a person may want to know of, trouble each time, and is called without events, too;
    with `verbose` also the starts of jobs. `gate` tells when nothing new is to be started,
    and `tracer` gives attempts their spans.
    """

    def __init__(
        self,
        spool: Spool,
        count: int,
        drain: bool,
        report: Callable[[list[dict]], None],
        verbose: bool = False,
        gate: Gate | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        spool.ready()
        spool.by = lambda: {"by": roster.SUPERVISOR}
        self.spool = spool
        self.count = count
        self.drain = drain
        self.report = report
        self.verbose = verbose
        self.gate = gate
        self.tracer = tracer
        self._barred = ""  # why the gate is shut
        self.hooks = Hooks(spool, self._event)
        self.calendar = Calendar(spool, self._event)
        self.sight = Sight(spool, self._runs, self._event, self._trouble)
        self.pruner = Pruner(spool)
        self.leftovers = recovery.Leftovers(spool)
        self.auditor = audit.Auditor(spool)
        self.arrivals: Arrivals | None = None
        self.hands: dict[int, Hand] = {}  # by the channel's descriptor
        self.unsettled: dict[str, tuple[tuple, float]] = {}  # id: what its file looked like, and when (monotonic) first so
        self.stopping = 0  # 1: finish what runs; 2: interrupt it
        self._asked = 0  # the same, as signals have asked for it
        self._workers = self.sight.settings.workers  # the setting, as it was taken up last
        self.place = roster.Place(spool, roster.SUPERVISOR, spool.file_mode(self.sight.settings))
        self._came_meanwhile: set[str] = set()  # jobs that came to pending/ while one of the name was handed out
        self._events: list[dict] = []  # of which is still to be told
        self._mend_at = self._fork_at = self._calm_until = self._vital_at = 0.0  # monotonic
        self._first_look = True  # the machine may have gone down before
        self._poll = select.poll()

    # ---- the loop

    def serve(self) -> None:
        """Serve the spool until told to stop, or with `drain` until nothing is left to do or to wait for."""
        _close_on_exec()
        gc.freeze()  # what is there now stays: it need not be looked at again and again, here or in the workers
        gc.set_threshold(GARBAGE)
        self._wakeup = self._catch_signals()
        self._poll.register(self._wakeup, select.POLLIN)
        self._poll.register(self.sight.watch, select.POLLIN)
        self._try(self._fork_missing, "a worker is missing")
        self._event("started", workers=len(self.hands))
        self._report()
        try:
            self._go_on()
        finally:
            self._report()

    def _go_on(self) -> None:
        self._see_who_came()
        with self.sight.watch:
            self._tend()
            while self.hands or not self.stopping:
                self._report()
                self._wait()
                self._tend()
        self.hooks.finish(lambda: max(self._asked, self.stopping) > 1)
        self._try(self.place.leave)
        self.auditor.end()
        if self.tracer:
            self.tracer.finish()
        self._event("stopped")

    def _wait(self) -> None:
        """Sleep until there is something to do, and take the messages of workers."""
        for descriptor, _ in self._poll.poll(self._seconds_to_sleep() * 1000):
            for _ in range(MOST_HEARD):
                if descriptor not in self.hands or not self._hear(self.hands[descriptor]):
                    break
        self._wakeup.clear()

    def _tend(self) -> None:
        """Do what is to be done now."""
        clock = time.monotonic()
        self.stop(self._asked)
        self._scale()
        if not self.stopping and self._staff() < self.count and clock >= self._fork_at:
            self._try(self._keep_workers, "a worker is missing")
        if clock >= self._mend_at:
            self._mend_at = clock + MEND_EVERY
            if self.sight.scan_at < clock + MEND_EVERY / 2:
                self.sight.scan_at = clock  # at one go: each waking costs
            self._forget_settled()
            self._try(self._keep_place, "it is not noted who runs")
            self._try(self._mend, "what a crash left stays")
            self._try(self._say_vital, "it is not noted what waits")
            self.auditor.step(self.sight.settings, clock)
            self._tell_arrivals([])
            if self.tracer and (why := self._try(self.tracer.keep, "spans are not delivered")):
                self._event("trouble", why=why, about="exporter")
        self.sight.look_around(clock)
        self._see_arrivals()
        if clock >= self.calendar.at and not self.stopping:
            self.calendar.at = clock + AFTER_TROUBLE
            self._try(lambda: self.calendar.step(self.sight.settings), "schedules wait")
        self._give_up_unfit()
        self._hand_out()
        if self.hooks.is_busy():
            self.hooks.step()
        if self._may_be_drained():
            self.hooks.idle()
        if self.pruner.is_due(self.sight.settings, clock):
            self.pruner.at = clock + MEND_EVERY
            self._try(lambda: self.pruner.step(self.sight.settings), "old jobs are kept")
        if self.drain and not self.stopping and self._try(self._is_drained):
            self._event("drained")
            self.stop(1)

    def _try(self, part: Callable[[], object], consequence: str = "") -> object:
        """Do one thing of many and return what it returned; trouble, as with a disk, is told, and the others are done."""
        try:
            return part()
        except OSError as error:
            self._trouble(error, consequence)
            self._calm_until = time.monotonic() + CALM
            self._mend_at = min(self._mend_at, time.monotonic() + AFTER_TROUBLE)
            return None

    def _trouble(self, error: OSError, consequence: str = "") -> None:
        said = told(error, self.spool.root)
        self._event("trouble", why=f"{said}; {consequence}" if consequence else said, about=cause(error, self.spool.root))

    def _seconds_to_sleep(self) -> float:
        clock = time.monotonic()
        sleep = min(self._mend_at - clock, self.pruner.at - clock, self.calendar.at - clock, self.sight.seconds_to_sleep(clock))
        if self._staff() < self.count and not self.stopping:
            sleep = min(sleep, self._fork_at - clock)
        if self.drain and self._may_be_drained():
            sleep = min(sleep, LOOK_AGAIN)
        if self.hooks.is_busy():
            sleep = min(sleep, LOOK_AT_HOOKS)
        if self._barred:
            sleep = min(sleep, LOOK_AT_GATE)
        return max(0.0, sleep, self._calm_until - clock)

    # ---- handing out

    def _hand_out(self) -> None:
        """Give each free worker what is to run next; several at one go where jobs are quick and many, so that nobody waits."""
        if self.sight.paused:
            self._call_back()
        if self.gate is not None and self.sight.waiting() and self._is_barred(self.gate):
            return
        for hand in self.hands.values():
            if not hand.free or self.stopping or hand.leaving:
                continue
            share = self.sight.waiting() // (2 * len(self.hands))
            if ids := self.sight.next(max(1, min(hand.most, share))):
                hand.free = False
                hand.given = time.monotonic()
                hand.running.update(ids)
                hand.channel.send("run", ids=ids)  # if it has died, _bury_worker looks at the jobs again

    def _is_barred(self, gate: Gate) -> bool:
        """Tell whether the machine lets nothing new start; who wonders is told when that changes."""
        why = gate.why()
        if bool(why) != bool(self._barred):
            self._event("held back" if why else "goes on", why=why or "the machine lets new jobs start again")
        self._barred = why
        return bool(why)

    def _call_back(self) -> None:
        """Take back what workers have not come to yet: nothing new is to start."""
        for hand in self.hands.values():
            if len(hand.running) > 1 and not hand.called_back:
                hand.called_back = True
                hand.channel.send("give back")

    def _is_free(self, hand: Hand) -> None:
        """Take a worker's word that it wants more: twice as many as last time if those took it no longer than an instant."""
        hand.free, hand.called_back = True, False
        quick = time.monotonic() - hand.given < QUICK
        hand.most = min(2 * hand.most, MOST_AT_ONCE) if quick else 1

    def _runs(self, id: str) -> bool:
        """Tell whether a worker here runs a job of that name, and let it look whether hands have moved it away."""
        hands = [hand for hand in self.hands.values() if id in hand.running]
        for hand in hands:
            hand.channel.hint("look")  # it looks by itself, a little later
            if time.monotonic() > hand.given + COMES_WITHIN and not os.path.lexists(self.spool.path(PROCESSING, id)):
                hand.running.discard(id)  # it is held still, as by STOP: let another try, for the claim decides
        return any(id in hand.running for hand in hands)

    # ---- hearing

    def _hear(self, hand: Hand) -> bool:
        """Take what a worker says at one go, and tell whether it said anything; the end of its channel is its death."""
        try:
            messages = hand.channel.receive()
        except EOFError:
            self._bury_worker(hand)
            return False
        for said in messages:
            self._heed(hand, said.pop("kind"), said)
        return bool(messages)

    def _heed(self, hand: Hand, kind: str, said: dict) -> None:
        if kind == "free":
            self._is_free(hand)
        elif kind == "back":
            self._take_back(hand, said["ids"])
        elif kind in ("trouble", "began"):
            self._event(kind, **said)
        else:
            hand.running.discard(id := said["id"])
            if kind == "moved" or id in self._came_meanwhile:
                self._came_meanwhile.discard(id)
                self._tell_arrivals([id], PROCESSING if kind == "moved" else None)
            self._outcome(kind, said)

    def _take_back(self, hand: Hand, ids: list[str]) -> None:
        """Take jobs that a worker doesn't come to, to be handed to others."""
        hand.running.difference_update(ids)
        hand.called_back = False
        for id in ids:
            self.sight.look(id)

    def _outcome(self, kind: str, said: dict) -> None:
        """Take what became of a job that was handed out."""
        id = said["id"]
        if kind == "refused":
            self._refused(id, said["refused"], said["why"], said.get("until"))
            return
        self.sight.ended(id)
        self.unsettled.pop(id, None)
        self._event(kind, **said)
        if kind == "moved":
            self.sight.look(id)
            self.sight.note_dead(id)  # while it ran nobody could
        elif id in self.sight.again:
            self.sight.look(id)  # another of its name came while it ran
        elif said["attempt"]["verdict"] == "failed":
            self.sight.look_failed(id)

    def _refused(self, id: str, kind: str, why: str, until: float | None) -> None:
        if kind in ("held", "twin"):
            self.sight.again[id] = time.monotonic() + LOOK_AGAIN
        elif kind in ("early", "unfit", "parent", "late"):  # it has changed since it was offered, or only the claim has read it
            self.sight.look(id, closely=True)
        elif kind == "full":
            self.sight.full(id, why, until)
        elif kind == "unsafe":
            self.sight.refuse(id, why)
        elif kind == "unreadable":
            self._event("trouble", why=f"{PENDING}/{id}{ENDING} can't be read, so it waits: {why}", about=why)
            self.sight.put_off(id)
        elif kind == "trouble":
            self.sight.again[id] = time.monotonic() + LOOK_AGAIN

    def _see_who_came(self) -> None:
        """Know who is pending. Where they are very many, those who were when we began are left to the next audit."""
        known = self.auditor.begin()
        if known is not None:
            self.arrivals = Arrivals(self.spool, known.cursor, known.ids[PENDING])

    def _see_arrivals(self) -> None:
        """Let the journal tell of those that came; of what is handed out once its worker has written what became of it."""
        arrived, self.sight.arrived = self.sight.arrived, []
        if arrived:
            handed_out = {id for hand in self.hands.values() for id in hand.running}
            self._came_meanwhile.update(handed_out.intersection(arrived))
            self._tell_arrivals([id for id in arrived if id not in handed_out])

    def _tell_arrivals(self, ids: list[str], source: str | None = None) -> None:
        """Let the journal tell which of the jobs that came to pending/ hands brought, before anybody runs them."""
        if not self.sight.settings.journal_bytes:
            return
        try:
            if self.arrivals is None:
                self.arrivals = Arrivals(self.spool, journal.end(self.spool.root), None)
                return
            self.arrivals.tell(ids, self.sight.settings, source)
        except OSError:
            pass  # the next audit finds them; who needs more of the machine tells what it lacks

    def _give_up_unfit(self) -> None:
        """See to the files that are no whole jobs."""
        for id, why in self.sight.take_unfit():
            try:
                self._unfit(id, why)
            except OSError as error:
                if error.errno == errno.EPERM:  # chattr +i
                    self.sight.refuse(id, f"it is no whole job ({why}), and can't be moved to {DEAD}/: {error.strerror}")
                    continue
                self._trouble(error, "what is no job waits")
                self.sight.put_off(id)

    def _unfit(self, id: str, why: str) -> None:
        """Give up a file that is no whole job once it has not changed for a while, and nobody has it open for writing."""
        try:
            found = os.lstat(self.spool.path(PENDING, id))
        except FileNotFoundError:
            self.unsettled.pop(id, None)
            return
        looks = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        clock = time.monotonic()
        seen, since = self.unsettled.get(id, (None, clock))
        if seen == looks and clock >= since + SETTLE and not claims.is_written(self.spool, id):
            del self.unsettled[id]
            if claims.give_up(self.spool, id, PENDING, "rejected", why, self.sight.settings):
                self._event("rejected", id=id, why=why)
            return
        since = since if seen == looks and clock < since + SETTLE else clock
        self.unsettled[id] = (looks, since)
        self.sight.again[id] = since + SETTLE

    def _forget_settled(self) -> None:
        """Forget the files that were not whole, and that nobody looks at again: they are gone, or jobs by now."""
        self.unsettled = {id: since for id, since in self.unsettled.items() if id in self.sight.again or id in self.sight.unfit}

    # ---- workers

    def _staff(self) -> int:
        """Return how many workers there are, without those that are leaving."""
        return sum(not hand.leaving for hand in self.hands.values())

    def _scale(self) -> None:
        """Have as many workers as the setting says, once it was changed; those that are too many end, idle ones first."""
        if self._workers == self.sight.settings.workers:
            return
        self.count = self._workers = self.sight.settings.workers
        self._event("scaled", workers=self.count)
        staff = sorted((hand for hand in self.hands.values() if not hand.leaving), key=lambda hand: bool(hand.running))
        for hand in staff[: max(0, len(staff) - self.count)]:
            hand.leaving = True
            hand.channel.send("stop")

    def _keep_workers(self) -> None:
        """Fork the workers that are missing. No thread runs meanwhile: the watch is stopped around it."""
        self.sight.watch.stop()
        try:
            self._fork_missing()
        finally:
            self.sight.watch.start()
            self.sight.miss()

    def _fork_missing(self) -> None:
        while self._staff() < self.count and not self._asked:
            self._fork_at = time.monotonic() + FORK_AGAIN
            self._fork()

    def _fork(self) -> None:
        """Fork a worker. A signal that comes meanwhile waits in each of the two until it can be heard there."""
        ours, theirs = Channel.pair()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
        try:
            pid = os.fork()
        except OSError:
            ours.close()
            theirs.close()
            raise
        else:
            if pid == 0:
                ours.close()
                be_child(lambda: self._serve_as_worker(theirs, before))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        self.hands[ours.fileno()] = Hand(pid, ours, time.monotonic())
        self._poll.register(ours, select.POLLIN)

    def _serve_as_worker(self, channel: Channel, mask: set[int]) -> None:
        """Be the worker, with that signal mask: in the forked child, which must hold no other's channel open."""
        for hand in self.hands.values():
            hand.channel.close()
        worker = Worker(self.spool, channel, self.place.pid, self.sight.settings)
        worker.verbose, worker.tracer = self.verbose, self.tracer
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        worker.serve()

    def _bury_worker(self, hand: Hand) -> None:
        """A worker has ended: take it off the list, and see to what it left."""
        self._poll.unregister(hand.channel)
        del self.hands[hand.channel.fileno()]
        hand.channel.close()
        _, status = os.waitpid(hand.pid, 0)
        if (self.stopping or hand.leaving) and status == 0:
            for id in hand.running:
                self.sight.look(id)
            return
        self._event("worker ended", pid=hand.pid, status=os.waitstatus_to_exitcode(status))
        self._fork_at = max(time.monotonic(), hand.born + QUICK_DEATH)
        self._mend_at = 0.0
        for id in hand.running:
            self.sight.look(id)

    def stop(self, how: int) -> None:
        """Stop: 1 lets the workers finish what they run, 2 interrupts it and puts it back."""
        if how <= self.stopping:
            return
        self.stopping = how
        self._event("stopping" if how == 1 else "interrupting", running=sum(bool(hand.running) for hand in self.hands.values()))
        for hand in self.hands.values():
            hand.channel.send("stop" if how == 1 else "interrupt")

    def _catch_signals(self) -> Wakeup:
        """Let TERM, HUP and INT ask to stop (again: to interrupt), USR1 to stop however often, and QUIT to interrupt.

        _tend() does it, between two deeds.
        """

        def ask(number: int, _: object) -> None:
            before = max(self._asked, self.stopping)
            self._asked = {signal.SIGQUIT: 2, signal.SIGUSR1: max(1, before)}.get(number, min(2, before + 1))

        signal.signal(signal.SIGIO, signal.SIG_IGN)  # of the lease that durable.is_written() takes
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # who started us may ignore it, and then nobody could wait for a child
        return Wakeup(dict.fromkeys(HEARD, ask))

    # ---- mending and draining

    def _keep_place(self) -> None:
        """Let the directories beside the states be there, and our file in workers/ with those of our workers."""
        for name in self.spool.furnish():
            self._trouble(durable.DirectoryGone(f"{self.spool.root}/{name}"))
        if self.place.renew():
            for hand in self.hands.values():
                hand.channel.hint("look")

    def _say_vital(self) -> None:
        """Let our file in workers/ say what waits, for who looks: see vital.py. Looking through very many is done less often."""
        clock = time.monotonic()
        if clock >= self._vital_at:
            self.place.says(vital.said(*self.sight.vital()))
            self._vital_at = clock + 50 * (time.monotonic() - clock)

    def _mend(self) -> None:
        """Put right what a crash left, of our workers or of anybody's."""
        settings = self.sight.settings
        running = frozenset(id for hand in self.hands.values() for id in hand.running)
        ours = frozenset((self.place.file, *(roster.file_name(roster.WORKER, hand.pid) for hand in self.hands.values())))
        steps = recovery.plan(self.spool, running, self._first_look, ours)
        for mended in recovery.mend(self.spool, steps, settings, random.random()):
            if mended.state is None:
                what = f"{PROCESSING}/{mended.id}{ENDING}" if mended.id else "what a crash left"
                self._event("trouble", why=f"{mended.why}; {what} stays where it is", about=mended.why)
                self._mend_at = time.monotonic() + AFTER_TROUBLE
                continue
            self._event("recovered", id=mended.id, state=mended.state, why=mended.why)
            if self.tracer:
                self.tracer.lose(mended.id, mended.why)
            if mended.state == FAILED:
                self.sight.look_failed(mended.id)
        self._first_look = False
        if self.leftovers.end(settings, ours):
            self._mend_at = time.monotonic() + LOOK_AGAIN

    def _may_be_drained(self) -> bool:
        return not any(hand.running for hand in self.hands.values()) and self.sight.knows_nothing()

    def _is_drained(self) -> bool:
        """Tell whether nothing is left that runs, may run, or will be due."""
        return bool(self.hands) and self._may_be_drained() and self.sight.nothing_is_left()

    # ---- telling

    def _event(self, kind: str, about: str | None = None, **what: object) -> None:
        """Report an event; `about` is what tells that it was reported before."""
        self._events.append({"event": kind, **what} if about is None else {"event": kind, **what, "about": about})
        if kind == "ended":
            self.hooks.happened(what["attempt"]["verdict"], what["id"])
        elif kind in ("buried", "rejected"):
            self.hooks.happened(DEAD, what["id"])

    def _report(self) -> None:
        """Tell of all that happened since we last woke, at one go; of nothing, too: what was kept back may be due."""
        events, self._events = self._events, []
        self.report(events)


def _close_on_exec() -> None:
    """Let no descriptor that we were started with reach a job."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            try:
                os.set_inheritable(int(name), False)
            except OSError:
                pass  # the one that listed them
