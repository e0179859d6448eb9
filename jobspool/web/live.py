"""What happens, told to all open pages by one who looks: a thread reads the journal, keeps the catalogue, and wakes who waits.

However many pages are open, the spool is looked at once. Thousands of changes a second become four messages in three seconds,
with the newest few and the number of those that were left out. While nobody asks, nobody looks.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections import deque, namedtuple

from jobspool import audit, events, journal, ledger, roster, ways
from jobspool.states import DEAD, FAILED
from jobspool.web import history

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from jobspool.web.catalogue import Catalogue

TICK, BUSY_TICK = 0.25, 0.75  # seconds between two looks, and two messages; where much happens
MUCH = 250  # events at one look
SHOWN = 50  # events in a message
PATIENCE = 10.0  # seconds, for which we go on looking after the last one has asked
STALE = 2  # ticks, after which who asks waits for a new look
MOST_WAITED = 1.0  # seconds that he waits for it
ALIVE_EVERY = 15.0  # seconds between signs of life to who listens: the page waits for more than two of them
STATUS_EVERY = 1.0  # seconds between messages about workers
AUDIT_EVERY = 3.0  # seconds between looks at what hands did, where no supervisor sees to that
BEHIND = 64  # messages that are kept for who is slow
MOST_BEHIND = 4_194_304  # bytes of the journal that are read at one look
PAST_AT_ONCE = 5000  # events of the last hour that are read at one look
MOST_FAILURES = 20_000  # of the last hour that are kept

# count: how many events. newest: the newest SHOWN of them. lost: whether there were others, that nobody has read.
Told = namedtuple("Told", "count newest lost", defaults=(False,))
NOTHING, LOST = Told(0, []), Told(0, [], lost=True)


class Pulse:
    """The one that looks. Where there is no journal, what moved is seen in the directories.

    `failed` is called with what the thread died of, which is a bug: the disk's errors come to `trouble`, and it goes on.
    """

    def __init__(self, catalogue: Catalogue, failed: Callable[[BaseException], None]) -> None:
        self.catalogue = catalogue
        self.spool = catalogue.spool
        self.trouble: OSError | None = None
        self.seen_at = 0.0  # monotonic
        self.tick = TICK
        self.looks = 0  # that are known of
        self.looked: Callable[[], None] = lambda: None  # is called after each look, before anybody is told of it
        self.has_journal = True
        self.number = 0  # of the last message
        self.listeners = 0
        self.ended = False
        self.round = 0  # of listeners: those of an earlier one are let go
        self._failed = failed
        self._asked_at = self._told_at = time.monotonic()
        self._wake = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._next = asyncio.Event()  # is set for a moment after each look, for ever at the end
        self._messages: deque[tuple[int, bytes]] = deque(maxlen=BEHIND)
        self._reader: journal.Reader | None = None
        self._failures: deque[dict] = deque(maxlen=MOST_FAILURES)  # what came to failed/ or dead/ since we began
        self._old_failures: deque[dict] = deque(maxlen=MOST_FAILURES)  # and within the hour before
        self._past: tuple[journal.Reader, str] | None = None  # what reads these, and where it ends
        self._auditor = audit.Auditor(self.spool, AUDIT_EVERY)
        self._supervised = (-STATUS_EVERY, False)  # when that was looked at (monotonic), and whether it was so
        self._unexplained = False  # something moved that the journal doesn't tell of yet
        self._book: tuple[float, ledger.Ledger] | None = None  # when it was folded last (monotonic), and itself
        self._book_lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    # ---- in the event loop

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to look."""
        self._loop = loop
        self._thread.start()

    def end(self) -> None:
        """Look no more, and let all who listen go."""
        self.ended = True
        self._wake.set()
        self._next.set()

    def join(self) -> None:
        """Wait until the thread has ended, which it was told to, or is at something long."""
        self._thread.join(MOST_WAITED)

    async def first_look(self) -> None:
        """Return when the spool was looked at once."""
        await self._next.wait()

    def is_fresh(self) -> bool:
        """Tell whether what is known is at most STALE ticks old, or as good as it gets."""
        return time.monotonic() - self.seen_at < STALE * self.tick or self.ended or not self.catalogue.complete

    def asked(self) -> None:
        """Know that somebody asks: what he asks for is looked at, for a while."""
        before, self._asked_at = self._asked_at, time.monotonic()
        if self._asked_at - before > STATUS_EVERY:
            self._wake.set()

    async def fresh(self) -> None:
        """Return when what is known is fresh; or a little later as it is, where a look takes long."""
        self.asked()
        if not self.is_fresh():
            self._wake.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(MOST_WAITED):
                    await self._next.wait()

    async def messages(self, after: int) -> AsyncIterator[bytes]:
        """Yield what is told behind the message of that number, as server-sent events, until the end."""
        self.listeners += 1
        self._wake.set()
        begun = self.round
        try:
            while not self.ended and self.round == begun:
                if self.number - after > len(self._messages):
                    after = self._messages[0][0] - 1
                    yield message("change", self._change(LOST))
                    continue  # meanwhile there may be more
                for number, told in [self._messages[place] for place in range(after - self.number, 0)]:
                    after = number
                    yield told
                if after >= self.number:
                    await self._next.wait()
        finally:
            self.listeners -= 1

    def let_go(self) -> None:
        """Let all go who listen: they may come back, if they may still come in."""
        self.round += 1
        self._let_go()

    def tell(self, kind: str, said: dict) -> None:
        """Tell all who listen."""
        self.number += 1
        self._told_at = time.monotonic()
        self._messages.append((self.number, message(kind, said)))
        self._let_go()

    def show_life(self) -> None:
        """Tell who listens that we live, where he was told nothing for long.

        Else somebody on the way ends the connection, or he takes a server that hangs for one that has nothing to say. It is
        an event, and no comment, as a browser shows its scripts no comments.
        """
        if time.monotonic() - self._told_at >= ALIVE_EVERY:
            self.tell("alive", {})

    def _let_go(self) -> None:
        """Let all go on who wait."""
        self._next.set()
        if not self.ended:
            self._next.clear()

    def _publish(self, told: Told, moved: bool, cursor: str) -> None:
        self.looks += 1
        self.looked()
        if told.count or told.lost or moved:
            self.tell("change", {**self._change(told), "cursor": cursor})
        else:
            self._let_go()

    def _change(self, told: Told) -> dict:
        """Return what who listens is told of that."""
        said = {"events": told.newest, "dropped": told.count - len(told.newest), "counts": self.catalogue.counts()}
        return {**said, "lost": True} if told.lost else said

    # ---- in the threads of who asks

    def rates(self) -> dict:
        """Return the last hour by minutes, and how long jobs took and waited."""
        with self._book_lock:
            at, book = self._book or (0.0, None)
            if book is None or time.monotonic() > at + ledger.MINUTE:
                book = ledger.folded(self.spool.root)
            else:
                ledger.fold(book, self.spool.root)
            self._book = (time.monotonic(), book)
            return {**history.rates(book, self.spool.now()), "journal": self.has_journal}

    # ---- in its own thread

    def _run(self) -> None:
        try:
            while not self.ended:
                begun = time.monotonic()
                told, moved = self._look()
                self.tick = tick_after(told.count)
                self.seen_at = time.monotonic()
                if self.ended:
                    break
                self._loop.call_soon_threadsafe(self._publish, told, moved, self._cursor())
                self._rest(begun)
            self._auditor.end()
        except BaseException as error:
            self._failed(error)
            raise

    def _cursor(self) -> str:
        return self._reader.cursor if self._reader and self.has_journal else ""

    def _rest(self, begun: float) -> None:
        """Wait until the next look: a moment while somebody asks, else until somebody does."""
        self._wake.clear()
        if self.listeners or begun - self._asked_at < PATIENCE:
            time.sleep(max(0.0, self.tick - (time.monotonic() - begun)))
        elif not self.ended:
            self._wake.wait()

    def _look(self) -> tuple[Told, bool]:
        """Look once; return what the journal tells since the last time, and whether anything moved that it doesn't tell of."""
        try:
            self.has_journal = bool(self.spool.settings_or_default().journal_bytes)
            if self._reader is None:
                self._begin()
            told = self._read()
            moved = self.catalogue.look(told=self.has_journal and self._is_supervised())
            self._see_past()
            self._see_hands(bool(moved) or self.catalogue.behind)
            self.trouble = None
        except OSError as error:
            before, self.trouble = self.trouble, error
            self.catalogue.look_anew()
            return NOTHING if before else LOST, False
        if not self.has_journal:
            self._failures.extend(filter(_is_failure, moved))
            told = Told(len(moved), moved[-SHOWN:])
        return told, bool(moved)

    def _begin(self) -> None:
        end = journal.end(self.spool.root)
        self._reader = journal.Reader(self.spool.root, end)
        self._past = (journal.Reader(self.spool.root, history.hour_ago(self.spool)), end)

    def _read(self) -> Told:
        """Read on: of all that is told, each way is applied, but only the newest, and what failed, is parsed as a whole."""
        lost = self._skip_much()
        told, newest = [], []
        try:
            while (piece := self._reader.piece()) is not None:
                told.extend(ways.ways(piece))
                newest = [*newest, *_last_lines(piece, *self._reader.place)][-SHOWN:]
                self._failures.extend(_failures_in(piece))
        finally:
            self.catalogue.take(told)
        self._reader.lost = False  # the directories tell
        seen = [(journal.parsed(line), cursor) for line, cursor in newest]
        newest = [{**event, "cursor": cursor} for event, cursor in seen if event]
        return Told(len(told), newest, lost)

    def _skip_much(self) -> bool:
        """Where nobody asked for long, and much has happened: look at the directories in the place of reading all that."""
        end, at = journal.end(self.spool.root), self._reader.cursor
        (newest, offset), (number, read) = journal.place(end), self._reader.place
        much = newest > number + 1 or (newest == number and offset - read > MOST_BEHIND)
        if much:
            self._past = self._past or (journal.Reader(self.spool.root, at), end)
            self._reader = journal.Reader(self.spool.root, end)
            self.catalogue.look_anew()
        return much

    def _see_hands(self, moved: bool) -> None:
        """Have the journal told of what hands did, where no supervisor sees to that."""
        self._unexplained = self._unexplained or moved
        if not (self._unexplained and self.has_journal):
            return
        if self._is_supervised() or self._is_supervised(oldest=0.0):  # one may just have begun
            self._unexplained = False
        else:
            self._auditor.step(self.spool.settings_or_default(), time.monotonic())

    def _is_supervised(self, oldest: float = STATUS_EVERY) -> bool:
        """Tell whether a supervisor lives, or lived `oldest` seconds ago, who tells of what hands do."""
        seen, was = self._supervised
        if (clock := time.monotonic()) >= seen + oldest:
            was = roster.is_supervised(self.spool)
            self._supervised = (clock, was)
        return was

    def _see_past(self) -> None:
        """Read on in the last hour, for what failed then; it comes before what failed since we began."""
        if self._past is None:
            return
        reader, end = self._past
        last = journal.place(end)
        for _ in range(PAST_AT_ONCE):
            if (line := reader.line()) is None or reader.place > last:
                self._past = None
                return
            if event := _failure(line):
                self._old_failures.append(event)

    def failures(self, since: float) -> list[dict]:
        """Return what came to failed/ or dead/ from that moment on, the oldest first."""
        return [event for event in [*self._old_failures, *self._failures] if events.happened(event, since)]


def tick_after(count: int) -> float:
    """Return the seconds from a look at which so many events were told until the next one."""
    return BUSY_TICK if count > MUCH else TICK


PEOPLE = ("command", "hand", "program")
BAD = (FAILED, DEAD)
BAD_WORDS = tuple(journal.STATE[state].encode() for state in BAD)


def _last_lines(piece: bytes, number: int, end: int) -> list[tuple[bytes, str]]:
    """Return the last lines of the piece that tell of a job, SHOWN at most, and the cursor behind each: it ends there."""
    found = []
    for line in reversed(piece.split(b"\n")[:-1]):
        if ways.way(line):
            found.append((line, f"{number}:{end}"))
        if len(found) == SHOWN:
            break
        end -= len(line) + 1
    return found[::-1]


def _failures_in(piece: bytes) -> list[dict]:
    """Return the events in these lines that are failures."""
    lines = piece.split(b"\n") if any(word in piece for word in BAD_WORDS) else ()
    return [event for line in lines if (event := _failure(line))]


def _failure(line: bytes) -> dict | None:
    """Return the event that the line tells of, if that is a failure."""
    if not any(word in line for word in BAD_WORDS):
        return None
    event = journal.parsed(line) if ways.way(line) else None
    return event if event and _is_failure(event) else None


def _is_failure(event: dict) -> bool:
    """Tell whether it says that a job failed: not that a person put it there, nor that a deed was taken back."""
    return event.get("to") in BAD and (event.get("by") not in PEOPLE)


def message(kind: str, said: dict) -> bytes:
    """Return the server-sent event of that kind; its id is the cursor, where it has one."""
    id = f"id: {said['cursor']}\n" if said.get("cursor") else ""
    return f"event: {kind}\n{id}data: {json.dumps(said)}\n\n".encode()
