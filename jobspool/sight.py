"""See what waits in the spool, and know what may run next.

Events are hints and a scan is what counts: the directories are read again every so often, after events were lost, and all the
time where there are none.
"""

from __future__ import annotations

import errno
import math
import os
import time
from collections import OrderedDict
from itertools import islice

from jobspool import admission, config, durable, names
from jobspool import claim as claims
from jobspool.errors import BrokenConfig, NotAJob
from jobspool.filesystem import is_remote
from jobspool.index import Index, Times
from jobspool.job import ENDING, check_id, id_of, last_moment, parse, too_late, waits_since, waits_until
from jobspool.spool import PAUSED, Spool, is_unfinished, read_file
from jobspool.states import DEAD, DONE, FAILED, PENDING, PROCESSING, STATES
from jobspool.trust import ODD_FILES, forbidden
from jobspool.watch import TOLD_TO_LOOK, Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOOK_AGAIN = 0.5  # seconds until a job whose lock is held, or whose name runs, is looked at again
LOOK_FOR_PARENTS = 1.0  # seconds between looks for those whose end other supervisors, or hands, see to
SCAN_EVERY = 5.0  # seconds between scans beside working events
AFTER_TROUBLE = 2.0  # seconds until what the disk refused is tried again
MOST_AGAIN = 100  # looks a second at files that can't be read
SCAN_BLIND = 1.0  # seconds between scans where events can't be had
AT_ONCE = 100  # things that are seen to before a free worker gets its next job
SLICE = 0.05  # seconds, after which the same is done
LONGEST_SCAN = 0.2  # seconds, after which the rest of a directory is looked at in slices
TELLING = (
    b"priority",
    b"attempts",
    b"hold",
    b"expires",
    b"deadline",
    b"group",
    b"locks",
    b"slots",
    b"after",
    b"\\",
)  # an escape may spell any word
NAMED = 10  # files that are never run, of which each is told


class Sight:
    """What one supervisor knows of what waits. `settings` are the last good ones; `paused` tells that nothing is to start.

    `runs` tells of an id whether a job of that name runs here, and then has its worker look whether it was moved away; `tell`
    takes the events that a person may want to know of, `trouble` what the disk does, and what comes of it. No method but
    nothing_is_left() raises OSError: what couldn't be seen or moved is tried again.
    """

    def __init__(
        self,
        spool: Spool,
        runs: Callable[[str], bool],
        tell: Callable[..., None],
        trouble: Callable[[OSError, str], None],
    ) -> None:
        self.spool = spool
        self.settings = spool.settings()
        self.paused = False
        self.scan_at = 0.0  # monotonic
        self.again = Times()  # when to look at an id again (monotonic)
        self.unfit: dict[str, str] = {}  # ids of files that are no whole jobs, and why
        self.watch = Watch(
            {spool.folder(DEAD): ()} | dict.fromkeys((spool.root, *map(spool.folder, (PENDING, FAILED))), ("deleted",))
        )
        self._index = Index()
        self._index.aging, self._index.weights = self.settings.priority_aging, admission.weights(self.settings)
        self._runs = runs
        self._tell = tell
        self._trouble = trouble
        self._remote = is_remote(spool.root)
        self._missed = True  # events were lost, as before the watch began: look at everything again
        self._late = Times()  # when pending jobs will be too late (seconds since 1970)
        self._needing: dict[str, tuple[str, ...]] = {}  # what jobs need that were handed out, or are in line
        self._parents_at = 0.0  # monotonic
        self._parents: dict[str, set[str]] = {}  # for whom jobs wait: who waits for it
        self._waiting: dict[str, str] = {}  # the other way round
        self._stood: dict[str, str | None] = {}  # in which state those for whom jobs wait were seen last
        self._held: set[str] = set()  # ids of pending jobs that wait until they are released
        self._mtimes: dict[str, int] = {}  # of the directories when they were last read
        self._to_note: set[str] = set()  # ids in dead/ that a failing disk, or who holds them, kept from being noted
        self._dead: set[str] = set()  # ids that lay in dead/ when it was last read
        self._to_look: list[str] = []  # those of them that are still to be looked at
        self.arrived: list[str] = []  # ids that came to pending/ while we looked, until somebody takes them
        self._seen: OrderedDict[tuple[str, str], None] = OrderedDict()  # events that are still to be taken
        self._backlog: OrderedDict[tuple[str, str], None] = OrderedDict()  # what may wait for those: in dead/, or of a long scan
        self._odd: dict[tuple[str, str], str] = {}  # (state, id) of files that are never run, and why, as it was told
        self._linked: dict[tuple[str, str], int] = {}  # the same of what has links elsewhere, and its ctime (ns)
        self._refused: dict[tuple[str, str], int] = {}  # the same of what a claim refused, until the next scan

    def look_around(self, clock: float) -> None:
        """Take the events that came, scan if it is time to, and move what is due again."""
        for folder, name in self.watch.take():
            (self._backlog if folder == self.spool.folder(DEAD) else self._seen)[folder, name] = None
        for seen in (self._seen, self._backlog):
            for _ in _slice():
                if not seen:
                    break
                (folder, name), _ = seen.popitem(last=False)
                self._see(folder, name)
        if clock >= self.scan_at:
            self._scan(clock)
        for _ in _slice():
            if not (ids := self.again.take(clock, 1)):
                break
            self.look(*ids)
        for _ in _slice():
            if not self._to_look:
                break
            self.note_dead(self._to_look.pop())
        if self._parents and clock >= self._parents_at:
            self._parents_at = clock + LOOK_FOR_PARENTS
            self._look_for_parents()
        for id in self._late.take(self.spool.now(), AT_ONCE):
            self.look(id)
        if not self.paused:
            self._requeue()

    def take_unfit(self) -> list[tuple[str, str]]:
        """Take out and return what was found to be no whole job: ids, and why."""
        return [(id, self.unfit.pop(id)) for id in list(islice(self.unfit, AT_ONCE))]

    def miss(self) -> None:
        """Know that events were lost: all is looked at again."""
        self.scan_at, self._missed = 0.0, True

    def put_off(self, id: str) -> None:
        """Look at a pending file again after a while; where there are many of them, after a longer one."""
        self.again[id] = time.monotonic() + max(AFTER_TROUBLE, len(self.again) / MOST_AGAIN)

    def waiting(self) -> int:
        """Return how many jobs are known to be pending, those apart that are looked at again first."""
        return self._index.waiting()

    def next(self, most: int = 1) -> list[str]:
        """Take out and return the ids of the jobs that are to run next, at most so many; none when none may run now."""
        if self.paused:
            return []
        now, ids = self.spool.now(), []
        while len(ids) < most and (id := self._index.next(now)) is not None:
            ids.append(id)
        return ids

    def vital(self) -> tuple[float | None, float | None, int]:
        """Return since when the oldest job that may run waits, when a failed one is due next (seconds since 1970), and how many
        are pending."""
        return self._index.oldest(self.spool.now()), self._index.next_due(), self._index.waiting()

    def seconds_to_sleep(self, clock: float) -> float:
        """Return for how long there will be nothing to see to, if no event comes."""
        if self._seen or self._backlog or self.unfit or self._to_look:
            return 0.0
        again = self.again.next()
        sleep = (self.scan_at if again is None else min(self.scan_at, again)) - clock
        if self._parents:
            sleep = min(sleep, self._parents_at - clock)
        now = self.spool.now()
        times = (None if self.paused else self._index.next_time(now), self._late.next())
        due = min((each for each in times if each is not None), default=None)
        return sleep if due is None else min(sleep, due - now + 0.0005)

    def knows_nothing(self) -> bool:
        """Tell whether no job is known that waits."""
        return len(self._index) == self._index.barred() and not any(map(len, (self.again, self.unfit, self._seen, self._backlog)))

    def nothing_is_left(self) -> bool:
        """Look, and tell whether nothing lies there that runs or may run by itself; files that are never run don't count."""
        return not is_unfinished(self.spool, self.settings, self._held)

    def look(self, *ids: str, closely: bool = False) -> None:
        """Look at pending files, one after the other."""
        for id in ids:
            self._look(id, closely)

    def _look(self, id: str, closely: bool) -> None:
        """Look at a pending file and note when and in which order it may run.

        Whether it is a whole job is seen here only where it doesn't look like one, or `closely`; else the claim will see.
        """
        self.unfit.pop(id, None)
        self.again.remove(id)
        self._held.discard(id)
        self._late.remove(id)
        self._wait_no_more(id)
        found = None
        try:
            found = os.lstat(self.spool.path(PENDING, id))
            if self._runs(id):
                self.again[id] = time.monotonic() + LOOK_AGAIN
            else:
                self._look_at(id, found, closely)
        except FileNotFoundError:
            if os.path.isdir(self.spool.folder(PENDING)):
                self._index.remove(id)
                self._forget_odd(PENDING, id)
                if not os.path.lexists(self.spool.path(PROCESSING, id)):
                    self._needing.pop(id, None)
            else:
                self.put_off(id)
        except OSError as error:
            if found is None:
                self._trouble(error, "a job waits")
                self.put_off(id)
            else:
                self._index.add(id, 0, found.st_mtime_ns / 1e9)  # it can't be read: the claim will say why

    def _look_at(self, id: str, found: os.stat_result, closely: bool) -> None:
        """Note of a pending file when it may run and in which order, or why it never will. Raises OSError."""
        odd, content = self._oddity(PENDING, id, found), b""
        if not odd:
            try:
                content, found = read_file(self.spool.path(PENDING, id), self.settings.max_job_bytes)
            except PermissionError:
                odd = ODD_FILES[errno.EACCES]
        if odd:
            self._index.remove(id)
            self._tell_odd(PENDING, id, odd)
            return
        self._forget_odd(PENDING, id)
        if not closely and _looks_plain(content):
            self._index.add(id, 0, found.st_mtime_ns / 1e9)
            return
        try:
            record = parse(content, self.settings.max_job_bytes)
            check_id(id)
        except NotAJob as error:
            self._index.remove(id)
            self.unfit[id] = str(error)
        else:
            mtime = found.st_mtime_ns / 1e9
            self._take_its_place(id, record, waits_until(record, mtime), waits_since(record, mtime, found.st_ctime_ns / 1e9))

    def _take_its_place(self, id: str, record: dict, start: float, since: float) -> None:
        """Note a whole job: in line, held, or too late."""
        if late := too_late(record, self.spool.now()):
            self._index.remove(id)
            self.bury(id, late)
            return
        if (last := last_moment(record)) is not None:
            self._late[id] = last
        if start == math.inf:
            self._index.remove(id)
            self._held.add(id)
        elif admission.concerns(record):
            self._take_its_line(id, record, start, since)
        else:
            self._index.add(id, record.get("priority", 0), start, since=since)

    def _take_its_line(self, id: str, record: dict, start: float, since: float) -> None:
        """Note a job that needs more than a worker: in the line of those that need the same, or as one that waits for another."""
        waits = admission.waits_for(record, self.spool.state_of)
        if waits:
            self._index.remove(id)
            self._waiting[id] = waits.parent
            self._parents.setdefault(waits.parent, set()).add(id)
            if waits.never or self._comes_after_itself(id):
                self._wait_no_more(id)
                self.bury(id, waits.why if waits.never else "it comes after itself")
        else:
            needs = admission.names(record)
            if barred := admission.closed(record, self.settings):
                self._index.full(barred[0])
                needs = tuple(dict.fromkeys((*needs, barred[0])))
            self._index.add(id, record.get("priority", 0), start, needs, since)
            if needs:
                self._needing[id] = needs

    def _comes_after_itself(self, id: str) -> bool:
        """Tell whether whoever the job waits for waits for it."""
        seen, at = set(), self._waiting.get(id)
        while at is not None and at not in seen:
            if at == id:
                return True
            seen.add(at)
            at = self._waiting.get(at)
        return False

    def _wait_no_more(self, id: str) -> None:
        parent = self._waiting.pop(id, None)
        if parent is not None:
            self._parents[parent].discard(id)
            if not self._parents[parent]:
                del self._parents[parent]
                self._stood.pop(parent, None)

    def ended(self, id: str) -> None:
        """An attempt of a job has ended: what it needed may be had again, and who waits for it is looked at."""
        if needs := self._needing.pop(id, None):
            self._index.free(needs)
        self._see_children(id)

    def full(self, id: str, name: str, until: float | None) -> None:
        """A claim found that something is used up: nobody else who needs it is offered until some of it may be had."""
        self._index.full(name, self.spool.now() + LOOK_AGAIN if until is None else until)
        self.look(id, closely=True)

    def _look_for_parents(self) -> None:
        """See which parents have come to another state by others' doing, and let their children be looked at."""
        for parent in list(self._parents):
            state = self.spool.state_of(parent)
            if state != self._stood.get(parent, PENDING):
                self._stood[parent] = state
                if state in (DONE, DEAD, None):
                    self._see_children(parent)

    def _see_children(self, parent: str) -> None:
        """Let those who wait for the job be looked at, some at a time."""
        for child in self._parents.get(parent, ()):
            self.again[child] = 0.0

    def refuse(self, id: str, why: str, state: str = PENDING) -> None:
        """A claim found that the file is not to be run: it isn't tried again until it changes, or the next scan."""
        self._tell_odd(state, id, why)
        try:
            found = os.lstat(self.spool.path(state, id))
        except OSError:
            return  # RACE: it is gone; or the disk fails, and the next scan tells
        self._refused[state, id] = found.st_ctime_ns

    def bury(self, id: str, why: str) -> None:
        """Move a pending job that is not to run any more to dead/, with the reason on record."""
        try:
            buried = claims.bury(self.spool, id, PENDING, why, self.settings)
        except OSError as error:
            self._trouble(error, "a job that is too late waits")
            buried = None
        if buried is None:
            self.put_off(id)
        elif buried:
            self._tell("buried", id=id, why=why)

    def look_failed(self, id: str) -> None:
        """Look at a failed file and note when it is due again."""
        try:
            due = self._due_of(id)
        except OSError as error:
            self._put_off_failed(id, error)
            return
        if due is None:
            self._index.remove_failed(id)
        else:
            self._index.add_failed(id, due)

    def _due_of(self, id: str) -> float | None:
        """Return when the failed file is due again, None where it is gone or never will be. Raises OSError."""
        try:
            found = os.lstat(self.spool.path(FAILED, id))
            odd = self._oddity(FAILED, id, found)
        except FileNotFoundError:
            self._forget_odd(FAILED, id)
            return None
        if odd:
            self._tell_odd(FAILED, id, odd)
            return None
        self._forget_odd(FAILED, id)
        return found.st_mtime_ns / 1e9

    def _oddity(self, state: str, id: str, found: os.stat_result) -> str | None:
        """Return why a file is not run. One that has two names here, as a power cut leaves it, is the claim's to put right."""
        if self._refused.get((state, id)) == found.st_ctime_ns:
            return self._odd.get((state, id))
        odd = self.spool.distrust(found, self.settings, linked=True)
        if odd is None and found.st_uid != os.geteuid():
            odd = forbidden(self.spool.path(state, id), found)
        if odd or found.st_nlink == 1:
            return odd
        if self._linked.get((state, id)) != found.st_ctime_ns and names.has_another(self.spool, id, found):
            return None
        self._linked[state, id] = found.st_ctime_ns
        return self.spool.distrust(found, self.settings)

    def _tell_odd(self, state: str, id: str, why: str) -> None:
        """Tell of a file that is never run: once, and where there are many, only how many."""
        if self._odd.get((state, id)) == why:
            return
        self._odd[state, id] = why
        many = len(self._odd)
        if many <= NAMED:
            self._tell("trouble", why=f"{state}/{id}{ENDING} is not run: {why}")
        elif many == NAMED + 1 or str(many).strip("0") == "1":
            self._tell("trouble", why=f"{many} files are not run: `queuectl status` says why")

    def _forget_odd(self, state: str, id: str) -> None:
        for known in (self._odd, self._linked, self._refused):
            known.pop((state, id), None)

    def _put_off_failed(self, id: str, error: OSError) -> None:
        self._trouble(error, "a failed job waits beyond its time")
        self._index.add_failed(id, self.spool.now() + AFTER_TROUBLE)

    def _see(self, folder: str, name: str) -> None:
        """Take an event: something came to `folder` under `name`, or was closed or touched there."""
        if name == TOLD_TO_LOOK:
            self.miss()
        elif folder == self.spool.root:
            self._look_at_root(name)
        elif (id := id_of(name)) is not None:
            self._look_in(os.path.basename(folder), id)

    def _look_in(self, state: str, id: str) -> None:
        if state == PENDING:
            self._meet(id)
            return
        self._runs(id)  # hands may have moved it there while it ran
        if state == FAILED:
            self.look_failed(id)
        else:
            self.note_dead(id)

    def _arrive(self, id: str) -> None:
        """Note that the pending file is one which nobody here knew of."""
        known = (self._index, self.unfit, self._held, self._waiting)
        if (PENDING, id) not in self._odd and not any(id in each for each in known):
            self.arrived.append(id)

    def note_dead(self, id: str) -> None:
        """Let a job that hands put into dead/ say so, if one lies there."""
        try:
            noted = claims.note_dead(self.spool, id, self.settings)
            if noted:
                self._tell("noted", id=id, why="it was put into dead/ by hand")
            self._to_note.add(id) if noted is None else self._to_note.discard(id)
        except OSError as error:
            self._trouble(error, "what hands put into dead/ doesn't say so")
            self._to_note.add(id)

    def _look_at_root(self, name: str) -> None:
        if name in (PAUSED, config.FILE):
            self._look_beside()

    def _look_beside(self) -> None:
        """Look whether the spool is paused, and at its settings. Nothing changes where it is gone."""
        try:
            self._look_paused()
            self._read_settings()
        except OSError as error:
            self._trouble(error, "nothing new is known of the spool")

    def _look_paused(self) -> None:
        try:
            os.lstat(f"{self.spool.root}/{PAUSED}")
            paused = True
        except FileNotFoundError:
            durable.see_folder(self.spool.root)
            paused = False
        if paused != self.paused:
            self.paused = paused
            self._tell("paused" if paused else "resumed")

    def _read_settings(self) -> None:
        try:
            settings = self.spool.settings()
        except BrokenConfig as error:
            self._tell("trouble", why=f"the last good settings stay in force: {error}")
            return
        if settings.given != self.settings.given:
            self.settings = settings
            self._order_anew()

    def _order_anew(self) -> None:
        """Let the order, and what keeps jobs from running, be as the settings say now."""
        self._index.free()
        self._index.aging, self._index.weights = self.settings.priority_aging, admission.weights(self.settings)
        self._seen |= dict.fromkeys((self.spool.folder(PENDING), id + ENDING) for id in self._index.pending())

    def _scan(self, clock: float) -> None:
        """Read the directories: whatever events there were, this is what counts."""
        stale, blind = self.watch.stale(), self._remote or not self.watch.works
        if stale or not self.watch.works:
            self.watch.stop()
            self._missed |= stale
            if all(os.path.isdir(self.spool.folder(state)) for state in STATES):
                self.watch.start()
        blind, missed = blind or not self.watch.works or self._missed, self._missed
        self._missed = False
        try:
            self._look_paused()
            if blind:
                self._read_settings()
            refused, self._refused = self._refused, {}
            for state, id in (*refused, *self._linked):  # what makes them odd may lie elsewhere
                self.look(id) if state == PENDING else self.look_failed(id)
            self._scan_state(PENDING, self._meet, blind)
            self._scan_state(FAILED, self.look_failed, blind)
            if blind:
                self._scan_dead(missed)
        except OSError as error:
            self._trouble(error, "nobody sees what waits")
            self._missed = blind = True
        for id in tuple(self._to_note):
            self.note_dead(id)
        took = time.monotonic() - clock
        self.scan_at = time.monotonic() + max(SCAN_BLIND if blind or self._to_note else SCAN_EVERY, 50 * took)

    def _scan_state(self, state: str, look: Callable[[str], None], blind: bool) -> None:
        """Look at what isn't known, and at what has gone; where events can't be had, at everything: it may have been touched."""
        changed = os.stat(self.spool.folder(state)).st_mtime_ns
        if not blind and self._mtimes.get(state) == changed:
            return
        there, known = set(self.spool.names(state)), self._known(state)
        until = time.monotonic() + LONGEST_SCAN
        for id in sorted(there | known if blind else there ^ known):
            if time.monotonic() < until:
                look(id)
            else:
                self._backlog[self.spool.folder(state), id + ENDING] = None  # while workers run what is known, and what comes
        self._mtimes[state] = changed

    def _meet(self, id: str) -> None:
        self._arrive(id)
        self.look(id)

    def _scan_dead(self, missed: bool) -> None:
        """See what came to dead/, to be looked at; where events were lost all of it, as hands may have moved it to and fro."""
        there = set(self.spool.names(DEAD))
        self._to_look = list(there) if missed else [*self._to_look, *(there - self._dead)]
        self._dead = there

    def _known(self, state: str) -> set[str]:
        """Return the ids of the files that were looked at and have not gone since, as far as events tell."""
        odd = {id for there, id in self._odd if there == state}
        if state == FAILED:
            return odd | self._index.failed()
        return odd | self._index.pending() | self.again.ids() | self.unfit.keys() | self._held | self._waiting.keys()

    def _requeue(self) -> None:
        """Move the failed jobs whose time has come to pending/."""
        now = self.spool.now()
        for id in self._index.take_due(now, AT_ONCE):
            try:
                self._requeue_one(id, now)
            except OSError as error:
                if error.errno == errno.EPERM:  # chattr +i
                    self.refuse(id, f"it can't be moved: {error.strerror}", FAILED)
                else:
                    self._put_off_failed(id, error)

    def _requeue_one(self, id: str, now: float) -> None:
        if self._due_of(id) is None:
            return  # it is another than it was
        due = claims.due_again(self.spool, id, now, self.settings)
        if due is not None:
            self._index.add_failed(id, due)
            return
        try:
            found = os.lstat(self.spool.path(FAILED, id))
        except FileNotFoundError:
            self.look(id)
        else:
            self.refuse(id, self.spool.distrust(found, self.settings) or "somebody else moves it", FAILED)


def _looks_plain(content: bytes) -> bool:
    """Tell whether the content looks like a job that has no priority and no time but its mtime: it need not be parsed."""
    return content[:1] == b"{" and content[-2:].rstrip()[-1:] == b"}" and not any(word in content for word in TELLING)


def _slice() -> Iterator[int]:
    """Yield as often as something may be seen to at one go: AT_ONCE times, and for no longer than SLICE; at least once."""
    until = time.monotonic() + SLICE
    for number in range(AT_ONCE):
        if number and time.monotonic() > until:
            return
        yield number
