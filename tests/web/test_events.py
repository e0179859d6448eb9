"""What happens is told to all open pages: thinned, in order, and gone on with after a pause."""

import contextlib
import os
import signal

import pytest
from kit import comes_to, drop, let_pass, pool, queuectl, ticks, until
from web.page import page

from jobspool.web import live


def read_until(following, seen):
    """Read on until the events so far are so; return them, and the last message."""
    found = []
    while True:
        kind, told = following()
        if kind == "change":
            found += told["events"]
            if seen(found, told):
                return found, told


def test_each_change_is_told_in_order(web, spool):
    with web.events() as following, pool(spool):
        spool.add("true", id="x")
        found, told = read_until(following, lambda found, _: any(event["to"] == "done" for event in found))
    assert [(event["from"], event["to"]) for event in found] == [
        (None, "pending"),
        ("pending", "processing"),
        ("processing", "done"),
    ]
    assert (told["counts"]["done"], found[-1]["cursor"], found[-1]["attempt"]) == (1, told["cursor"], 1)


def test_what_hands_do_is_told(web, spool):
    spool.add("true", id="x")
    queuectl("events", spool=spool)  # the journal knows all from now on
    with web.events() as following:
        until(lambda: web.get("/status").json["counts"]["pending"] == 1, "the look")
        os.rename(spool.path("pending", "x"), spool.path("done", "x"))
        found, _ = read_until(following, lambda found, _: any(event["to"] == "done" for event in found))
    assert (found[-1]["job"], found[-1]["from"], found[-1]["by"]) == ("x", "pending", "hand")


def test_without_a_journal_changes_are_seen_in_the_directories(spool):
    queuectl("config", "set", "journal_bytes", "0", spool=spool, check=True)
    with page(spool) as web, web.events() as following:
        assert web.get("/status").json["journal"] is False
        spool.add("true", id="x")
        found, told = read_until(following, lambda found, _: found)
        assert [(event["event"], event["job"], event["to"]) for event in found] == [("added", "x", "pending")]
        os.unlink(spool.path("pending", "x"))
        found, told = read_until(following, lambda found, _: found)
        assert ([event["event"] for event in found], told["cursor"]) == (["removed"], "")
        web.put("/jobs/y", {"command": "true"})
        found, _ = read_until(following, lambda found, _: found)
        assert [(event["event"], event["job"]) for event in found] == [("added", "y")]


def test_many_changes_are_thinned_and_none_is_lost_count_of(web, spool):
    many = 3000
    with web.events() as following:
        spool.add_many([{"command": "true"}] * many)
        told, messages = 0, 0
        while told < many:
            kind, said = following()
            if kind == "change":
                assert len(said["events"]) <= 50
                told += len(said["events"]) + said["dropped"]
                messages += 1
        assert (told, said["counts"]["pending"]) == (many, many)
        assert messages < 40


def test_who_comes_back_is_told_what_he_missed(web, spool):
    with web.events() as following:
        spool.add("true", id="a")
        _, told = read_until(following, lambda found, _: found)
    spool.add("true", id="b")
    spool.add("true", id="c")
    until(lambda: web.get("/status").json["counts"]["pending"] == 3, "the look")
    for path, headers in (
        ("/events", {"Last-Event-ID": told["cursor"]}),
        (f"/events?cursor={told['cursor']}", {"Last-Event-ID": "9:9"}),
    ):
        with web.events(path, **headers) as following:
            kind, missed = following()
            assert (kind, [event["job"] for event in missed["events"]][:2], missed["lost"]) == ("change", ["b", "c"], False)
            spool.add("true")
            found, _ = read_until(following, lambda found, _: found)
            assert len(found) == 1


def test_who_was_away_for_too_long_is_told_to_look_anew(web, spool):
    spool.add("true")
    os.rename(f"{spool.root}/journal/00000001.jsonl", f"{spool.root}/journal/00000007.jsonl")
    with web.events("/events?cursor=1:20") as following:
        assert following()[1]["lost"] is True


def test_what_has_happened_is_told_as_json(web, spool):
    for name in "abc":
        spool.add("true", id=name)
    told = web.get("/events?limit=2").json
    assert [event["job"] for event in told["events"]][-1] in ("a", "b")
    rest = web.get(f"/events?cursor={told['cursor']}").json
    assert [event["job"] for event in told["events"] + rest["events"]] == ["a", "b", "c"]
    assert web.get(f"/events?cursor={rest['cursor']}").json["events"] == []
    newest = web.get("/events?last=2").json
    assert ([event["job"] for event in newest["events"]], newest["cursor"]) == (["b", "c"], rest["cursor"])
    assert newest["events"] == [*told["events"], *rest["events"]][-2:]
    assert [web.get(f"/events?{query}").status for query in ("cursor=x", "limit=0", "last=x")] == [400] * 3


def test_workers_that_come_are_told(web, spool):
    with web.events() as following, pool(spool):
        while True:
            kind, told = following()
            if kind == "status" and told["workers"]:
                break
        assert told["workers"][0]["state"] == "idle"


def test_a_hundred_pages_share_one_reader(web, spool):
    with contextlib.ExitStack() as stack:
        pages = [stack.enter_context(web.events()) for _ in range(100)]
        spool.add("true", id="x")
        for following in pages:
            found, _ = read_until(following, lambda found, _: found)
            assert [event["job"] for event in found] == ["x"]
        opened = [os.readlink(f"/proc/{web.process.pid}/fd/{each}") for each in os.listdir(f"/proc/{web.process.pid}/fd")]
        assert sum("journal" in path for path in opened) == 0
        with open(f"/proc/{web.process.pid}/status") as file:
            threads = next(int(line.split()[1]) for line in file if line.startswith("Threads:"))
        assert threads < 20


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_at_once_and_cleanly_with_open_streams(spool, number):
    spool.add("true", id="x")
    with page(spool) as web, web.events() as following, contextlib.closing(web.socket()):
        until(lambda: web.get("/status").status == 200, "the page")
        web.process.send_signal(number)
        assert web.process.wait(10) == 0
        while following() is not None:
            pass


def test_a_page_that_nobody_looks_at_does_nothing(web, spool):
    web.get("/status")
    let_pass(live.PATIENCE + 1)
    before = ticks(web.process.pid)
    let_pass(2)
    assert ticks(web.process.pid) - before < 10
    drop(spool, "x", {"command": "true"})
    assert web.get("/status").json["counts"]["pending"] == 1


def test_a_job_that_fails_is_told_with_its_reason(web, spool):
    with web.events() as following, pool(spool):
        spool.add("exit 9", id="x", max_retries=0)
        comes_to(spool, "x", "dead")
        found, _ = read_until(following, lambda found, _: any(event["to"] == "dead" for event in found))
    assert (found[-1]["reason"], found[-1]["exit"], found[-1]["by"]) == ("exit 9", 9, "worker")
