"""A real load on a disk that remembers: workers that run jobs, and a witness outside who is told what is kept and what ended.

Each line of the witness carries how many writes and flushes the disk had seen when the program's word came, so that a state
of the disk from then on must bear it out.
"""

import json
import os
import signal
import subprocess
from collections import namedtuple

from kit import until
from mounts import loop, mounted, tool
from mounts import missing as missing_to_mount
from powercut.block import Disk

from jobspool import Spool, config, durable
from jobspool.states import FAILED, PENDING, PROCESSING
from jobspool.supervisor import Supervisor

# kind: for mount(2). make: the command that makes one in a file. options: of the mount. size: bytes.
FileSystem = namedtuple("FileSystem", "kind make options size")
MIB = 1 << 20
FILE_SYSTEMS = {
    "ext4": FileSystem("ext4", ["mkfs.ext4", "-q", "-J", "size=4"], "", 48 * MIB),
    "ext4-writeback": FileSystem("ext4", ["mkfs.ext4", "-q", "-J", "size=4"], "data=writeback", 48 * MIB),
    "xfs": FileSystem("xfs", ["mkfs.xfs", "-q"], "nouuid", 320 * MIB),
    "btrfs": FileSystem("btrfs", ["mkfs.btrfs", "-q"], "nodiscard", 160 * MIB),
}

# first: the count when the load began. base: the image before any write. writes: all of them. witness: what was told.
Recording = namedtuple("Recording", "system fsync first base writes witness")

# count: of the disk's writes and flushes when it was told. job: id. ended: (number, verdict), None for an add.
Told = namedtuple("Told", "count job ended")


def missing(name):
    """Return what is not here to try that file system, or None."""
    system = FILE_SYSTEMS[name]
    return missing_to_mount(system.kind, system.make[0], devices=("/dev/fuse", "/dev/loop-control"))


def record(name, fsync, jobs, folder):
    """Let workers run `jobs` jobs on such a file system, and return what the disk and the witness saw."""
    system = FILE_SYSTEMS[name]
    base = _image(system, folder)
    disk = Disk(f"{folder}/disk", base, f"{folder}/log")
    try:
        with loop(disk.path) as device, mounted(device, f"{folder}/mnt", system.kind, system.options):
            spool = Spool.init(f"{folder}/mnt/spool")
            for setting, value in (("fsync", fsync), ("backoff_base", 0), ("max_retries", 1)):
                config.change(spool.root, setting, value, spool.spare(), 0o600)
            spool.ready()
            _sync(spool.root)
            first = disk.count
            _run(spool, disk, jobs, f"{folder}/witness")
        return Recording(name, fsync, first, base, disk.writes(), _witness(f"{folder}/witness"))
    finally:
        disk.end()


def _image(system, folder):
    path = f"{folder}/image"
    with open(path, "wb") as file:
        file.truncate(system.size)
    subprocess.run([tool(system.make[0]), *system.make[1:], path], check=True, timeout=60, stdout=subprocess.DEVNULL)
    with open(path, "rb") as file:
        return file.read()


def _sync(path):
    """Let all that was written to the file system of `path` be on its disk."""
    folder = os.open(path, os.O_RDONLY)
    assert durable._call("syncfs", folder) == 0
    os.close(folder)


def _run(spool, disk, jobs, witness):
    """Add jobs one by one and in batches, from here, while a real supervisor's two workers run them."""
    told = os.open(witness, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def tell(job, ended=None):
        os.write(told, (json.dumps([disk.count, job, ended]) + "\n").encode())

    supervisor = _supervise(spool, tell)
    try:
        for number in range(0, jobs, 4):
            commands = ["true", "true", "exit 1", "echo said"]
            if number % 8:
                for command in commands:
                    tell(spool.add(command).id)
            else:
                for job in spool.add_many([{"command": command} for command in commands]):
                    tell(job.id)
        until(lambda: not any(spool.names(state) for state in (PENDING, PROCESSING, FAILED)), "the jobs' ends", 120)
    finally:
        os.kill(supervisor, signal.SIGTERM)
        os.waitpid(supervisor, 0)
        os.close(told)


def _supervise(spool, tell):
    """Fork a supervisor whose reports go to the witness; return its pid."""

    def report(events):
        for event in events:
            if event["event"] == "ended":
                tell(event["id"], [event["attempt"]["number"], event["attempt"]["verdict"]])

    pid = os.fork()
    if pid == 0:
        try:
            Supervisor(spool, 2, False, report).serve()
        finally:
            os._exit(0)
    return pid


def _witness(path):
    with open(path) as file:
        return [Told(*json.loads(line)) for line in file]
