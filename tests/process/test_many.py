"""Batches, arrays, and what the records tell: from the command."""

import json

import pytest
from kit import comes_to, drop, pool, queuectl, until, where


def test_an_array_is_a_job_for_each_number_and_what_comes_then_runs_behind_all(spool, tmp_path):
    words = ["--array", "1-3,7", "--batch", "render", "--max-retries", "0", "--then", f"ls {tmp_path} > {tmp_path}/then"]
    command = f"touch {tmp_path}/$QUEUECTL_ARRAY_INDEX; test $QUEUECTL_ARRAY_INDEX != 7"
    ids = queuectl("enqueue", command, *words, spool=spool, check=True).stdout.split()
    assert len(ids) == 5
    queuectl("start", "--drain", "--quiet", "--count", "2", spool=spool, check=True)
    assert (tmp_path / "then").read_text().split() == ["1", "2", "3", "7", "spool", "then"]
    [row] = [json.loads(line) for line in queuectl("batch", "--json", spool=spool).stdout.splitlines()]
    assert (row["batch"], row["total"], row["ended"], row["done"], row["dead"]) == ("render", 5, 5, 4, 1)
    assert queuectl("batch", "render", spool=spool).stdout.split() == [
        "render",
        "[####################]",
        "5/5",
        "4",
        "done,",
        "1",
        "dead",
    ]
    assert queuectl("wait", "--batch", "render", spool=spool).returncode == 1


@pytest.mark.parametrize("text", ["", "x", "5-1", "1-", "1--3", "0-9999999"])
def test_a_range_that_is_none_is_named(spool, text):
    ran = queuectl("enqueue", "true", "--array", text, spool=spool)
    assert (ran.returncode, "--array" in ran.stderr, spool.count("pending")) == (2, True, 0)


def test_a_batch_is_cancelled_as_a_whole(spool):
    drop(spool, "other", {"command": "true"})
    queuectl("enqueue", "true", "--array", "1-5", "--batch", "b", spool=spool, check=True)
    assert len(queuectl("cancel", "--batch", "b", spool=spool, check=True).stdout.split()) == 5
    assert (where(spool, "other"), spool.count("dead")) == (["pending"], 5)
    ran = queuectl("batch", "nobody", spool=spool)
    assert (ran.returncode, "no job of a batch 'nobody'" in ran.stderr) == (1, True)


def test_many_lines_and_what_comes_then(spool, tmp_path):
    lines = "".join(f"{i}\n" for i in range(300))
    queuectl(
        *["enqueue", "--each", "-", "--then", f"touch {tmp_path}/then", "--batch", "b", "-q", "--", "true", "{}"],
        spool=spool, stdin=lines, check=True,
    )  # fmt: skip
    with pool(spool, 2):
        until((tmp_path / "then").exists, "what comes then")
        until(lambda: spool.count("done") == 301, "all of them")


def test_stats_are_of_the_records(spool):
    for id, job in {"a": {"command": "true"}, "b": {"command": "exit 3", "name": "bad", "max_retries": 0}}.items():
        drop(spool, id, job)
    queuectl("start", "--drain", "--quiet", spool=spool, check=True)
    rows = {row["name"]: row for row in map(json.loads, queuectl("stats", "--json", spool=spool).stdout.splitlines())}
    assert (rows["(all)"]["attempts"], rows["(all)"]["failure_share"]) == (2, 0.5)
    assert (rows["bad"]["dead"], rows["true"]["done"]) == (1, 1)
    shown = queuectl("stats", "--since", "1h", spool=spool).stdout
    assert "50 %" in shown
    assert queuectl("stats", "--by", "colour", spool=spool).returncode == 2


def test_a_job_is_kept_as_it_says(spool):
    queuectl("config", "--key", "keep_done", "--value", "1s", spool=spool, check=True)
    queuectl("enqueue", "true", "--keep", "forever", "--id", "kept", spool=spool, check=True)
    with pool(spool):
        comes_to(spool, "kept", "done")
        drop(spool, "gone", {"command": "true"})
        until(lambda: where(spool, "gone") == [], "its removal")
        assert where(spool, "kept") == ["done"]
    ran = queuectl("enqueue", "true", "--keep", "long", spool=spool)
    assert (ran.returncode, "--keep long: it must be a time" in ran.stderr) == (2, True)
