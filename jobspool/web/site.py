"""What all requests share: the spool, what is known of it, the threads that do what takes time, and answers for many."""

from __future__ import annotations

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from jobspool.errors import NoSuchJob
from jobspool.job import Job
from jobspool.web.dead import Reasons
from jobspool.web.undos import Undos

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from jobspool.spool import Spool
    from jobspool.web.catalogue import Catalogue
    from jobspool.web.live import Pulse

LOOKING, DOING = 6, 32  # threads that read the spool for all who ask, and that change it: some wait until a job has ended
MOST_ANSWERS = 64  # that are kept
ROUNDS = 5  # in which a job is looked for that moves
LASTS = 1.0  # seconds, for which an answer is given again while nothing changes: its words of time get old
OFTEN = 4  # times that something is asked between two looks, so that the answer is made anew before it is asked again


class Answer:
    """An answer that is given again, as JSON; what makes it; when that was (monotonic), after which look, of which version."""

    __slots__ = ("asked", "at", "body", "look", "make", "version")

    def __init__(self, version: int, look: int, make: Callable[[], object], body: bytes) -> None:
        self.version, self.look, self.make, self.body = version, look, make, body
        self.at = time.monotonic()
        self.asked = 0  # times since the last look


class Site:
    """The spool, its catalogue and pulse, and what is remembered between requests."""

    def __init__(self, spool: Spool, catalogue: Catalogue, pulse: Pulse, *, version: str, read_only: bool = False) -> None:
        self.spool = spool
        self.catalogue = catalogue
        self.pulse = pulse
        self.version = version
        self.read_only = read_only
        self.undo = Undos()
        self.reasons = Reasons()
        self._looking = ThreadPoolExecutor(LOOKING, "looking")
        self._doing = ThreadPoolExecutor(DOING, "doing")
        self._answers: dict[object, Answer] = {}  # both are others after forget(), by whatever thread: who has one keeps to it
        self._making: dict[object, asyncio.Future] = {}
        pulse.looked = self.make_anew

    async def work(self, deed: Callable, *words: object, **more: object) -> object:
        """Look at the spool in a thread, and return what that returns."""
        return await asyncio.get_running_loop().run_in_executor(self._looking, partial(deed, *words, **more))

    async def do(self, deed: Callable, *words: object) -> object:
        """Change the spool in a thread, and return what that returns."""
        self.pulse.asked()
        return await asyncio.get_running_loop().run_in_executor(self._doing, partial(deed, *words))

    def known(self, key: object) -> bytes | None:
        """Return the answer that was made for the key, None where it is too old: nothing is made oftener than is looked.

        After a look, the last one is given while it is made anew.
        """
        known = self._answers.get(key)
        if known is None or time.monotonic() - known.at >= LASTS:
            return None
        known.asked += 1
        behind = self.pulse.looks - known.look
        good = behind == 0 or known.version == self.catalogue.version or (behind == 1 and key in self._making)
        return known.body if good else None

    async def answer(self, key: object, make: Callable[[], object]) -> bytes:
        """Return what `make` returns, as JSON: made in a thread, once for all who ask, and given again while it is good."""
        await self.pulse.fresh()
        if (body := self.known(key)) is not None:
            return body
        return await asyncio.shield(self._making.get(key) or self._begin(key, make))

    def make_anew(self) -> None:
        """After a look: begin to make anew what was often asked since the last one, and is no longer good."""
        for key, known in self._answers.items():
            often, known.asked = known.asked >= OFTEN, 0
            changed = known.version != self.catalogue.version or time.monotonic() - known.at >= LASTS - self.pulse.tick
            if often and changed and key not in self._making:
                self._begin(key, known.make)

    def _begin(self, key: object, make: Callable[[], object]) -> asyncio.Future:
        there = self._making
        making = there[key] = asyncio.ensure_future(self._make(key, make))
        making.add_done_callback(partial(_made, there, key))
        return making

    async def _make(self, key: object, make: Callable[[], object]) -> bytes:
        version, look, answers = self.catalogue.version, self.pulse.looks, self._answers
        body = await self.work(lambda: json.dumps(make()).encode())
        if len(answers) >= MOST_ANSWERS and key not in answers:
            answers.clear()
        answers[key] = Answer(version, look, make, body)  # in vain where forget() was called meanwhile
        return body

    def forget(self) -> None:
        """Give no answer again, nor one that is being made: something was just changed by who asks."""
        self._answers, self._making = {}, {}

    def job(self, handle: str) -> Job:
        """Return the job that is meant, as it lies there now. Raises NoSuchJob, AmbiguousJob."""
        id = self.catalogue.meant(handle)
        if job := self.read(self.spool.state_of(id), id):
            return job
        raise NoSuchJob(f"{id} is no longer in {self.spool.root}")

    def read(self, state: str | None, id: str, most: int | None = None) -> Job | None:
        """Return the job as it lies in that state, or wherever it has moved since the last look; None where it is no more."""
        for _ in range(ROUNDS):  # RACE: it moves between two looks
            if state is not None and (job := self.spool.read(state, id, most)):
                return job
            state = self.spool.state_of(id)
        return None

    def end(self) -> None:
        """Begin nothing more, and leave nothing in tmp/."""
        self.undo.forget_old(all_of_them=True)
        for threads in (self._looking, self._doing):
            threads.shutdown(wait=False, cancel_futures=True)


def _made(making: dict[object, asyncio.Future], key: object, done: asyncio.Future) -> None:
    del making[key]
    if not done.cancelled():
        done.exception()  # is for who awaits it, where anybody does: who asks next meets it, too
