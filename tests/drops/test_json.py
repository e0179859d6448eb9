"""Odd JSON, odd words and odd times: what is no whole job is a dead letter with its reason, and the rest runs as it says."""

import json
import os
import shutil
import tempfile
import time
from pathlib import Path

import pytest
from drops.scene import fence, look, said, times_run, touches
from kit import comes_to, drop, log, new_spool, pool, queuectl, until, where

CANARY = "touch canary; echo ran"  # in the directory that holds the spool

# What is no job, and what is said of it. %s stands for the command that must not run.
NO_JOBS = {
    "empty": (b"", "empty"),
    "blank": (b" \r\n\t", "empty"),
    "zeros": (b"\0" * 64, "not JSON"),
    "latin1": (b'{"command": "%s", "name": "caf\xe9"}', "not UTF-8: byte"),
    "utf16": ('\ufeff{"command": "%s"}'.encode("utf-16-le"), "not UTF-8"),
    "utf16-be": ('{"command": "%s"}'.encode("utf-16-be"), "not JSON"),
    "overlong": (b'{"command": "%s", "name": "\xc0\xaf"}', "not UTF-8"),
    "surrogate-bytes": (b'{"command": "%s", "name": "\xed\xa0\x80"}', "not UTF-8"),
    "bom": (b'\xef\xbb\xbf{"command": "%s"}', "byte order mark"),
    "twice": (b'{"command": "true", "command": "%s"}', "the key 'command' stands twice"),
    "twice-escaped": (b'{"command": "true", "comm\\u0061nd": "%s"}', "the key 'command' stands twice"),
    "twice-in-meta": (b'{"command": "%s", "meta": {"a": {"b": 1, "b": 2}}}', "the key 'b' stands twice"),
    "nan": (b'{"command": "%s", "timeout": NaN}', "NaN is no number in JSON"),
    "infinity": (b'{"command": "%s", "meta": [-Infinity]}', "-Infinity is no number in JSON"),
    "1e999": (b'{"command": "%s", "priority": 1e999}', "the number 1e999 is too large"),
    "-1e999": (b'{"command": "%s", "meta": -1e999}', "the number -1e999 is too large"),
    "digits": (b'{"command": "%s", "meta": ' + b"9" * 10_000 + b"}", "a number that is too long"),
    "digits-priority": (b'{"command": "%s", "priority": -' + b"9" * 10_000 + b"}", "a number that is too long"),
    "digits-in-attempts": (b'{"command": "%s", "attempts": [' + b"9" * 10_000 + b"]}", "a number that is too long"),
    "deep": (b'{"command": "%s", "meta": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deep"),
    "deep-objects": (b'{"command": "%s", "meta": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}", "nested too deep"),
    "deep-unclosed": (b'{"command": "%s", "meta": ' + b"[" * 100_000, "nested too deep"),
    "deep-alone": (b"[" * 400_000, "nested too deep"),
    "lone-surrogate": (b'{"command": "%s # \\ud800"}', "half a surrogate pair"),
    "lone-in-key": (b'{"command": "%s", "env": {"\\udfff": "1"}}', "half a surrogate pair"),
    "nul": (b'{"command": "%s\\u0000"}', "command can't contain a NUL"),
    "nul-in-argv": (b'{"argv": ["sh", "-c", "%s\\u0000"]}', "argv has an item that can't contain a NUL"),
    "nul-raw": (b'{"command": "%s\0"}', "not JSON"),
    "nul-in-cwd": (b'{"command": "%s", "cwd": "/tmp\\u0000/x"}', "cwd can't contain a NUL"),
    "env-equals": (b'{"command": "%s", "env": {"A=B": "1"}}', "env has a name that no variable can have: 'A=B'"),
    "env-empty": (b'{"command": "%s", "env": {"": "1"}}', "env has a name that no variable can have: ''"),
    "env-nul": (b'{"command": "%s", "env": {"A": "\\u0000"}}', "env A can't contain a NUL"),
    "env-number": (b'{"command": "%s", "env": {"A": 1}}', "env A must be a string"),
    "relative-cwd": (b'{"command": "%s", "cwd": "."}', "cwd must be an absolute path"),
    "home-cwd": (b'{"command": "%s", "cwd": "~"}', "cwd must be an absolute path"),
    "trailing": (b'{"command": "%s"} {"command": "%s"}', "not JSON: Extra data"),
    "comment": (b'{"command": "%s" /* no */}', "not JSON"),
    "comma": (b'{"command": "%s",}', "not JSON"),
    "single-quotes": (b"{'command': '%s'}", "not JSON"),
    "newline-in-string": (b'{"command": "%s\n"}', "not JSON"),
    "list": (b'[{"command": "%s"}]', "not a JSON object"),
    "string": (b'"%s"', "not a JSON object"),
    "shell": (b"#!/bin/sh\n%s\n", "not JSON"),
    "yaml": (b"command: %s\n", "not JSON"),
    "large": (b'{"command": "%s", "name": "' + b"n" * (1 << 20) + b'"}', "larger than max_job_bytes"),
    "long-key": (b'{"command": "%s", "' + b"k" * 1_000_000 + b'": 1}', "unknown key 'kkk"),
    "many-keys": (b'{"command": "%s", "meta": {' + b",".join(b'"%d":1' % n for n in range(80_000)) + b',"1":2}}', "the key '1' stands twice"),
    "forged-attempts": (b'{"command": "%s", "attempts": [{"verdict": "done"}]}', "attempts must be as the queue wrote it"),
    "attempts-of-other-kinds": (
        b'{"command": "%s", "attempts": [{"verdict": "dead", "ended": "2026-01-01T00:00:00Z", "signal": 9, "memory": "much"}]}',
        "attempts has a signal that is no string",
    ),
    "negative-timeout": (b'{"command": "%s", "timeout": -0.0}', "timeout must be"),
    "true-retries": (b'{"command": "%s", "max_retries": true}', "max_retries must be"),
}  # fmt: skip


def test_what_is_no_whole_job_is_a_dead_letter_with_its_bytes_and_its_reason(spool):
    before = {}
    for id, (content, _) in NO_JOBS.items():
        before[id] = look(drop(spool, id, content.replace(b"%s", CANARY.encode())))
        before[id][0].pop()  # its time becomes that of its end
    with pool(spool, 2):
        fence(spool)
        for id in NO_JOBS:
            comes_to(spool, id, "dead")
        after = {id: look(spool.path("dead", id)) for id in NO_JOBS}
    for found, _ in after.values():
        found.pop()
    assert after == before
    told = {job["id"]: job["problem"] for job in said("dlq", "list", spool=spool)}
    assert {id: told[id] for id, (_, why) in NO_JOBS.items() if why not in told[id]} == {}
    assert queuectl("dlq", "list", spool=spool).stdout.count("not a job: ") == len(NO_JOBS)
    assert not Path(spool.root).parent.joinpath("canary").exists()


def test_odd_json_that_says_what_is_to_run_is_run_as_it_says(spool):
    whole = {
        "escaped": b'{"\\u0063ommand": "echo \\u0072an"}',
        "pair": b'{"command": "echo \\ud83d\\ude00"}',
        "spaces": b'\r\n\t {\n"command"\t:\r"echo ran"\n}\n\n ' + b" " * 1000,
        "long-number": b'{"command": "echo ran", "meta": ' + b"9" * 4000 + b"}",
        "tiny-number": b'{"command": "echo ran", "meta": 1e-999}',
        "nested": b'{"command": "echo ran", "meta": ' + b"[" * 99 + b"]" * 99 + b"}",
        "control": b'{"argv": ["printf", "%s", "\\u0001\\u001b[31m\\u007f"]}',
        "env": json.dumps({"command": "echo $LONG", "env": {"LONG": "x" * 100_000, "é": "", "A B": "", "-": ""}}).encode(),
        "argv-of-many": json.dumps({"argv": ["printf", "%s", *["x"] * 100_000]}).encode(),
        "compact": json.dumps({"command": "echo ran", "meta": [[] for _ in range(200_000)]}, separators=(",", ":")).encode(),
    }
    for id, content in whole.items():
        drop(spool, id, content)
    with pool(spool, 2):
        jobs = {id: comes_to(spool, id, "done") for id in whole}
    assert {id: len(job.attempts) for id, job in jobs.items()} == dict.fromkeys(whole, 1)
    assert log(spool, "pair") == "\U0001f600\n".encode()
    assert log(spool, "control") == b"\x01\x1b[31m\x7f"
    assert len(log(spool, "env")) == 100_001
    assert len(log(spool, "argv-of-many")) == 100_000
    assert jobs["long-number"].record["meta"] == int("9" * 4000)
    assert [log(spool, id) for id in ("escaped", "spaces", "tiny-number", "nested", "compact")] == [b"ran\n"] * 5


def test_what_no_system_can_start_fails_in_few_words_and_harms_nobody(spool):
    odd = {
        "long program": {"argv": ["p" * 300_000]},
        "long path": {"argv": ["/" + "p" * 300_000]},
        "long cwd": {"command": "true", "cwd": "/" + "p" * 300_000},
        "long argument": {"argv": ["true", "x" * 300_000]},
        "long environment": {"command": "true", "env": {"X": "x" * 300_000}},
        "escapes": {"argv": ["\x1b[31m" * 1000]},
    }
    for id, record in odd.items():
        drop(spool, id, {**record, "max_retries": 0})
    with pool(spool, 2) as supervisor:
        for id in odd:
            (attempt,) = comes_to(spool, id, "dead").attempts
            assert (attempt["exit"] in (126, 127), len(attempt["reason"]) <= 300) == (True, True)
        fence(spool)
        assert b" worker " not in supervisor.log.read_bytes()  # that one ended
    assert queuectl("list", spool=spool).returncode == 0


# ---- where it runs


def test_each_attempt_runs_where_the_link_leads_at_that_time(spool, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    link = tmp_path / "current"
    link.symlink_to("one")
    again = {"cwd": str(link), "max_retries": 1, "backoff_base": 0}
    drop(spool, "x", {"command": f"pwd -P; ln -sfn two {link}; test $QUEUECTL_ATTEMPT = 2", **again})
    with pool(spool):
        comes_to(spool, "x", "done")
        drop(spool, "y", {"command": f"ln -sfn nowhere {link}; exit 1", **again})
        first, second = comes_to(spool, "y", "dead").attempts
    assert [log(spool, "x", number).decode() for number in (1, 2)] == [
        f"{tmp_path.resolve()}/{name}\n" for name in ("one", "two")
    ]
    assert (first["reason"], second["reason"]) == ("exit 1", f"cwd {link} is gone")


# ---- times

EARLY = {"epoch": 0, "negative": -1, "1901": -(2**31), "a nanosecond": 1, "nearly two seconds": 1}
LATE = {"2106": 2**32 + 10**9, "2446": 15_032_385_535, "9999": 253_402_300_799}
BEYOND = {"after 9999": 253_402_300_800, "the last": 2**62}
BEFORE = {"year 1": -62_135_596_800, "before year 1": -62_135_596_801, "the first": -(2**62)}
NANOSECONDS = {"a nanosecond": 1, "nearly two seconds": 999_999_999, "9999": 999_999_999}


@pytest.fixture(params=["disk", "memory"])
def anywhen(request, tmp_path):
    """A spool on the disk, and one where a file may have any time at all."""
    if request.param == "disk":
        yield new_spool(tmp_path)
        return
    home = Path(tempfile.mkdtemp(prefix="queuectl-test-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
    yield new_spool(home)
    shutil.rmtree(home)


def stamped(spool, state, record, seconds, id):
    """Put a job there whose file has that time, or the nearest that its file system knows."""
    path = Path(spool.root, "tmp", "stamped")
    path.write_text(json.dumps(record))
    os.utime(path, ns=(seconds * 10**9 + NANOSECONDS.get(id, 0),) * 2)
    os.rename(path, spool.path(state, id))


def test_a_file_of_any_time_runs_or_waits_as_its_time_says(anywhen, tmp_path):
    spool = anywhen
    for number, (id, seconds) in enumerate({**EARLY, **BEFORE, **LATE, **BEYOND}.items()):
        stamped(spool, "pending", touches(tmp_path / f"ran-{number}"), seconds, id)
    early = {id for id in spool.names("pending") if os.stat(spool.path("pending", id)).st_mtime <= time.time()}
    assert early >= {*EARLY, *BEFORE}
    with pool(spool, 2):
        for id in early:
            comes_to(spool, id, "done")
        fence(spool)
        late = set(spool.names("pending"))
        assert late == {*LATE, *BEYOND} - early
        (seen,) = said("status", spool=spool)
        assert {job["id"] for job in said("list", spool=spool)} >= late | early
        for words in (["list"], ["status"], ["doctor"], *(["show", f"{id}.json"] for id in late)):
            ran = queuectl(*words, spool=spool)
            assert "Traceback" not in ran.stderr, ran.stderr
        for id in late:
            os.utime(spool.path("pending", id))
            comes_to(spool, id, "done")
    assert seen["states"]["pending"] == len(late)
    assert [times_run(tmp_path / f"ran-{number}") for number in range(len(early | late))] == [1] * len(early | late)


def test_the_oldest_runs_first_however_old_it_is(anywhen, tmp_path):
    spool, order = anywhen, tmp_path / "order"
    for id, seconds in {**EARLY, **BEFORE}.items():
        stamped(spool, "pending", {"command": f"echo {id} >> {order}"}, seconds, id)
    ages = {id: os.stat(spool.path("pending", id)).st_mtime_ns for id in spool.names("pending")}
    with pool(spool, 1, "--drain") as supervisor:
        assert supervisor.wait(60) == 0
    assert order.read_text().splitlines() == sorted(ages, key=lambda id: (ages[id] / 1e9, id))


def test_an_interrupted_job_of_any_time_goes_back_in_line_and_runs_again(anywhen, tmp_path):
    spool = anywhen
    ids = sorted({**EARLY, **BEFORE})
    for number, id in enumerate(ids):
        command = f"test -e {tmp_path}/go && exit 0; touch {tmp_path}/began-{number}; sleep 1000"
        stamped(spool, "pending", {"command": command}, {**EARLY, **BEFORE}[id], id)
    with pool(spool, len(ids)) as supervisor:
        until(lambda: all((tmp_path / f"began-{number}").exists() for number in range(len(ids))), "them to run")
        assert queuectl("stop", "--now", spool=spool).returncode == 0
        assert supervisor.wait(30) == 0
    assert sorted(spool.names("pending")) == ids
    (tmp_path / "go").touch()
    with pool(spool, 2, "--drain") as supervisor:
        assert supervisor.wait(60) == 0
    assert sorted(spool.names("done")) == ids


def test_a_failed_or_dead_file_of_any_time_is_due_or_stays(anywhen):
    spool = anywhen
    for id, seconds in {**EARLY, **BEFORE, **LATE, **BEYOND}.items():
        stamped(spool, "failed", {"command": "true"}, seconds, f"{id} failed")
        stamped(spool, "dead", {"command": "true"}, seconds, f"{id} dead")
    with pool(spool, 2):
        for id in {**EARLY, **BEFORE}:
            comes_to(spool, f"{id} failed", "done")
        fence(spool)
        for words in (["dlq", "list"], ["list"], ["status"], ["doctor"]):
            assert "Traceback" not in queuectl(*words, spool=spool).stderr
    assert {where(spool, f"{id} dead")[0] for id in {**EARLY, **BEFORE, **LATE, **BEYOND}} == {"dead"}
