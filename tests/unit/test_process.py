"""What /proc says of processes, at any instant."""

import os
import subprocess
import sys

import pytest
from kit import until

from jobspool import process

TURNS = 150
AGAIN = (
    "import os, sys; os.execve(sys.executable, [sys.executable, '-S', '-E', '-c', sys.argv[1], sys.argv[1]], dict(os.environ))"
)


@pytest.fixture
def restless():
    """A process that becomes another program all the time."""
    words = [sys.executable, "-S", "-E", "-c", AGAIN, AGAIN]
    child = subprocess.Popen(words, env={**os.environ, "RESTLESS": "yes"})
    yield child
    child.kill()
    child.wait()


def test_a_process_that_becomes_another_program_is_always_seen(restless):
    until(lambda: restless.pid in process.environments(b"RESTLESS"), "the process")
    assert [turn for turn in range(TURNS) if restless.pid not in process.environments(b"RESTLESS")] == []


def test_processes_without_an_environment_and_kernel_threads_are_not_waited_for():
    bare = subprocess.Popen([sys.executable, "-S", "-E", "-c", "input()"], env={}, stdin=subprocess.PIPE)
    try:
        assert bare.pid not in process.environments(b"RESTLESS")
        assert not process._becomes_another(2)
    finally:
        bare.communicate(b"\n")


def test_the_locks_of_a_file_are_told_with_who_holds_them(tmp_path):
    import fcntl

    with open(tmp_path / "one", "w") as one, open(tmp_path / "other", "w") as other:
        fcntl.flock(one, fcntl.LOCK_EX)
        files = {(found.st_dev, found.st_ino): found for found in (os.fstat(one.fileno()), os.fstat(other.fileno()))}
        first = os.fstat(one.fileno())
        assert process.holders(set(files)) == {(first.st_dev, first.st_ino): [os.getpid()]}
