"""The live screen: what runs, what comes next, what failed last; redrawn by events, with keys that do what commands do."""

from __future__ import annotations

import errno
import os
import select
import signal
import termios
import time
import tty
from contextlib import contextmanager, suppress
from heapq import nlargest, nsmallest

from jobspool import hands
from jobspool.errors import NoSuchJob, QueueError
from jobspool.follow import states_of
from jobspool.say import age, counted, person, printable, progress_words, rank, short, why_dead
from jobspool.spool import PAUSED
from jobspool.states import DEAD, FAILED, PENDING, PROCESSING
from jobspool.watch import Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jobspool.job import Job
    from jobspool.spool import Spool

MOST_DRAWN = 1000  # jobs of a state that are read for the screen
WIDEST = 1000  # columns, and lines, that are drawn
FRAME = 0.1  # seconds at least between two drawings
KEYS = {"\x1b[A": "up", "k": "up", "\x1b[B": "down", "j": "down", "\x03": "q", "\x04": "q"}


class Screen:
    """The live screen: look() reads the spool, lines() lays it out, run() draws and obeys keys until the person quits."""

    def __init__(
        self, spool: Spool, seen: Callable[[], dict], stats: Callable[[str], dict], show_log: Callable[[Job], None]
    ) -> None:
        self.spool = spool
        self._look = seen
        self._stats = stats
        self._log = show_log
        self.said = ""  # of the last key
        self.at = 0  # which of the jobs shown is chosen
        self.chosen: str | None = None  # its id, once the person has chosen
        self.far: dict[str, str] = {}  # how far running jobs say they are
        self.jobs: list[Job] = []  # that are shown, in their order

    def look(self) -> None:
        """See what lies in the spool now."""
        spool = self.spool
        self.seen = self._look()
        stats = {state: self._stats(state) for state in (PENDING, FAILED, DEAD)}
        first = nsmallest(MOST_DRAWN, stats[PENDING], key=lambda id: stats[PENDING][id].st_mtime_ns)
        waiting = [job for id in first if (job := spool.read(PENDING, id))]
        aging = spool.settings_or_default().priority_aging
        self.next = sorted(waiting, key=lambda job: rank(job, aging))
        failed = nlargest(20, ((found.st_ctime_ns, state, id) for state in (FAILED, DEAD) for id, found in stats[state].items()))
        self.failed = [job for _, state, id in failed if (job := spool.read(state, id))]
        busy = {worker["job"]: worker for worker in self.seen["workers"] if worker["job"]}
        self.running = [job for id in busy if (job := spool.read(PROCESSING, id))]
        self.far = {id: progress_words(worker) for id, worker in busy.items()}

    def lines(self, width: int, height: int) -> list[tuple[str, str]]:
        """Return the screen's lines, each with its style, no wider nor more than there is room for."""
        counts = "   ".join(f"{state} {count}" for state, count in self.seen["states"].items())
        paused = (
            "   PAUSED" + (f" ({self.seen['pause_reason']})" if self.seen["pause_reason"] else "") if self.seen["paused"] else ""
        )
        found = [(self.spool.root, "bold"), (counts + paused, "")]  # a path may be longer than the line
        self.jobs = []
        busy = {worker["job"] for worker in self.seen["workers"]}
        idle = sum(not worker["job"] for worker in self.seen["workers"])
        room = max(3, height - len(found) - 7)
        found += self._part(f"running: {counted(len(self.seen['workers']), 'worker')}, {idle} idle", self.running, room // 3)
        found += self._part("next", [job for job in self.next if job.id not in busy], room // 3)
        found += self._part("failed last", self.failed, room - 2 * (room // 3))
        self.at = next((i for i, job in enumerate(self.jobs) if job.id == self.chosen), min(self.at, max(0, len(self.jobs) - 1)))
        return found[: max(1, height - 1)]

    def _part(self, title: str, jobs: list[Job], most: int) -> list[tuple[str, str]]:
        shown = jobs[: max(1, most)]
        lines = [("", ""), (title + (f" ({len(shown)} of {len(jobs)})" if len(jobs) > len(shown) else ""), "bold")]
        for job in shown:
            self.jobs.append(job)
            what = (
                why_dead(job) if job.state == DEAD else age(job) + (self.far.get(job.id, "") if job.state == PROCESSING else "")
            )
            lines.append(
                (f"  {short(job.id):<12} {what[:30]:<30} {job.command or job.problem or ''}", f"job {len(self.jobs) - 1}")
            )
        return lines if shown else [*lines, ("  none", "dim")]

    def run(self) -> bool:
        """Draw at each event, and obey keys; True when the person quits, False when the terminal is closed."""
        from rich.console import Console
        from rich.live import Live

        before = termios.tcgetattr(0)
        folders = states_of(self.spool)
        console = Console(highlight=False, markup=False)
        if console.width > WIDEST or console.height > WIDEST:  # no real one, which to fill would take for ever
            console = Console(highlight=False, markup=False, width=min(console.width, WIDEST), height=min(console.height, WIDEST))
        try:
            tty.setcbreak(0)
            with (
                Watch({**folders, self.spool.root: ("deleted",), f"{self.spool.root}/workers": ("deleted", "modified")}) as watch,
                Live(console=console, screen=True, auto_refresh=False) as live,
            ):
                self._live, self._terminal = live, before
                signal.signal(signal.SIGTSTP, self._suspend)
                poll = select.poll()
                for source in (0, watch):
                    poll.register(source, select.POLLIN)
                while True:
                    self.look()
                    live.update(self._drawn(console), refresh=True)
                    ready = dict(poll.poll(1000))  # times go by on the screen
                    if 0 in ready and not self._obey(os.read(0, 64).decode("utf-8", "replace")):
                        return True
                    if watch.fileno() in ready:
                        time.sleep(FRAME)
                        watch.take()
        except OSError as error:
            if error.errno != errno.EIO:  # the terminal was closed
                raise
            return False
        finally:
            try:
                termios.tcsetattr(0, termios.TCSADRAIN, before)
            except termios.error:
                pass  # the terminal is gone

    def _drawn(self, console: object) -> object:
        from rich.text import Text

        width, height = console.size
        text = Text(no_wrap=True, overflow="ellipsis")
        for line, style in self.lines(width, height):
            chosen = style == f"job {self.at}"
            text.append(printable(line)[: width - 1], "reverse" if chosen else style if style in ("bold", "dim") else "")
            text.append("\n")
        text.append(printable(self.said or "l log  c cancel  r retry  h hold  p pause  q quit")[: width - 1], "dim")
        return text

    def _obey(self, typed: str) -> bool:
        """Do what the key says; False to quit."""
        if not typed:
            return False
        key = KEYS.get(typed, typed)
        self.said = ""
        if key == "q":
            return False
        if key in ("up", "down"):
            self.at = max(0, min(len(self.jobs) - 1, self.at + (1 if key == "down" else -1)))
            self.chosen = self.jobs[self.at].id if self.jobs else None
            return True
        try:
            self.said = self._do(key)
        except (QueueError, NoSuchJob) as error:
            self.said = str(error)
        return True

    def _do(self, key: str) -> str:
        """Do it, and return what to say of it."""
        settings = self.spool.settings()
        if key == "p":
            if os.path.lexists(f"{self.spool.root}/{PAUSED}"):
                hands.resume(self.spool)
                return "resumed"
            hands.pause(self.spool, f"by {person()}", settings)
            return "paused"
        if key not in "lcrh" or not self.jobs:
            return ""
        job = self.spool.find(f"{self.jobs[self.at].id}.json")
        if key == "l":
            with self._away(), suppress(KeyboardInterrupt):
                self._log(job)
            return ""
        if key == "c":
            hands.cancel(self.spool, job, f"by {person()}", settings)
            return f"{short(job.id)} is cancelled"
        if key == "r":
            hands.retry(self.spool, job, settings)
            return f"{short(job.id)} is tried again"
        if "hold" in job.record:
            hands.release(self.spool, job, settings)
            return f"{short(job.id)} is released"
        hands.hold(self.spool, job, f"by {person()}", settings)
        return f"{short(job.id)} is held"

    @contextmanager
    def _away(self) -> Iterator[None]:
        """Let the terminal be as it was, meanwhile."""
        self._live.stop()
        termios.tcsetattr(0, termios.TCSADRAIN, self._terminal)
        try:
            yield
        finally:
            tty.setcbreak(0)
            self._live.start(refresh=True)

    def _suspend(self, number: int, _: object) -> None:
        """Ctrl-Z: stop as any program does, and come back with the screen when the person does."""
        with self._away():
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            signal.signal(number, self._suspend)
