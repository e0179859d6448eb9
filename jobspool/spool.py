"""The spool: where it is, how a job gets in, and how to look at what lies there.

Readers take no locks and never trust a listing: files move under their feet, so what has gone is passed over.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from contextlib import contextmanager, nullcontext

from jobspool import config, durable, filesystem
from jobspool.errors import (
    AmbiguousJob,
    BrokenConfig,
    JobExists,
    NoSuchJob,
    NotAJob,
    NotASpool,
    TryAgain,
    UnsafeSpool,
    WrongValue,
)
from jobspool.job import ENDING, IGNORED_ENDINGS, Job, check, check_id, id_of, largest, new_id, parse, written
from jobspool.states import DEAD, DONE, FAILED, PENDING, PROCESSING, STATES, TOLD_FIRST, may_put
from jobspool.trust import ODD_FILES, READ, distrust, distrust_type, forbidden, user_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Container, Iterable, Iterator

OTHERS = ("tmp", "logs", "workers")
PAUSED = "paused"  # while a file of this name is in the spool, nothing new is started
PARENT = "TRACEPARENT"  # of the environment: the trace that who adds a job is a part of
AN_INSTANT = 0.02  # seconds
AT_ONCE = 16  # files that are open while many are added
TOLD_AT_ONCE = 64  # jobs of which the journal is told at one go
FEW = 8  # jobs that are added at once: for each of more, not every state is looked at
SEARCH_ORDER = (PENDING, PROCESSING, FAILED, DEAD, DONE)


def _joined(record: dict) -> dict:
    from jobspool import traceparent

    return traceparent.joined(record, os.environ)


class Luck:
    """The kernel's random bits, as random.SystemRandom has them, for a command that can't wait for that to be imported."""

    def getrandbits(self, count: int) -> int:
        """Return so many of them, 64 at most, as a number."""
        return int.from_bytes(os.urandom(8)) >> (64 - count)

    def random(self) -> float:
        """Return a number from 0 to below 1."""
        return self.getrandbits(53) / (1 << 53)


def by_a_program() -> dict[str, str]:
    """Return what the journal says of a program that uses this package."""
    return {"by": "program"}


class Spool:
    """A spool in the file system. Holds no open file and no lock, so threads and forked children may share it.

    `root` is its absolute path; `made` tells that open() has just made it. `by` tells what the journal says of who moves jobs.
    """

    def __init__(self, root: str, *, now: Callable[[], float] = time.time, luck: random.Random | Luck | None = None) -> None:
        self.root = os.path.abspath(root)
        self.made = False
        self.by: Callable[[], dict[str, str]] = by_a_program
        self.now = now
        self.luck = luck or Luck()
        self._mark = self.luck.getrandbits(64)  # with our process id it tells our files in tmp/ from all others
        self._spares = 0
        self._seen_whole = 0.0  # when all the states were last seen to be there (monotonic)
        self._copies: bool | None = None  # see copies_on_write
        self._ordered: bool | None = None  # see keeps_order

    @classmethod
    def open(cls, path: str | os.PathLike[str] | None = None) -> Spool:
        """Return the spool at `path`, or else the one that find_root() names, once it is seen to be whole and safe.

        The user's own spool is made if need be. Raises NotASpool or UnsafeSpool with what to type.
        """
        root, own = (os.fspath(path), False) if path is not None else find_root()
        if own and not os.path.isdir(root):
            spool = cls.init(root)
            spool.made = True
            return spool
        spool = cls(root)
        spool.check()
        return spool

    @classmethod
    def init(cls, path: str | os.PathLike[str], group: str | None = None) -> Spool:
        """Make a spool at `path`, or what is missing of one there, and return it.

        It is for this user alone (mode 0700), or with `group` for the members of that group (mode 2770).
        Raises WrongValue for a group that isn't there, NotASpool where no directory can be made.
        """
        spool = cls(os.fspath(path))
        gid = _group_id(group) if group else None
        try:
            durable.make_parents(spool.root)
            new = not any(os.path.lexists(spool.folder(state)) for state in STATES)
            for folder in (spool.root, *(f"{spool.root}/{name}" for name in (*STATES, *OTHERS))):
                if folder == spool.root and os.path.isdir(folder):
                    continue  # or a link to it
                if durable.make_directory(folder, 0o2770 if group else 0o700) and gid is not None:
                    durable.give_to_group(folder, gid, 0o2770)
            if not os.path.lexists(f"{spool.root}/{config.FILE}"):
                given = {"format": config.FORMAT, **({"group": group} if group else {})}
                content = config.written(given)
                durable.replace(f"{spool.root}/{config.FILE}", spool.spare(), content, 0o660 if group else 0o600)
        except OSError as error:
            raise NotASpool(f"can't make a spool at {spool.root}: {error.strerror}: {error.filename}") from None
        spool.check()
        if new:
            spool.note("counted", [""], None, None, counts=dict.fromkeys(STATES, 0), all=True, by="init")
        return spool

    def check(self) -> None:
        """Return if this is a whole spool that only trusted people can write. Raises NotASpool or UnsafeSpool."""
        for folder in (self.root, *map(self.folder, STATES)):
            try:
                found = os.stat(folder) if folder == self.root else os.lstat(folder)
            except FileNotFoundError:
                raise NotASpool(f"{folder} is missing: `queuectl init {self.root}` makes what a spool needs") from None
            except OSError as error:
                raise NotASpool(f"{folder}: {error.strerror}") from None
            if not stat.S_ISDIR(found.st_mode):
                raise NotASpool(f"{folder} is not a directory")
            if found.st_mode & stat.S_IWOTH:
                raise UnsafeSpool(f"anyone may write to {folder}, so anyone could run jobs as you: chmod o-w {folder}")

    def ready(self) -> None:
        """Make the directories beside the states where they are missing: git keeps only the states.

        Raises UnsafeSpool for a spool that a stranger made: what he drops, or the group he names, is not to be served.
        """
        found = os.stat(self.root)
        shared = bool(found.st_mode & stat.S_ISGID)
        if found.st_uid not in (os.geteuid(), 0) and not (shared and found.st_gid in (os.getegid(), *os.getgroups())):
            owner = user_name(found.st_uid)
            raise UnsafeSpool(
                f"{self.root} belongs to {owner}: only {owner} adds and runs jobs there; choose another with --spool"
            )
        self.furnish()

    def furnish(self) -> list[str]:
        """Make the directories beside the states where they are missing, and return which."""
        mode = 0o2770 if os.stat(self.root).st_mode & stat.S_ISGID else 0o700
        return [name for name in OTHERS if durable.make_directory(f"{self.root}/{name}", mode)]

    def see_states(self) -> None:
        """Return if each state's directory is there, or was an instant ago. Raises DirectoryGone."""
        if (clock := time.monotonic()) > self._seen_whole + AN_INSTANT:
            for state in STATES:
                durable.see_folder(self.folder(state))
            self._seen_whole = clock

    # ---- names

    def folder(self, state: str) -> str:
        """Return the path of the state's directory."""
        return f"{self.root}/{state}"

    def path(self, state: str, id: str) -> str:
        """Return the path of the job's file in that state."""
        return f"{self.root}/{state}/{id}{ENDING}"

    def log_path(self, id: str, number: int, stream: str) -> str:
        """Return the path of what attempt `number` printed on `stream` ("out" or "err")."""
        return f"{self.root}/logs/{id}.{number}.{stream}"

    def spare(self) -> str:
        """Return a fresh path in tmp/."""
        self._spares += 1
        return f"{self.root}/tmp/{os.getpid()}-{self._mark:016x}-{self._spares}"

    @property
    def copies_on_write(self) -> bool:
        """Whether the file system writes elsewhere what is written over, and logs one directory at a time: btrfs."""
        if self._copies is None:
            self._copies = filesystem.forgets_names(self.root)
        return self._copies

    @property
    def keeps_order(self) -> bool:
        """Whether the disk sees all changes of names and sizes in the order in which they were made, as with one journal."""
        if self._ordered is None:
            self._ordered = filesystem.keeps_order(self.root)
        return self._ordered

    def sync_content(self, descriptor: int) -> None:
        """Return when no name that the file gets from now on will be on the disk without its content. Raises OSError."""
        if self.keeps_order:
            durable.write_out([descriptor])
        else:
            durable.sync(descriptor)

    def sync_left(self, states: Iterable[str]) -> None:
        """Return when the disk will not see what comes next without knowing that files have left these states' directories."""
        if self.keeps_order:
            return
        if not self.copies_on_write or not durable.sync_filesystem(self.root):
            for state in sorted(states):
                durable.sync_directory(self.folder(state))

    def settings(self) -> config.Settings:
        """Return the settings as they are now. Raises BrokenConfig."""
        return config.load(self.root)

    def settings_or_default(self) -> config.Settings:
        """Return the settings as they are now, the default ones where config.json is broken: looking goes on."""
        try:
            return self.settings()
        except BrokenConfig:
            return config.Settings()

    def file_mode(self, settings: config.Settings) -> int:
        """Return the mode of new files: the user's alone, or the group's too in a shared spool."""
        return 0o660 if settings.group else 0o600

    # ---- the journal

    def note(
        self,
        event: str,
        ids: Iterable[str],
        source: str | None,
        target: str | None,
        settings: config.Settings | None = None,
        **what: object,
    ) -> None:
        """Write to the journal that jobs go, or have gone, from one state to another; None is none. See journal.py."""
        try:
            settings = settings or self.settings_or_default()
        except OSError:
            return  # the spool is gone, and the journal with it
        if settings.journal_bytes and (ids := list(ids)):
            from jobspool import journal

            who = {} if "by" in what else self.by()
            self.write_journal(journal.lines(event, ids, source, target, self.now(), {**who, **what}), settings)

    @contextmanager
    def noting(
        self, event: str, id: str, source: str | None, target: str, settings: config.Settings | None = None, **what: object
    ) -> Iterator[None]:
        """Tell the journal that the job goes from one state to another, as is done meanwhile; if not, nothing stays told.

        What goes to pending/ or failed/ is told first, or its claim might be told before; it is locked meanwhile, so that only
        one tells it. What hands did before is told before all that. Raises BlockingIOError where somebody else has the lock.
        """
        if source not in (None, PROCESSING):
            self.tell_hands(id, source, settings, wait=source in (DONE, DEAD))
        if target not in TOLD_FIRST:
            yield
            self.note(event, [id], source, target, settings, **what)
            return
        with self.alone(source, id) if source else nullcontext():
            self.note(event, [id], source, target, settings, **what)
            try:
                yield
            except OSError:
                self.note("back", [id], target, source, settings)
                raise

    def tell_hands(self, id: str, state: str, settings: config.Settings | None = None, wait: bool = True) -> None:
        """Let the journal tell how the job came to the state, before anything is done to it there: it may have been by hand.

        A line that may be on its way, as a worker's that tells of its end, is waited for; but not where `wait` is False.
        """
        from jobspool import whereabouts

        patience = whereabouts.PATIENCE if wait else 0.0
        whereabouts.tell_first(self, id, state, settings or self.settings_or_default(), patience)

    @contextmanager
    def alone(self, state: str, id: str) -> Iterator[None]:
        """Be the only one who takes the job out of the state. A running one is its worker's. Raises BlockingIOError."""
        if state == PROCESSING:
            yield
            return
        path = self.path(state, id)
        try:
            descriptor = os.open(path, READ)
        except FileNotFoundError:
            raise
        except OSError:
            yield  # what can't be opened can't be locked, and is never claimed
            return
        try:
            if not durable.lock(descriptor):
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN), path)
            if not durable.lies_at(path, descriptor):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            yield
        finally:
            os.close(descriptor)

    def note_set_aside(self, path: str, state: str) -> str:
        """Tell the journal of the name that what lay in a newcomer's way has now, and return its id."""
        id = id_of(os.path.basename(path))
        self.note("set aside", [id], state, state)
        return id

    def write_journal(self, content: bytes, settings: config.Settings) -> OSError | None:
        """Append lines to the journal, and return why that can't be done, None where it was: no job waits for it."""
        if not content or not settings.journal_bytes:
            return None
        from jobspool import journal

        mode, limit = self.file_mode(settings), journal.kept(settings.journal_bytes)
        try:
            if journal.append(self.root, content, limit, mode) and journal.size(self.root) > limit:
                from jobspool import ledger

                ledger.keep(self.root, ledger.folded(self.root), self.spare(), limit, mode)
        except OSError as error:
            return error
        return None

    # ---- adding

    def add(
        self,
        command: str | None = None,
        *,
        argv: list[str] | None = None,
        id: str | None = None,
        start: float | None = None,
        **options: object,
    ) -> Job:
        """Add a job and return it. When this returns the job survives a power cut (unless fsync is "never").

        It may not run before `start` (seconds since 1970). `options` are the other words of a job file: cwd, env, timeout
        (seconds), max_retries, backoff_base, priority, name, meta and so on.
        Raises NotAJob for words that make no job, JobExists for an `id` that the spool has already.
        """
        record = {"command": command, "argv": argv, **options}
        record = {word: value for word, value in record.items() if value is not None}
        return self.add_many([(id, record, start)])[0]

    def add_many(self, records: Iterable[dict | tuple], tell: Callable[[int], object] = bool) -> list[Job]:
        """Add a job for each record, (id, record) or (id, record, start), and return them. They reach the disk together.

        An id, and from when it may run (seconds since 1970), may be None. Each record is checked before the first job is
        added. `tell` is told how many are written. Raises what add() raises.
        """
        settings = self.settings()
        wanted = [(*entry, None)[:3] if isinstance(entry, tuple) else (None, entry, None) for entry in records]
        if PARENT in os.environ:
            wanted = [(id, _joined(record), start) for id, record, start in wanted]
        contents = [_content(record, settings) for _, record, _ in wanted]
        all_of_them = [(self.spare(), *given, content) for given, content in zip(wanted, contents, strict=True)]
        self.ready()
        if ids := [id for id, _, _ in wanted if id is not None]:
            from jobspool import whereabouts

            whereabouts.tell_gone(self, ids, settings)
            with self.naming():
                self._all_free(ids)
                return self._add_all(all_of_them, settings, tell)
        return self._add_all(all_of_them, settings, tell)

    @contextmanager
    def naming(self) -> Iterator[None]:
        """Be the only one who gives jobs names of his choice, meanwhile: no state may have one when it is given."""
        folder = os.open(self.folder(PENDING), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            durable.lock_waiting(folder)
            yield
        finally:
            os.close(folder)

    def put(self, id: str, record: dict, start: float | None = None) -> Job:
        """Add the job under that id, whatever other states hold of its name, and return it. For who has the naming().

        Raises JobExists where it is pending already.
        """
        check_id(id)
        record = _joined(record) if PARENT in os.environ else record
        settings = self.settings()
        self.ready()
        return self._add_all([(self.spare(), id, record, start, _content(record, settings))], settings, bool)[0]

    def _add_all(self, wanted: list[tuple], settings: config.Settings, tell: Callable[[int], object]) -> list[Job]:
        files, jobs = [], []
        together = len(wanted) if settings.fsync != "never" else AT_ONCE  # else none waits for all others, and tmp/ stays small
        try:
            for i in range(0, len(wanted), together or 1):
                self._add_together(wanted[i : i + together], files, jobs, settings, tell)
        except (OSError, JobExists):
            self._take_back(files, jobs)
            raise
        return jobs

    def _add_together(
        self, wanted: list[tuple], files: list[str], jobs: list[Job], settings: config.Settings, tell: Callable[[int], object]
    ) -> None:
        """Write each (path in tmp/, id or None, record, start or None, content), and once that is on the disk, rename them."""
        mode = self.file_mode(settings)
        states = STATES if len(jobs) + len(wanted) <= FEW else (PENDING,)
        synced = settings.fsync != "never"
        in_order = synced and len(wanted) > FEW and self.keeps_order
        for i in range(0, len(wanted), AT_ONCE):
            self._write(wanted[i : i + AT_ONCE], files, mode, in_order)
            tell(len(files))
        if synced and not in_order:
            durable.sync_files(files)
        for i in range(0, len(wanted), TOLD_AT_ONCE):
            self._put_all(wanted[i : i + TOLD_AT_ONCE], jobs, settings, states)
        if synced:
            durable.sync_directory(self.folder(PENDING))

    def _put_all(self, wanted: list[tuple], jobs: list[Job], settings: config.Settings, states: Iterable[str]) -> None:
        """Tell the journal of them, and then rename them into pending/; what was renamed comes to `jobs`."""
        ids = [id or self._new_id(states) for _, id, _, _, _ in wanted]
        self.note("added", ids, None, PENDING, settings)
        before = len(jobs)
        try:
            for id, (file, given, record, start, _) in zip(ids, wanted, strict=True):
                jobs.append(self._put(file, id, record, start, own=not given))
        except (OSError, JobExists):
            self.note("removed", ids[len(jobs) - before :], PENDING, None, settings, reason="it could not be added")
            raise

    @staticmethod
    def _write(wanted: list[tuple], files: list[str], mode: int, in_order: bool) -> None:
        """Write the files, whose paths come to `files`; with `in_order`, write them out, too."""
        descriptors = []
        try:
            for file, _, _, start, content in wanted:
                descriptors.append(durable.write_new(file, content, mode))
                files.append(file)
                if start is not None:
                    durable.stamp(descriptors[-1], start)
            if in_order:
                durable.write_out(descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _take_back(self, files: list[str], jobs: list[Job]) -> None:
        """Remove what was to be added. Raises TryAgain with the ids of those that workers were quick enough to claim."""
        for file in files:
            durable.remove_if_possible(file)
        added = [job.id for job in jobs if not durable.remove_if_possible(self.path(PENDING, job.id))]
        gone = [job.id for job in jobs if job.id not in set(added)]
        self.note("removed", gone, PENDING, None, reason="not all of them could be added")
        if added:
            raise TryAgain(f"the disk fails: of {len(files)} jobs, only these were added: {' '.join(added)}")

    def _all_free(self, ids: list[str]) -> None:
        """Return if no job has one of the ids, and none is given twice. Raises JobExists or NotAJob."""
        seen = set()
        for id in ids:
            check_id(id)
            if state := self.state_of(id):
                raise JobExists(f"{self.path(state, id)} is there already: choose another id, or remove it first")
            if id in seen:
                raise JobExists(f"the id {id!r} is given twice: choose another")
            seen.add(id)

    def _put(self, file: str, id: str, record: dict, start: float | None, own: bool) -> Job:
        """Rename the whole file into pending/ under that id, which is our `own`, or else may be taken. Raises JobExists."""
        try:
            (durable.move_own if own else durable.move)(file, self.path(PENDING, id))
        except FileExistsError:  # RACE: somebody took the name since we looked
            raise JobExists(f"{self.path(PENDING, id)} is there already: choose another id") from None
        now = self.now()
        return Job(id, PENDING, record, now if start is None else start, now)

    def _new_id(self, states: Iterable[str]) -> str:
        """Return a new id, which no job in these states has.

        One made of the microsecond and 30 random bits is new; if ever it weren't, what lies in its way later is set aside.
        """
        while True:
            id = new_id(self.now(), self.luck.getrandbits(30))
            if not any(os.path.lexists(self.path(state, id)) for state in states):
                return id

    # ---- looking

    def names(self, state: str) -> list[str]:
        """Return the ids of the jobs in that state, in no order."""
        return ids_of(os.listdir(self.folder(state)))

    def count(self, state: str) -> int:
        """Return how many jobs are in that state."""
        return len(self.names(state))

    def jobs(self, state: str | None = None) -> Iterator[Job]:
        """Yield the jobs in that state, or in all, in no order. What moves away meanwhile is left out."""
        limit = self._limit()
        for each in STATES if state is None else (state,):
            for id in self.names(each):
                if job := self.read(each, id, limit):
                    yield job

    def read(self, state: str, id: str, limit: int | None = None) -> Job | None:
        """Return the job as it lies in that state, None if it isn't there. A file that is no job has a `problem`.

        `limit` is the largest size of a job in bytes, if the caller knows the setting already.
        """
        limit = self._limit() if limit is None else limit
        path = self.path(state, id)
        found, record = None, {}
        try:
            found = os.lstat(path)
            problem = distrust_type(found)
            if problem is None:
                content, found = read_file(path, limit)
                check_id(id)
                record = parse(content, limit)
        except FileNotFoundError:
            return None
        except NotAJob as error:
            problem = str(error)
        except OSError as error:
            problem = ODD_FILES.get(error.errno, error.strerror)
        if found is None:
            return Job(id, state, {}, 0.0, 0.0, problem)
        return Job(id, state, record, found.st_mtime_ns / 1e9, found.st_ctime_ns / 1e9, problem)

    def state_of(self, id: str) -> str | None:
        """Return the state of the job of that id, None where there is none; looked for twice, as it may move against that."""
        return next((state for state in SEARCH_ORDER * 2 if os.path.lexists(self.path(state, id))), None)

    def _limit(self) -> int:
        """Return the largest size of a job, in bytes."""
        return self.settings_or_default().max_job_bytes

    def find(self, handle: str, first: str | None = None) -> Job:
        """Return the one job that `handle` names: its id, a part of it, or its file's name or path.

        Where a part fits several, and only one of them is in the state `first`, that one is meant.
        Raises NoSuchJob, or AmbiguousJob with the candidates.
        """
        if "/" in handle.rstrip("/"):
            return self._at(handle)
        part = handle.rstrip("/")
        part = id_of(part) or part
        if not part:
            raise NoSuchJob("a job's id can't be empty")
        for _ in range(3):  # RACE: a job that moves against the order of our looking is missed: look again
            if job := self._exact(part, first) or self._part(part, first):
                return job
        raise NoSuchJob(f"no job fits {handle!r} in {self.root}: `queuectl list` shows them")

    def _at(self, path: str) -> Job:
        """Return the job in the file of that path, or of STATE/NAME. Raises NoSuchJob."""
        folder, name = os.path.split(path)
        if not os.path.isdir(folder) and folder.removeprefix(f"{os.path.basename(self.root)}/") in STATES:
            folder = self.folder(os.path.basename(folder))  # as seen from the spool, or from where it lies
        state = os.path.basename(os.path.realpath(folder))
        ours = state in STATES and os.path.realpath(folder) == os.path.realpath(self.folder(state))
        if ours and (job := self.read(state, id_of(name) or name)):
            return job
        where = "there is no such job" if ours else f"it is no file of a state of {self.root}"
        raise NoSuchJob(f"{path}: {where}: `queuectl list` shows them")

    def _exact(self, id: str, first: str | None = None) -> Job | None:
        try:
            check_id(id)
        except NotAJob:
            return None
        order = SEARCH_ORDER if first is None else (first, *SEARCH_ORDER)
        return next((job for state in order if (job := self.read(state, id))), None)

    def _part(self, part: str, first: str | None) -> Job | None:
        fits = {id: state for state in reversed(SEARCH_ORDER) for id in self.names(state) if part in id}
        fits = {part: fits[part]} if part in fits else fits  # the name of what is no job may be too long to be looked for
        preferred = {id: state for id, state in fits.items() if state == first}
        fits = preferred if len(preferred) == 1 else fits
        if len(fits) > 1:
            candidates = sorted((state, id) for id, state in fits.items())
            raise AmbiguousJob(f"{part!r} fits {len(fits)} jobs: give more of the id", candidates)
        return next((self.read(state, id) for id, state in fits.items()), None)

    # ---- moving

    def move(self, job: Job, state: str, event: str = "moved", **what: object) -> Job:
        """Move the job as a person does with mv, and return it as it lies there then.

        `event`, and what is said of it, are for the journal.
        A running job that is moved is ended. What lies at the target in done/ or dead/ is set aside as ID~1.json.
        Raises WrongValue for a move into processing/, NoSuchJob when the job isn't where it was seen, JobExists.
        """
        if not may_put(state):
            raise WrongValue(f"a job can't be moved to {state!r}: only a worker's claim does that")
        source, target = self.path(job.state, job.id), self.path(state, job.id)
        settings = self.settings()
        try:
            with self.noting(event, job.id, job.state, state, settings, **what):
                self._move_there(source, target, state)
        except FileNotFoundError:
            raise NoSuchJob(f"{job.id} is no longer in {job.state}/: somebody was quicker") from None
        except FileExistsError:
            raise JobExists(f"{target} is there already: remove or rename it first") from None
        except BlockingIOError:
            raise TryAgain(f"{job.id} is just being moved, or changed, by somebody else: try again in a moment") from None
        if state in (DONE, DEAD):
            try:
                durable.stamp_now(target, self.now())
            except FileNotFoundError:
                pass  # RACE: hands moved it on
        if settings.fsync != "never":
            durable.sync_directory(self.folder(state))
            durable.sync_directory(self.folder(job.state))  # else a power cut may leave both names
        return self.read(state, job.id) or Job(job.id, state, job.record, job.mtime, self.now())

    def _move_there(self, source: str, target: str, state: str) -> None:
        while True:
            try:
                return durable.move(source, target)
            except FileExistsError:
                if state not in (DONE, DEAD) or source == target:
                    raise
                self.note_set_aside(durable.set_aside(target), state)

    def wait(self, job: Job | str, timeout: float | None = None) -> Job:
        """Wait until the job is done or dead, and return it as it lies there then.

        Woken by events, with a look at least every second. Raises TimeoutError after `timeout` seconds, NoSuchJob when it
        is removed.
        """
        from jobspool.watch import Watch

        id = job if isinstance(job, str) else job.id
        deadline = None if timeout is None else time.monotonic() + timeout
        with Watch({self.folder(state): () for state in (DONE, DEAD)}) as watch:
            while True:
                found = self.find(id)
                if found.state in (DONE, DEAD):
                    return found
                left = 1.0 if deadline is None else min(1.0, deadline - time.monotonic())
                if left <= 0:
                    raise TimeoutError(f"{id} is still {found.state} after {timeout} s")
                watch.wait(left)

    def distrust(
        self, found: os.stat_result, settings: config.Settings, *, user: int | None = None, linked: bool = False
    ) -> str | None:
        """Return why a file of this spool must not be run, None if it may. See trust.distrust()."""
        return distrust(found, self.root, settings.group, user, linked)


def find_root() -> tuple[str, bool]:
    """Return the spool that is meant where none is named, and whether it is the user's own (made on first use).

    $QUEUECTL_SPOOL; else the nearest spool/ with the five states, here or in a parent, as git finds its repository; else
    $XDG_STATE_HOME/queuectl/spool. Raises NotASpool for a spool/ that lacks some of its states.
    """
    if named := os.environ.get("QUEUECTL_SPOOL"):
        return named, False
    try:
        here = os.getcwd()
    except FileNotFoundError:
        raise NotASpool("the current directory is gone: go to another, or name the spool by --spool") from None
    while True:
        near = os.path.join(here, "spool")
        found = sum(os.path.isdir(f"{near}/{state}") for state in STATES)
        if found >= 3:
            return near, False
        if here == os.path.dirname(here):
            break
        here = os.path.dirname(here)
    state_home = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return f"{state_home}/queuectl/spool", True


def is_unfinished(spool: Spool, settings: config.Settings, held: Container[str] = ()) -> bool:
    """Tell whether anything runs, or will by itself some day; of the pending jobs those in `held` are known not to."""
    states = (PROCESSING, PENDING, FAILED) * 2  # twice, as they may move against our looking
    return any(
        _runs_one_day(spool, state, id, settings)
        for state in states
        for id in spool.names(state)
        if state != PENDING or id not in held
    )


def _runs_one_day(spool: Spool, state: str, id: str, settings: config.Settings) -> bool:
    """Tell whether the file may run by itself some day: it lies there, may be run at all, and nothing keeps it but its turn.

    What waits for another job counts only once that has let it go: until then the other one does.
    """
    path = spool.path(state, id)
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return False
    if spool.distrust(found, settings) is not None or forbidden(path, found) is not None:
        return False
    job = spool.read(PENDING, id) if state == PENDING else None
    if job is None:
        return state != PENDING
    from jobspool import admission

    kept = job.problem or "hold" in job.record or admission.closed(job.record, settings)
    return not kept and admission.waits_for(job.record, spool.state_of) is None


def read_file(path: str, limit: int) -> tuple[bytes, os.stat_result]:
    """Return the file's content, as read_open() does, and what it was. Raises OSError; never blocks."""
    descriptor = os.open(path, READ)
    try:
        found = os.fstat(descriptor)
        return (read_open(descriptor, limit) if stat.S_ISREG(found.st_mode) else b""), found
    finally:
        os.close(descriptor)


PIECE = 65_536  # bytes that are read at one go


def read_open(descriptor: int, limit: int) -> bytes:
    """Return the open file's content from its beginning, up to one byte more than a job of `limit` bytes can grow to."""
    most = largest(limit)
    content = os.pread(descriptor, PIECE, 0)
    if len(content) < PIECE or content.lstrip()[:1] not in (b"{", b""):
        return content  # no JSON object: whatever follows, nobody need read it
    pieces, length = [content], len(content)
    while length <= most and (more := os.pread(descriptor, min(PIECE, most + 1 - length), length)):
        pieces.append(more)
        length += len(more)
    return b"".join(pieces)


def ids_of(names: list[str]) -> list[str]:
    """Return the ids of the jobs in files of these names: what id_of() says of each, for a million of them."""
    end = -len(ENDING)
    return [name[:end] for name in names if name.endswith(ENDING) and name[0] != "."]


def ignored(names: list[str]) -> list[str]:
    """Return those of the names that are never taken for jobs, .gitkeep apart."""
    return sorted(name for name in names if (not name.endswith(ENDING) or name[0] == ".") and name != ".gitkeep")


def why_ignored(name: str) -> str:
    """Return why a file of that name is never taken for a job."""
    if name.startswith("."):
        return "its name begins with a dot"
    ending = next((ending for ending in IGNORED_ENDINGS if name.endswith(ending)), None)
    return f"its name ends in {ending}" if ending else f"its name doesn't end in {ENDING}"


def _content(record: dict, settings: config.Settings) -> bytes:
    """Return the content of a new job's file. Raises NotAJob."""
    try:
        content = written(check(record))
    except (UnicodeEncodeError, TypeError, ValueError, RecursionError) as error:
        if isinstance(error, NotAJob):
            raise
        raise NotAJob(f"can't be written as JSON: {error}") from None
    if len(content) > settings.max_job_bytes or "meta" in record:
        parse(content, settings.max_job_bytes)  # it may be nested too deep; what else a file can break was checked
    return content


def _group_id(group: str) -> int:
    import grp

    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise WrongValue(f"there is no group {group!r}: `getent group` lists them") from None
