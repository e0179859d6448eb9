"""What the API tells of jobs and does to them: as the command would, with the command line that does the same."""

import json
import os
import shlex
from pathlib import Path

import pytest
from kit import TOP, comes_to, drop, mv, pool, queuectl, until, until_it_runs, where
from web.page import page

from jobspool.states import STATES


def ids(answer):
    return [row["id"] for row in answer.json["jobs"]]


# ---- looking


def test_the_status_is_told_with_no_worker(web, spool):
    spool.add("true", id="a")
    drop(spool, "d", {"command": "true"}, "dead")
    until(lambda: web.get("/status").json["counts"]["dead"], "the look")
    told = web.get("/status").json
    assert told["counts"] == {"pending": 1, "processing": 0, "done": 0, "failed": 0, "dead": 1}
    known = {
        word: told[word] for word in ("spool", "workers", "supervisors", "paused", "next_due", "complete", "journal", "trouble")
    }
    assert known == {
        "spool": spool.root,
        "workers": [],
        "supervisors": 0,
        "paused": None,
        "next_due": None,
        "complete": True,
        "journal": True,
        "trouble": None,
    }
    assert told["limits"] == {"max_job_bytes": 1_048_576}


def test_the_status_names_workers_and_what_they_run(web, spool):
    with pool(spool):
        spool.add('echo \'{"progress": 42, "text": "half"}\' > $QUEUECTL_RESULT; exec sleep 60', id="x")
        until_it_runs(spool)
        worker = until(
            lambda: next((each for each in web.get("/status").json["workers"] if each["progress"]), None), "the worker"
        )
        assert (worker["state"], worker["job"], worker["attempt"], worker["progress"], worker["text"]) == (
            "busy",
            "x",
            1,
            42,
            "half",
        )
        assert web.get("/status").json["supervisors"] == 1


def test_a_broken_config_keeps_nobody_from_looking(web, spool):
    spool.add("true", id="a")
    with open(f"{spool.root}/config.json", "w") as file:
        file.write("{broken")
    told = until(lambda: web.get("/status").json if web.get("/status").json["trouble"] else None, "the trouble")
    assert "config.json is not JSON" in told["trouble"]
    until(lambda: ids(web.get("/jobs")) == ["a"], "the look")
    assert web.get("/jobs/a").json["row"]["state"] == "pending"
    assert web.post("/jobs/a/hold").problem == (503, "broken-config")


def test_jobs_come_a_page_at_a_time_newest_first(web, spool):
    names = [spool.add("true").id for _ in range(7)]
    until(lambda: len(ids(web.get("/jobs"))) == 7, "the look")
    found, after, pages = [], "", 0
    while after is not None:
        answer = web.get(f"/jobs?state=pending&limit=3&after={after}").json
        found += [row["id"] for row in answer["jobs"]]
        after, pages = answer["next"], pages + 1
        assert (answer["total"], answer["complete"]) == (7, True)
    assert (found, pages) == (names[::-1], 3)
    assert ids(web.get("/jobs?sort=old&limit=2")) == names[:2]


def test_ids_that_others_chose_stand_where_their_time_is(web, spool):
    first = spool.add("true").id
    drop(spool, "zzz", {"command": "true"})
    last = spool.add("true").id
    until(lambda: len(ids(web.get("/jobs"))) == 3, "the look")
    assert ids(web.get("/jobs")) == [last, "zzz", first]


def test_all_states_come_in_one_list_or_those_that_are_named(web, spool):
    for state in ("pending", "done", "dead"):
        drop(spool, state, {"command": "true"}, state)
    until(lambda: len(ids(web.get("/jobs"))) == 3, "the look")
    assert sorted(ids(web.get("/jobs?state=done,dead"))) == ["dead", "done"]
    assert ids(web.get("/jobs?state=completed")) == ["done"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("name:night*", ["a"]),
        ("tag:red", ["a", "b"]),
        ("command:PG_DUMP", ["a"]),
        ("reason:exit", ["c"]),
        ("reason:'exit 7'", ["c"]),
        ("group:crawl", ["b"]),
        ("pg_dump", ["a"]),
        ("tag:red wget", ["b"]),
        ("id:c", ["c"]),
        ('"wget -q', ["b"]),
        ("nothing-like-it", []),
    ],
)
def test_jobs_are_searched(web, spool, query, found):
    spool.add("pg_dump shop", id="a", name="nightly", tags=["red"])
    spool.add("wget -q x", id="b", tags=["red", "blue"], group="crawl")
    attempt = {"number": 1, "ended": "2026-11-24T10:15:30Z", "verdict": "dead", "reason": "exit 7", "exit": 7}
    drop(spool, "c", {"command": "exit 7", "attempts": [attempt]}, "dead")
    until(lambda: len(ids(web.get("/jobs"))) == 3, "the look")
    from urllib.parse import quote

    assert sorted(ids(web.get(f"/jobs?q={quote(query)}"))) == found


def test_what_isnt_asked_rightly_is_told(web):
    wrong = ("state=nix", "sort=up", "limit=0", "limit=9999", "limit=x", "after=%00%ff!")
    assert [web.get(f"/jobs?{query}").status for query in wrong] == [400] * len(wrong)
    assert "there are all, pending" in web.get("/jobs?state=nix").json["detail"]


def test_all_about_a_job_is_told(web, spool):
    with pool(spool):
        spool.add("echo hallo; echo oh >&2; exit 3", id="x", max_retries=0, name="mine")
        comes_to(spool, "x", "dead")
    told = web.get("/jobs/x").json
    assert (told["row"]["reason"], told["row"]["exit"], told["row"]["tries"], told["row"]["name"]) == ("exit 3", 3, "1/1", "mine")
    assert told["record"] == json.loads(told["text"]) == spool.read("dead", "x").record
    assert (told["attempts"][0]["logs"], told["attempts"][0]["exit"]) == ({"out": 6, "err": 3}, 3)
    assert told["file"] == spool.path("dead", "x")
    events = until(lambda: [event["event"] for event in web.get("/jobs/x").json["events"]], "the journal")
    assert (events[0], events[-1]) == ("added", "ended")
    possible = {action["verb"]: action["command"] for action in told["actions"] if action["possible"]}
    assert possible == {
        verb: f"queuectl {word} x" for verb, word in (("retry", "retry"), ("edit", "edit"), ("copy", "again"), ("rm", "rm"))
    }


def test_a_job_is_found_by_a_part_of_its_id(web, spool):
    job = spool.add("true")
    until(lambda: ids(web.get("/jobs")), "the look")
    assert web.get(f"/jobs/{job.handle}").json["row"]["id"] == job.id
    spool.add("true")
    until(lambda: len(ids(web.get("/jobs"))) == 2, "the look")
    answer = web.get("/jobs/20")
    assert (answer.problem, len(answer.json["candidates"])) == ((409, "ambiguous"), 2)
    assert web.get("/jobs/nix").problem == (404, "no-such-job")


def test_who_comes_after_a_job_is_told(web, spool):
    spool.add("true", id="a")
    spool.add("true", id="b", after=["a"])
    until(lambda: len(ids(web.get("/jobs"))) == 2, "the look")
    assert web.get("/jobs/a").json["children"] == ["b"]
    assert "comes after a" in web.get("/jobs/b").json["why"]


HOSTILE = [
    b"<script>alert(1)</script>",
    b'"><img src=x onerror=alert(1)>',
    "ünïcödé ☃".encode(),
    b"\xff\xfe not utf-8",
    b"new\nline",
    b"\x1b[31mred",
    b"a%2Fb",
    b"x..%2f..%2fetc",
    b"-rf",
    b"@last",
    b"sp ace",
    b"quo'te\"s",
    b"$(reboot)",
    b"q?x=1&y#z",
    b"x" * 240,
    b"~1",
    b"pending",
]


@pytest.mark.parametrize("name", [each for each in HOSTILE if b"/" not in each], ids=repr)
def test_a_hostile_name_is_only_a_name(web, spool, name):
    path = os.fsencode(spool.folder("dead")) + b"/" + name + b".json"
    with open(path, "wb") as file:
        file.write(b'{"command": "echo <b>"}')
    [row] = until(lambda: web.get("/jobs").json["jobs"], "the job")
    assert os.fsencode(row["id"]) == name
    told = web.get(f"/jobs/{row['ref']}")
    assert (told.status, told.json["row"]["id"], told.headers["content-type"]) == (200, row["id"], "application/json")
    for action in told.json["actions"]:
        assert shlex.split(action["command"])[0] == "queuectl"
    assert web.ask("DELETE", f"/api/v1/jobs/{row['ref']}").status == 204
    assert not os.path.lexists(path)


def test_a_path_leads_nowhere_else(web, spool):
    for path in ("/jobs/..%2f..%2fetc", "/jobs/..", "/jobs/%2e%2e%2f", "/jobs/x%00y", "/jobs/.hidden", "/jobs/pending%2fx"):
        assert web.get(path).status in (404, 405)
    for path in ("/static/../guard.py", "/static/%2e%2e/guard.py", "/static/..%2fguard.py", "/static//etc/passwd", "/static/%00"):
        assert web.ask("GET", path).status in (400, 404)


def test_what_is_no_job_is_shown_and_why(web, spool):
    drop(spool, "broken", b'{"command": ', "dead")
    os.symlink("/etc/passwd", spool.path("dead", "link"))
    os.mkfifo(spool.path("dead", "fifo"))
    found = until(
        lambda: {row["id"]: row for row in web.get("/jobs").json["jobs"]} if len(ids(web.get("/jobs"))) == 3 else None, "the look"
    )
    assert "not JSON" in found["broken"]["problem"]
    assert ("symbolic link" in found["link"]["problem"], "FIFO" in found["fifo"]["problem"]) == (True, True)
    assert web.get("/jobs/broken").json["text"] == '{"command": '
    assert (web.get("/jobs/link").json["text"], web.get("/jobs/fifo").json["text"]) == ("", "")
    assert web.post("/jobs/broken/retry").problem == (409, "not-possible")


# ---- adding


def test_a_job_is_added_once_however_often_it_is_put(web, spool):
    words = {"command": "make", "max_retries": 2}
    first, second = web.put("/jobs/mine", words), web.put("/jobs/mine", words)
    assert (first.status, second.status, first.headers["location"]) == (201, 200, "/api/v1/jobs/mine")
    assert (first.json["job"]["id"], first.json["command"]) == ("mine", "queuectl enqueue --id=mine --max-retries=2 make")
    assert web.put("/jobs/mine", {"command": "other"}).problem == (409, "job-exists")
    mv(spool, "mine", "pending", "done")
    assert web.put("/jobs/mine", words).status == 200
    assert where(spool, "mine") == ["done"]


def test_many_who_put_the_same_job_at_once_add_one(web, spool):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: web.put("/jobs/mine", {"command": "make"}).status, range(16)))
    assert sorted(answers) == [200] * 15 + [201]
    assert [job.id for job in spool.jobs()] == ["mine"]


def test_a_job_that_ran_is_still_the_one_that_was_put(web, spool):
    words = {"command": "exit 1", "max_retries": 0}
    assert web.put("/jobs/mine", words).status == 201
    with pool(spool):
        comes_to(spool, "mine", "dead")
    assert web.put("/jobs/mine", words).status == 200


def test_a_new_job_gets_an_id_and_may_wait_for_its_time(web, spool):
    answer = web.post("/jobs", {"job": {"argv": ["make", "all things"]}, "start": "2099-01-01T00:00:00Z"})
    job = spool.find(answer.json["job"]["id"])
    assert (answer.status, job.record, job.mtime) == (201, {"argv": ["make", "all things"]}, 4_070_908_800.0)
    assert "--at=2099-01-01T00:00:00Z" in answer.json["command"]
    assert answer.headers["location"].endswith(job.id)


@pytest.mark.parametrize(
    ("body", "key", "near"),
    [
        (b'{"comand": "x"}', "comand", "command"),
        (b'{"command": "x", "priority": "high"}', "priority", None),
        (b'{"command": "x", "env": {"A": 1}}', "env", None),
        (b"{}", None, None),
        (b"[]", None, None),
        (b"", None, None),
        (b'{"command": "x"', None, None),
        (b"\xff", None, None),
        (b'{"command": "x", "attempts": []}', "attempts", None),
        (b'{"job": {"command": "x"}, "start": "yesterday"}', None, None),
        (b'{"job": {"command": "x"}, "when": 1}', "when", None),
        (b'{"command": "x", "id": "../x"}', "id", None),
        (b'{"command": "x", "id": "@last"}', "id", None),
        (b"[" * 100_000, None, None),
        (b'{"command": "\\ud800"}', None, None),
    ],
)
def test_what_is_no_job_is_refused_as_the_command_refuses_it(web, spool, body, key, near):
    for answer in (web.post("/check", body), web.post("/jobs", body)):
        assert answer.problem == (422, "not-a-job")
        assert (answer.json.get("key"), answer.json.get("near")) == (key, near)
    assert list(spool.jobs()) == []


def test_the_place_of_a_slip_in_json_is_told(web):
    told = web.post("/check", b'{\n  "command": x}').json
    assert (told["line"], told["column"]) == (2, 14)


def test_a_check_adds_nothing(web, spool):
    assert web.post("/check", {"command": "make all"}).json == {"ok": True, "command": "queuectl enqueue 'make all'"}
    assert list(spool.jobs()) == []


WHOLE = {
    "command": "echo $A",
    "cwd": "/tmp",
    "env": {"A": "b c", "D": ""},
    "timeout": 1.5,
    "idle_timeout": 60,
    "grace": 3,
    "stop_signal": "INT",
    "limits": {"memory": 1 << 30, "cpu": 5, "files": 64, "core": 0},
    "nice": 5,
    "ionice": "idle",
    "max_retries": 7,
    "backoff": [1, 2.5],
    "backoff_base": 3,
    "exits": {"3": "done", "9": "dead"},
    "snooze": 5,
    "expires": "2099-01-01T00:00:00.000000Z",
    "priority": -3,
    "group": "a b",
    "batch": "c",
    "keep": "7d",
    "locks": ["x", "y"],
    "slots": {"gpu": 1},
    "dead_parent": "run",
    "name": "it's",
    "tags": ["t 1", "t2"],
    "hold": "until then",
}


@pytest.mark.parametrize(
    "words",
    [
        WHOLE,
        {"argv": ["echo", "-n", "a b", "$X"], "cwd": "/"},
        {"command": "{ echo; }", "cwd": "/"},
        {"command": "-v x", "cwd": "/"},
        {"command": "-v", "cwd": "/"},
        {"command": "x", "meta": {"a": ["b"]}, "cwd": "/"},
        {"command": "x", "locks": ["a,b"], "cwd": "/"},
        {"command": "x", "backoff": "linear", "cwd": "/"},
    ],
    ids=lambda words: words.get("command", "argv"),
)
def test_the_command_line_that_is_told_adds_the_same_job(web, spool, words):
    line = shlex.split(web.post("/check", words).json["command"])
    done = queuectl(*line[1:], spool=spool)
    assert done.returncode == 0, done.stderr
    assert spool.find(done.stdout.strip()).record == words


# ---- doing


def test_each_deed_is_done_as_the_command_does_it(web, spool):
    spool.add("true", id="x", priority=1)
    spool.add("true", id="y")
    held = web.post("/jobs/x/hold", {"reason": "the tape"}).json
    assert (held["job"]["held"], held["command"]) == ("the tape", "queuectl hold '--reason=the tape' x")
    assert web.post("/jobs/x/release").json["job"]["held"] is None
    assert web.post("/jobs/y/front").json["job"]["priority"] == 1
    assert spool.read("pending", "y").mtime < spool.read("pending", "x").mtime
    web.post("/jobs/y/back")
    assert spool.read("pending", "y").mtime > spool.read("pending", "x").mtime
    cancelled = web.post("/jobs/x/cancel", {"reason": "no need"}).json
    assert (cancelled["job"]["state"], cancelled["command"]) == ("dead", "queuectl cancel '--reason=no need' x")
    assert spool.read("dead", "x").record["cancelled"].endswith(": no need")
    assert web.post("/jobs/x/retry").json["job"]["state"] == "pending"
    copy = web.post("/jobs/x/copy").json
    assert (copy["command"], spool.find(copy["job"]["id"]).command) == ("queuectl again x", "true")


def test_the_journal_says_who_did_it(web, spool):
    spool.add("true", id="x")
    web.post("/jobs/x/hold")
    from jobspool.say import person

    event = until(lambda: next((e for e in web.get("/jobs/x").json["events"] if e["event"] == "held"), None), "the journal")
    assert (event["by"], event["user"], event["command"]) == ("command", person(), "web")


def test_a_running_job_is_signalled_and_cancelled(web, spool):
    with pool(spool):
        spool.add("trap 'echo hup' HUP; echo up; while :; do sleep 0.05; done", id="x", grace=0.2)
        until(lambda: b"up" in web.get("/jobs/x/attempts/1/out").body, "the job")
        assert web.post("/jobs/x/kill", {"signal": "hup"}).json["command"] == "queuectl kill -HUP x"
        until(lambda: b"hup" in web.get("/jobs/x/attempts/1/out").body, "the signal")
        answer = web.post("/jobs/x/cancel").json
        assert (answer["job"]["state"], answer["undo"]) == ("dead", None)


@pytest.mark.parametrize(
    ("verb", "state", "words", "problem"),
    [
        ("release", "pending", {}, (409, "not-possible")),
        ("retry", "pending", {}, (409, "not-possible")),
        ("front", "dead", {}, (409, "not-possible")),
        ("kill", "dead", {}, (409, "not-possible")),
        ("cancel", "done", {}, (409, "not-possible")),
        ("hold", "pending", {"reason": 5}, (400, "wrong-request")),
        ("hold", "pending", {"reason": "\0"}, (400, "wrong-request")),
        ("hold", "pending", {"reason": "x" * 5000}, (400, "wrong-request")),
        ("dance", "pending", {}, (404, "no-such-verb")),
    ],
)
def test_what_cant_be_done_is_refused_and_changes_nothing(web, spool, verb, state, words, problem):
    path = drop(spool, "x", {"command": "true"}, state)
    before = path.read_bytes()
    assert web.post(f"/jobs/x/{verb}", words).problem == problem
    assert path.read_bytes() == before


def test_a_job_is_edited_only_as_it_was_seen(web, spool):
    spool.add("mkae", id="x", max_retries=0)
    with pool(spool):
        comes_to(spool, "x", "dead")
    told = web.get("/jobs/x").json
    mended = {word: value for word, value in {**told["record"], "command": "make"}.items() if word != "attempts"}
    change = {"record": mended}
    assert web.ask("PATCH", "/api/v1/jobs/x", change).problem == (428, "if-match")
    assert web.ask("PATCH", "/api/v1/jobs/x", change, {"If-Match": '"other"'}).problem == (412, "changed")
    assert web.ask("PATCH", "/api/v1/jobs/x", {"record": {"command": ""}}, {"If-Match": told["etag"]}).problem == (
        422,
        "not-a-job",
    )
    assert web.ask("PATCH", "/api/v1/jobs/x", change, {"If-Match": told["etag"]}).status == 200
    job = spool.read("dead", "x")
    assert (job.command, len(job.attempts)) == ("make", 1)
    assert web.ask("PATCH", "/api/v1/jobs/x", change, {"If-Match": told["etag"]}).problem == (412, "changed")


def test_a_file_that_is_no_job_is_mended(web, spool):
    drop(spool, "x", b"oops", "dead")
    until(lambda: ids(web.get("/jobs")), "the look")
    answer = web.ask("PATCH", "/api/v1/jobs/x", {"record": {"command": "true"}}, {"If-Match": web.get("/jobs/x").json["etag"]})
    assert (answer.status, spool.read("dead", "x").record) == (200, {"command": "true"})
    assert web.post("/jobs/x/retry").json["job"]["state"] == "pending"


def test_the_priority_is_changed(web, spool):
    spool.add("true", id="x")
    answer = web.ask("PATCH", "/api/v1/jobs/x", {"priority": 5})
    assert (answer.json["job"]["priority"], answer.json["command"]) == (5, "queuectl priority x 5")
    assert web.ask("PATCH", "/api/v1/jobs/x", {"priority": "5"}).status == 422
    assert web.ask("PATCH", "/api/v1/jobs/x", {"priority": 5, "record": {}}).status == 400


# ---- undoing


@pytest.mark.parametrize("verb", ["hold", "cancel", "back"])
def test_what_was_done_to_a_waiting_job_is_undone(web, spool, verb):
    spool.add("true", id="x", start=1_000_000_000.0)
    spool.add("true", id="y")
    before = spool.read("pending", "x")
    undo = web.post(f"/jobs/x/{verb}").json["undo"]
    assert web.post(f"/undo/{undo}").json == {"done": 1, "refused": []}
    now = spool.read("pending", "x")
    assert (now.record, now.mtime) == (before.record, before.mtime)
    assert web.post(f"/undo/{undo}").problem == (410, "too-late")


def test_a_retry_that_has_not_begun_is_undone(web, spool):
    drop(spool, "x", {"command": "true", "cancelled": "by me"}, "dead")
    until(lambda: ids(web.get("/jobs")), "the look")
    undo = web.post("/jobs/x/retry").json["undo"]
    assert where(spool, "x") == ["pending"]
    web.post(f"/undo/{undo}")
    assert spool.read("dead", "x").record == {"command": "true", "cancelled": "by me"}


def save_and_retry(web, id, command, **more):
    """What the page's button does: the answer to the retry."""
    etag = web.get(f"/jobs/{id}").json["etag"]
    saved = web.ask("PATCH", f"/api/v1/jobs/{id}", {"record": {"command": command}}, {"If-Match": etag}).json
    return web.post(f"/jobs/{id}/retry", {"undo": saved["undo"], **more}).json, saved["undo"]


def test_one_undo_takes_back_what_was_saved_and_tried_again(web, spool):
    dead(spool, "x", "exit 1")
    until(lambda: ids(web.get("/jobs")), "the look")
    before = spool.read("dead", "x")
    retried, saved = save_and_retry(web, "x", "make")
    assert spool.read("pending", "x").command == "make"
    assert web.post(f"/undo/{saved}").problem == (410, "too-late")  # that deed is a part of the other by now
    assert web.post(f"/undo/{retried['undo']}").json == {"done": 1, "refused": []}
    now = spool.read("dead", "x")
    assert (now.record, now.mtime, where(spool, "x")) == (before.record, pytest.approx(before.mtime, abs=0.001), ["dead"])


def test_an_undo_takes_no_more_back_than_the_two_deeds(web, spool):
    dead(spool, "x", "exit 1")
    dead(spool, "y", "exit 1")
    until(lambda: len(ids(web.get("/jobs"))) == 2, "the look")
    _, saved = save_and_retry(web, "y", "other", undo=None)
    retried = web.post("/jobs/x/retry", {"undo": saved}).json["undo"]  # another job's
    web.post(f"/undo/{retried}")
    assert (where(spool, "x"), where(spool, "y"), spool.find("y").command) == (["dead"], ["pending"], "other")
    for odd in ("nix", 7, ["x"]):
        assert web.post("/jobs/x/retry", {"undo": odd}).json["job"]["state"] == "pending"
        mv(spool, "x", "pending", "dead")


def test_what_has_run_since_then_is_not_undone(web, spool):
    drop(spool, "x", {"command": "true"}, "dead")
    until(lambda: ids(web.get("/jobs")), "the look")
    undo = web.post("/jobs/x/retry").json["undo"]
    with pool(spool):
        comes_to(spool, "x", "done")
    told = web.post(f"/undo/{undo}").json
    assert (told["done"], told["refused"][0]["id"], where(spool, "x")) == (0, "x", ["done"])


def test_what_has_run_and_is_back_where_it_was_put_is_not_undone(web, spool):
    """Its attempts since then would be lost."""
    drop(spool, "x", {"command": "exit 1", "max_retries": 0}, "dead")
    until(lambda: ids(web.get("/jobs")), "the look")
    undo = web.post("/jobs/x/retry").json["undo"]
    with pool(spool):
        comes_to(spool, "x", "dead")
    spool.move(spool.find("x"), "pending")
    told = web.post(f"/undo/{undo}").json
    assert (told["done"], "changed since" in told["refused"][0]["why"], len(spool.find("x").attempts)) == (0, True, 1)


def test_a_later_change_is_not_taken_back(web, spool):
    spool.add("true", id="x")
    undo = web.ask("PATCH", "/api/v1/jobs/x", {"priority": 5}).json["undo"]
    queuectl("edit", "x", spool=spool, env={"EDITOR": "sed -i s,true,other,"}, check=True)
    assert (web.post(f"/undo/{undo}").json["done"], spool.find("x").command) == (0, "other")


@pytest.mark.parametrize("state", ["pending", "failed", "done", "dead"])
def test_a_removed_job_comes_back_in_any_state(web, spool, state):
    drop(spool, "x", {"command": "true", "hold": "why"}, state)
    until(lambda: ids(web.get("/jobs")), "the look")
    undo = web.ask("DELETE", "/api/v1/jobs/x").headers["x-undo"]
    assert (web.post(f"/undo/{undo}").json, where(spool, "x")) == ({"done": 1, "refused": []}, [state])


def test_a_removed_job_comes_back_with_its_logs(web, spool):
    with pool(spool):
        spool.add("echo hallo; exit 1", id="x", max_retries=0)
        before = comes_to(spool, "x", "dead")
    answer = web.ask("DELETE", "/api/v1/jobs/x")
    assert (answer.status, where(spool, "x"), web.get("/jobs/x/attempts/1/out").status) == (204, [], 404)
    assert os.listdir(f"{spool.root}/tmp") != []
    web.post(f"/undo/{answer.headers['x-undo']}")
    now = spool.read("dead", "x")
    assert (now.record, now.mtime) == (before.record, before.mtime)
    assert web.get("/jobs/x/attempts/1/out").body == b"hallo\n"
    assert os.listdir(f"{spool.root}/tmp") == []


def test_a_newcomer_of_the_name_is_not_replaced_by_an_undo(web, spool):
    spool.add("true", id="x")
    undo = web.ask("DELETE", "/api/v1/jobs/x").headers["x-undo"]
    spool.add("false", id="x")
    assert web.post(f"/undo/{undo}").json["done"] == 0
    assert spool.read("pending", "x").command == "false"


def test_nothing_is_left_in_tmp_when_the_page_ends(spool):
    with pool(spool):
        spool.add("echo hallo", id="x")
        comes_to(spool, "x", "done")
    with page(spool) as web:
        web.ask("DELETE", "/api/v1/jobs/x")
        assert os.listdir(f"{spool.root}/tmp") != []
    assert os.listdir(f"{spool.root}/tmp") == []


# ---- the dead, and the whole spool


def dead(spool, id, reason):
    attempt = {"number": 1, "ended": "2026-11-24T10:15:30Z", "verdict": "dead", "reason": reason}
    drop(spool, id, {"command": "true", "attempts": [attempt]}, "dead")


@pytest.fixture
def graves(web, spool):
    for number in range(5):
        dead(spool, f"a{number}", "exit 1")
    for number in range(2):
        dead(spool, f"b{number}", "exit 127")
    until(lambda: web.get("/status").json["counts"]["dead"] == 7, "the look")
    return spool


def test_dead_jobs_are_told_by_reason(web, graves):
    told = web.get("/dead/groups").json
    assert [(group["reason"], group["count"]) for group in told["groups"]] == [("exit 1", 5), ("exit 127", 2)]
    assert (told["complete"], len(told["groups"][0]["examples"])) == (True, 5)
    assert sorted(ids(web.get("/jobs?state=dead&reason=exit%201"))) == [f"a{number}" for number in range(5)]


def test_dead_jobs_are_retried_by_reason_by_name_or_all(web, graves):
    first = web.post("/dead/retry", {"reason": "exit 127"}).json
    assert (first["done"], first["left"], [where(graves, f"b{number}") for number in range(2)]) == (2, 0, [["pending"]] * 2)
    some = web.post("/dead/retry", {"ids": ["a0", "nix"]}).json
    assert (some["done"], some["refused"][0]["id"]) == (1, "nix")
    assert web.post("/dead/retry", {"all": True}).json["done"] == 4
    assert web.get("/dead/groups").json["groups"] == []


@pytest.mark.parametrize("reason", ["exit 1", 'it\'s "so" $HOME', "-q", "long " * 60, ""])
def test_the_command_of_a_group_picks_what_the_group_has(web, spool, reason):
    for id, why in (("a", reason), ("b", reason), ("c", f"{reason} 1"[-150:]), ("d", "exit 127")):
        dead(spool, id, why)
    drop(spool, "e", {"command": "echo exit 1"})
    until(lambda: web.get("/status").json["counts"] == {**dict.fromkeys(STATES, 0), "pending": 1, "dead": 4}, "the look")
    group = next(group for group in web.get("/dead/groups").json["groups"] if reason.startswith(group["reason"]))
    line = web.post("/dead/retry", {"reason": group["reason"]}).json["command"]
    assert [where(spool, id) for id in "abcd"] == [["pending"], ["pending"], ["dead"], ["dead"]]
    for id in "ab":
        mv(spool, id, "pending", "dead")
    listing, pipe, retry = line.rpartition(" | ")
    words = shlex.split(listing)
    assert (words[0], pipe, retry) == ("queuectl", " | ", "queuectl retry -")
    told = queuectl(*words[1:], spool=spool, check=True).stdout
    assert sorted(told.split()) == sorted(group["examples"]) == ["a", "b"]
    queuectl("retry", "-", spool=spool, stdin=told, check=True)
    assert [where(spool, id) for id in "abcd"] == [["pending"], ["pending"], ["dead"], ["dead"]]


def test_the_page_itself_shows_that_command():
    script = Path(TOP, "jobspool", "web", "static", "dead.js").read_text()
    assert "`queuectl list --state dead --reason ${quoted(which.reason)} -q | queuectl ${" in script


def test_a_retry_of_many_is_undone(web, graves):
    undo = web.post("/dead/retry", {"all": True}).json["undo"]
    assert web.post(f"/undo/{undo}").json == {"done": 7, "refused": []}
    assert graves.count("dead") == 7
    assert len(graves.read("dead", "a0").attempts) == 1


def test_dead_jobs_are_purged_and_come_back(web, graves):
    told = web.post("/dead/purge", {"reason": "exit 1"}).json
    assert (told["done"], graves.count("dead")) == (5, 2)
    web.post(f"/undo/{told['undo']}")
    assert graves.count("dead") == 7


def test_only_what_is_dead_is_treated_by_a_name(web, graves):
    graves.add("true", id="x")
    names = ["../pending/x", "x", "../config", "", ".", "\0", "nix/../a0"]
    for path in ("/dead/purge", "/dead/retry"):
        told = web.post(path, {"ids": names}).json
        assert (told["done"], [each["id"] for each in told["refused"]]) == (0, names)
    assert (where(graves, "x"), graves.count("dead")) == (["pending"], 7)


def test_many_are_retried_a_thousand_at_a_time(web, spool):
    drop(spool, "broken", b"{", "dead")
    for number in range(1200):
        dead(spool, f"a{number}", "exit 1")
    until(lambda: web.get("/status").json["counts"]["dead"] == 1201, "the look")
    first, second, third = (web.post("/dead/retry", {"all": True}).json for _ in range(3))
    assert [(told["done"], told["left"] > 0) for told in (first, second, third)] == [(1000, True), (200, False), (0, False)]
    assert graves_left(spool) == ["broken"]


def graves_left(spool):
    return spool.names("dead")


def test_which_dead_jobs_must_be_said(web, graves):
    for words in ({}, {"all": False}, {"ids": "a0"}, {"ids": [1]}):
        assert web.post("/dead/purge", words).status == 400
    assert graves.count("dead") == 7


def test_the_spool_is_paused_and_goes_on(web, spool):
    assert web.post("/pause", {"reason": "backup"}).json["command"] == "queuectl pause --reason=backup"
    assert web.get("/status").json["paused"] == {"reason": "backup"}
    assert web.post("/resume").json["paused"] is None
    assert (web.get("/status").json["paused"], os.path.exists(f"{spool.root}/paused")) == (None, False)


def test_groups_schedules_and_batches_are_told_as_the_commands_tell_them(web, spool):
    spool.add("true", group="crawl", batch="render")
    drop(spool, "d", {"command": "true", "batch": "render"}, "done")
    queuectl("group", "crawl", "--concurrency", "2", spool=spool, check=True)
    queuectl("schedule", "add", "nightly", "--cron", "30 2 * * *", "backup", spool=spool, check=True)
    until(lambda: web.get("/status").json["counts"]["done"], "the look")
    for what, key in (("group", "groups"), ("batch", "batches")):
        lines = queuectl(what, "--json", spool=spool, check=True).stdout.splitlines()
        assert web.get(f"/{key}").json == {key: [json.loads(line) for line in lines], "complete": True}
    [schedule] = web.get("/schedules").json["schedules"]
    assert schedule == json.loads(queuectl("schedule", "--json", spool=spool, check=True).stdout)


def test_the_last_hour_is_told(web, spool):
    with pool(spool):
        spool.add("exit 5", id="x", max_retries=0)
        spool.add("true", id="y")
        comes_to(spool, "x", "dead")
        comes_to(spool, "y", "done")
    until(lambda: sum(minute["done"] for minute in web.get("/rates").json["minutes"]), "the journal")
    told = web.get("/rates").json
    assert (len(told["minutes"]), sum(m["added"] for m in told["minutes"]), sum(told["durations"]["counts"])) == (61, 2, 2)
    undo = web.post("/jobs/x/retry").json["undo"]
    assert web.post(f"/undo/{undo}").json["done"] == 1  # which is no failure
    [group] = until(lambda: web.get("/failures").json["groups"], "the failure")
    assert (group["reason"], group["count"], group["examples"]) == ("exit 5", 1, ["x"])
    with page(spool) as later:  # it reads what was before it
        [group] = until(lambda: later.get("/failures").json["groups"], "the failure")
        assert group["reason"] == "exit 5"


def test_metrics_are_served_to_who_has_the_token(web, spool):
    spool.add("true")
    answer = web.ask("GET", "/metrics", headers={"Accept": "application/openmetrics-text"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert b'queuectl_jobs{state="pending"} 1' in answer.body
    assert web.ask("GET", "/metrics").headers["content-type"].startswith("text/plain")


def test_without_their_library_there_are_no_metrics_and_all_else_is_there(spool, tmp_path):
    (tmp_path / "prometheus_client.py").write_text("raise ImportError(\"No module named 'prometheus_client'\")\n")
    with page(spool, env={**os.environ, "PYTHONPATH": str(tmp_path)}) as web:
        assert (web.ask("GET", "/metrics").problem, web.get("/status").status) == ((501, "no-metrics"), 200)


def test_what_was_changed_in_the_instant_before_is_not_lost(spool):
    from jobspool import hands

    job = spool.add("true", id="x")
    settings = spool.settings()
    hands.change(spool, job, {"priority": 7}, settings)
    hands.replace(spool, job, {"command": "mine"}, None, settings, seen={"command": "true"})
    assert spool.read("pending", "x").record == {"command": "true", "priority": 7}


def test_a_directory_with_the_name_of_a_job_is_not_removed_but_refused(web, spool):
    folder = spool.path("dead", "x")
    os.mkdir(folder)
    open(f"{folder}/mine", "w").close()
    until(lambda: web.get("/status").json["counts"]["dead"], "the look")
    answer = web.ask("DELETE", "/api/v1/jobs/x")
    assert (answer.problem, "is a directory" in answer.json["detail"]) == ((409, "not-possible"), True)
    purged = web.post("/dead/purge", {"ids": ["x"]}).json
    assert (purged["done"], "is a directory" in purged["refused"][0]["why"]) == (0, True)
    assert (os.listdir(folder), os.listdir(f"{spool.root}/tmp")) == (["mine"], [])


@pytest.mark.parametrize("what", ["retry", "purge"])
def test_an_id_that_no_file_can_have_is_refused(web, what):
    answer = web.post(f"/dead/{what}", {"ids": ["x", "\ud800"]})
    assert (answer.problem, "\\ud800" in answer.json["detail"]) == ((422, "wrong-value"), True)


def test_a_key_that_there_is_not_is_refused_with_those_that_there_are(web):
    answer = web.get("/jobs?q=foo:bar")
    assert answer.problem == (422, "wrong-value")
    assert all(f"{key}:" in answer.json["detail"] for key in ("foo", "id", "name", "tag", "reason", "command", "group", "batch"))


@pytest.mark.parametrize("text", ["http://x/", "12:30", "foo:", ":x", "command:foo:bar"])
def test_a_colon_alone_makes_no_key(web, spool, text):
    spool.add(f"echo {text.removeprefix('command:')}", id="x")
    until(lambda: web.get("/status").json["counts"]["pending"], "the look")
    assert [job["id"] for job in web.get(f"/jobs?q={text}").json["jobs"]] == ["x"]
