"""Words for a disk that goes bad, and for how a pool is to bear it: one clear message, no rush, and all goes on."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mounts
from kit import children, let_pass, ticks, until

TOO_BUSY = 5  # hundredths of a second of processor time, of a whole pool, in WATCHED; mostly it is none
WATCHED = 1.3  # seconds: a turn at least of all that is tried again every second


def at_once(scene, cases):
    """Play the scene of each case in a folder of its own, all at once: they mostly wait. Who failed is named."""

    def play(case):
        folder = tempfile.mkdtemp(prefix="queuectl-")
        try:
            scene(Path(folder), *cases[case])
        except BaseException as error:
            error.add_note(f"(in the case {case!r})")
            raise
        finally:
            shutil.rmtree(folder)

    with ThreadPoolExecutor(len(cases)) as threads:
        list(threads.map(play, cases))


def waiter(folder, id):
    """The words of a job that writes down that it ran, and waits until go() is called."""
    return f"echo {id} >> {folder}/ran; until test -e {folder}/{id}.go; do sleep 0.01; done"


def go(folder, id):
    (folder / f"{id}.go").touch()


def noter(folder, id):
    """The words of a job that writes down that it ran."""
    return f"echo {id} >> {folder}/ran"


def ran(folder):
    """The ids of the jobs that ran, once for each time."""
    path = folder / "ran"
    return sorted(path.read_text().split()) if path.exists() else []


def troubles(supervisor):
    """What the pool has said of trouble, without the time of day."""
    return [line.split("trouble", 1)[1].strip() for line in supervisor.log.read_text().splitlines() if " trouble " in line]


def the_message(supervisor):
    """Wait until the pool speaks of trouble, watch it for a while, and return what it said in all that time: one line.

    No process of the pool may be busy meanwhile, and none may end.
    """
    until(lambda: troubles(supervisor), "a word of trouble")
    before = pool_ticks(supervisor)
    let_pass(WATCHED)
    after = pool_ticks(supervisor)
    assert set(after) == set(before), "a process of the pool has ended, or was started"
    assert sum(after.values()) - sum(before.values()) <= TOO_BUSY
    (said,) = troubles(supervisor)
    assert "Traceback" not in supervisor.log.read_text(), supervisor.log.read_text()
    return said


def pool_ticks(supervisor):
    """{pid: processor time} of the supervisor and its children that are workers."""
    return {pid: ticks(pid) for pid in (supervisor.pid, *children(supervisor.pid))}


@contextlib.contextmanager
def full_of_bytes(folder):
    """The file system of `folder`, full to the last block for as long as the with block lasts; yields what fills it again."""
    path = f"{folder}/fill"
    with open(path, "wb", buffering=0) as file:

        def fill():
            for piece in (bytes(1 << 16), bytes(512)):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(piece)
            with contextlib.suppress(OSError):
                os.fsync(file)

        fill()
        try:
            yield fill
        finally:
            os.unlink(path)


@contextlib.contextmanager
def full_of_files(folder):
    """The file system of `folder`, without an inode to spare for as long as the with block lasts; yields what takes the rest."""
    folder = f"{folder}/fill"
    os.mkdir(folder)

    def fill():
        with contextlib.suppress(OSError):
            while True:
                os.close(os.open(f"{folder}/{len(os.listdir(folder))}", os.O_CREAT | os.O_EXCL | os.O_WRONLY))

    fill()
    try:
        yield fill
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def failing(pids, calls, code, *more):
    """Let these system calls of the processes, and of all that they start, fail with that error: strace(1) does it."""
    attach = [word for pid in pids for word in ("-p", str(pid))]
    command = [
        "strace",
        "-f",
        "-qq",
        "-o",
        os.devnull,
        "-e",
        f"trace={calls}",
        "-e",
        f"inject={calls}:error={code}",
        *more,
        *attach,
    ]
    tracer = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        until(lambda: tracer.poll() is not None or all(traced(pid) for pid in pids), "strace")
        assert tracer.poll() is None, tracer.stderr.read()
        yield
    finally:
        tracer.send_signal(signal.SIGTERM)
        tracer.wait()
        tracer.stderr.close()


def traced(pid):
    """Tell whether each thread of the process is traced."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/status") as file:
            if "TracerPid:\t0\n" in file.read():
                return False
    return True


def missing_strace():
    """Return why no system call can be made to fail here, or None."""
    if not mounts.tool("strace"):
        return "strace is missing: make test-deps"
    tried = subprocess.run(["strace", "-o", os.devnull, "-e", "inject=fsync:error=EIO", "true"], capture_output=True, text=True)
    return f"strace can't trace here: {tried.stderr.strip()}" if tried.returncode else None
