"""`queuectl events`: what it prints, follows, and where it goes on."""

import json
import os
import signal
import subprocess
import threading
import time
from contextlib import nullcontext

import pytest
from kit import PATIENCE, QUEUECTL, comes_to, drop, mv, pool, queuectl, until

from jobspool import hands, journal, say


def events(spool, *words, check=True):
    return queuectl("events", *words, spool=spool, check=check).stdout.splitlines()


def ways(spool, *words):
    return [(event["job"], event["from"], event["to"], event["by"]) for event in map(json.loads, events(spool, "--json", *words))]


def test_a_person_reads_what_happened_and_by_whom(spool):
    spool.add("exit 3", id="x", max_retries=0)
    with pool(spool):
        comes_to(spool, "x", "dead")
    mv(spool, "x", "dead", "done")
    queuectl("enqueue", "true", "--id", "y", spool=spool, check=True)
    told = [line[23:].split() for line in events(spool)]
    assert [words[:4] for words in told] == [
        ["x", "->", "pending", "by"],
        ["x", "pending", "->", "processing"],
        ["x", "processing", "->", "dead"],
        ["y", "->", "pending", "by"],
        ["x", "dead", "->", "done"],
    ]
    assert (told[3][-2:], told[4][4:], "exit 3" in " ".join(told[2])) == (["(queuectl", "enqueue)"], ["by", "hand"], True)


def test_how_long_it_took_is_said_as_other_commands_say_it(spool):
    times = {"started": "2026-11-30T10:00:00Z", "ended": "2026-11-30T10:00:04.5Z", "duration": 4.5}
    drop(spool, "x", {"command": "true", "attempts": [{"number": 1, **times, "exit": 0, "verdict": "done"}]}, "done")
    what = {"attempt": 1, "exit": 0, "duration": 4.5, "by": "worker"}
    spool.write_journal(journal.lines("ended", ["x"], "processing", "done", time.time(), what), spool.settings())
    assert "exit 0, after 4.5 s, " in events(spool, "--all")[-1]
    assert "exit 0 after 4.5 s" in queuectl("show", "x", spool=spool).stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["hold"], "by {} (queuectl hold)"),
        (["hold", "--reason", "the tape"], "the tape, by {} (queuectl hold)"),
        (["hold", "--reason", "by somebody else"], "by somebody else, by {} (queuectl hold)"),
        (["cancel"], "cancelled, by {} (queuectl cancel)"),
        (["cancel", "--reason", "the disk: full"], "cancelled: the disk: full, by {} (queuectl cancel)"),
    ],
)
def test_who_did_it_is_said_once(spool, words, said):
    spool.add("true", id="x")
    queuectl(*words, "x", spool=spool, check=True)
    told = [line[54:].strip() for line in events(spool)][-1]
    assert told.split("  ")[-1].strip() == said.format(say.person())


@pytest.mark.parametrize("running", [False, True])
def test_what_hands_did_is_told_before_the_command_that_follows(spool, running):
    """Two moves between two looks: to compare the directories then shows but what they come to."""
    queuectl("pause", spool=spool, check=True)
    with pool(spool) if running else nullcontext():
        for id in ("retried", "removed", "undone"):
            queuectl("enqueue", "true", "--id", id, spool=spool, check=True)
            mv(spool, id, "pending", "dead")
        os.unlink(spool.path("dead", "undone"))
        queuectl("retry", "retried", spool=spool, check=True)
        queuectl("rm", "--yes", "removed", spool=spool, check=True)
        queuectl("enqueue", "true", "--id", "undone", spool=spool, check=True)
        told = ways(spool)
    for id, way in (
        ("retried", [("pending", "dead", "hand"), ("dead", "pending", "command")]),
        ("removed", [("pending", "dead", "hand"), ("dead", None, "command")]),
        ("undone", [("pending", None, "hand"), (None, "pending", "command")]),
    ):
        assert [step for job, *step in told if job == id] == [[None, "pending", "command"], *map(list, way)]


def test_jobs_and_times_can_be_chosen(spool):
    spool.add("true", id="x")
    spool.add("true", id="y")
    assert [len(events(spool, *words)) for words in ([], ["y"], ["--since", "1h"], ["--all", "x", "y"])] == [2, 1, 2, 2]


def test_older_events_than_asked_for_are_not_printed(spool):
    spool.write_journal(journal.lines("added", ["old"], None, "pending", 1.0, {"by": "program"}), spool.settings())
    spool.add("true", id="new")
    drop(spool, "old", {"command": "true"})
    assert ([job for job, *_ in ways(spool)], [job for job, *_ in ways(spool, "--all")]) == (["new"], ["old", "new"])


def test_a_cursor_lets_one_go_on(spool):
    spool.add("true", id="x")
    cursor = json.loads(events(spool, "--json")[-1])["cursor"]
    spool.add("true", id="y")
    assert [job for job, *_ in ways(spool, "--after", cursor)] == ["y"]


def test_a_cursor_file_prints_each_event_once(spool, tmp_path):
    spool.add("true", id="x")
    seen = str(tmp_path / "seen")
    found = []
    for id in "yz":
        found += [job for job, *_ in ways(spool, "--cursor-file", seen)]
        spool.add("true", id=id)
    assert (found, len(events(spool, "--cursor-file", seen)), events(spool, "--cursor-file", seen)) == (["x", "y"], 1, [])


def test_what_has_gone_before_it_was_read_is_told(spool, tmp_path):
    spool.add("true", id="x")
    (tmp_path / "seen").write_text("7:12\n")
    done = queuectl("events", "--cursor-file", str(tmp_path / "seen"), spool=spool)
    assert (len(done.stdout.splitlines()), "missing" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--after", "soon"], "cursor"),
        (["--since", "soon"], "--since takes a time"),
        (["--cursor-file", "/dev/null/x"], "Not a directory"),
        (["--cursor-file", "/nonexistent/x"], "it can't be written: No such file or directory"),
        (["--cursor-file", "/"], "it can't be written: Is a directory"),
        (["--cursor-file", ""], "it can't be written"),
        (["--cursor-file", "seen", "--since", "1h"], "--since and --cursor-file: the file says where to begin"),
        (["--cursor-file", "seen", "--all"], "--all and --cursor-file: the file says where to begin"),
        (["--after", "1:0", "--since", "1h"], "--since and --after: give one of them"),
        (["--after", "1:0", "--all"], "--all and --after: give one of them"),
        (["--all", "--since", "1h"], "--since and --all: give one of them"),
        (["--after", "99:1"], "--after 99:1: that is to come, as the journal of "),
        (["--after", "1:99999"], "ends at 1:"),
        (["nobody"], "no job fits"),
    ],
)
def test_what_can_not_be_meant_is_refused_before_anything_is_printed(spool, tmp_path, words, said):
    spool.add("true", id="x")
    done = queuectl("events", *words, spool=spool, cwd=tmp_path)
    assert (done.returncode, done.stdout, said in done.stderr) == (1 if words == ["nobody"] else 2, "", True), done.stderr
    assert os.listdir(tmp_path) == ["spool"]


def test_ids_come_on_stdin_as_for_other_commands(spool):
    for id in "xyz":
        spool.add("true", id=id)
    told = [queuectl("events", "-", spool=spool, stdin=stdin) for stdin in ("x\nz\n", "", "x\nnobody\n")]
    assert [(len(each.stdout.splitlines()), each.returncode) for each in told] == [(2, 0), (0, 0), (1, 1)]
    assert "nobody" in told[2].stderr


def test_where_it_is_switched_off_that_is_said(spool):
    queuectl("config", "set", "journal_bytes", "0", spool=spool, check=True)
    done = queuectl("events", spool=spool)
    assert (done.returncode, "journal_bytes" in done.stderr) == (1, True)


@pytest.fixture
def following(spool):
    words = ["events", "-f", "--json", "--after", journal.end(spool.root)]
    program = subprocess.Popen([*QUEUECTL, "--spool", spool.root, *words], stdout=subprocess.PIPE, text=True)
    patience = threading.Timer(PATIENCE, program.kill)  # what never comes isn't waited for
    patience.start()
    yield program
    patience.cancel()
    program.kill()
    program.wait()
    program.stdout.close()


def test_it_follows_what_commands_and_hands_do_with_no_worker(spool, following):
    spool.add("true", id="before")
    assert json.loads(following.stdout.readline())["job"] == "before"
    drop(spool, "x", {"command": "true"})
    assert json.loads(following.stdout.readline())["by"] == "hand"
    hands.cancel(spool, spool.find("x"), "by ann", spool.settings())
    assert json.loads(following.stdout.readline())["to"] == "dead"
    following.send_signal(signal.SIGINT)
    assert following.wait(30) == 0


def test_it_follows_beyond_the_end_of_a_segment(spool, following):
    spool.add("true", id="first")
    assert json.loads(following.stdout.readline())["job"] == "first"
    queuectl("config", "set", "journal_bytes", "1000000", spool=spool, check=True)
    ids = [f"x{number}" for number in range(1000)]
    spool.add_many([(id, {"command": "true"}) for id in ids])
    until(lambda: len(journal.segments(spool.root)) > 1, "a segment more")
    assert [json.loads(following.stdout.readline())["job"] for _ in ids] == ids
