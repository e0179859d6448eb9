"""Who runs: one small file in workers/ for each running supervisor and worker, which also names the job it runs.

It is for people, for `stop`, and for recovery: a job that closed its descriptors, as sudo does, has dropped its lock, but the
file still names its process group. A file outlives its process only after kill -9.
"""

from __future__ import annotations

import json
import os
import stat
import time
from collections import namedtuple
from json.encoder import encode_basestring_ascii

from jobspool import durable, process
from jobspool.job import check_id, iso, seconds
from jobspool.trust import READ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jobspool.spool import Spool

SUPERVISOR = "supervisor"
WORKER = "worker"
NOBODY: frozenset[str] = frozenset()
ROOM = 2048  # bytes: each file is written over in place, at one go, and never shrinks
COARSE = 1.0  # seconds that a directory that has just changed is read again for: its mtime may be as coarse as that
MOST_OPEN = 8  # files of others that are kept open
LARGEST = 8 * ROOM  # bytes that are read of one: an id of odd characters makes it longer

# name, pid, start, boot: the process (its start in clock ticks since that boot). supervisor: the pid of a worker's parent.
# job, attempt (its number), group, group_start, since: what it runs, as which process group, since when; None when idle.
# While a job is being started it has no group yet.
# spool: the device and inode of the directory that it serves, None before it has a file. owner: the user whose file it is.
Entry = namedtuple("Entry", "path owner role name pid start boot spool supervisor job group group_start since attempt")

TOO_LARGE = 1 << 63  # for a number of the kernel's
MAYBE_TEXT, MAYBE_NUMBER = (str, type(None)), (int, type(None))
KINDS = {
    **dict.fromkeys(("role", "name", "boot"), str),
    **dict.fromkeys(("pid", "start"), int),
    **dict.fromkeys(("job", "since"), MAYBE_TEXT),
    **dict.fromkeys(("supervisor", "group", "group_start", "attempt"), MAYBE_NUMBER),
}

# A process that was started as a part of an attempt. attempt: its number.
Started = namedtuple("Started", "pid job attempt")


class Place:
    """This process's file in workers/. What it says is kept where it has to be made anew."""

    def __init__(self, spool: Spool, role: str, mode: int, supervisor: int | None = None) -> None:
        self.pid = os.getpid()
        self.name = f"{os.uname().nodename}:{self.pid}"
        self.file = file_name(role, self.pid)
        self.path = f"{spool.root}/workers/{self.file}"
        self.known = {
            "role": role,
            "name": self.name,
            "pid": self.pid,
            "start": process.started(self.pid),
            "boot": process.boot(),
            "spool": None,
            "supervisor": supervisor,
        }
        self._spool = spool
        self._mode = mode
        self._now = ""
        self._descriptor: int | None = None
        self._size = 0
        try:
            self.renew()
        except OSError:
            pass  # a full disk: renew() is called again, and tells, until it can be made

    @property
    def noted(self) -> bool:
        """Whether the file could be made."""
        return self._descriptor is not None

    def renew(self) -> bool:
        """Make the file where it isn't there: at first, or when hands have emptied workers/. Tell whether it was made.

        Another spool may lie there by now, made anew or from a backup: it is that one that we serve then.
        """
        here = identity(self._spool)
        if self._descriptor is not None and self.known["spool"] == here and durable.lies_at(self.path, self._descriptor):
            return False
        self.known["spool"] = here
        self._head = json.dumps(self.known)[:-1]
        durable.remove(self.path)  # of a dead process that had our id
        content = self._content()
        descriptor = durable.write_new(self.path, content, self._mode)
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor, self._size = descriptor, len(content)
        return True

    def says(self, now: str = "") -> None:
        """Let the file say what is run now: see running(); nothing of that when idle. Whether it is there still, renew() sees."""
        self._now = now
        if self._descriptor is None:
            self.renew()
            return
        content = self._content()
        durable.write_over(self._descriptor, content, self._size)
        self._size = len(content)

    def leave(self) -> None:
        """Remove the file: this process ends in order."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            durable.remove(self.path)

    def _content(self) -> bytes:
        said = f"{self._head}, {self._now}}}" if self._now else f"{self._head}}}"
        return f"{said:<{ROOM - 1}}\n".encode()


def file_name(role: str, pid: int) -> str:
    """Return the name of a process's file in workers/."""
    return f"{role}-{pid}.json"


def running(job: str, attempt: int, group: int | None = None, start: int | None = None, since: float | None = None) -> str:
    """Return what a worker's file says beside who it is: that attempt runs as process group `group`, or is about to be started.

    `start` is when its first process was started, in clock ticks since boot, if the caller knows; `since` is now if not given.
    """
    start = process.started(group) if group is not None and start is None else start
    since = iso(time.time() if since is None else since)
    process_group = f'"group": {_number(group)}, "group_start": {_number(start)}'
    return f'"job": {encode_basestring_ascii(job)}, "attempt": {attempt}, {process_group}, "since": "{since}"'


def _number(value: int | None) -> str:
    return "null" if value is None else str(value)


def entries(spool: Spool, job: str | None = None, but: frozenset[str] = NOBODY) -> list[Entry]:
    """Return who has a file in workers/, living or not; with `job`, who runs it. Files of the names `but` are left out.

    So are files that can't be read, and those that came with a copy of another spool: see strangers().
    """
    found = _all(spool, job, but)
    here = identity(spool) if found else None
    return [entry for entry in found if entry.spool in (here, None)]


def strangers(spool: Spool, but: frozenset[str] = NOBODY) -> list[Entry]:
    """Return the entries that came with a copy of another spool: whom they name serves that."""
    here = identity(spool)
    return [entry for entry in _all(spool, None, but) if entry.spool not in (here, None)]


def _all(spool: Spool, job: str | None, but: frozenset[str]) -> list[Entry]:
    notes = _notes.setdefault(spool.root, _Notes(f"{spool.root}/workers"))
    names = [name for name in notes.names() if name not in but]
    if job is not None:
        mark = encode_basestring_ascii(job).encode()
        names = [name for name in names if not name.startswith(SUPERVISOR) and mark in notes.content(name, bool(but))]
    found = [_entry(path, *said) for name in names if (said := _read(path := f"{spool.root}/workers/{name}"))]
    return [entry for entry in found if entry is not None and job in (None, entry.job)]


class _Notes:
    """The files in workers/, listed again only where the directory has changed; for a worker, who looks into them at each claim,
    they stay open. Nobody else keeps a file system from being unmounted.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None  # the inode and mtime of the directory when it was read
        self._names: list[str] = []
        self._open: dict[str, int] = {}

    def names(self) -> list[str]:
        """Return the sorted names of the files; none where a link lies in the place of the directory."""
        try:
            found = os.lstat(self._path)
        except FileNotFoundError:
            return []
        seen = (found.st_ino, found.st_mtime_ns)
        if self._seen != seen:
            self._forget()
            self._names = sorted(filter(_is_note, os.listdir(self._path))) if stat.S_ISDIR(found.st_mode) else []
            self._seen = seen if time.time() - found.st_mtime > COARSE else None
        return self._names

    def content(self, name: str, keep: bool) -> bytes:
        """Return what the file says, nothing where it can't be read; with `keep` it stays open."""
        try:
            descriptor = self._open.get(name)
            if descriptor is None:
                descriptor = os.open(f"{self._path}/{name}", READ)
                self._open[name] = descriptor
            return os.pread(descriptor, LARGEST, 0)
        except OSError:
            return b""  # RACE: it has just gone
        finally:
            if len(self._open) > (MOST_OPEN if keep else 0):
                os.close(self._open.pop(next(iter(self._open))))

    def _forget(self) -> None:
        while self._open:
            os.close(self._open.popitem()[1])


_notes: dict[str, _Notes] = {}  # by spool


def _is_note(name: str) -> bool:
    return name.endswith(".json")


def identity(spool: Spool) -> list[int]:
    """Return what tells the spool from a copy of it: the device and inode of its directory."""
    found = os.stat(spool.root)
    return [found.st_dev, found.st_ino]


def living(spool: Spool) -> list[Entry]:
    """Return the running supervisors and workers."""
    return [entry for entry in entries(spool) if is_alive(entry)]


def is_supervised(spool: Spool) -> bool:
    """Tell whether a supervisor runs."""
    return any(entry.role == SUPERVISOR for entry in living(spool))


def dead(spool: Spool, but: frozenset[str] = NOBODY) -> list[Entry]:
    """Return the entries of supervisors and workers that are no more, with the group of what they were about to start.

    The files of the names `but`, of whom the caller knows that they live, are not looked into.
    """
    return _with_groups(spool, [entry for entry in entries(spool, None, but) if not is_alive(entry)])


def may_be_dead(spool: Spool) -> bool:
    """Tell, at a glance, whether a file of workers/ is of a process that is no more; one whose id was given anew is missed."""
    for name in os.listdir(f"{spool.root}/workers"):
        pid = name.partition("-")[2].partition(".")[0]
        if pid.isdecimal() and not os.path.exists(f"/proc/{pid}"):
            return True
    return False


def is_alive(entry: Entry) -> bool:
    """Tell whether the process that wrote the entry still runs: not what another user wrote, for `stop` signals what it names."""
    return process.lives(entry.pid, entry.start, entry.boot) and entry.owner == process.user(entry.pid)


def may_end(entry: Entry) -> bool:
    """Tell whether the group that the entry names is its writer's to end: root's, or of his processes.

    Where we aren't root, one of them is enough: of the others we may signal none that isn't ours.
    """
    enough = all if os.geteuid() == 0 else any
    return entry.owner == 0 or enough(process.user(pid) == entry.owner for pid in process.members(entry.group))


def group_lives(entry: Entry) -> bool:
    """Tell whether a process of the job that the entry names still runs."""
    if entry.group is None or entry.boot != process.boot():
        return False
    leader = process.started(entry.group)
    return leader == entry.group_start if leader is not None else process.group_lives(entry.group)


def runs(spool: Spool, id: str, but: frozenset[str] = NOBODY) -> bool:
    """Tell whether processes of a job of that name run, or are being started, of a living worker or a dead one's.

    What a worker itself says that asks, in its file of the name `but`, is of its last job.
    """
    found = _with_groups(spool, entries(spool, id, but))
    return any(group_lives(entry) or (entry.group is None and is_alive(entry)) for entry in found)


def processes(spool: Spool) -> list[Started]:
    """Return the living processes of this spool's jobs, by the environment that they were started with."""
    root, found = os.stat(spool.root), []
    for pid, said in process.environments(b"QUEUECTL_JOB_ID").items():
        if _is_root(said.get(b"QUEUECTL_SPOOL", b""), root):
            found.append(Started(pid, os.fsdecode(said[b"QUEUECTL_JOB_ID"]), os.fsdecode(said.get(b"QUEUECTL_ATTEMPT", b""))))
    return found


def _is_root(path: bytes, root: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(path), root)
    except OSError:
        return False


def _with_groups(spool: Spool, found: list[Entry]) -> list[Entry]:
    """Return the entries, each with the group of what its worker was starting when it died, if that lives."""
    if not any(entry.job and entry.group is None for entry in found):
        return found
    groups = {}
    for started in processes(spool):
        groups.setdefault((started.job, started.attempt), _group_of(started.pid))
    return [
        entry if entry.group or entry.job is None else _with_group(entry, groups.get((entry.job, str(entry.attempt))))
        for entry in found
    ]


def _with_group(entry: Entry, group: int | None) -> Entry:
    return entry if group is None else entry._replace(group=group, group_start=process.started(group))


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None  # RACE: it has just ended


def forget(entry: Entry) -> None:
    """Remove the file of a process that is dead."""
    durable.remove(entry.path)


def _read(path: str) -> tuple[bytes, int] | None:
    """Return the file's content, and its owner."""
    try:
        descriptor = os.open(path, READ)
    except OSError:
        return None  # RACE: it has just gone
    try:
        return os.read(descriptor, LARGEST), os.fstat(descriptor).st_uid
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _entry(path: str, content: bytes, owner: int) -> Entry | None:
    try:
        said = json.loads(content)
        entry = Entry(path, owner, *(said.get(word) for word in Entry._fields[2:]))
        return entry if _is_whole(entry) else None
    except (ValueError, AttributeError, RecursionError):
        return None  # RACE: it is being written


def _is_whole(entry: Entry) -> bool:
    """Tell whether the entry is as a worker or supervisor writes it; anybody else's could name any process. Raises ValueError."""
    said = {word: getattr(entry, word) for word in KINDS}
    if not all(isinstance(said[word], kind) for word, kind in KINDS.items()):
        return False
    if not all(0 <= number < TOO_LARGE for number in said.values() if isinstance(number, int)):
        return False
    if entry.job is not None:
        check_id(entry.job)
    if entry.since is not None:
        seconds(entry.since)
    return all(1 < pid < 1 << 31 for pid in (entry.pid, entry.group) if pid is not None)
