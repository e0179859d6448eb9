"""What a worker of a Python peer does for a job: it runs the command and counts that it ended well. The same for all of them."""

import fcntl
import functools
import mmap
import os
import shutil

TALLY = os.environ.get("BENCH_TALLY", "")  # the file of counts, see bench/peers/tally.py
EXPECTED, TAKEN, FIRST = 0, 1, 2  # its fields: jobs in all, workers, and from here on the jobs of each worker
ENVIRONMENT = dict(os.environb)

program = functools.cache(shutil.which)


def run(command: str) -> None:
    """Run the command, which needs no shell, and wait for its end. Raises OSError where its status isn't 0."""
    words = command.split()
    pid = os.posix_spawn(program(words[0]), words, ENVIRONMENT)
    _, status = os.waitpid(pid, 0)
    if status:
        ring()
        raise OSError(f"{command}: status {status}")
    count()


def count() -> None:
    """Count a job of ours as done; who counts the last of all says so."""
    counts, mine = _place()
    counts[mine] += 1
    if sum(counts[FIRST : FIRST + counts[TAKEN]]) == counts[EXPECTED]:
        ring()


def ring() -> None:
    """Wake who waits for the end of all: there is nothing more to wait for."""
    with open(f"{TALLY}.bell", "wb") as bell:
        bell.write(b"!")


@functools.cache
def _place() -> tuple[memoryview, int]:
    """Return the counts, shared by all, and which is ours."""
    with open(TALLY, "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        counts = memoryview(mmap.mmap(file.fileno(), 0)).cast("Q")
        counts[TAKEN] += 1
        mine = FIRST + counts[TAKEN] - 1
        fcntl.flock(file, fcntl.LOCK_UN)  # closing wouldn't: the mapping keeps a descriptor
    return counts, mine
