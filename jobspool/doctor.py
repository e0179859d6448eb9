"""Look at a spool for what is wrong, without taking a lock, and say in plain words what, since when, and what to type.

Each check is a function that yields findings; MEANS says what a kind of finding means for the jobs. One that can be mended
without losing anything carries how. Nothing here removes what somebody wrote.
"""

from __future__ import annotations

import os
import stat
from collections import namedtuple
from shlex import quote

from jobspool import durable, filesystem, process, recovery, roster
from jobspool.config import FILE, Settings
from jobspool.errors import BrokenConfig
from jobspool.job import id_of, iso
from jobspool.spool import OTHERS, PAUSED, why_ignored
from jobspool.states import DEAD, DONE, FAILED, PENDING, PROCESSING, STATES
from jobspool.trust import distrust_type, forbidden, user_name
from jobspool.watch import Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from jobspool.spool import Spool

SHOWN = 3  # files of a kind that are named; the rest are counted
FAR = 366 * 86_400.0  # seconds: nobody means to put a job off for longer
SLACK = 5.0  # seconds that clocks, and what is just being done, may be off
LITTLE_ROOM, LITTLE_SHARE = 1 << 30, 0.05  # bytes, and share of the disk: below both it is nearly full
FEW_INODES = 1000

MEANS = {
    "missing": "nothing can be added, run or recorded without it",
    "mode": "others may be able to put in jobs that run as you, or its owner can't use it",
    "owner": "only its owner adds and runs jobs there",
    "split": "a rename can't cross to another file system, so no job can be moved there",
    "config": "commands refuse, and workers keep the last good settings",
    "filesystem": "the promises don't hold there, and `queuectl start` refuses",
    "room": "when the disk is full no job can be added, and none is started until there is room",
    "inotify": "supervisors look every second, instead of being woken",
    "stale": "whom it names doesn't serve this spool any more; what nobody runs any more is a lost attempt",
    "stopped": "it does nothing until it goes on",
    "paused": "nothing new is started",
    "unserved": "they wait",
    "held": "it isn't started again until they have ended, so that it never runs twice at once",
    "orphan": "an outcome that was recorded is moved to its place; any other attempt is lost, and the job tried again",
    "ignored": "it is never taken for a job",
    "unsafe": "it is never run, changed or removed",
    "unreadable": "it can't be run; where it waits, a supervisor puts it to the dead letters as it is",
    "links": "a power cut left its old name beside its new one",
    "twins": "they never run at once; when one moves to where the other lies, that one is renamed to NAME~1.json",
    "leftover": "somebody died writing it, and no job is in it alone; supervisors remove it when a day old, an empty one sooner",
    "time": "the clock was set back, or somebody set the time so: it waits, or is kept, until then",
}

# kind: see MEANS. what: is wrong. since: seconds since 1970, None where nobody knows. cure: what to type. mend: does it, None
# where a person must.
Finding = namedtuple("Finding", "kind what since cure mend", defaults=(None,))


class Seen:
    """A spool as it lay there when it was looked at: what the checks have in common."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.now = spool.now()
        self.broken = ""  # why config.json can't be read
        try:
            self.settings = spool.settings()
        except (BrokenConfig, OSError) as error:
            self.settings, self.broken = Settings(), str(error)
        self.files: dict[str, dict[str, os.stat_result]] = {}  # state: {id: lstat}
        self.ignored: dict[str, list[str]] = {}  # state: names
        for state in STATES:
            self.files[state], self.ignored[state] = _entries(spool.folder(state))
        self.alive, self.dead = roster.living(spool), roster.dead(spool)
        self.served = any(entry.role == roster.SUPERVISOR for entry in self.alive)

    @property
    def by_itself(self) -> str:
        """What to type for what a supervisor puts right."""
        return "wait: a running supervisor does it within seconds" if self.served else "queuectl start"


def examine(spool: Spool) -> Iterator[Finding]:
    """Yield what is wrong with the spool, which may lack anything but its root. Takes no lock and changes no job."""
    seen = Seen(spool)
    for check in CHECKS:
        yield from check(seen)


# ---- the place


def directories(seen: Seen) -> Iterator[Finding]:
    """Missing directories, wrong modes, foreign owners, and states on another disk."""
    spool, root = seen.spool, os.stat(seen.spool.root)
    shared = bool(root.st_mode & stat.S_ISGID)
    for path in (spool.root, *(f"{spool.root}/{name}" for name in (*STATES, *OTHERS))):
        found = root if path == spool.root else _look(path)
        if found is None and path.rpartition("/")[2] in OTHERS:
            continue  # it is made when it is first needed
        if found is None:
            make = _mend(durable.make_directory, path, 0o2770 if shared else 0o700)
            yield Finding("missing", f"{path}/ is missing", root.st_mtime, f"queuectl init {quote(spool.root)}", make)
        elif not stat.S_ISDIR(found.st_mode):
            cure = f"mv {quote(path)} {quote(path + '.old')}; queuectl init {quote(spool.root)}"
            yield Finding("missing", f"{path} is not a directory", found.st_ctime, cure)
        else:
            yield from _directory(path, found, shared)
            if found.st_dev != root.st_dev:
                yield Finding("split", f"{path}/ is on another file system", None, "have the whole spool on one")


def _directory(path: str, found: os.stat_result, shared: bool) -> Iterator[Finding]:
    mode = stat.S_IMODE(found.st_mode)
    wanted = (mode & ~(0o002 if shared else 0o022)) | 0o700
    if mode != wanted:
        mend = _mend(durable.set_mode, path, wanted)
        yield Finding("mode", f"{path}/ has mode {mode:04o}", found.st_ctime, f"chmod {wanted:04o} {quote(path)}", mend)
    if found.st_uid not in (os.geteuid(), 0) and not shared:
        owner = user_name(found.st_uid)
        yield Finding("owner", f"{path}/ belongs to {owner}", found.st_ctime, f"become {owner}, or choose another with --spool")


def settings_file(seen: Seen) -> Iterator[Finding]:
    """A config.json that can't be used, or that anyone may write."""
    path = f"{seen.spool.root}/{FILE}"
    found = _look(path)
    if seen.broken:
        yield Finding("config", seen.broken, found and found.st_mtime, f"$EDITOR {quote(path)}")
    if found and stat.S_ISREG(found.st_mode) and found.st_mode & stat.S_IWOTH:
        mend = _mend(durable.set_mode, path, stat.S_IMODE(found.st_mode) & ~stat.S_IWOTH)
        yield Finding("mode", f"anyone may write {path}", found.st_ctime, f"chmod o-w {quote(path)}", mend)


def disk(seen: Seen) -> Iterator[Finding]:
    """A file system that can't keep the promises, or has hardly any room."""
    root = seen.spool.root
    for why in filesystem.problems(root, seen.spool.spare()):
        yield Finding("filesystem", f"{root}: {why}", None, "have the spool on a local file system: ext4, xfs, btrfs, tmpfs")
    room = os.statvfs(root)
    free, whole = room.f_bavail * room.f_frsize, room.f_blocks * room.f_frsize
    if free < LITTLE_ROOM and free < whole * LITTLE_SHARE:
        yield Finding("room", f"{root}: only {free >> 20} MiB are free on its disk", None, "make room there")
    if room.f_files and room.f_favail < min(FEW_INODES, room.f_files * LITTLE_SHARE):
        yield Finding("room", f"{root}: only {room.f_favail} inodes are free on its disk", None, "remove files there")


def watching(seen: Seen) -> Iterator[Finding]:
    """inotify that can't be had: a limit of the kernel is reached."""
    folder = seen.spool.folder(PENDING)
    if os.path.isdir(folder):
        with Watch({folder: ()}) as watch:
            if not watch.works:
                cure = "sysctl fs.inotify.max_user_instances=1024 fs.inotify.max_user_watches=100000"
                yield Finding("inotify", "inotify can't be had: this user has used up its instances or watches", None, cure)


# ---- who runs


def roster_files(seen: Seen) -> Iterator[Finding]:
    """Files of dead workers and supervisors, and living ones that a signal holds still."""
    dead = [entry for entry in seen.dead if not roster.group_lives(entry)]
    if dead:
        files = _some("workers", [os.path.basename(entry.path) for entry in dead])
        since = _oldest(entry.path for entry in dead)
        yield Finding("stale", f"{files}: the process is dead", since, seen.by_itself, _mend(_recover, seen))
    if copied := [os.path.basename(entry.path) for entry in roster.strangers(seen.spool)]:
        what = f"{_some('workers', copied)}: came with a copy of another spool"
        yield Finding("stale", what, None, seen.by_itself, _mend(_recover, seen))
    for entry in seen.alive:
        if process.stopped(entry.pid):
            yield Finding("stopped", f"{entry.role} {entry.name} is held still by a signal", None, f"kill -CONT {entry.pid}")


def waiting(seen: Seen) -> Iterator[Finding]:
    """Jobs that may run, and nobody who runs them."""
    due = sum(
        found.st_mtime <= seen.now and _odd(seen, state, id, found) is None
        for state in (PENDING, FAILED)
        for id, found in seen.files[state].items()
    )
    paused, jobs = f"{seen.spool.root}/{PAUSED}", f"{due} job{'s' * (due != 1)}"
    if due and (found := _look(paused)):
        yield Finding("paused", f"the spool is paused, with {jobs} that may run", found.st_ctime, f"rm {quote(paused)}")
    elif due and not seen.served:
        left = any(entry.role == roster.WORKER for entry in seen.alive)
        why = "the supervisor is gone, and its workers end with what they run" if left else "no worker runs"
        yield Finding("unserved", f"{jobs} may run, and {why}", None, "queuectl start")


def orphans(seen: Seen) -> Iterator[Finding]:
    """Jobs whose worker is dead: nobody's, or held by processes of their own."""
    running = {entry.job for entry in seen.alive}
    files = [(state, id, found) for state in (PENDING, PROCESSING) for id, found in seen.files[state].items()]
    places = {_inode(found): (state, id) for state, id, found in files if stat.S_ISREG(found.st_mode)}
    holders = process.holders(set(places))
    free = []
    for inode, (state, id) in places.items():
        pids = holders.get(inode) or (_group_of(seen, id) if state == PROCESSING else [])
        found = _look(seen.spool.path(state, id))
        if id in running or found is None or _inode(found) != inode or {entry.pid for entry in seen.alive} & set(pids):
            continue  # a worker is at it; or RACE: it has moved on since we looked
        if pids:
            yield _held(f"{state}/{id}.json", pids, found)
        elif state == PROCESSING and seen.now - found.st_ctime > (SLACK if seen.served else 0):
            free.append(id)
    if free:
        since = min(seen.files[PROCESSING][id].st_mtime for id in free)
        what = f"{_some(PROCESSING, _files(free))}: the worker is dead"
        yield Finding("orphan", what, since, seen.by_itself, _mend(_recover, seen))


def _held(where: str, pids: list[int], found: os.stat_result) -> Finding:
    who = ", ".join(f"{pid} ({process.words_of(pid)[:40]})" for pid in pids[:SHOWN])
    what = f"{where}: no worker has it, and processes that it started hold it: {who}"
    return Finding("held", what, found.st_mtime, f"wait for them, or kill {' '.join(map(str, pids))}")


def _group_of(seen: Seen, id: str) -> list[int]:
    """Return the living processes of the job that a dead worker's file names: they may have closed the lock, as sudo does."""
    return [pid for entry in seen.dead if entry.job == id and roster.group_lives(entry) for pid in process.members(entry.group)]


# ---- the files


def strange(seen: Seen) -> Iterator[Finding]:
    """Names that are never taken for jobs, and files that are never run; those of a kind together."""
    for state in STATES:
        kinds: dict[tuple[str, str], list[str]] = {}
        for name in seen.ignored[state]:
            kinds.setdefault(("ignored", why_ignored(name)), []).append(name)
        for id, found in seen.files[state].items():
            if (odd := _odd(seen, state, id, found)) and not _has_twin(seen, state, id):
                kinds.setdefault(("unsafe", odd), []).append(f"{id}.json")
        folder = seen.spool.folder(state)
        for (kind, why), files in kinds.items():
            yield Finding(
                kind, f"{_some(state, files)}: {why}", _oldest(f"{folder}/{name}" for name in files), _cure(folder, files, why)
            )


def _cure(folder: str, files: list[str], why: str) -> str:
    """Return what to type about files of which `why` is told."""
    paths = " ".join(quote(f"{folder}/{name}") for name in files[:SHOWN]) + (" ..." if len(files) > SHOWN else "")
    cure = why.partition(": ")[2]
    if cure.startswith("chmod "):
        return f"{cure} {paths}"
    if "belongs to" in why or why.startswith("no right"):
        return f"chown {user_name(os.stat(os.path.dirname(folder)).st_uid)} {paths}, if it is to run"
    return cure or f"look at {paths}, and mv or rm it"


def _odd(seen: Seen, state: str, id: str, found: os.stat_result) -> str | None:
    """Return why a file must not be run; of one that won't be, only whether it is a file at all."""
    if state in (DONE, DEAD):
        return distrust_type(found)
    return seen.spool.distrust(found, seen.settings) or forbidden(seen.spool.path(state, id), found)


def records(seen: Seen) -> Iterator[Finding]:
    """Files that are no whole jobs."""
    for state in STATES:
        for id, found in sorted(seen.files[state].items()):
            job = seen.spool.read(state, id) if stat.S_ISREG(found.st_mode) else None
            settled = state != PENDING or seen.now - found.st_mtime > SLACK
            if job is not None and job.problem and settled and forbidden(seen.spool.path(state, id), found) is None:
                path = seen.spool.path(state, id)
                cure = f"$EDITOR {quote(path)}" + (f"; queuectl dlq retry -- {quote(id)}" if state == DEAD else "")
                yield Finding("unreadable", f"{state}/{id}.json is no whole job: {job.problem}", job.ctime, cure)


def twins(seen: Seen) -> Iterator[Finding]:
    """One name in several states: two jobs, or one file with two links, as a power cut can leave it."""
    places: dict[str, list[str]] = {}
    for state in STATES:
        for id in seen.files[state]:
            places.setdefault(id, []).append(state)
    for id, states in places.items():
        if len(states) > 1:
            now = {state: found for state in states if (found := _look(seen.spool.path(state, id)))}
            if len(now) > 1:  # RACE: else it was moved while we looked
                yield _twin(seen, id, now)


def _twin(seen: Seen, id: str, there: dict[str, os.stat_result]) -> Finding:
    where = " and ".join(f"{state}/" for state in there)
    since = max(found.st_ctime for found in there.values())
    if len(set(map(_inode, there.values()))) == 1:
        mend = _mend(recovery.keep_one, seen.spool, id, next(iter(there)))
        return Finding("links", f"{id}.json is one file in {where}", since, "queuectl doctor --fix", mend)
    state = next(state for state in there if state != PROCESSING)
    cure = f"mv {quote(seen.spool.path(state, id))} {quote(seen.spool.path(state, f'{id}-2'))}"
    return Finding("twins", f"{id}.json lies in {where}: two jobs of one name", since, cure)


def leftovers(seen: Seen) -> Iterator[Finding]:
    """Files in tmp/ whose writer is dead."""
    found, _ = _entries(f"{seen.spool.root}/tmp", str)
    dead = [name for name in found if not _is_written(name) and seen.now - found[name].st_ctime > SLACK]
    if dead:
        since = min(found[name].st_ctime for name in dead)
        yield Finding("leftover", _some("tmp", dead), since, f"look in {quote(seen.spool.root)}/tmp, and rm it")


def times(seen: Seen) -> Iterator[Finding]:
    """Modification times that no working clock gives."""
    longest = seen.settings.backoff_max * (1 + seen.settings.backoff_jitter) + SLACK
    for state, after, what in (
        (PENDING, FAR, "it is not to run for more than a year"),
        (FAILED, longest, "it is due later than any backoff"),
        (DONE, SLACK, "it is of a time to come"),
        (DEAD, SLACK, "it is of a time to come"),
    ):
        late = [id for id, found in seen.files[state].items() if found.st_mtime > seen.now + after]
        if late:
            last = max(seen.files[state][id].st_mtime for id in late)
            since = max(seen.files[state][id].st_ctime for id in late)
            mend = None if state in (PENDING, FAILED) else _mend(_touch, seen, state, late)
            named = f"{_some(state, _files(late))}: {what} ({iso(last)})"
            paths = " ".join(quote(seen.spool.path(state, id)) for id in late[:SHOWN])
            yield Finding("time", named, since, f"touch -c {paths}" + (" ..." if len(late) > SHOWN else ""), mend)


CHECKS = (directories, settings_file, disk, watching, roster_files, waiting, orphans, strange, records, twins, leftovers, times)


# ---- what mends


def _mend(deed: Callable[..., object], *what: object) -> Callable[[], object]:
    return lambda: deed(*what)


def _recover(seen: Seen) -> None:
    recovery.mend(seen.spool, recovery.plan(seen.spool), seen.settings, seen.spool.luck.random())


def _touch(seen: Seen, state: str, ids: list[str]) -> None:
    for id in ids:
        try:
            if stat.S_ISREG(seen.files[state][id].st_mode):
                durable.stamp_now(seen.spool.path(state, id), seen.spool.now())
        except FileNotFoundError:
            pass  # RACE: it has moved on


# ---- small words


def _entries(folder: str, id_in: Callable[[str], str | None] = id_of) -> tuple[dict[str, os.stat_result], list[str]]:
    """Return the lstat of each file in the directory that is called as a job is, by its id, and the other names."""
    found, ignored = {}, []
    for path in _paths(folder):
        name = os.path.basename(path)
        if (id := id_in(name)) is None:
            ignored += [name] if name != ".gitkeep" else []
        elif look := _look(path):
            found[id] = look
    return found, ignored


def _paths(folder: str) -> list[str]:
    try:
        return [f"{folder}/{name}" for name in sorted(os.listdir(folder))]
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []  # directories() tells of it


def _look(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except FileNotFoundError:
        return None  # RACE: it has moved on; or it was never there


def _inode(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _oldest(paths: Iterable[str]) -> float | None:
    return min((found.st_ctime for found in map(_look, paths) if found), default=None)


def _files(ids: Iterable[str]) -> list[str]:
    return [f"{id}.json" for id in ids]


def _some(folder: str, files: list[str]) -> str:
    """Name the files of a directory: each, or the first few and how many more."""
    shown = ", ".join(f"{folder}/{name}" for name in files[:SHOWN])
    return shown if len(files) <= SHOWN else f"{shown} and {len(files) - SHOWN} more"


def _is_written(name: str) -> bool:
    """Tell whether the writer of a file in tmp/ lives: the name begins with its process id, see Spool.spare()."""
    pid = name.partition("-")[0]
    return pid.isdecimal() and len(pid) < 10 and process.started(int(pid)) is not None


def _has_twin(seen: Seen, state: str, id: str) -> bool:
    """Tell whether the file has its second link in another state: twins() tells of it."""
    inode = _inode(seen.files[state][id])
    return any(_inode(seen.files[other][id]) == inode for other in STATES if other != state and id in seen.files[other])
