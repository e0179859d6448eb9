"""A disk that remembers every write and every flush: one file in a file system of our own (FUSE), under a loop device.

It speaks the kernel's protocol of /dev/fuse itself, as far as one file needs it: fuse.h is the source. Needs root.
"""

import errno
import mmap
import os
import signal
import struct
import traceback
from collections import namedtuple

from mounts import mount, umount

FILE = 1  # the only node: the mount point itself is a regular file
GETATTR, OPEN, READ, WRITE, STATFS, RELEASE, FSYNC, FLUSH, INIT, ACCESS, INTERRUPT, DESTROY = (
    3,
    14,
    15,
    16,
    17,
    18,
    20,
    25,
    26,
    34,
    36,
    38,
)
FORGET, BATCH_FORGET = 2, 42
DIRECT_IO = 1
LARGEST = 1 << 17  # bytes of one write
HEAD = struct.Struct("<IIQQIIII")

# data: what was written at offset, or None for a flush: all before it is on the disk.
Write = namedtuple("Write", "offset data")


class Disk:
    """A served image of `content` at `path` (a file that is there). `count` says how many writes and flushes came so far."""

    def __init__(self, path, content, log):
        self.path = path
        self._log = log
        self._counter = mmap.mmap(-1, 8)
        with open(path, "wb"):
            pass
        fuse = os.open("/dev/fuse", os.O_RDWR)
        mount("queuectl-test", path, "fuse", f"fd={fuse},rootmode=100644,user_id=0,group_id=0,max_read={LARGEST}")
        self.pid = os.fork()
        if self.pid == 0:
            _serve(fuse, bytearray(content), log, self._counter)
        os.close(fuse)

    @property
    def count(self):
        return struct.unpack("<Q", self._counter[:])[0]

    def writes(self):
        """All that was written, in order."""
        found = []
        with open(self._log, "rb") as file:
            while head := file.read(16):
                offset, length = struct.unpack("<qq", head)
                found.append(Write(offset, None if length < 0 else file.read(length)))
        return found

    def end(self):
        """Take the disk away, whatever state it is in."""
        umount(self.path)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


# ---- the server


def _serve(fuse, image, log, counter):
    """Answer the kernel until the mount is gone. Only this process touches the image."""
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with open(log, "wb", buffering=0) as record:
            while request := _next(fuse):
                _answer(fuse, image, record, counter, request)
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        os._exit(0)


def _next(fuse):
    while True:
        try:
            return os.read(fuse, LARGEST + 4096)
        except OSError as error:
            if error.errno == errno.ENODEV:
                return b""  # unmounted
            if error.errno not in (errno.ENOENT, errno.EINTR, errno.EAGAIN):
                raise


def _answer(fuse, image, record, counter, request):
    _, code, unique, *_ = HEAD.unpack_from(request)
    body = request[HEAD.size :]
    if code in (FORGET, BATCH_FORGET, INTERRUPT):
        return
    failed, answer = 0, b""
    if code == INIT:
        answer = struct.pack("<IIIIHHIIHHI28x", 7, 31, LARGEST, 1 << 22, 16, 12, LARGEST, 1, LARGEST // 4096, 0, 0)
    elif code == GETATTR:
        attributes = struct.pack(
            "<QQQQQQIIIIIIIIII", FILE, len(image), len(image) // 512, *[0] * 6, 0o100644, 1, 0, 0, 0, 4096, 0
        )
        answer = struct.pack("<QII", 3600, 0, 0) + attributes
    elif code == OPEN:
        answer = struct.pack("<QII", 1, DIRECT_IO, 0)
    elif code == READ:
        _, offset, size = struct.unpack_from("<QQI", body)
        answer = bytes(image[offset : offset + size])
    elif code == WRITE:
        _, offset, size = struct.unpack_from("<QQI", body)
        data = body[40 : 40 + size]
        image[offset : offset + size] = data
        _note(record, counter, offset, data)
        answer = struct.pack("<II", size, 0)
    elif code == FSYNC:
        _note(record, counter, 0, None)
    elif code == STATFS:
        answer = struct.pack("<QQQQQIII28x", *[0] * 5, 4096, 255, 4096)
    elif code not in (RELEASE, FLUSH, ACCESS, DESTROY):
        failed = errno.ENOSYS
    os.write(fuse, struct.pack("<IiQ", 16 + len(answer), -failed, unique) + answer)


def _note(record, counter, offset, data):
    record.write(struct.pack("<qq", offset, -1 if data is None else len(data)) + (data or b""))
    counter[:] = struct.pack("<Q", struct.unpack("<Q", counter[:])[0] + 1)
