"""The log files of attempts: one pair of a worker's own serves all that print nothing."""

import os
import subprocess

import pytest

from jobspool import logs, roster
from jobspool.logs import Logs, Pair

WORKER = 4242


@pytest.fixture
def pair(spool):
    pair = Pair(spool, WORKER, 0o600)
    yield pair
    pair.remove()


def attempt(spool, pair, id="x", limit=1000):
    return Logs(pair, spool, id, 1, limit, 0o600)


def inodes(paths):
    return [os.stat(path).st_ino for path in paths]


def there(spool):
    """The names in logs/, and what each has."""
    found = {}
    for name in sorted(os.listdir(f"{spool.root}/logs")):
        with open(f"{spool.root}/logs/{name}") as file:
            found[name] = file.read()
    return found


def test_the_files_of_a_silent_attempt_serve_the_next_one(spool, pair):
    first = attempt(spool, pair)
    before = inodes(first.own_paths)
    first.close()
    assert inodes(attempt(spool, pair, "y").own_paths) == before
    assert there(spool) == {"worker-4242.0.err": "", "worker-4242.0.out": ""}


def test_what_was_printed_gets_the_attempts_name_and_the_next_has_a_file_of_its_own(spool, pair):
    first = attempt(spool, pair)
    with open(first.own_paths[0], "a") as file:
        file.write("said")
    first.close()
    attempt(spool, pair, "y").close()
    assert there(spool) == {"worker-4242.0.err": "", "worker-4242.0.out": "", "x.1.out": "said"}


def test_the_file_of_a_process_that_was_left_behind_serves_nobody_else(spool, pair):
    first = attempt(spool, pair)
    with open(first.own_paths[1], "a") as file:
        lingers = subprocess.Popen(["sh", "-c", "read word; echo late >&2"], stdin=subprocess.PIPE, stderr=file)
    first.close()
    second = attempt(spool, pair, "y")
    lingers.communicate(b"go\n")
    second.close()
    assert there(spool) == {"worker-4242.0.err": "", "worker-4242.0.out": "", "x.1.err": "late\n"}


def test_an_attempt_that_takes_its_time_has_its_names_at_once_and_leaves_nothing_empty(spool, pair):
    first = attempt(spool, pair)
    first.name()
    assert there(spool) == {"x.1.err": "", "x.1.out": ""}
    first.close()
    assert there(spool) == {}


def test_what_lies_under_the_name_is_set_aside(spool, pair):
    with open(spool.log_path("x", 1, "out"), "w") as file:
        file.write("older")
    first = attempt(spool, pair)
    with open(first.own_paths[0], "a") as file:
        file.write("newer")
    first.close()
    assert there(spool) == {"worker-4242.0.err": "", "x.1.out": "newer", "x.1~1.out": "older"}


def test_where_hands_empty_the_directory_files_are_made_anew(spool, pair):
    attempt(spool, pair).close()
    for path in pair.paths:
        os.unlink(path)
    attempt(spool, pair, "y")
    assert there(spool) == {"worker-4242.0.err": "", "worker-4242.0.out": ""}


def test_a_worker_that_ends_leaves_no_files(spool):
    pair = Pair(spool, WORKER, 0o600)
    attempt(spool, pair).close()
    pair.remove()
    assert there(spool) == {}


@pytest.mark.parametrize(
    ("job", "group", "printed", "left"),
    [
        ("x", 77, "said", {"x.1.out": "said", "x.1.err": ""}),  # its group may live, and print more
        ("x", None, "said", {"x.1.out": "said"}),
        ("x", None, "", {}),
        (None, None, "", {}),
    ],
)
def test_what_a_killed_workers_attempt_has_printed_gets_its_name(spool, job, group, printed, left):
    attempt(spool, Pair(spool, WORKER, 0o600))
    with open(logs.own_paths(spool, WORKER)[0], "a") as file:
        file.write(printed)
    words = {**dict.fromkeys(roster.Entry._fields), "pid": WORKER, "job": job, "attempt": 1, "group": group}
    logs.name_left(spool, roster.Entry(**words))
    assert there(spool) == left
