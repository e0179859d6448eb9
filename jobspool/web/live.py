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

from jobspool.states import DEAD, FAILED

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
BEHIND = 64  # messages that are kept for who is slow
AT_ONCE = 1000  # events that are read at one go
MOST_CAUGHT_UP = 20  # such reads for a page that comes back; one that was away for longer looks anew
AN_HOUR = 3600.0
MOST_FAILURES = 20_000  # of the last hour that are kept


class Pulse:
    """The one that looks. `reader` reads the journal, None where there is none: then what moved is seen in the directories.

    `failed` is called with what it died of, which is a bug: the disk's errors come to `trouble`, and it goes on.
    """

    def __init__(self, catalogue: Catalogue, reader: object | None, failed: Callable[[BaseException], None]) -> None:
        self.catalogue = catalogue
        self.trouble: OSError | None = None
        self.failures: deque[dict] = deque(maxlen=MOST_FAILURES)  # attempts that failed, and jobs that died, of the last hour
        self.seen_at = 0.0  # monotonic
        self.cursor = reader.cursor if reader else ""
        self.told: Callable[[list[dict]], None] = bool  # gets the events of each look, in this thread
        self._reader = reader
        self._history: Callable[[str | None], object] | None = None  # makes a reader of its own from a cursor on
        self._failed = failed
        self._asked_at = time.monotonic()
        self._wake = threading.Event()
        self._ended = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._next: asyncio.Future | None = None
        self._messages: deque[tuple[int, bytes]] = deque(maxlen=BEHIND)
        self._number = 0
        self._listeners = 0
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    # ---- in the event loop

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to look."""
        self._loop = loop
        self._next = loop.create_future()
        self._thread.start()

    def end(self) -> None:
        """Look no more, and let all who listen go."""
        self._ended = True
        self._wake.set()
        if self._next is not None and not self._next.done():
            self._next.set_result(None)

    async def fresh(self) -> None:
        """Return when what is known is at most STALE seconds old; or a little later as it is, where a look takes long."""
        self._asked_at = time.monotonic()
        if self._asked_at - self.seen_at < STALE:
            return
        self._wake.set()
        await asyncio.wait([self._next], timeout=MOST_WAITED)

    async def first_look(self) -> None:
        """Return when the spool was looked at once."""
        await self._next

    async def messages(self, after: int | None = None) -> AsyncIterator[bytes]:
        """Yield what is told from now on, as server-sent events, until the end."""
        self._listeners += 1
        self._wake.set()
        number = self._number if after is None else after
        try:
            while not self._ended:
                for message_number, message in [each for each in self._messages if each[0] > number]:
                    number = message_number
                    yield message
                if number >= self._number and not await self._wait():
                    yield b": still here\n\n"
        finally:
            self._listeners -= 1

    async def _wait(self) -> bool:
        """Wait for the next look that has something to tell; False where that takes long."""
        done, _ = await asyncio.wait([self._next], timeout=COMMENT_EVERY)
        return bool(done)

    def tell(self, kind: str, said: dict) -> None:
        """Tell all who listen."""
        self._number += 1
        self._messages.append((self._number, message(kind, said)))

    @property
    def number(self) -> int:
        """The number of the last message."""
        return self._number

    @property
    def ended(self) -> bool:
        """Whether all who listen are to go."""
        return self._ended

    @property
    def listeners(self) -> int:
        """How many listen."""
        return self._listeners

    def _publish(self, events: list[dict]) -> None:
        if events:
            shown = events[-SHOWN:]
            said = {"events": shown, "dropped": len(events) - len(shown), "counts": self.catalogue.counts()}
            self.tell("change", {**said, "cursor": self.cursor})
        done, self._next = self._next, self._loop.create_future()
        if not done.done():
            done.set_result(None)
        if self._ended and not self._next.done():
            self._next.set_result(None)

    # ---- in the threads of who asks

    @property
    def has_journal(self) -> bool:
        """Whether there is a journal."""
        return self._reader is not None

    def since(self, cursor: str | None, most: int) -> dict:
        """Return the events behind the cursor, the oldest that are kept without one, at most so many, and where to go on."""
        if self._history is None:
            return {"events": [], "cursor": "", "lost": False}
        reader = self._history(cursor)
        events = reader.read(most)
        return {"events": events, "cursor": reader.cursor, "lost": bool(reader.lost)}

    def caught_up(self, cursor: str) -> dict:
        """Return what happened behind the cursor as one message; `lost` where that is too much, or not kept any more."""
        events, lost, at = [], self._history is None, cursor
        for _ in range(MOST_CAUGHT_UP if not lost else 0):
            more = self.since(at, AT_ONCE)
            events, at, lost = [*events, *more["events"]], more["cursor"], lost or more["lost"]
            if len(more["events"]) < AT_ONCE:
                break
        else:
            lost = True
        shown = events[-SHOWN:]
        counts = self.catalogue.counts()
        return {"events": shown, "dropped": len(events) - len(shown), "counts": counts, "cursor": at, "lost": lost}

    def events_of(self, id: str, most: int) -> list[dict]:
        """Return the newest events of the job, at most so many, the oldest first."""
        return []

    def rates(self) -> dict:
        """Return the last hour by minutes, and how long jobs took and waited."""
        return {"minutes": [], "durations": None, "waits": None, "journal": False}

    # ---- in its own thread

    def _run(self) -> None:
        try:
            while not self._ended:
                begun = time.monotonic()
                events = self._look()
                self.told(events)
                self.seen_at = time.monotonic()
                if self._ended:
                    return
                self._loop.call_soon_threadsafe(self._publish, events)
                busy = self._listeners or begun - self._asked_at < PATIENCE
                if busy:
                    self._wake.clear()
                    self._wake.wait(max(0.0, TICK - (time.monotonic() - begun)))
                    time.sleep(max(0.0, TICK / 5 - (time.monotonic() - begun)))
                else:
                    self._wake.wait()
                    self._wake.clear()
        except BaseException as error:
            self._failed(error)
            raise

    def _look(self) -> list[dict]:
        """Look once, and return what happened since the last time."""
        try:
            events = self._read()
            moved = self.catalogue.look()
            self.trouble = None
        except OSError as error:
            self.trouble = error
            return []
        events = events if self._reader else moved
        self._note_failures(events)
        return events

    def _read(self) -> list[dict]:
        if self._reader is None:
            return []
        events = []
        while more := self._reader.read(AT_ONCE):
            events += more
        self.catalogue.take(events)
        self.cursor = self._reader.cursor
        return events

    def _note_failures(self, events: list[dict]) -> None:
        self.failures.extend(event for event in events if event.get("to") in (FAILED, DEAD))


def message(kind: str, said: dict) -> bytes:
    """Return the server-sent event of that kind; its id is the cursor, where it has one."""
    id = f"id: {said['cursor']}\n" if said.get("cursor") else ""
    return f"event: {kind}\n{id}data: {json.dumps(said)}\n\n".encode()
