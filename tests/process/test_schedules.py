"""Schedules from the command, by hand, and with real supervisors."""

import json
import os
from pathlib import Path

from kit import pool, queuectl, until


def add(spool, *words):
    return queuectl("schedule", "add", *words, spool=spool, check=True)


def test_each_second_is_one_job_of_two_supervisors(spool):
    add(spool, "tick", "--every", "1", "--overlap", "allow", "true")
    with pool(spool, 1), pool(spool, 1):
        until(lambda: spool.count("done") >= 3, "three seconds")
    ids = sorted(id for state in ("done", "pending") for id in spool.names(state))
    assert len({id[-6:] for id in ids}) == len(ids)
    assert all(id.startswith("tick-") and "~" not in id for id in ids)


def test_a_file_that_a_person_drops_edits_and_removes_is_heeded_while_workers_run(spool):
    folder = Path(spool.root, "schedules")
    with pool(spool):
        folder.mkdir()
        (folder / "s.json").write_text(json.dumps({"every": 1, "job": {"command": "echo one"}}))
        until(lambda: spool.count("done") >= 1, "the first", 40)
        (folder / "s.json").write_text(json.dumps({"every": 1, "job": {"command": "echo two"}}))
        until(lambda: any(job.command == "echo two" for job in spool.jobs("done")), "the other", 40)
        (folder / "s.json").unlink()


def test_a_person_adds_shows_pauses_runs_and_removes(spool):
    words = [
        "backup",
        "--cron",
        "30 2 * * *",
        "--zone",
        "Europe/Berlin",
        "--jitter",
        "5m",
        "--timeout",
        "1h",
        "--",
        "tar",
        "cf",
        "x",
    ]
    assert add(spool, *words).stdout == f"{spool.root}/schedules/backup.json\n"
    [row] = [json.loads(line) for line in queuectl("schedule", "list", "--json", spool=spool).stdout.splitlines()]
    assert (row["cron"], row["zone"], row["jitter"], row["job"]["timeout"]) == ("30 2 * * *", "Europe/Berlin", 300, 3600)
    assert (row["job"]["argv"], len(row["next"]), row["unfinished"]) == (["tar", "cf", "x"], 3, 0)
    assert "30 2 * * *" in queuectl("schedule", spool=spool).stdout
    queuectl("schedule", "pause", "backup", spool=spool, check=True)
    assert "paused" in queuectl("schedule", "list", spool=spool).stdout
    queuectl("schedule", "resume", "backup", spool=spool, check=True)
    assert "paused" not in json.loads(queuectl("schedule", "show", "--json", "backup", spool=spool).stdout)
    id = queuectl("schedule", "run-now", "backup", spool=spool, check=True).stdout.strip()
    assert id.startswith("backup-")
    assert f"unfinished  {id}" in queuectl("schedule", "show", "backup", spool=spool).stdout
    again = queuectl("schedule", "add", *words, spool=spool)
    assert (again.returncode, "--replace changes it" in again.stderr) == (2, True)
    queuectl("schedule", "rm", "backup", spool=spool, check=True)
    assert os.listdir(f"{spool.root}/schedules") == []


def test_wrong_schedules_are_named_and_nothing_is_written(spool):
    for words, said in (
        (["x", "--cron", "whenever", "true"], "cron 'whenever': Wrong number of fields"),
        (["x", "true"], "one of cron and every says when"),
        (["x", "--every", "5m", "--zone", "Mars/Base", "true"], "zone must be the name of a time zone"),
        (["x", "--every", "5m"], "what is to run? queuectl schedule add NAME"),
        (["x", "--every", "5m", "--at", "noon", "true"], "--at is of one moment"),
        (["a/b", "--every", "5m", "true"], "an id can't contain a slash"),
    ):
        ran = queuectl("schedule", "add", *words, spool=spool)
        assert (ran.returncode, said in ran.stderr) == (2, True), ran.stderr
    ran = queuectl("schedule", "pause", "nobody", spool=spool)
    assert (ran.returncode, "there is no schedule 'nobody'" in ran.stderr) == (1, True)
    assert not os.path.exists(f"{spool.root}/schedules")
