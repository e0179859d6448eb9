"""What is known of processes, from /proc: who they are, whether they live, who is in a group.

A process id alone names nobody for long. With its start time, and the boot that this counts from, it does.
"""

from __future__ import annotations

import functools
import os
import select
import signal
import time

AN_INSTANT = 0.5  # seconds, at most, that an execve(2) is waited for
LOOKS = 3  # at a process that has no environment, so that it isn't met within execve(2) each time
DIES_WITHIN = 5.0  # seconds that a process is given to end after KILL
HIDDEN_FOR = 0.1  # seconds between looks at what /proc doesn't show
TICKS = os.sysconf("SC_CLK_TCK")  # a second
A_PAGE = 4096  # bytes
A_PAGE_OF_MEMORY = os.sysconf("SC_PAGE_SIZE")  # bytes
KERNEL_THREAD = 0x00200000  # PF_KTHREAD of linux/sched.h
BOOT_ID = "/proc/sys/kernel/random/boot_id"
GROUP, SESSION, FLAGS, STARTED, ENVIRONMENT = 2, 3, 6, 19, 47  # fields of /proc/PID/stat behind the command's name: proc(5)


@functools.cache
def boot() -> str:
    """Return the kernel's name for the time since the machine was started."""
    with open(BOOT_ID) as file:
        return file.read().strip()


def started(pid: int) -> int | None:
    """Return when the process started, in clock ticks since boot, or None when it is gone (or a zombie)."""
    fields = _stat(pid)
    if fields is None or fields[0] in "ZX":
        return None
    return int(fields[STARTED])


def ticks() -> int:
    """Return what started() tells of a process that is started now."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * TICKS)


def age(start: int) -> float:
    """Return for how many seconds a process has run that was started so many clock ticks after boot."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - start / TICKS


def lives(pid: int, start: int, booted: str) -> bool:
    """Tell whether the very process that had `pid` since `start`, in that boot, still runs."""
    return booted == boot() and started(pid) == start


def user(pid: int) -> int | None:
    """Return the effective user id of the process, or None when it is gone."""
    try:
        return int(_read(f"/proc/{pid}/status").partition(b"\nUid:")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None


def members(group: int) -> list[int]:
    """Return the ids of the processes in the group that are not zombies, and of its first one, which may have left it."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        fields = _stat(int(name))
        if fields and fields[0] not in "ZX" and group in (int(fields[GROUP]), int(name)):
            found.append(int(name))
    return found


def memory(group: int) -> int:
    """Return how many bytes of memory the processes of the group have in use, shared ones counted for each."""
    used = 0
    for pid in members(group):
        try:
            used += int(_read(f"/proc/{pid}/statm").split()[1]) * A_PAGE_OF_MEMORY
        except (FileNotFoundError, ProcessLookupError, IndexError):
            pass  # RACE: it has ended
    return used


def environments(marker: bytes) -> dict[int, dict[bytes, bytes]]:
    """Return the environments of the living processes that were started with the variable `marker`, as far as we may look."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and marker + b"=" in (text := _environment(name)):
            found[int(name)] = dict(line.partition(b"=")[::2] for line in text.split(b"\0"))
    return found


def own_environment() -> dict[str, str]:
    """Return our environment, without the LC_CTYPE that Python sets where no language is set: PEP 538."""
    environment = dict(os.environ)
    if b"\0LC_CTYPE=" not in b"\0" + _content("/proc/self/environ"):
        environment.pop("LC_CTYPE", None)
    return environment


def holders(files: set[tuple[int, int]]) -> dict[tuple[int, int], list[int]]:
    """Return the processes that hold the flock(2) of each of these (device, inode)s, as far as we may look.

    No lock is taken for it: what a descriptor holds stands in /proc/PID/fdinfo, see proc_pid_fdinfo(5).
    """
    found: dict[tuple[int, int], list[int]] = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for descriptor in _listed(f"/proc/{pid}/fd"):
            file = _file_of(f"/proc/{pid}/fd/{descriptor}")
            if file in files and b"FLOCK" in _content(f"/proc/{pid}/fdinfo/{descriptor}"):
                found.setdefault(file, []).append(int(pid))
    return found


def stopped(pid: int) -> bool:
    """Tell whether a signal holds the process still: STOP, or a terminal's."""
    fields = _stat(pid)
    return fields is not None and fields[0] in "Tt"


def words_of(pid: int) -> str:
    """Return the process's command line, "" when it is gone."""
    return _content(f"/proc/{pid}/cmdline").replace(b"\0", b" ").decode("utf-8", "surrogateescape").strip()


def arguments(pid: int) -> list[str]:
    """Return the words of the process's command line, none when it is gone."""
    return _content(f"/proc/{pid}/cmdline").decode("utf-8", "surrogateescape").split("\0")[:-1]


def end_group(group: int, number: int) -> None:
    """Send the signal to each process of the group that we may signal, and to its first one, which may have left it."""
    for send in (os.killpg, _kill_if_apart):
        try:
            send(group, number)
        except ProcessLookupError:
            pass  # RACE: the last of them ended by itself
        except PermissionError:
            pass  # all have become another user's, as with sudo: who waits for them sees that they live


def _kill_if_apart(pid: int, number: int) -> None:
    if os.getpgid(pid) != pid:
        os.kill(pid, number)


def wait_for_group(group: int, seconds: float) -> bool:
    """Wait until the group has no living process; False when `seconds` went by first."""
    deadline = time.monotonic() + seconds
    while (alive := members(group)) or _is_hidden(group):
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        if alive:
            wait_for(alive[0], left)
        else:
            time.sleep(min(left, HIDDEN_FOR))
    return True


def group_lives(group: int) -> bool:
    """Tell whether the group has a living process."""
    return bool(members(group)) or _is_hidden(group)


def _is_hidden(group: int) -> bool:
    """Tell whether the group has processes of others, and only such, where /proc doesn't show them: see hidepid in proc(5)."""
    if os.access("/proc/1/stat", os.R_OK):
        return False  # it shows all
    try:
        os.killpg(group, 0)
    except PermissionError:
        return not _is_our_zombie(group)  # the kernel counts that, too
    except ProcessLookupError:
        pass
    return False


def _is_our_zombie(pid: int) -> bool:
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False


def wait_for(pid: int, seconds: float | None) -> bool:
    """Wait until process `pid` has ended, by event; False when `seconds` went by first."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(None if seconds is None else max(0.0, seconds) * 1000))
    finally:
        os.close(descriptor)


def close_group(group: int, grace: float, first: int = signal.SIGTERM) -> bool:
    """End every process of the group: `first`, up to `grace` seconds, then KILL. Tell whether none is left: see kill_group()."""
    end_group(group, first)
    return _gone_within(group, grace) or kill_group(group, DIES_WITHIN)


def kill_group(group: int, seconds: float = 0.0) -> bool:
    """Send KILL, and tell whether within that time none is left.

    Some may be: who has become another user's can't be signalled, and who waits within the kernel ends behind that.
    """
    end_group(group, signal.SIGKILL)
    return _gone_within(group, seconds)


def _gone_within(group: int, seconds: float) -> bool:
    try:
        return wait_for_group(group, seconds)
    except OSError:  # no more files may be open, so that nobody can look
        time.sleep(seconds)
        return False


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat from the state on, or None when it is gone."""
    try:
        text = _read(f"/proc/{pid}/stat")
    except (FileNotFoundError, ProcessLookupError, PermissionError):  # the last where /proc is mounted with hidepid=1
        return None
    return text[text.rindex(b")") + 2 :].decode("ascii").split()


def _read(path: str) -> bytes:
    """Return what a file of /proc says that fits into a page, with as few system calls as that takes."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, A_PAGE)
    finally:
        os.close(descriptor)


def _environment(pid: str) -> bytes:
    """Return the process's environment. One that is just becoming another program has none for an instant: that is waited for."""
    deadline = time.monotonic() + AN_INSTANT
    empty = 0
    while not (text := _content(f"/proc/{pid}/environ")) and empty < LOOKS and time.monotonic() < deadline:
        if _becomes_another(int(pid)):
            os.sched_yield()
        else:
            empty += 1  # RACE: it may have become another since we read
    return text


def _becomes_another(pid: int) -> bool:
    """Tell whether the process is within execve(2): it has memory, and the kernel has not yet said where its environment is."""
    fields = _stat(pid)
    if fields is None or fields[0] in "ZX" or int(fields[FLAGS]) & KERNEL_THREAD:
        return False
    return int(fields[ENVIRONMENT]) == 0 and _may_look(pid)


def _may_look(pid: int) -> bool:
    """Tell whether the kernel lets us see the process's addresses: of others' it says 0 for all of them."""
    try:
        os.close(os.open(f"/proc/{pid}/environ", os.O_RDONLY | os.O_CLOEXEC))
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False
    return True


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return []


def _file_of(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None  # it was closed, or names nothing
    return found.st_dev, found.st_ino


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b""
