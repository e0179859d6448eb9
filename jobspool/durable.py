"""What is safe on disk: the only module that changes it.

The rule: write, sync, then move; and no move replaces what lies at its target. Each function says what holds when it
returns and what a crash may leave behind.

NOREPLACE and EXCHANGE are flags of renameat2(2), which Python doesn't offer, so it is called through ctypes (loaded only when
a move needs it: a plain enqueue does not). Where the kernel or the file system lacks the flags, a look before the rename
has to do, which leaves a gap of microseconds that queuectl-spool(5) describes.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import NoReturn

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
FALLOC_KEEP_SIZE = 1
FALLOC_PUNCH_HOLE = 2
SYNC_FILE_RANGE_WRITE = 2
SYNC_FILE_RANGE_WAIT = 1 | 2 | 4  # for what is written already, write, and wait for that
NO_SUCH_FLAG = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)

AT_FDCWD = -100
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
APPENDING = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW  # how a job opens its log
APPENDED = APPENDING | os.O_NONBLOCK | os.O_CLOEXEC
LONGEST_LOG = 240  # bytes of a log's name before its ending
BLOCK = 4096  # bytes that file systems give at one go
HELD = b"\n"  # all that a file of one block holds that reserve() made
_libc: object = None


class DirectoryGone(OSError):
    """A directory of the spool is not there: trouble that may pass, not a name that somebody else took away first."""

    def __init__(self, path: str) -> None:
        super().__init__(errno.ENOENT, os.strerror(errno.ENOENT), path)


def see_folder(path: str) -> None:
    """Return if the directory is there. Raises DirectoryGone."""
    try:
        os.stat(path)
    except FileNotFoundError:
        raise DirectoryGone(path) from None


def lies_at(path: str, descriptor: int) -> bool:
    """Tell whether the open file has that name."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def write_new(path: str, content: bytes, mode: int = 0o600) -> int:
    """Create `path` with `content`, whole, and return its descriptor, open for writing. Nothing is synced yet.

    A crash may leave a part of it at `path`, so that belongs in tmp/; an error leaves nothing.
    Raises FileExistsError where something lies there, DirectoryGone, and what write(2) raises (a full disk).
    """
    return _new(path, mode, lambda descriptor: write_all(descriptor, content))


def reserve(path: str, length: int, mode: int = 0o600, copies: bool = False) -> int:
    """Create `path` with the blocks for `length` bytes, and return its descriptor: filling it takes no more room.

    One block is taken by writing a byte, which is cheaper than fallocate(2): it is there for what is written over that. Not where
    the file system `copies` on write; and where it can't give blocks ahead, it just makes the file. Leaves and raises what
    write_new() does.
    """
    if length <= BLOCK and not copies:
        return write_new(path, HELD, mode)
    return _new(path, mode, lambda descriptor: _give_blocks(descriptor, length))


def _new(path: str, mode: int, fill: Callable[[int], None]) -> int:
    try:
        descriptor = os.open(path, NEW, mode)
    except FileNotFoundError:
        raise DirectoryGone(os.path.dirname(path)) from None
    try:
        if os.fstat(descriptor).st_mode & 0o7777 != mode:
            os.fchmod(descriptor, mode)  # the umask has taken bits that a shared spool needs
        fill(descriptor)
    except OSError as error:
        os.close(descriptor)
        remove(path)
        error.filename = path
        raise
    return descriptor


def _give_blocks(descriptor: int, length: int) -> None:
    import ctypes

    code = _call("fallocate", descriptor, FALLOC_KEEP_SIZE, ctypes.c_int64(0), ctypes.c_int64(length))
    if code not in (0, *NO_SUCH_FLAG):
        raise OSError(code, os.strerror(code))


def fill(descriptor: int, content: bytes, reserved: int) -> None:
    """Write `content` into the file that reserve() made, and give back the blocks it doesn't need. May be done again."""
    written = os.pwrite(descriptor, content, 0)
    if written < len(content):
        os.lseek(descriptor, written, os.SEEK_SET)
        write_all(descriptor, content[written:])
    if reserved - len(content) >= BLOCK or os.fstat(descriptor).st_size > len(content):
        os.ftruncate(descriptor, len(content))


def write_all(descriptor: int, content: bytes) -> None:
    """Write all of `content`: a short write, as on a full disk or at a limit, is gone on with."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def write_over(descriptor: int, content: bytes, size: int) -> None:
    """Put `content` in the place of the `size` bytes that the open file held. Not atomic for readers, and nothing is synced."""
    os.pwrite(descriptor, content, 0)
    if size > len(content):
        os.ftruncate(descriptor, len(content))


def replace(path: str, spare: str, content: bytes, mode: int = 0o600, synced: bool = True) -> None:
    """Let `path` hold `content`, on the disk: after a crash it holds either the old or the new, whole.

    `spare` is a fresh name in the same file system; a crash may leave a file there. Where it isn't `synced`, a power cut may
    leave anything.
    """
    descriptor = write_new(spare, content, mode)
    try:
        if synced:
            os.fsync(descriptor)
        os.rename(spare, path)
    except OSError:
        remove(spare)
        raise
    finally:
        os.close(descriptor)
    if synced:
        sync_directory(os.path.dirname(path))


def sync(descriptor: int) -> None:
    """Return when the file's content and its size are on the disk."""
    os.fsync(descriptor)


def begin_writing(descriptors: list[int]) -> None:
    """Let the disk begin to write the contents of these files, which are to be synced: so they reach it together."""
    if len(descriptors) > 1:
        for descriptor in descriptors:
            _sync_range(descriptor, SYNC_FILE_RANGE_WRITE)  # or else later


def write_out(descriptors: list[int]) -> None:
    """Return when a journal that keeps order will see no later change without the contents of these files.

    They have left for the disk then, and nothing more: the next sync of what is changed behind this makes them sure, too, as it
    flushes what the disk holds back. So many files cost one commit of the journal. See sync_file_range(2), which warns that it
    is for nobody who doesn't sync something else. Raises OSError.
    """
    begin_writing(descriptors)
    for descriptor in descriptors:
        if code := _sync_range(descriptor, SYNC_FILE_RANGE_WAIT):
            raise OSError(code, os.strerror(code))


def _sync_range(descriptor: int, flags: int) -> int:
    import ctypes

    return _call("sync_file_range", descriptor, ctypes.c_int64(0), ctypes.c_int64(0), flags)


def sync_directory(path: str) -> None:
    """Return when the names in directory `path` are on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(descriptor)


def sync_files(paths: list[str]) -> None:
    """Return when the content of each file is on the disk: by one syncfs(2) where there are many of them."""
    if len(paths) > 8 and sync_filesystem(os.path.dirname(paths[0])):
        return
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        except OSError as error:
            error.filename = path
            raise
        finally:
            os.close(descriptor)


def sync_filesystem(folder: str) -> bool:
    """Return when all changes of the directory's file system are on the disk: syncfs(2). False where there is no such call."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        code = _call("syncfs", descriptor)
    finally:
        os.close(descriptor)
    if code not in (0, *NO_SUCH_FLAG):
        raise OSError(code, os.strerror(code), folder)
    return code == 0


def lock(descriptor: int) -> bool:
    """Take the file's flock(2) and return True, or return False at once when somebody holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def lock_shared(descriptor: int) -> bool:
    """Take the file's flock(2) with others who share it and return True, or False at once when somebody holds it alone."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def lock_waiting(descriptor: int) -> None:
    """Take the file's flock(2), after whoever holds it."""
    fcntl.flock(descriptor, fcntl.LOCK_EX)


def move(source: str, target: str) -> None:
    """Rename `source` to `target`, which must not exist. Not synced: see sync_directory().

    Raises FileExistsError and changes nothing when something lies at `target`; FileNotFoundError when `source` is gone;
    DirectoryGone when a directory is.
    """
    code = _renameat2(source, target, RENAME_NOREPLACE)
    if code in NO_SUCH_FLAG:
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
        move_own(source, target)  # RACE: a name that came this microsecond is replaced (no flags on this file system)
    elif code:
        _refuse(code, source, target)


def move_own(source: str, target: str) -> None:
    """Rename `source` to a name that nobody else can have made (it ends in something random). Raises as move()."""
    try:
        os.rename(source, target)
    except OSError as error:
        _refuse(error.errno, source, target)


def _refuse(code: int, source: str, target: str) -> NoReturn:
    """Raise what a rename that failed means."""
    if code == errno.ENOENT:
        see_folder(os.path.dirname(source))
        see_folder(os.path.dirname(target))
    raise OSError(code, os.strerror(code), source, None, target)


def exchange(newer: str, older: str) -> tuple[os.stat_result, bool]:
    """Let the two files change places, at one instant, and return what `newer` now is, which lay at `older`, and True.

    Raises FileNotFoundError when either is gone, DirectoryGone when its directory is, and then changes nothing.
    Without the kernel's flag, `older` is replaced, and its last look returned with False: `newer` is then no more.
    """
    code = _renameat2(newer, older, RENAME_EXCHANGE)
    if code in NO_SUCH_FLAG:
        found = os.lstat(older)
        move_own(newer, older)  # RACE: hands that move it now are met by the caller's look at the link count
        return found, False
    if code:
        _refuse(code, newer, older)
    return os.lstat(newer), True


def set_aside(path: str, longest: int = 200) -> str:
    """Give what lies at `path`, NAME.EXT, a free name NAME~N.EXT beside it, on the disk, and return that.

    NAME~N has `longest` bytes at most. N is the next number where the numbers before it are taken.
    """
    stem, extension = os.path.splitext(path)
    folder, name = os.path.split(stem)
    while True:
        aside = _free(folder, os.fsencode(name), extension, longest)
        try:
            move(path, aside)
        except FileExistsError:
            continue  # RACE: it has just been taken
        sync_directory(folder)  # before a newcomer takes the name: a power cut must not leave only that
        return aside


def asides(path: str) -> Iterator[str]:
    """Yield the names that set_aside() gave to what lay at `path`, from the first one as far as they go on."""
    stem, extension = os.path.splitext(path)
    number = 1
    while os.path.lexists(aside := f"{stem}~{number}{extension}"):
        yield aside
        number += 1


def _free(folder: str, name: bytes, extension: str, longest: int) -> str:
    """Return a name that nothing has, looking at few of those that are taken: there may be many."""

    def named(number: int) -> str:
        mark = f"~{number}"
        return f"{folder}/{os.fsdecode(name[: longest - len(mark)])}{mark}{extension}"

    taken, free = 0, 1
    while os.path.lexists(named(free)):
        taken, free = free, 2 * free
    while free - taken > 1:
        middle = (taken + free) // 2
        taken, free = (middle, free) if os.path.lexists(named(middle)) else (taken, middle)
    return named(free)


def is_written(descriptor: int) -> bool:
    """Tell whether somebody has the file, open here for reading, open for writing; False where the file system can't say.

    A read lease is refused then, see F_SETLEASE in fcntl(2). It is given back at once; whoever opens the file in that instant
    waits for that, and we are sent SIGIO, which the caller ignores.
    """
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return True
    except OSError:
        return False  # not our file, or no leases here
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def is_shared(descriptor: int) -> bool | None:
    """Tell whether anybody has the file open beside this descriptor and its copies; None where the file system can't say.

    A write lease is refused then: see is_written().
    """
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except BlockingIOError:
        return True
    except OSError:
        return None
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def stamp(path: str | int, seconds: float) -> None:
    """Set the file's modification time, to the microsecond. A link is not followed."""
    nanoseconds = round(seconds * 1_000_000) * 1000
    os.utime(path, ns=(nanoseconds, nanoseconds), follow_symlinks=isinstance(path, int))


def stamp_now(path: str | int, seconds: float) -> None:
    """Set the file's modification time to `seconds`, the caller's now; to the kernel's now where the file is another's.

    To choose a time one must own the file; to say now, the right to write it is enough: utimensat(2).
    """
    try:
        stamp(path, seconds)
    except PermissionError:
        os.utime(path, follow_symlinks=isinstance(path, int))


def link(path: str, spare: str) -> bool:
    """Give the file the name `spare`, too, which is fresh; False where that can't be had. A link isn't followed."""
    try:
        os.link(path, spare, follow_symlinks=False)
    except OSError:
        return False
    return True


def remove(path: str) -> bool:
    """Remove the file; return False if it was gone already."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    return True


def remove_if_possible(path: str) -> bool:
    """Remove the file; return False if it was gone already, or a failing disk keeps it: what lies in tmp/ goes when a day old."""
    try:
        return remove(path)
    except OSError:
        return False


def make_directory(path: str, mode: int = 0o700) -> bool:
    """Make the directory with exactly `mode`; return False if it was there. Raises NotADirectoryError where another thing is."""
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path) from None
        return False
    set_mode(path, mode)
    return True


def set_mode(path: str, mode: int) -> None:
    """Let the file or directory have exactly `mode`. A link is not followed: raises OSError with ELOOP."""
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if stat.S_ISLNK(os.fstat(descriptor).st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        os.chmod(f"/proc/self/fd/{descriptor}", mode)
    finally:
        os.close(descriptor)


def make_parents(path: str) -> None:
    """Make the directories above `path` that are missing, with the modes that the umask leaves."""
    os.makedirs(os.path.dirname(path), exist_ok=True)


def give_to_group(path: str, gid: int, mode: int) -> None:
    """Let the group have the directory, with exactly `mode` (chown takes the setgid bit away, so that comes last)."""
    os.chown(path, -1, gid, follow_symlinks=False)
    set_mode(path, mode)


def open_log(path: str, mode: int = 0o600) -> int:
    """Create the log file `path` for appending and return its descriptor. Raises FileExistsError, DirectoryGone."""
    try:
        return os.open(path, NEW | os.O_APPEND, mode)
    except FileNotFoundError:
        raise DirectoryGone(os.path.dirname(path)) from None


def open_to_append(path: str, mode: int = 0o600, made: bool = True) -> int:
    """Open the file for appending, `made` if need be; return its descriptor. A link is not followed, a FIFO not waited for."""
    return os.open(path, APPENDED | os.O_CREAT if made else APPENDED, mode)


def open_for_all(path: str, mode: int) -> int:
    """Open the file as open_to_append() does; where it is made it has exactly `mode`, whatever the umask: others use it, too."""
    while True:
        try:
            return os.open(path, APPENDED)
        except FileNotFoundError:
            pass
        try:
            descriptor = os.open(path, APPENDED | os.O_CREAT | os.O_EXCL, mode)
        except FileExistsError:
            continue  # RACE: somebody has just made it
        os.fchmod(descriptor, mode)
        return descriptor


def cut_out(descriptor: int, start: int, length: int) -> bool:
    """Give the disk back the file's bytes from `start`: they read as zeros, its size stays, and True is returned.

    Where the file system can't, the file ends at `start` instead, with a line that says so, and False is returned.
    """
    import ctypes

    code = _call("fallocate", descriptor, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, ctypes.c_int64(start), ctypes.c_int64(length))
    if code in NO_SUCH_FLAG:
        os.ftruncate(descriptor, start)
        write_all(descriptor, f"\n[queuectl: {length} bytes were cut out here]\n".encode())
        return False
    if code:
        raise OSError(code, os.strerror(code))
    return True


def shorten(path: str, spare: str, keep: int, mode: int) -> None:
    """Let the file consist of its first and last `keep` bytes, with a line between that says how many were cut out.

    Readers that have it open keep the old file. A crash leaves the old or the new.
    """
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as whole:
        size = os.fstat(whole.fileno()).st_size
        target = write_new(spare, b"", mode)
        try:
            _copy(whole.fileno(), 0, keep, target)
            write_all(target, f"\n[queuectl: {size - 2 * keep} bytes were cut out here]\n".encode())
            _copy(whole.fileno(), size - keep, keep, target)
            os.rename(spare, path)
        except OSError:
            remove(spare)
            raise
        finally:
            os.close(target)


def _copy(source: int, start: int, length: int, target: int) -> None:
    """Append `length` bytes of `source` from `start` to `target`."""
    end = start + length
    while start < end and (piece := os.pread(source, min(1 << 20, end - start), start)):
        write_all(target, piece)
        start += len(piece)


def _renameat2(source: str, target: str, flags: int) -> int:
    """Call renameat2(2) and return 0 or its errno."""
    return _call("renameat2", AT_FDCWD, os.fsencode(source), AT_FDCWD, os.fsencode(target), flags)


def _call(name: str, *arguments: object) -> int:
    """Call the C library's function and return 0 or its errno; ENOSYS where it has no such function."""
    global _libc
    import ctypes

    if _libc is None:
        _libc = ctypes.CDLL(None, use_errno=True)
    function = getattr(_libc, name, None)
    if function is None:
        return errno.ENOSYS
    return ctypes.get_errno() if function(*arguments) else 0
