"""What happens, told to all open pages by one who looks: a thread reads the journal, keeps the catalogue, and wakes who waits.

However many pages are open, the spool is looked at once. A thousand changes a second become four messages a second, each with the
newest few and the number of those that were left out. While nobody asks, nobody looks.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import deque

from jobspool import audit, events, journal, ledger, roster
from jobspool.states import DEAD, FAILED
from jobspool.web import history

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from jobspool.web.catalogue import Catalogue

TICK = 0.25  # seconds between two looks, and two messages
SHOWN = 50  # events in a message
PATIENCE = 10.0  # seconds, for which we go on looking after the last one has asked
STALE = 2 * TICK  # seconds, after which who asks waits for a new look
MOST_WAITED = 1.0  # seconds that he waits for it
COMMENT_EVERY = 15.0  # seconds between signs of life to who listens
STATUS_EVERY = 1.0  # seconds between messages about workers
AUDIT_EVERY = 3.0  # seconds between looks at what hands did, where no supervisor sees to that
BEHIND = 64  # messages that are kept for who is slow
MOST_BEHIND = 4_194_304  # bytes of the journal that are read at one look
PAST_AT_ONCE = 5000  # events of the last hour that are read at one look
MOST_FAILURES = 20_000  # of the last hour that are kept


class Pulse:
    """The one that looks. Where there is no journal, what moved is seen in the directories.

    `failed` is called with what the thread died of, which is a bug: the disk's errors come to `trouble`, and it goes on.
    """

    def __init__(self, catalogue: Catalogue, failed: Callable[[BaseException], None]) -> None:
        self.catalogue = catalogue
        self.spool = catalogue.spool
        self.trouble: OSError | None = None
        self.seen_at = 0.0  # monotonic
        self.has_journal = True
        self.number = 0  # of the last message
        self.listeners = 0
        self.ended = False
        self._failed = failed
        self._asked_at = time.monotonic()
        self._wake = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._next: asyncio.Future | None = None
        self._messages: deque[tuple[int, bytes]] = deque(maxlen=BEHIND)
        self._reader: journal.Reader | None = None
        self._failures: deque[dict] = deque(maxlen=MOST_FAILURES)  # what came to failed/ or dead/ since we began
        self._old_failures: deque[dict] = deque(maxlen=MOST_FAILURES)  # and within the hour before
        self._past: tuple[journal.Reader, str] | None = None  # what reads these, and where it ends
        self._auditor = audit.Auditor(self.spool, AUDIT_EVERY)
        self._unexplained = False  # something moved that the journal doesn't tell of yet
        self._book: tuple[float, ledger.Ledger] | None = None  # when it was folded last (monotonic), and itself
        self._book_lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    # ---- in the event loop

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to look."""
        self._loop = loop
        self._next = loop.create_future()
        self._thread.start()

    def end(self) -> None:
        """Look no more, and let all who listen go."""
        self.ended = True
        self._wake.set()
        if self._next is not None and not self._next.done():
            self._next.set_result(None)

    def join(self) -> None:
        """Wait until the thread has ended, which it was told to, or is at something long."""
        self._thread.join(MOST_WAITED)

    async def first_look(self) -> None:
        """Return when the spool was looked at once."""
        await asyncio.wait([self._next])

    async def fresh(self) -> None:
        """Return when what is known is at most STALE seconds old; or a little later as it is, where a look takes long."""
        self._asked_at = time.monotonic()
        if self._asked_at - self.seen_at < STALE or self.ended or not self.catalogue.complete:
            return
        self._wake.set()
        await asyncio.wait([self._next], timeout=MOST_WAITED)

    async def messages(self, after: int) -> AsyncIterator[bytes]:
        """Yield what is told behind the message of that number, as server-sent events, until the end."""
        self.listeners += 1
        self._wake.set()
        try:
            while not self.ended:
                for number, told in [each for each in self._messages if each[0] > after]:
                    after = number
                    yield told
                if after >= self.number:
                    done, _ = await asyncio.wait([self._next], timeout=COMMENT_EVERY)
                    if not done:
                        yield b": still here\n\n"
        finally:
            self.listeners -= 1

    def tell(self, kind: str, said: dict) -> None:
        """Tell all who listen."""
        self.number += 1
        self._messages.append((self.number, message(kind, said)))
        self._let_go()

    def _let_go(self) -> None:
        """Let all go on who wait."""
        done, self._next = self._next, self._loop.create_future()
        if not done.done():
            done.set_result(None)
        if self.ended:
            self._next.set_result(None)

    def _publish(self, told: list[dict], moved: bool, cursor: str) -> None:
        if told or moved:
            shown = told[-SHOWN:]
            said = {"events": shown, "dropped": len(told) - len(shown), "counts": self.catalogue.counts()}
            self.tell("change", {**said, "cursor": cursor})
        else:
            self._let_go()

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
            time.sleep(max(0.0, TICK - (time.monotonic() - begun)))
        elif not self.ended:
            self._wake.wait()

    def _look(self) -> tuple[list[dict], bool]:
        """Look once; return what happened since the last time, and whether anything moved."""
        try:
            self.has_journal = bool(self.spool.settings_or_default().journal_bytes)
            if self._reader is None:
                self._begin()
            told = self._read()
            moved = self.catalogue.look(told=self.has_journal)
            self._see_past()
            self._see_hands(bool(moved) or self.catalogue.behind)
            self.trouble = None
        except OSError as error:
            self.trouble = error
            return [], False
        told = told if self.has_journal else moved
        self._failures.extend(filter(_is_failure, told))
        return told, bool(moved)

    def _begin(self) -> None:
        end = journal.end(self.spool.root)
        self._reader = journal.Reader(self.spool.root, end)
        self._past = (journal.Reader(self.spool.root, history.hour_ago(self.spool)), end)

    def _read(self) -> list[dict]:
        told = []
        self._skip_much()
        while more := self._reader.read():
            more = history.told(more)
            self.catalogue.take(more)
            told += more
        self._reader.lost = False  # the directories tell
        return told

    def _skip_much(self) -> None:
        """Where nobody asked for long, and much has happened: look at the directories instead of reading all that."""
        end, at = journal.end(self.spool.root), self._reader.cursor
        (newest, offset), (number, read) = journal.place(end), journal.place(at)
        if newest > number + 1 or (newest == number and offset - read > MOST_BEHIND):
            self._past = self._past or (journal.Reader(self.spool.root, at), end)
            self._reader = journal.Reader(self.spool.root, end)
            self.catalogue.look_anew()

    def _see_hands(self, moved: bool) -> None:
        """Have the journal told of what hands did, where no supervisor sees to that."""
        self._unexplained = self._unexplained or moved
        if not (self._unexplained and self.has_journal):
            return
        if any(entry.role == roster.SUPERVISOR for entry in roster.living(self.spool)):
            self._unexplained = False
        else:
            self._auditor.step(self.spool.settings_or_default(), time.monotonic())

    def _see_past(self) -> None:
        """Read on in the last hour, for what failed then; it comes before what failed since we began."""
        if self._past is None:
            return
        reader, end = self._past
        more = reader.read(PAST_AT_ONCE)
        before = [event for event in more if _is_failure(event) and journal.place(event["cursor"]) <= journal.place(end)]
        self._old_failures.extend(before)
        if not more or journal.place(reader.cursor) >= journal.place(end):
            self._past = None

    def failures(self, since: float) -> list[dict]:
        """Return what came to failed/ or dead/ from that moment on, the oldest first."""
        return [event for event in [*self._old_failures, *self._failures] if events.happened(event, since)]


PEOPLE = ("command", "hand", "program")


def _is_failure(event: dict) -> bool:
    """Tell whether it says that a job failed: not that a person put it there, nor that a deed was taken back."""
    return event.get("to") in (FAILED, DEAD) and (event.get("by") not in PEOPLE)


def message(kind: str, said: dict) -> bytes:
    """Return the server-sent event of that kind; its id is the cursor, where it has one."""
    id = f"id: {said['cursor']}\n" if said.get("cursor") else ""
    return f"event: {kind}\n{id}data: {json.dumps(said)}\n\n".encode()
