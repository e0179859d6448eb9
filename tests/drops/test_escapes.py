"""What a terminal might obey never reaches it raw, from wherever it came; `logs` gives a pipe the bytes that a job printed."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from drops.scene import fence, on_terminal
from kit import PATIENCE, QUEUECTL, comes_to, drop, new_spool, pool, until

from jobspool import process, roster
from jobspool.states import STATES

# Titles, colours, the bell, a clipboard, C1 controls, other directions, line ends that overwrite.
EVIL = "\x1b]0;owned\x07\x1b[2J\x1b[31m\x08\x9b31m\u202eabc\u2066\u2028\r\x7f\x1b]52;c;AAAA\x1b\\"
NAME = EVIL
BYTES = os.fsdecode(b"\x1b[31m\xff\x9b")
RAW = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
OWN = re.compile(r"\x1b\[[0-9;]*m")  # the colours of tables, on a terminal


@pytest.fixture(scope="module")
def infested(tmp_path_factory):
    """A spool whose path, jobs, records, reasons, logs, workers and settings are full of escape sequences."""
    spool = new_spool(tmp_path_factory.mktemp(NAME))
    hostile = {
        "command": f"echo '{EVIL}'; exit 3",
        "name": EVIL,
        "meta": {EVIL: EVIL},
        "env": {"A\x1b[31m": EVIL},
        "max_retries": 0,
    }
    drop(spool, f"ran {NAME}", hostile)
    drop(spool, "gone", {"argv": [f"./{EVIL}", EVIL], "max_retries": 0})
    drop(spool, "nowhere", {"command": "true", "cwd": f"/{EVIL}", "max_retries": 0})
    drop(spool, f"key {NAME}", {EVIL: 1})
    drop(spool, "env", {"command": "true", "env": {EVIL: 1}})
    drop(spool, "twice", b'{"\\u001b[31m": 1, "\\u001b[31m": 1}')
    drop(spool, BYTES, {"command": "exit 1", "max_retries": 5, "backoff_base": 1000})
    with pool(spool, 2):
        for id in (f"ran {NAME}", "gone", "nowhere", f"key {NAME}", "env", "twice"):
            comes_to(spool, id, "dead")
        comes_to(spool, BYTES, "failed")
        fence(spool)
    words = {"reason": EVIL, "worker": EVIL, "signal": f"SIG{EVIL}", "number": 1, "cpu": 1, "memory": 1}
    tried = {"ended": "2026-01-01T00:00:00Z", "verdict": "dead", **words}
    drop(spool, f"forged {NAME}", {"command": EVIL, "attempts": [tried]}, "dead")
    for state in STATES:
        os.mkfifo(spool.path(state, f"fifo {state} {NAME}"))
        Path(spool.folder(state), f"{NAME}.part").touch()
    Path(spool.root, "tmp", NAME).write_text(EVIL)
    me = {"role": "worker", "name": EVIL, "pid": os.getpid(), "start": process.started(os.getpid()), "boot": process.boot()}
    me["spool"] = roster.identity(spool)
    doing = {"job": f"ran {NAME}", "since": "2026-01-01T00:00:00Z", "supervisor": 1}
    Path(spool.root, "workers", "worker-1.json").write_text(json.dumps({**me, **doing}))
    assert [entry.name for entry in roster.living(spool)] == [EVIL]
    return spool


def run(words, spool, terminal, cwd=None, env=None):
    """Run the command in a pipe, or on a terminal, and return all that it prints there."""
    command, env = [*QUEUECTL, *words], {**os.environ, "QUEUECTL_SPOOL": spool.root, "TERM": "xterm", **(env or {})}
    if not terminal:
        ran = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, env=env, cwd=cwd, timeout=PATIENCE)
        return (ran.stdout + ran.stderr).decode("utf-8")
    with on_terminal(command, env, cwd) as (program, read, _):
        shown = read(lambda shown: False)
        program.wait(PATIENCE)
    return OWN.sub("", shown.decode("utf-8").replace("\r\n", "\n"))


LOOKS = [
    ["status"],
    ["status", "--json"],
    ["list"],
    ["list", "--json"],
    ["dlq", "list"],
    ["dlq", "list", "--json"],
    ["doctor"],
    ["doctor", "--json"],
    ["config"],
    ["config", "--json"],
    *(["show", word] for word in ("ran ", "gone", "nowhere", "key ", "env", "twice", "forged", "fifo done", "\\x1b[31m\\udcff")),
    *(["show", "--json", word] for word in ("ran ", "forged", "fifo dead")),
]
WRONG = [
    ["show", EVIL * 2],
    ["show", "fifo"],
    ["logs", "fifo dead"],
    ["logs", f"x{EVIL}"],
    ["list", "--state", EVIL],
    ["list", "--limit", EVIL],
    ["list", "--limit", "\u00b2"],
    ["logs", "--attempt", EVIL, "ran "],
    ["dlq", "retry", "fifo dead"],
    ["dlq", "retry", "fifo done"],
    ["dlq", "retry", "key "],
    ["dlq", EVIL],
    ["config", "--key", EVIL],
    ["config", "set", EVIL, "1"],
    ["config", "set", "timeout", EVIL],
    ["config", "set", "keep_done", EVIL],
    ["config", "set", "fsync", EVIL],
    ["enqueue", EVIL, EVIL],
    ["enqueue", f"--{EVIL}"],
    ["enqueue", json.dumps({EVIL: 1})],
    ["enqueue", json.dumps({"command": "x", "env": {EVIL: 1}})],
    ["enqueue", "{" + EVIL],
    ["enqueue", "--id", f".{EVIL}", "true"],
    ["enqueue", "--id", f"ran {NAME}", "true"],
    ["enqueue", "--id", f"{NAME}\n{NAME}" * 9, "true"],
    ["enqueue", "--cwd", EVIL, "true"],
    ["enqueue", "--env", EVIL, "true"],
    ["enqueue", "--timeout", EVIL, "true"],
    ["enqueue", "--from", EVIL],
    ["enqueue", os.fsdecode(b"\xff\x1b[31m")],
    ["start", "--count", EVIL],
    ["stop", "--timeout", EVIL],
    ["init", "--group", EVIL],
    ["--spool", EVIL, "status"],
    ["init", f"/dev/null/{EVIL}"],
    [EVIL],
    [f"--{EVIL}"],
]


@pytest.mark.parametrize("terminal", [False, True], ids=["pipe", "terminal"])
def test_nothing_raw_is_shown_of_what_lies_in_the_spool(infested, terminal):
    for words in LOOKS:
        shown = run(words, infested, terminal)
        raw = RAW.findall(
            shown.replace("\x7f", "") if "--json" in words else shown
        )  # JSON may hold a DEL, and no terminal obeys it
        assert (raw, "Traceback" in shown, shown != "") == ([], False, True), (words, shown)


def test_nothing_raw_is_shown_of_what_was_typed_wrong(infested):
    before = sorted(os.listdir(infested.folder("pending")))
    for words in WRONG:
        shown = run(words, infested, True)
        assert (RAW.findall(shown), "Traceback" in shown, shown.startswith("queuectl: ")) == ([], False, True), (words, shown)
    assert sorted(os.listdir(infested.folder("pending"))) == before


@pytest.mark.parametrize("terminal", [False, True], ids=["pipe", "terminal"])
def test_what_is_done_under_an_odd_name_is_told_without_its_sequences(tmp_path, terminal):
    spool = new_spool(tmp_path / NAME)
    for words in (
        ["enqueue", f"echo {EVIL}"],
        ["enqueue", "--id", f"x{NAME}", "true"],
        ["config", "set", "max_retries", "1"],
        ["init", str(tmp_path / f"other{NAME}")],
    ):
        shown = run(words, spool, terminal)
        assert (RAW.findall(shown), "Traceback" in shown) == ([], False), (words, shown)
    drop(spool, f"dead{NAME}", {"command": "true"}, "dead")
    assert RAW.findall(run(["dlq", "retry", "--all"], spool, terminal)) == []
    own = {"QUEUECTL_SPOOL": "", "XDG_STATE_HOME": str(tmp_path / NAME / "home")}
    shown = run(["enqueue", "true"], spool, terminal, cwd=tmp_path, env=own)
    assert (RAW.findall(shown), "made a spool" in shown) == ([], True), shown


def eventful(spool):
    """Let there be something to tell of each kind of event, all under odd names."""
    for id, content in {
        "fails": {"argv": [EVIL], "max_retries": 1, "backoff_base": 1000},
        "junk": {EVIL: EVIL},
        "env": {"command": "true", "env": {EVIL: 1}},
        "done": {"command": "true"},
    }.items():
        drop(spool, f"{id} {NAME}", content)
    drop(spool, f"lost {NAME}", {"command": "true", "max_retries": 0}, "processing")
    drop(spool, f"unfit {NAME}", {"command": "true", "env": {EVIL: 1}}, "processing")
    os.mkfifo(spool.path("pending", f"fifo {NAME}"))


def put_into_dead(spool):
    tried = {"ended": "2026-01-01T00:00:00Z", "verdict": "failed", "reason": EVIL}
    drop(spool, f"noted {NAME}", {"command": "true", "attempts": [tried]}, "dead")


def all_told(text):
    return all(kind in text for kind in (b"done  ", b"failed  ", b"rejected  ", b"recovered  ", b"noted  ", b"not run: "))


def test_the_lines_of_start_hold_nothing_raw(tmp_path):
    spool = new_spool(tmp_path / NAME)
    eventful(spool)
    env = {**os.environ, "QUEUECTL_SPOOL": spool.root, "TERM": "xterm"}
    with on_terminal([*QUEUECTL, "start", "--count", "2"], env) as (_, read, _):
        shown = read(lambda shown: b"done  " in shown)
        put_into_dead(spool)
        shown += read(lambda more: all_told(shown + more))
    assert all_told(shown)
    assert RAW.findall(shown.decode().replace("\r\n", "\n")) == []


def test_the_log_of_the_background_holds_nothing_raw(tmp_path):
    spool = new_spool(tmp_path / NAME)
    eventful(spool)
    log = Path(spool.root, "logs", "supervisor.log")
    shown = run(["start", "--count", "2", "--detach"], spool, True)
    try:
        until(lambda: b"done  " in log.read_bytes(), "the first event")
        put_into_dead(spool)
        until(lambda: all_told(log.read_bytes()), "each kind of event")
    finally:
        shown += run(["stop", "--now"], spool, True)
    assert ("started in the background" in shown, "stopped" in shown) == (True, True)
    assert RAW.findall(shown + log.read_text()) == []


def test_logs_alone_gives_the_bytes_as_they_are(infested):
    ran = subprocess.run([*QUEUECTL, "--spool", infested.root, "logs", "ran "], capture_output=True, timeout=PATIENCE)
    assert ran.stdout == f"{EVIL}\n".encode()


def test_an_encoding_that_lacks_a_character_is_no_reason_to_say_nothing(spool):
    spool.add("echo grüße € \U0001f600", name="grüße", id="ü")
    for words in (["list"], ["show", "ü"], ["status"], ["enqueue", "--id", "ß", "true"]):
        shown = run(words, spool, True, env={"PYTHONIOENCODING": "ascii"})
        assert ("Traceback" in shown, shown != "") == (False, True), shown
