"""The supervisor: it sees what comes, keeps the order, hands ids to its workers, and puts right what crashed.

Any number of supervisors may serve one spool: the protocol in claim.py keeps the promises, not this. It sleeps until an
event, a message of a worker, a signal, or the next time that something falls due.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import socket
import time
from dataclasses import dataclass, field

from jobspool import claim as claims
from jobspool import config, recovery, roster
from jobspool.errors import BrokenConfig, NotAJob
from jobspool.index import Index
from jobspool.job import ENDING, id_of, parse, waits_until
from jobspool.spool import Spool, distrust_type, read_file
from jobspool.states import DEAD, FAILED, PENDING, PROCESSING, STATES
from jobspool.watch import TOLD_TO_LOOK, Watch, is_remote
from jobspool.worker import LARGEST, Worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SETTLE = 2.0  # seconds without change until a file that is no whole job is given up
LOOK_AGAIN = 0.5  # seconds until a job whose lock is held, or whose name runs, is looked at again
SCAN_EVERY = 5.0  # seconds between scans beside working events, and between recoveries
SCAN_BLIND = 1.0  # seconds between scans where events can't be had
SAY_AGAIN = 60.0  # seconds until the same trouble is reported again
QUICK_DEATH = 1.0  # seconds: a worker that dies sooner is not replaced before that time
PAUSED = "paused"
WATCHED = {PENDING: (), FAILED: (), DEAD: ()}


@dataclass
class Hand:
    """The supervisor's side of one worker."""

    pid: int
    channel: socket.socket
    born: float
    free: bool = False
    running: set[str] = field(default_factory=set)  # handed out, and not yet ended


class Supervisor:
    """One supervisor and its workers, from serve() to its return."""

    def __init__(self, spool: Spool, count: int, drain: bool, report: Callable[[dict], None]) -> None:
        spool.ready()
        self.spool = spool
        self.count = count
        self.drain = drain
        self.report = report
        self.settings = spool.settings()
        self.index = Index()
        self.hands: dict[int, Hand] = {}  # by the channel's descriptor
        self.unsettled: dict[str, tuple[tuple, float]] = {}  # id: what its file looked like, and when (monotonic) first so
        self.again: dict[str, float] = {}  # id: when to look at it again (monotonic)
        self.stopping = 0  # 1: finish what runs; 2: interrupt it
        self.place = roster.Place(spool, roster.SUPERVISOR, spool.file_mode(self.settings))
        self.watch = Watch({spool.folder(state): more for state, more in WATCHED.items()} | {spool.root: ("deleted",)})
        self.remote = is_remote(spool.root)
        self.paused = False
        self._said: dict[str, float] = {}  # trouble that was reported, and when (monotonic)
        self._missed = False  # events were lost: look at everything again
        self._mtimes: dict[str, int] = {}
        self._scan_at = self._mend_at = self._fork_at = 0.0
        self._poll = select.poll()

    # ---- the loop

    def serve(self) -> None:
        """Serve the spool until told to stop, or with `drain` until nothing is left to do or to wait for."""
        _close_on_exec()
        self._wakeup = self._catch_signals()
        self._poll.register(self._wakeup, select.POLLIN)
        self._poll.register(self.watch, select.POLLIN)
        for _ in range(self.count):
            self._fork()
        self._event("started", workers=self.count)
        with self.watch:
            self._tend()
            while self.hands or not self.stopping:
                self._wait()
                self._tend()
        self.place.leave()

    def _wait(self) -> None:
        """Sleep until there is something to do, and take the messages of workers."""
        for descriptor, _ in self._poll.poll(self._seconds_to_sleep() * 1000):
            if descriptor == self._wakeup:
                _drain(self._wakeup)
            elif descriptor in self.hands:
                self._hear(self.hands[descriptor])

    def _tend(self) -> None:
        """Do what is to be done now."""
        clock = time.monotonic()
        self._keep_workers(clock)
        for folder, name in self.watch.take():
            self._see(folder, name)
        if clock >= self._mend_at:
            self._mend(clock)
        if clock >= self._scan_at:
            self._scan(clock)
        self._look_again(clock)
        self._requeue()
        self._hand_out()
        if self.drain and not self.stopping and self._is_drained():
            self._event("drained")
            self.stop(1)

    def _seconds_to_sleep(self) -> float:
        times = [self._scan_at, self._mend_at, *self.again.values()]
        if (self.hands and len(self.hands) < self.count) or self._fork_at > time.monotonic():
            times.append(self._fork_at)
        sleep = min(times) - time.monotonic()
        due = self.index.next_time(self.spool.now())
        if due is not None and not self.paused:
            sleep = min(sleep, due - self.spool.now() + 0.0005)
        if self.drain and self._may_be_drained():
            sleep = min(sleep, LOOK_AGAIN)
        return max(0.0, sleep)

    # ---- seeing

    def _see(self, folder: str, name: str) -> None:
        """Take an event: something came to `folder` under `name`, or was closed or touched there."""
        if name == TOLD_TO_LOOK:
            self._scan_at, self._missed = 0.0, True
        elif folder == self.spool.root:
            self._look_at_root(name)
        elif (id := id_of(name)) is not None:
            state = os.path.basename(folder)
            self._look_for_moved(id)
            if state == PENDING:
                self._look(id)
            elif state == FAILED:
                self._look_failed(id)
            elif claims.note_dead(self.spool, id, self.settings):
                self._event("noted", id=id, why="it was put into dead/ by hand")

    def _look_at_root(self, name: str) -> None:
        if name == PAUSED:
            self._look_paused()
        elif name == config.FILE:
            self._read_settings()

    def _look_paused(self) -> None:
        paused = os.path.lexists(f"{self.spool.root}/{PAUSED}")
        if paused != self.paused:
            self.paused = paused
            self._event("paused" if paused else "resumed")

    def _read_settings(self) -> None:
        try:
            self.settings = self.spool.settings()
        except BrokenConfig as error:
            self._trouble(f"the last good settings stay in force: {error}")

    def _look_for_moved(self, id: str) -> None:
        """Tell the worker that runs a job of that name, if one does, to look whether it was moved away."""
        for hand in self.hands.values():
            if id in hand.running:
                self._order(hand, "look")

    def _look(self, id: str) -> None:
        """Look at a pending file and note when and in which order it may run."""
        if any(id in hand.running for hand in self.hands.values()):
            self.again[id] = time.monotonic() + LOOK_AGAIN
            return
        try:
            found = os.lstat(self.spool.path(PENDING, id))
            content = b""
            if distrust_type(found) is None:
                content, found = read_file(self.spool.path(PENDING, id), self.settings.max_job_bytes)
        except FileNotFoundError:
            self.index.remove(id)
            return
        except OSError:
            content = b""  # not to be read: the claim will say why
        mtime = found.st_mtime_ns / 1e9
        priority, start = _order_of(content, mtime, self.settings.max_job_bytes, self.spool.now())
        self.index.add(id, priority, start)

    def _look_failed(self, id: str) -> None:
        try:
            self.index.add_failed(id, os.lstat(self.spool.path(FAILED, id)).st_mtime_ns / 1e9)
        except FileNotFoundError:
            self.index.remove_failed(id)

    def _look_again(self, clock: float) -> None:
        for id in [id for id, when in self.again.items() if when <= clock]:
            del self.again[id]
            self._look(id)

    def _scan(self, clock: float) -> None:
        """Read the directories: whatever events there were, this is what counts."""
        if self.watch.stale() or not self.watch.works:
            self.watch.stop()
            if all(os.path.isdir(self.spool.folder(state)) for state in STATES):
                self.watch.start()
        blind = self.remote or not self.watch.works or self._missed
        self._missed = False
        try:
            self._look_paused()
            if blind:
                self._read_settings()
            self._scan_state(PENDING, self.index.pending(), self._look, blind)
            self._scan_state(FAILED, self.index.failed(), self._look_failed, blind)
        except OSError as error:
            self._trouble(f"can't read the spool: {error.strerror}: {error.filename}")
        took = time.monotonic() - clock
        self._scan_at = time.monotonic() + max(SCAN_BLIND if blind else SCAN_EVERY, 50 * took)

    def _scan_state(self, state: str, known: set[str], look: Callable[[str], None], blind: bool) -> None:
        """Look at what isn't known; where events can't be had, look at everything again: it may have been touched."""
        folder = self.spool.folder(state)
        changed = os.stat(folder).st_mtime_ns
        if not blind and self._mtimes.get(state) == changed:
            return
        self._mtimes[state] = changed
        unknown = set(self.spool.names(state))
        for id in unknown if blind else unknown - known:
            look(id)

    # ---- handing out

    def _hand_out(self) -> None:
        if self.paused or self.stopping:
            return
        for hand in self.hands.values():
            if hand.free and (id := self.index.next(self.spool.now())):
                hand.free = False
                hand.running.add(id)
                self._order(hand, "run", id=id)

    def _requeue(self) -> None:
        """Move the failed jobs whose time has come to pending/."""
        if self.paused:
            return
        now = self.spool.now()
        for id in self.index.take_due(now):
            due = claims.due_again(self.spool, id, now)
            if due is not None:
                self.index.add_failed(id, due)
            else:
                self._look(id)

    def _order(self, hand: Hand, kind: str, **what: object) -> None:
        try:
            hand.channel.send(json.dumps({"kind": kind, **what}).encode())
        except OSError:
            pass  # it has died: its end of the socket tells, and _bury_worker puts things right

    # ---- hearing

    def _hear(self, hand: Hand) -> None:
        """Take a message of a worker; the end of its channel is its death."""
        try:
            message = hand.channel.recv(LARGEST, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if not message:
            self._bury_worker(hand)
            return
        said = json.loads(message)
        kind = said.pop("kind")
        if kind == "free":
            hand.free = True
        elif kind == "trouble":
            self._trouble(said["why"])
        else:
            self._outcome(hand, kind, said)

    def _outcome(self, hand: Hand, kind: str, said: dict) -> None:
        """Take what became of a job that was handed out."""
        id = said["id"]
        hand.running.discard(id)
        if kind == "refused":
            self._refused(id, said["refused"], said["why"])
            return
        self.unsettled.pop(id, None)
        self._event(kind, **said)
        if kind == "moved" or os.path.lexists(self.spool.path(PENDING, id)):
            self._look(id)
        if kind == "ended" and said["attempt"]["verdict"] == "failed":
            self._look_failed(id)

    def _refused(self, id: str, kind: str, why: str) -> None:
        if kind in ("held", "twin"):
            self.again[id] = time.monotonic() + LOOK_AGAIN
        elif kind == "early":
            self._look(id)
        elif kind == "unfit":
            self._unfit(id, why)
        elif kind == "unsafe":
            self._trouble(f"{PENDING}/{id}{ENDING} is not run: {why}")

    def _unfit(self, id: str, why: str) -> None:
        """Give up a file that is no whole job once it has not changed for a while; it may still be being written."""
        try:
            found = os.lstat(self.spool.path(PENDING, id))
        except FileNotFoundError:
            self.unsettled.pop(id, None)
            return
        looks = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        seen, since = self.unsettled.get(id, (None, 0.0))
        clock = time.monotonic()
        if seen != looks:
            self.unsettled[id] = (looks, clock)
            self.again[id] = clock + SETTLE
        elif clock < since + SETTLE:
            self.again[id] = since + SETTLE
        else:
            del self.unsettled[id]
            if claims.bury(self.spool, id):
                self._event("rejected", id=id, why=why)

    # ---- workers

    def _keep_workers(self, clock: float) -> None:
        """Fork the workers that are missing. No thread runs meanwhile: the watch is stopped around it."""
        missing = self.count - len(self.hands)
        if self.stopping or missing <= 0 or clock < self._fork_at:
            return
        self.watch.stop()
        for _ in range(missing):
            self._fork()
        self.watch.start()
        self._scan_at = 0.0  # nothing was seen since the watch was stopped

    def _fork(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                ours.close()
                self._become_worker(theirs)
                status = 0
            finally:
                os._exit(status)
        theirs.close()
        self.hands[ours.fileno()] = Hand(pid, ours, time.monotonic())
        self._poll.register(ours, select.POLLIN)

    def _become_worker(self, channel: socket.socket) -> None:
        """Be the worker: in the forked child, which must hold nothing of the supervisor's open."""
        supervisor = self.place.pid
        for hand in self.hands.values():
            hand.channel.close()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # a terminal's: the supervisor decides what they mean
        try:
            Worker(self.spool, channel, supervisor).serve()
        except Exception:
            import sys

            sys.excepthook(*sys.exc_info())  # a bug: show it, and die
            raise

    def _bury_worker(self, hand: Hand) -> None:
        """A worker has ended: take it off the list, and see to what it left."""
        self._poll.unregister(hand.channel)
        del self.hands[hand.channel.fileno()]
        hand.channel.close()
        _, status = os.waitpid(hand.pid, 0)
        if self.stopping and status == 0:
            return
        clock = time.monotonic()
        self._event("worker ended", pid=hand.pid, status=os.waitstatus_to_exitcode(status))
        self._fork_at = max(clock, hand.born + QUICK_DEATH)
        self._mend_at = 0.0
        for id in hand.running:
            self._look(id)

    def stop(self, how: int) -> None:
        """Stop: 1 lets the workers finish what they run, 2 interrupts it and puts it back."""
        if how <= self.stopping:
            return
        self.stopping = how
        self._event("stopping" if how == 1 else "interrupting", running=sum(len(hand.running) for hand in self.hands.values()))
        for hand in self.hands.values():
            self._order(hand, "stop" if how == 1 else "interrupt")

    def _catch_signals(self) -> int:
        """Let TERM, HUP and INT stop (again: interrupt), and QUIT interrupt; return the descriptor that they wake."""
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: self.stop(min(2, self.stopping + 1)))
        signal.signal(signal.SIGQUIT, lambda *_: self.stop(2))
        return reader

    # ---- mending and draining

    def _mend(self, clock: float) -> None:
        running = frozenset(id for hand in self.hands.values() for id in hand.running)
        self._mend_at = clock + SCAN_EVERY
        try:
            for mended in recovery.mend(self.spool, recovery.plan(self.spool, running), self.settings, random.random()):
                self._event("recovered", id=mended.id, state=mended.state, why=mended.why)
                if mended.state == FAILED:
                    self._look_failed(mended.id)
            if recovery.end_overdue(self.spool, self.settings):
                self._mend_at = clock + LOOK_AGAIN
        except OSError as error:
            self._trouble(f"can't recover: {error.strerror}: {error.filename}")

    def _may_be_drained(self) -> bool:
        busy = any(hand.running for hand in self.hands.values())
        return not busy and not len(self.index) and not self.again and not self.paused

    def _is_drained(self) -> bool:
        """Tell whether nothing is left that runs, may run, or will be due; files that are never run don't count."""
        if not self._may_be_drained() or not self.hands:
            return False
        unknown = set(self.spool.names(PENDING)) | set(self.spool.names(FAILED))
        return not self.spool.names(PROCESSING) and not any(self._runs_one_day(id) for id in unknown)

    def _runs_one_day(self, id: str) -> bool:
        for state in (PENDING, FAILED):
            try:
                found = os.lstat(self.spool.path(state, id))
            except FileNotFoundError:
                continue
            if self.spool.distrust(found, self.settings) is None:
                return True
        return False

    # ---- telling

    def _event(self, kind: str, **what: object) -> None:
        self.report({"event": kind, **what})

    def _trouble(self, why: str) -> None:
        """Report trouble, the same no more than once in a while."""
        clock = time.monotonic()
        self._said = {said: when for said, when in self._said.items() if clock - when < SAY_AGAIN}
        if why not in self._said:
            self._said[why] = clock
            self._event("trouble", why=why)


def _order_of(content: bytes, mtime: float, limit: int, now: float) -> tuple[int, float]:
    """Return the priority in the file's content, and from when it may run. What is no job is offered at once: see _unfit."""
    if mtime <= now and b'"priority"' not in content:
        return 0, mtime
    try:
        record = parse(content, limit)
    except NotAJob:
        return 0, min(mtime, now)
    return record.get("priority", 0), waits_until(record, mtime)


def _close_on_exec() -> None:
    """Let no descriptor that we were started with reach a job."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            try:
                os.set_inheritable(int(name), False)
            except OSError:
                pass  # the one that listed them


def _drain(descriptor: int) -> None:
    try:
        while os.read(descriptor, 4096):
            pass
    except BlockingIOError:
        pass
