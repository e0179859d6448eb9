"""What a person does at a real pseudo-terminal: run and Ctrl-C, edit, rm, top."""

import contextlib
import json
import os
import re
import shlex
import signal
from pathlib import Path

import pytest
from kit import QUEUECTL, children, comes_to, drop, gone, new_spool, pool, queuectl, until, where

from jobspool import process


@pytest.mark.parametrize(("answer", "state"), [("c\n", ["dead"]), ("l\n", ["processing"])], ids=["cancel", "leave"])
def test_run_asks_at_ctrl_c_what_becomes_of_the_job(spool, terminal, answer, state):
    with pool(spool):
        one = terminal("run", "echo begun; sleep 1009", "--id", "x")
        one.expect("begun")
        one.type("\x03")
        one.expect("[l]eave it running, or [c]ancel it?")
        one.type(answer)
        assert (one.end(), where(spool, "x")) == (130, state)
        if state == ["processing"]:
            queuectl("cancel", "x", spool=spool, check=True)


def test_run_now_cancels_at_ctrl_c(spool, terminal):
    one = terminal("run", "--now", "echo begun $$; sleep 1010; true", "--id", "x")
    one.expect("begun")
    pid = int(re.search(r"begun (\d+)", one.shown)[1])
    one.type("\x03")
    assert (one.end(), where(spool, "x"), gone(pid)) == (130, ["dead"], True)


def test_several_are_removed_only_when_the_person_agrees(spool, terminal):
    for id in "xy":
        drop(spool, id, {"command": "true"}, "done")
    one = terminal("rm", "x", "y")
    one.expect("remove 2 jobs and their logs? [y/N]")
    one.type("\n")
    assert (one.end(), where(spool, "x")) == (1, ["done"])
    one = terminal("rm", "x", "y")
    one.expect("[y/N]")
    one.type("y\n")
    assert (one.end(), where(spool, "x"), where(spool, "y")) == (0, [], [])


def editor(tmp_path, script):
    path = tmp_path / "editor"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_a_job_is_held_while_it_is_edited_and_says_then_what_the_person_wrote(spool, terminal, tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    drop(spool, "x", {"command": "false", "priority": 1})
    queuectl("pause", spool=spool, check=True)
    one = terminal("edit", "x", EDITOR=editor(tmp_path, f"cat {gate} > /dev/null; sed -i 's/false/true/' $1"))
    until(lambda: "hold" in json.loads(Path(spool.path("pending", "x")).read_text()), "the hold")
    with pool(spool):
        queuectl("resume", spool=spool, check=True)
        drop(spool, "y", {"command": "true"})
        comes_to(spool, "y", "done")
        assert where(spool, "x") == ["pending"]
        gate.write_text("now")
        assert one.end() == 0
        job = comes_to(spool, "x", "done")
    assert {word: job.record.get(word) for word in ("command", "priority", "hold")} == {
        "command": "true",
        "priority": 1,
        "hold": None,
    }


def test_what_is_no_job_is_shown_where_it_is_wrong_and_not_put_back(spool, terminal, tmp_path):
    drop(spool, "x", {"command": "true"})
    one = terminal("edit", "x", EDITOR=editor(tmp_path, "echo '{\"command\": oops}' > $1"))
    one.expect('{"command": oops}\n' + " " * 14 + "^")
    one.expect("[e]dit it again, or [g]ive up?")
    one.type("g\n")
    assert one.end() == 1
    assert json.loads(Path(spool.path("pending", "x")).read_text()) == {"command": "true"}


def test_an_editor_that_fails_changes_nothing(spool, tmp_path):
    drop(spool, "x", {"command": "true"})
    ran = queuectl("edit", "x", spool=spool, env={"EDITOR": editor(tmp_path, "echo '{}' > $1; exit 3"), "VISUAL": ""})
    assert (ran.returncode, ran.stderr.endswith("ended with 3: the job is as it was\n")) == (1, True)
    assert json.loads(Path(spool.path("pending", "x")).read_text()) == {"command": "true"}


def test_a_file_that_is_no_job_is_mended(spool, tmp_path):
    drop(spool, "x", b"{nonsense", "dead")
    queuectl("edit", "x", spool=spool, env={"EDITOR": editor(tmp_path, 'echo \'{"command": "true"}\' > $1')}, check=True)
    assert queuectl("retry", "x", spool=spool).stdout == "x\n"


def test_top_shows_what_happens_and_obeys_keys(spool, terminal, tmp_path):
    drop(spool, "bad", {"command": "exit 9", "max_retries": 0})
    with pool(spool):
        one = terminal("top")
        one.expect("dead 1")
        one.expect("exit 9")
        drop(spool, "long", {"command": "echo hello; sleep 1011"})
        one.expect("processing 1")
        one.type("p")
        one.expect("PAUSED")
        one.type("p")
        one.expect("resumed")
        one.type("l")
        one.expect("--- long: echo hello; sleep 1011\nhello")
        one.type("\x03")
        one.forget()
        one.resize(12, 50)
        one.program.send_signal(signal.SIGWINCH)
        one.expect("processing 1")
        one.type("c")
        comes_to(spool, "long", "dead")
        one.expect("is cancelled")
        one.type("q")
        assert one.end() == 0


def test_top_says_that_a_spool_with_a_long_path_is_paused(tmp_path, terminal):
    spool = new_spool(tmp_path / ("long" * 20))
    queuectl("pause", spool=spool, check=True)
    terminal("--spool", spool.root, "top").expect("PAUSED")


def test_top_ends_when_its_terminal_is_closed(spool, terminal):
    one = terminal("top")
    one.expect("pending 0")
    one.close()
    one.program.wait(30)


def test_top_into_a_pipe_draws_once(spool):
    drop(spool, "x", {"command": "true"})
    ran = queuectl("top", spool=spool)
    assert (ran.returncode, "pending 1" in ran.stdout) == (0, True)


def test_a_long_log_goes_through_the_pager_of_a_person(spool, terminal, tmp_path):
    with pool(spool):
        drop(spool, "x", {"command": "seq 100; echo oh >&2"})
        drop(spool, "y", {"command": "seq 3"})
        comes_to(spool, "x", "done")
        comes_to(spool, "y", "done")
    one = terminal("logs", "x", PAGER="sed s/^/pager:/")
    assert one.end() == 0
    assert "pager:100\n" in one.shown
    assert "pager:oh\n" in one.shown
    one = terminal("logs", "y", PAGER="sed s/^/pager:/")
    assert (one.end(), one.shown) == (0, "1\n2\n3\n")


def test_states_have_colours_unless_the_person_wants_none(spool, terminal):
    drop(spool, "x", {"command": "true"}, "dead")
    one = terminal("list")
    assert (one.end(), one.shown.count("dead"), b"\x1b[31mdead" in one.raw) == (0, 1, True)
    for more in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        one = terminal("list", **more)
        assert (one.end(), one.shown.count("dead"), b"[31m" in one.raw) == (0, 1, False)
    one = terminal("list", "--color=never")
    assert (one.end(), b"[31m" in one.raw) == (0, False)
    assert "\x1b[31mdead" in queuectl("list", "--color=always", spool=spool, env={"TERM": "xterm"}).stdout
    assert "\x1b" not in queuectl("list", spool=spool).stdout
    assert queuectl("--color=pink", "list", spool=spool).returncode == 2


@pytest.mark.parametrize("words", [["logs", "-f", "x"], ["wait", "x"], ["top"]], ids=["logs", "wait", "top"])
def test_what_waits_is_suspended_and_goes_on(spool, terminal, tmp_path, words):
    """Ctrl-Z and fg, in a shell with job control."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    with pool(spool):
        drop(spool, "x", {"command": f"echo begun; read word < {gate}; echo over"})
        until(lambda: where(spool, "x") == ["processing"], "the job")
        one = terminal("--norc", "-i", program=["bash"], PS1="$ ")
        one.type(shlex.join([*QUEUECTL, *words]) + "\n")
        one.expect({"logs": "begun\n", "wait": "", "top": "processing 1"}[words[0]])
        child = until(lambda: children(one.program.pid), "the command")[0]
        until(lambda: process.words_of(child).endswith(words[-1]) and watches(child), "it to wait")
        one.type("\x1a")
        one.expect("Stopped")
        one.forget()
        one.type("fg\n")
        gate.write_text("go\n")
        comes_to(spool, "x", "done")
        if words == ["top"]:
            one.expect("done 1")
            one.type("q")
        until(lambda: gone(child), "the command's end")
        one.type("echo exit=$?\nexit\n")
        one.expect({"logs": "over\n", "wait": "", "top": ""}[words[0]])
        one.expect("exit=0\n")
        one.end()


def watches(pid):
    """Tell whether the process has an inotify instance: then it waits for events."""
    with contextlib.suppress(OSError):
        return any("inotify" in os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd"))
    return False


@pytest.mark.parametrize(
    "words", [["logs", "-f", "x"], ["wait", "x"], ["run", "sleep 1014", "--id", "y"]], ids=["logs", "wait", "run"]
)
def test_what_waits_ends_with_its_terminal_and_the_job_goes_on(spool, terminal, tmp_path, words):
    with pool(spool, 2):
        drop(spool, "x", {"command": f"echo begun; touch {tmp_path}/runs; sleep 1014"})
        until((tmp_path / "runs").exists, "the job")
        one = terminal(*words)
        until(lambda: watches(one.program.pid), "it to wait")
        one.close()
        one.program.wait(30)
        assert where(spool, "x") == ["processing"]
        queuectl("cancel", "--state", "processing", spool=spool, check=True)


def test_the_first_failure_is_hinted_at_once_to_a_person(spool, terminal):
    for id in "xy":
        drop(spool, id, {"command": "exit 3", "max_retries": 0})
    one = terminal("start", "--drain")
    assert (one.end(), one.shown.count("queuectl: `queuectl logs ")) == (0, 1)
    for id in "xy":
        queuectl("retry", id, spool=spool, check=True)
    assert "queuectl logs" not in queuectl("start", "--drain", spool=spool).stderr
