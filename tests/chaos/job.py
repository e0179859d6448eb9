"""A job of the storm: job.py KIND TOKEN FOLDER [ATTEMPT]. What it does it says in FOLDER/said, a line a word: see witness.py.

While the main process of a run lives it holds FOLDER/TOKEN.lock: a second run that finds it held is an overlap. The lock is one
of fcntl(2), which no child shares, so it tells of this process alone.
"""

import fcntl
import os
import random
import signal
import sys
import time

SHORT = 0.05  # seconds, at most: a job has something to do
WITHOUT_LOCK = ("deserter", "closer", "forgetful", "stranger")  # they work longer, for they are most easily overlooked
LONG = 12.0  # seconds: it is ended long before, or the queue has forgotten it
LINGERS = 1.5  # seconds that a process lives on which a job left behind
BLOCK = b"x" * 65535 + b"\n"
ENOUGH = 1024  # blocks: a job that fills the disk stops there if the disk is a real one

kind, token, folder = sys.argv[1:4]
attempt = sys.argv[4] if len(sys.argv) > 4 else os.environ["QUEUECTL_ATTEMPT"]
spool = os.environ.get("QUEUECTL_SPOOL", "")


def say(word):
    line = f"{word} {token} {attempt} {worker()} {pool()} {time.monotonic()}\n"
    file = os.open(f"{folder}/said", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(file, line.encode())
    os.close(file)


def worker():
    """The pid of the worker, 0 if it is dead: then our parent is somebody else."""
    return os.getppid() if "queuectl" in of_parent("cmdline") else 0


def pool():
    """The pid of the supervisor: the parent of the worker."""
    return int(of_parent("stat").rpartition(")")[2].split()[1]) if worker() else 0


def of_parent(name):
    try:
        with open(f"/proc/{os.getppid()}/{name}") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError):
        return ") ? 0"


def work():
    time.sleep(random.random() * SHORT * (8 if kind in WITHOUT_LOCK else 1))


def forget():
    """Close all descriptors, as sudo does: the queue's lock is gone with the rest."""
    os.closerange(3, 256)


def again(environment):
    """Become another program."""
    os.execve(sys.executable, [sys.executable, "-S", "-E", __file__, kind, token, folder, attempt], environment)


def is_noted():
    """Tell whether the worker has noted this process group: until then nothing could know a job without lock and environment."""
    try:
        with open(f"{spool}/workers/worker-{os.getppid()}.json") as file:
            return f'"group": {os.getpid()},' in file.read()
    except FileNotFoundError:
        return False


def daemon():
    """Leave a process behind."""
    if os.fork() == 0:
        os.setsid()
        say("left")
        time.sleep(LINGERS)
        say("gone")
        os._exit(0)


def family():
    for _ in range(2):
        if os.fork() == 0:
            work()
            os._exit(0)
    os.wait()
    os.wait()


def endless():
    time.sleep(LONG)


def stubborn():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(LONG)


def hermit():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(3)


def printer():
    """Print some megabytes, and gigabytes that are a hole."""
    for _ in range(16 * int(os.environ["MIB"])):
        os.write(1, BLOCK)
    os.truncate(1, 2 << 30)
    os.write(1, b"the end\n")


def homeless():
    here = f"{folder}/home-{token}-{os.getpid()}"
    os.mkdir(here)
    os.chdir(here)
    os.rmdir(here)


def killer():
    if pid := worker():
        say("killed")
        os.kill(pid, signal.SIGKILL)
    work()


def adder():
    from jobspool import Spool
    from jobspool.errors import JobExists

    child = f"child-{token}"
    words = [sys.executable, "-S", "-E", __file__, "plain", child, folder]
    try:
        Spool(spool).add(argv=words, id=child, meta=child, max_retries=1000, backoff_base=0)
    except JobExists:
        pass  # an earlier run of this job added it
    say("added")


def filler():
    """Fill the disk, wait, and free it: the file has no name, so it goes however this process ends."""
    path = f"{os.path.dirname(spool)}/filling-{os.getpid()}"
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    os.unlink(path)
    try:
        for _ in range(ENOUGH):
            os.write(file, BLOCK)
    except OSError:
        time.sleep(LINGERS)


def run():
    lock = os.open(f"{folder}/{token}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("overlap")
        sys.exit(1)
    say("start")
    work()
    deed = {"deserter": daemon}.get(kind) or globals().get(kind)
    if callable(deed):
        deed()
    if kind == "fails" or (kind == "sometimes" and random.random() < 0.5):
        sys.exit(3)
    say("end")


if kind in ("closer", "deserter"):
    forget()
if kind in ("forgetful", "stranger", "hermit") and len(sys.argv) == 4:
    while kind != "forgetful" and os.getppid() != 1 and not is_noted():
        time.sleep(0.001)
    if kind == "forgetful" or is_noted():
        forget()
        again(os.environ if kind == "forgetful" else {})
run()
