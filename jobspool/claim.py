"""Claim and record: how a job comes to run once, and how its outcome comes to stay.

    claim   open, look, make a file in tmp/ that has the room for the outcome, and lock it: so far it may be done ahead. Lock the
            job's file, look again if anything was done to it, rename it to processing/, look that this is what lies there now
    record  write the job with its outcome to that file, sync it (or write it out: Spool.sync_content), let it change places with
            the claimed one (which must be what comes out: else hands were quicker, and it is changed back), sync processing/,
            look again, rename to where the verdict says

Whoever holds the lock on a file in processing/ may move it; a file there whose lock is free is an orphan. The process that
runs the job inherits the lock, so it is held until the last of worker and job is gone.
"""

from __future__ import annotations

import errno
import os
import time
from collections import namedtuple

from jobspool import admission, durable, locks, names, roster
from jobspool.errors import NotAJob
from jobspool.job import check_id, iso, last_mark, parse, same_time, too_late, waits_since, waits_until, written
from jobspool.retry import INTERRUPTED, SNOOZED
from jobspool.spool import read_open
from jobspool.states import DEAD, DONE, FAILED, PENDING, PROCESSING
from jobspool.trust import ODD_FILES, READ, distrust_type

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from jobspool.config import Settings
    from jobspool.retry import Outcome, Verdict
    from jobspool.spool import Spool
    from jobspool.tracer import Span

# Why a file wasn't claimed: gone, held (its lock), early (before its time), late, twin (its name runs), unfit (no whole job),
# unsafe (not to be run at all), unreadable (the disk fails there), parent (of which it waits), full (what `why` names is used up,
# `until` then). `why` is for people.
Refused = namedtuple("Refused", "kind why until", defaults=("", None))

# The file in tmp/ that an outcome is written to: it has the blocks for `length` bytes, and is locked.
Room = namedtuple("Room", "path descriptor length")

STATE_OF = {"done": DONE, "failed": FAILED, "dead": DEAD, INTERRUPTED: PENDING, SNOOZED: PENDING}
OF_THE_MACHINE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
SAID = ("verdict", "reason", "exit", "signal", "duration", "worker", "trace", "span")  # of an attempt, for the journal, too
SOON = 0.05  # seconds until a failed job is looked at again that somebody has locked
COARSE = 0.02  # seconds: no kernel's ticks are longer, by which a file's times are told
ENTRY = 1024  # bytes at most, mostly, that an attempt adds to a job's file


class Claim:
    """A job whose lock this process holds. `record` is what its file says, `mtime` what its mtime was when it was looked at.

    `place` is where it lies, or is about to: processing/, unless another state is given. `changed` was its ctime.
    """

    def __init__(
        self, spool: Spool, id: str, descriptor: int, record: dict, found: os.stat_result, state: str = PROCESSING
    ) -> None:
        self.spool = spool
        self.id = id
        self.descriptor = descriptor
        self.place = spool.path(state, id)
        self.room: Room | None = None
        self.tokens: list[locks.Token] = []  # of what is limited
        self.span: Span | None = None  # of its attempt, where these are traced
        self.see(record, found)

    def see(self, record: dict, found: os.stat_result) -> None:
        """Know the file by what it says, and what it looks like."""
        self.record = record
        self.inode = (found.st_dev, found.st_ino)
        self.mtime = found.st_mtime_ns / 1e9
        self.changed = found.st_ctime_ns / 1e9
        self.stamped = found.st_mtime_ns  # what it is while nobody writes to the file
        self._looked = (found.st_size, found.st_ctime_ns)
        self._settled = time.time() - self.changed > COARSE

    def is_as_seen(self, found: os.stat_result) -> bool:
        """Tell whether nothing at all has been done to the file since, not even a rename to and fro.

        Its ctime tells, where that was not of the very tick in which we looked: then it might not.
        """
        return self._settled and self._looked == (found.st_size, found.st_ctime_ns)

    @property
    def number(self) -> int:
        """The number of the attempt that this claim is for; the first is 1."""
        return len(self.record.get("attempts", ())) + 1

    @property
    def trail(self) -> set[str]:
        """The states in which a disk may have it still: before its claim it came back from where its last record put it."""
        attempts = self.record.get("attempts")
        return {PENDING, PROCESSING} | ({STATE_OF[attempts[-1]["verdict"]]} if attempts else set())

    def holds(self) -> bool:
        """Tell whether the job still lies where it was claimed: nobody has moved it away. Raises DirectoryGone."""
        try:
            return _inode(os.lstat(self.place)) == self.inode
        except FileNotFoundError:
            durable.see_folder(os.path.dirname(self.place))
            return False

    @property
    def begun(self) -> float:
        """When the attempt began, as far as the orphan's file tells: the mark of its claim, else when it came to processing/."""
        return self.mtime if self.record.get("attempts") else self.changed

    def waited(self, began: float) -> float:
        """Return for how many seconds the job could have run before it began then."""
        return round(max(0.0, began - waits_since(self.record, self.mtime, self.changed)), 6)

    def mark(self) -> None:
        """Let the mtime of a job that was tried before be now, so that it is no longer the one of its last record: last_mark().

        One that has no record yet keeps its own, which saves the change, and an event to all who watch pending/.
        """
        if (last := last_mark(self.record)) is None:
            return
        now = self.spool.now()
        durable.stamp_now(self.descriptor, now + 0.000001 if same_time(now, last) else now)
        self.stamped = os.fstat(self.descriptor).st_mtime_ns

    def unmark(self) -> None:
        """Give the job the mtime that it had, and so its place in line."""
        if self.record.get("attempts"):
            durable.stamp_now(self.descriptor, self.mtime)

    def release(self) -> None:
        """Let go of the lock, of the tokens, and of the room."""
        self.give_up_room()
        locks.release(self.tokens)
        self.tokens = []
        os.close(self.descriptor)

    def reserve(self, size: int, settings: Settings) -> None:
        """Take the room for the outcome of a job whose file has `size` bytes, so that no job is run without it.

        Raises OSError, DirectoryGone where a directory is missing that it may go to.
        """
        length = -(-(2 * size + ENTRY) // durable.BLOCK) * durable.BLOCK  # twice, for a record on one line is written on many
        if self.room is not None and self.room.length >= length:
            return
        self.give_up_room()
        self.spool.see_states()
        path, mode = self.spool.spare(), self.spool.file_mode(settings)
        self.room = Room(path, durable.reserve(path, length, mode, self.spool.copies_on_write), length)
        durable.lock(self.room.descriptor)  # before anybody can see it as a job: it is never an orphan while we live

    def write(self, attempt: dict, settings: Settings) -> Recorded:
        """Write the job with `attempt` added to tmp/, locked, and return it. Nothing is synced or moved yet."""
        record = {**self._as_it_lies(settings), "attempts": [*_without_results(self.record), attempt]}
        record.pop("cancelled", None)  # of an earlier life, which hands ended
        return self.write_record(record, STATE_OF[attempt["verdict"]], last_mark(record), settings)

    def _as_it_lies(self, settings: Settings) -> dict:
        """Return the record, with what hands wrote into the claimed file while the job ran: that is for its next try."""
        if os.fstat(self.descriptor).st_mtime_ns == self.stamped:
            return self.record
        try:
            return parse(read_open(self.descriptor, settings.max_job_bytes), settings.max_job_bytes)
        except (NotAJob, OSError):
            return self.record  # half of a change, or a failing disk: nobody can say what was meant

    def write_record(self, record: dict, state: str, mtime: float, settings: Settings) -> Recorded:
        """Write `record` to tmp/, locked, with that mtime, and return it."""
        content = written(record)
        found = None if self.room is None else os.fstat(self.room.descriptor)
        if found is None or found.st_nlink == 0:  # hands may have emptied tmp/
            self.give_up_room()
            self.reserve(len(content), settings)
            found = os.fstat(self.room.descriptor)
        durable.fill(self.room.descriptor, content, self.room.length)
        durable.stamp(self.room.descriptor, mtime)
        room, self.room = self.room, None
        return Recorded(self, room.path, room.descriptor, _inode(found), state)

    def give_up_room(self) -> None:
        """Remove the file that waits for the outcome."""
        if self.room is not None:
            _remove_open(self.room.path, self.room.descriptor)
            self.room = None


class Recorded:
    """A job's file with its newest attempt, still in tmp/."""

    def __init__(self, claim: Claim, path: str, descriptor: int, inode: tuple[int, int], state: str) -> None:
        self.claim = claim
        self.path = path
        self.descriptor = descriptor
        self.state = state
        self.stayed: bool | None = None
        self.inode = inode
        self._tried = False  # whether it may be in its place
        self._changed = False  # whether it has changed places with the claimed file, which lies in tmp/ now

    def vanished(self) -> bool:
        """Tell whether the record is neither in tmp/ nor in its place: hands have emptied tmp/."""
        return not self._in_place() and not durable.lies_at(self.path, self.descriptor)

    def abandon(self) -> bool:
        """Forget the record, but not the claim: the outcome is to be written anew. False where it is in its place already."""
        if self._in_place():
            return False
        _remove_open(self.path, self.descriptor)
        return True

    def sync(self) -> None:
        """Return when no name that the record gets will be on the disk without it."""
        self.claim.spool.sync_content(self.descriptor)

    def settle(self) -> bool:
        """Put the record in the claimed file's place and move it to its state, each step on the disk before the next.

        False as enter() and move_on(). The state's directory is not synced. Ends the claim.
        """
        self.claim.spool.sync_left(self.claim.trail)
        if not self.enter():
            return False
        durable.sync_directory(self.claim.spool.folder(PROCESSING))
        return self.move_on()

    def enter(self) -> bool:
        """Put the record in the claimed file's place. False when hands had moved the job away: then nothing of theirs was
        changed, and the claim has ended. Raises OSError, and may be called again; where it vanished() it is to be written anew.

        Before a disk may see this, it must have seen that the job left the states of its trail, or it may keep the old file.
        """
        try:
            stayed = self.change_places()
        except FileNotFoundError:
            if self.claim.holds():
                raise
            stayed = False  # RACE: moved away by hand in this instant
        if not stayed:
            self.drop()
        return stayed

    def move_on(self) -> bool:
        """Move the record that entered to its state, and end the claim. False when hands were quicker: what they put there stays.

        Before a disk may see this, it must have seen the record in processing/: else it may keep the job's old file, too.
        Raises OSError, and may be called again.
        """
        if self.stayed is None:
            try:
                move(self.claim.spool, self.claim.id, PROCESSING, self.state, self.inode)
                self.stayed = True
            except FileNotFoundError:
                self.stayed = False
        self.drop()
        return self.stayed

    def drop(self) -> None:
        """Forget the record, and the claim."""
        if self._changed:
            durable.remove_if_possible(self.path)  # the claimed file
        else:
            _discard(self.path, (self.claim.inode, self.inode), self.claim.place)
        os.close(self.descriptor)
        self.claim.release()

    def change_places(self) -> bool:
        """Exchange the record and the claimed file; if another came out, exchange them back and return False."""
        claim = self.claim
        if self._tried and self._in_place():
            return True  # an earlier call did it, and what came behind failed
        if not claim.holds():
            return False
        self._tried = True
        came_out, both = durable.exchange(self.path, claim.place)
        if _inode(came_out) == claim.inode:
            self._changed = both
            return both or _replaced_whole(claim)
        durable.exchange(self.path, claim.place)  # RACE: hands put another file there in this instant: theirs stays
        return False

    def _in_place(self) -> bool:
        return durable.lies_at(self.claim.place, self.descriptor)


def _without_results(record: dict) -> list[dict]:
    """Return the attempts without what they had to keep: of that only the newest has, or a job could outgrow what is read."""
    attempts = record.get("attempts", [])
    if attempts and "result" in attempts[-1]:
        return [*attempts[:-1], {word: value for word, value in attempts[-1].items() if word != "result"}]
    return attempts


def _replaced_whole(claim: Claim) -> bool:
    """Tell whether the claimed file has no name left: else hands moved it while it was renamed over."""
    if os.fstat(claim.descriptor).st_nlink == 0:
        return True
    durable.remove(claim.place)
    return False


def _discard(spare: str, ours: tuple, place: str) -> None:
    """Remove `spare` if it is one of our files; a file of somebody else's that came there goes back to `place`."""
    try:
        if _inode(os.lstat(spare)) in ours:
            durable.remove_if_possible(spare)
            return
    except FileNotFoundError:
        return
    names.put_back(spare, place)  # RACE: hands took the record away while we were exchanging back


def take(spool: Spool, id: str, settings: Settings) -> Claim | Refused:
    """Claim the pending job and return it, or return why not: see Refused.

    On return of a Claim the job lies in processing/, locked by us, its outcome has room, and it looks unrecorded: see mark().
    Raises OSError when the disk is in no state to claim jobs; then nothing has moved.
    """
    prepared = prepare(spool, id, settings)
    return take_prepared(prepared, settings) if isinstance(prepared, Claim) else prepared


def prepare(spool: Spool, id: str, settings: Settings) -> Claim | Refused:
    """Look at the pending job and take the room for its outcome, for take_prepared(): nothing is locked or moved yet.

    So a worker has the most of it done while its last job still runs, and keeps nobody from the job. Returns and raises what
    take() does; who doesn't take what was prepared releases it.
    """
    return _open(spool, id, PENDING, _prepare_open, settings)


def _prepare_open(spool: Spool, id: str, descriptor: int, settings: Settings, _: str) -> Claim | Refused:
    found = os.fstat(descriptor)
    if found.st_nlink > 1:
        if not durable.lock(descriptor):
            return Refused("held")
        found = _with_one_name(spool, id, descriptor, settings)
    record = _look(spool, id, descriptor, found, settings)
    if isinstance(record, Refused):
        return record
    claim = Claim(spool, id, descriptor, record, found)
    claim.reserve(found.st_size, settings)
    return claim


def take_prepared(claim: Claim, settings: Settings) -> Claim | Refused:
    """Claim what was prepared, as take() does. It is looked at again where anything was done to it since."""
    taken = None
    try:
        taken = _take(claim, settings)
    except _Unreadable as error:
        return Refused("unreadable", str(error))
    finally:
        if taken is not claim:
            claim.release()
    return taken


def _take(claim: Claim, settings: Settings) -> Claim | Refused:
    if not durable.lock(claim.descriptor):
        return Refused("held")
    found = _with_one_name(claim.spool, claim.id, claim.descriptor, settings)
    if not claim.is_as_seen(found):
        record = _look(claim.spool, claim.id, claim.descriptor, found, settings)
        if isinstance(record, Refused):
            return record
        claim.see(record, found)
        claim.reserve(found.st_size, settings)
    if admission.concerns(claim.record) and (refused := _admit(claim, settings)):
        return refused
    return _rename(claim)


def _admit(claim: Claim, settings: Settings) -> Refused | None:
    """Take what the job needs beside a worker; return why that is not to be had."""
    waits = admission.waits_for(claim.record, lambda id: claim.spool.state_of(id) or DONE)  # whoever offered it has seen to that
    if waits:
        return Refused("parent", waits.why)
    taken = locks.take(claim.spool, claim.record, settings)
    if isinstance(taken, locks.Full):
        return Refused("full", *taken)
    claim.tokens = taken
    if dropped := locks.dropped(claim.spool, claim.record, settings):
        return Refused("full", dropped)
    return None


def _look(spool: Spool, id: str, descriptor: int, found: os.stat_result, settings: Settings) -> dict | Refused:
    """Return the record of the open file if it is a job that may run now, else why not."""
    if found.st_nlink == 0:
        return Refused("gone")  # RACE: it was recorded, or removed, since we opened it
    if odd := spool.distrust(found, settings):
        return Refused("unsafe", odd)
    try:
        check_id(id)
        record = parse(_content_of(descriptor, settings), settings.max_job_bytes)
    except NotAJob as error:
        return Refused("unfit", str(error))
    now = spool.now()
    if waits_until(record, found.st_mtime_ns / 1e9) > now:
        return Refused("early")
    if why := too_late(record, now):
        return Refused("late", why)
    if roster.runs(spool, id, but=frozenset((roster.file_name(roster.WORKER, os.getpid()),))):
        return Refused("held")  # hands brought it back while it runs without its lock, and its worker is dead
    if record.get("attempts") and os.path.lexists(spool.path(PROCESSING, id)):
        return Refused("twin")  # seen before it is stamped: whoever watches it isn't woken by each refusal
    return record


def _with_one_name(spool: Spool, id: str, descriptor: int, settings: Settings) -> os.stat_result:
    """Look at the open, locked file; the second name that a power cut may have left it in another state goes."""
    found = os.fstat(descriptor)
    if found.st_nlink < 2:
        return found
    try:
        record = parse(_content_of(descriptor, settings), settings.max_job_bytes)
    except NotAJob:
        record = {}
    names.keep_one(spool, id, found, record)
    return os.fstat(descriptor)


def _rename(claim: Claim) -> Claim | Refused:
    source = claim.spool.path(PENDING, claim.id)
    try:
        there = os.lstat(source)
    except FileNotFoundError:
        return Refused("gone")
    if _inode(there) != claim.inode:
        return Refused("gone")  # RACE: it was claimed, and may have come to its end, between our opening and locking it
    if there.st_mtime_ns != claim.stamped:
        return Refused("early")  # RACE: hands have just written it, or touched it
    try:
        claim.mark()
    except PermissionError as error:
        return Refused("unsafe", f"can't be claimed: {error.strerror}")
    try:
        durable.move(source, claim.place)
    except FileNotFoundError:
        return Refused("gone")
    except FileExistsError:  # RACE: it came since we looked
        claim.unmark()
        return Refused("twin")
    except OSError as error:
        claim.unmark()
        if error.errno == errno.EPERM:  # of this one: it lies where only its owner may move it, see sticky in chmod(1)
            return Refused("unsafe", f"can't be claimed: {error.strerror}")
        raise
    if not claim.holds():
        _put_back(claim)
        return Refused("gone")
    return claim


def _put_back(claim: Claim) -> None:
    """Return to pending/ what hands had put under the name between our look and our rename, unless it is locked by now."""
    try:
        descriptor = os.open(claim.place, READ)
    except OSError:
        _rename_back(claim)  # nobody can lock it
        return
    try:
        if durable.lock(descriptor):
            _rename_back(claim)
    finally:
        os.close(descriptor)


def _rename_back(claim: Claim) -> None:
    try:
        durable.move(claim.place, claim.spool.path(PENDING, claim.id))
    except (FileNotFoundError, FileExistsError):
        pass  # RACE: hands again; what lies in processing/ now is an orphan, and recovery sees to it


def give_back(claim: Claim) -> None:
    """End the claim of a job that has not run: it lies in pending/ again, where it was in line.

    The mtime comes last: with that in processing/ it might be taken for a job whose outcome was recorded.
    Raises OSError, and may be called again.
    """
    pending = claim.spool.path(PENDING, claim.id)
    try:
        if claim.place != pending:
            claim.spool.note("back", [claim.id], PENDING, PENDING)  # of a claim that was not told
            move(claim.spool, claim.id, PROCESSING, PENDING, claim.inode)
            claim.place = pending  # called again, it only lacks its mtime
        claim.unmark()
    except FileNotFoundError:
        pass  # RACE: hands moved it
    claim.release()


def adopt(spool: Spool, id: str, settings: Settings) -> Claim | Refused:
    """Take over the orphan in processing/ and return its claim, or why not: held by somebody, gone, unsafe or unfit."""
    return _open(spool, id, PROCESSING, _adopt_open, settings)


def _open(spool: Spool, id: str, state: str, look: Callable[..., Claim | Refused], settings: Settings) -> Claim | Refused:
    """Open the job's file without following or blocking, and return what `look` makes of it; refused files are closed.

    Raises OSError where it is no fault of this one file.
    """
    path = spool.path(state, id)
    try:
        if odd := distrust_type(os.lstat(path)):
            return Refused("unsafe", odd)
        descriptor = os.open(path, READ)
    except FileNotFoundError:
        durable.see_folder(os.path.dirname(path))
        return Refused("gone")  # RACE: another worker was quicker, or a person
    except OSError as error:
        if error.errno in OF_THE_MACHINE:
            raise
        odd = ODD_FILES.get(error.errno)
        return Refused("unsafe", odd) if odd else Refused("unreadable", error.strerror)
    claim = None
    try:
        claim = look(spool, id, descriptor, settings, state)
    except _Unreadable as error:
        return Refused("unreadable", str(error))
    finally:
        if not isinstance(claim, Claim):
            os.close(descriptor)
    return claim


def _adopt_open(spool: Spool, id: str, descriptor: int, settings: Settings, state: str) -> Claim | Refused:
    if not durable.lock(descriptor):
        return Refused("held")
    found = _with_one_name(spool, id, descriptor, settings)
    if odd := spool.distrust(found, settings):
        return Refused("gone" if found.st_nlink == 0 else "unsafe", odd)
    try:
        record = parse(_content_of(descriptor, settings), settings.max_job_bytes)
    except NotAJob as error:
        return Refused("unfit", str(error))
    claim = Claim(spool, id, descriptor, record, found, state)
    return claim if claim.holds() else Refused("gone")


class _Unreadable(Exception):
    """The disk fails where this file lies."""


def _content_of(descriptor: int, settings: Settings) -> bytes:
    try:
        return read_open(descriptor, settings.max_job_bytes)
    except OSError as error:
        raise _Unreadable(error.strerror) from None


def recorded_state(claim: Claim) -> str | None:
    """Return the state that the orphan's recorded outcome leads to, None if none was recorded."""
    if not same_time(last_mark(claim.record), claim.mtime):
        return None
    return STATE_OF[claim.record["attempts"][-1]["verdict"]]


def finish(claim: Claim) -> str | None:
    """Finish the move of an orphan whose outcome was recorded; return the state it is in now, None if none was recorded.

    Raises FileNotFoundError when hands have moved it away.
    """
    if (state := recorded_state(claim)) is None:
        return None
    last = claim.record["attempts"][-1]
    durable.sync_directory(claim.spool.folder(PROCESSING))
    with claim.spool.noting("recovered", claim.id, PROCESSING, state, **said_of(last)):
        move(claim.spool, claim.id, PROCESSING, state, claim.inode)
    durable.sync_directory(claim.spool.folder(state))
    return state


def is_written(spool: Spool, id: str) -> bool:
    """Tell whether somebody still has the pending file open for writing."""
    try:
        descriptor = os.open(spool.path(PENDING, id), READ)
    except OSError:
        return False  # gone, or nothing that we may read
    try:
        return durable.is_written(descriptor)
    finally:
        os.close(descriptor)


def give_up(
    spool: Spool, id: str, state: str, event: str = "rejected", why: str | None = None, settings: Settings | None = None
) -> bool:
    """Move a file that is not to be run from `state` to dead/, its content untouched and its mtime now; False if it has gone.

    `event` and why are for the journal.
    """
    try:
        with spool.noting(event, id, state, DEAD, settings, reason=why):
            move(spool, id, state, DEAD)
        durable.stamp_now(spool.path(DEAD, id), spool.now())
    except FileNotFoundError:
        return False
    return True


def bury(spool: Spool, id: str, state: str, why: str, settings: Settings) -> bool | None:
    """Move a job that is not to run any more to dead/, with the reason on record. False if it has gone, None if it is held.

    The reason comes first: a crash between leaves the job where it waited, and whoever sees it there finds the reason again.
    """
    if rewrite(spool, id, state, lambda record: {**record, "cancelled": why}, settings) is None:
        return None
    return give_up(spool, id, state, "buried", why, settings)


def due_again(spool: Spool, id: str, now: float, settings: Settings | None = None) -> float | None:
    """Move the failed job to pending/ if its time has come.

    Returns when to look again (seconds since 1970), or None when it has moved or is gone, or stays as it has links elsewhere. A
    same-named job in pending/ goes first. `settings` are those of the spool, if the caller knows them.
    """
    source = spool.path(FAILED, id)
    try:
        found = os.lstat(source)
        if found.st_mtime_ns / 1e9 > now:
            return found.st_mtime_ns / 1e9
        if found.st_nlink > 1 and (names.keep_one(spool, id, found, {}) != FAILED or os.lstat(source).st_nlink > 1):
            return None
        with spool.noting("due", id, FAILED, PENDING, settings):
            durable.move(source, spool.path(PENDING, id))
    except FileNotFoundError:
        durable.see_folder(spool.folder(FAILED))
        return None
    except BlockingIOError:
        return now + SOON  # RACE: another supervisor just moves it, or somebody changes it
    except FileExistsError:
        return now + 1
    return None


def note_dead(spool: Spool, id: str, settings: Settings) -> bool | None:
    """Let a job that hands put into dead/ say so: its last attempt's verdict becomes dead, and it has its tries again.

    False, and nothing changed, where that was so already, or the file is no job; None where somebody is at it, or ends it yet.
    """
    job = spool.read(DEAD, id)
    if job is None or not (job.problem or _has_tries_to_lose(job.record)):
        return False
    return rewrite(spool, id, DEAD, with_tries_again, settings, spool.now())


def with_tries_again(record: dict) -> dict:
    """Return the record as of a job that has all its tries again: its last attempt's verdict is dead."""
    if not _has_tries_to_lose(record):
        return record
    *earlier, last = record["attempts"]
    last = {word: value for word, value in last.items() if word != "due"}
    return {**record, "attempts": [*earlier, {**last, "verdict": "dead"}]}


def rewrite(
    spool: Spool, id: str, state: str, change: Callable[[dict], dict], settings: Settings, mtime: float | None = None
) -> bool | None:
    """Let the job's file say what `change` makes of its record, and have that mtime, or its own; it is on the disk on return.

    False, and nothing has changed, where there is nothing to change, it is no job, or isn't there (any more); None where somebody
    is at it, or its processes have not ended yet. Not for processing/: a running job's outcome is written over it.
    Raises OSError.
    """
    claim = _open(spool, id, state, _adopt_open, settings)
    if isinstance(claim, Refused):
        if claim.kind == "unreadable":
            raise OSError(errno.EIO, claim.why, spool.path(state, id))
        return None if claim.kind == "held" else False
    record = change(claim.record)
    if record == claim.record:
        claim.release()
        return False  # it says so already; RACE: or somebody else was quicker
    try:
        recorded = claim.write_record(record, state, claim.mtime if mtime is None else mtime, settings)
    except OSError:
        claim.release()
        raise
    try:
        recorded.sync()
        spool.sync_left({*claim.trail, state})
        changed = recorded.change_places()
        durable.sync_directory(spool.folder(state))
        return changed
    except FileNotFoundError:
        return False
    finally:
        recorded.drop()


def _has_tries_to_lose(record: dict) -> bool:
    attempts = record.get("attempts")
    return bool(attempts) and attempts[-1]["verdict"] in ("failed", INTERRUPTED, SNOOZED)


def entry_for(claim: Claim, outcome: Outcome, verdict: Verdict, worker: str) -> dict:
    """Return what the job's file says of this attempt. Times are UTC, durations and cpu seconds, memory bytes."""
    due = min(claim.mtime, outcome.started) if outcome.interrupted else verdict.due
    entry = {
        "number": claim.number,
        "started": iso(outcome.started),
        "ended": iso(outcome.ended),
        "duration": round(max(0.0, outcome.ended - outcome.started) if outcome.took is None else outcome.took, 6),
        "worker": worker,
        "exit": outcome.status,
        "signal": outcome.signal,
        "reason": outcome.reason or (None if verdict.word in ("done", INTERRUPTED) else f"exit {outcome.status}"),
        "verdict": verdict.word,
        "due": iso(due) if due or outcome.interrupted else None,
        "cpu": outcome.cpu,
        "memory": outcome.memory,
        "result": (outcome.said or {}).get("result"),
    }
    return {word: value for word, value in entry.items() if value is not None}


def said_of(entry: dict) -> dict:
    """Return what the journal says of an attempt's end."""
    said = {word: entry[word] for word in SAID if word in entry}
    return {"attempt": entry["number"], **said}


def move(spool: Spool, id: str, source: str, target: str, own: tuple[int, int] | None = None) -> None:
    """Rename the job's file; what lies at the target is set aside, never replaced.

    Raises DirectoryGone, and FileNotFoundError where it has gone, or where another than `own` (its device and inode) lies there.
    """
    file, place = spool.path(source, id), spool.path(target, id)
    while True:
        if own is not None and not _is_at(file, own):
            durable.see_folder(spool.folder(source))
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), file)
        try:
            return durable.move(file, place)  # RACE: hands may put another there in this instant: see CAVEATS
        except FileExistsError:
            names.set_aside(spool, target, id)


def _remove_open(path: str, descriptor: int) -> None:
    """Remove the open file, where it still has that name, and close it."""
    try:
        if durable.lies_at(path, descriptor):
            durable.remove(path)
    except OSError:
        pass  # a failing disk keeps it: as after a crash, it goes when it is a day old
    os.close(descriptor)


def _is_at(path: str, inode: tuple[int, int]) -> bool:
    try:
        return _inode(os.lstat(path)) == inode
    except FileNotFoundError:
        return False


def _inode(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino
