"""File systems of our own, for a test: mounted for as long as a with block lasts, and gone with this process at the latest."""

import ctypes
import errno
import fcntl
import os
import shutil
import struct
import subprocess
from contextlib import contextmanager

LOOP_CONFIGURE, LOOP_CTL_GET_FREE = 0x4C0A, 0x4C82
LO_FLAGS_AUTOCLEAR = 4
LOOP_CONFIG = struct.Struct("<II 5Q 4I 240x")  # loop_config of linux/loop.h: file, then zeros, then the flags
MNT_DETACH = 2
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
CLONE_NEWNS = 0x20000
SBIN = "/sbin:/usr/sbin"
_libc = ctypes.CDLL(None, use_errno=True)


def missing(kind=None, *tools, devices=()):
    """Return what is not here to mount a file system of that kind and to use these tools, or None."""
    if os.geteuid():
        return "only root can mount"
    for path in devices:
        if not os.access(path, os.R_OK | os.W_OK):
            return f"{path} is not here"
    for name in tools:
        if not tool(name):
            return f"{name} is missing: make test-deps"
    with open("/proc/filesystems") as file:
        return None if kind is None or kind in file.read().split() else f"this kernel has no {kind}"


def tool(name):
    """Return the path of the program, None where it is missing."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{SBIN}")


def keep_private():
    """Let the mounts of this process be seen by it and its children alone: whatever ends it, they are gone. Return why not."""
    if _libc.unshare(CLONE_NEWNS):
        return f"no mounts of one's own: {os.strerror(ctypes.get_errno())}"
    mount("none", "/", "none", flags=MS_REC | MS_PRIVATE)
    return None


def mount(source, target, kind, options="", flags=0):
    if _libc.mount(os.fsencode(source), os.fsencode(target), kind.encode(), flags, options.encode()):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), f"mount -t {kind} -o {options} {source} {target}")


def umount(target):
    """Unmount, at the latest when nobody looks any more; it may not be mounted."""
    if _libc.umount2(os.fsencode(target), 0):
        _libc.umount2(os.fsencode(target), MNT_DETACH)


@contextmanager
def mounted(device, target, kind, options="", flags=0):
    os.makedirs(target, exist_ok=True)
    mount(device, target, kind, options, flags)
    try:
        yield target
    finally:
        umount(target)


@contextmanager
def loop(path):
    """A loop device over the file, for as long as the with block lasts, and the file system on it is mounted."""
    below = os.open(path, os.O_RDWR)
    try:
        device, over = _loop_over(below)
    finally:
        os.close(below)
    try:
        yield device
    finally:
        os.close(over)


def _loop_over(below):
    while True:
        with open("/dev/loop-control", "rb") as control:
            device = f"/dev/loop{fcntl.ioctl(control, LOOP_CTL_GET_FREE)}"
        over = os.open(device, os.O_RDWR)
        try:
            fcntl.ioctl(over, LOOP_CONFIGURE, LOOP_CONFIG.pack(below, 0, *[0] * 8, LO_FLAGS_AUTOCLEAR))
        except OSError as error:
            os.close(over)
            if error.errno != errno.EBUSY:  # RACE: somebody else took it
                raise
        else:
            return device, over


@contextmanager
def on_image(target, kind, size, make):
    """A file system of `size` bytes that the command `make` makes, mounted at `target`."""
    image = f"{target}.image"
    with open(image, "wb") as file:
        file.truncate(size)
    subprocess.run(
        [tool(make[0]), *make[1:], image], check=True, timeout=60, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    with loop(image) as device, mounted(device, target, kind):
        yield target


@contextmanager
def read_only(target):
    """What lies at `target` seen through a read-only mount: whoever opens, makes or moves something there is refused."""
    with mounted(target, target, "none", flags=MS_BIND):
        mount("none", target, "none", flags=MS_BIND | MS_REMOUNT | MS_RDONLY)
        yield target


@contextmanager
def remounted_read_only(target):
    """The file system that is mounted at `target`, read-only: refused where somebody has a file open for writing."""
    mount("none", target, "none", flags=MS_REMOUNT | MS_RDONLY)
    try:
        yield target
    finally:
        mount("none", target, "none", flags=MS_REMOUNT)
