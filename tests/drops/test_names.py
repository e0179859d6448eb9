"""Odd names: each is run and recorded rightly, or explained; and each can be named on the command line."""

import json
import os
import subprocess

import pytest
from drops.scene import fence, look, said, times_run, touches, warnings
from kit import QUEUECTL, comes_to, drop, new_spool, pool, where

import queuectl as program
from jobspool.job import LONGEST_ID

ODD = [
    "a b",
    " ",
    "\n",
    "two\nlines",
    "tab\there",
    "'",
    '"',
    'it\'s "quoted"',
    "$(touch canary)",
    "`touch canary`",
    "; touch canary #",
    "a|b&c",
    "*",
    "?[a-z]",
    "~",
    "back\\slash",
    "%s%n",
    "{}",
    "-",
    "-x",
    "--",
    "--help",
    "--all",
    "--json=",
    "a..b",
    "x.json",
    "é",
    "e\u0301",
    "\U0001f600",
    "\u202egpj",
    "\x1b[31mred",
    "\x7f",
    "\x9b31m",
    os.fsdecode(b"\xff\xfe latin \xe9"),
    os.fsdecode(b"half \xc3"),
    "1",
    "n" * LONGEST_ID,
    os.fsdecode(b"\xff" * LONGEST_ID),
    "\x01" * LONGEST_ID,
]
TOO_LONG = ["n" * (LONGEST_ID + 1), "ü" * 125, "n" * 250, os.fsdecode(b"\xe9" * 250)]
IGNORED = [".json", "..json", "...json", ". .json", ".-x.json", ".\n.json", "json", "x.JSON", "x.json ", "x.json\n", "x.json~", "\x1b[2J", "-", "--help", "#x.json#", "n" * 255]  # fmt: skip


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A spool in which each odd name was dropped and seen to."""
    home = tmp_path_factory.mktemp("names")
    spool = new_spool(home)
    for number, id in enumerate(ODD):
        drop(spool, id, {"argv": ["sh", "-c", f'echo ran >> {home}/ran-{number}; echo "$QUEUECTL_JOB_ID"; echo said >&2']})
    for id in TOO_LONG:
        drop(spool, id, touches(home / "canary"))
    for name in IGNORED:
        with open(f"{spool.root}/pending/{name}", "w") as file:
            file.write('{"command": "touch canary"}')
    before = {name: look(f"{spool.root}/pending/{name}") for name in IGNORED}
    with pool(spool, 2, within=["env", "-C", home]) as supervisor:
        for id in ODD:
            comes_to(spool, id, "done")
        for id in TOO_LONG:
            comes_to(spool, id, "dead")
        fence(spool)
    assert supervisor.returncode == 0
    assert {name: look(f"{spool.root}/pending/{name}") for name in IGNORED} == before
    return spool, home


def shown(capsys, *words, spool):
    """What the command prints, in this process: there are many to be tried."""
    assert program.main(["--spool", spool.root, *words]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


@pytest.mark.parametrize("id", ODD)
def test_a_job_of_any_name_that_may_be_one_runs_once_and_is_found(served, id, capsys):
    spool, home = served
    assert times_run(home / f"ran-{ODD.index(id)}") == 1
    assert where(spool, id) == ["done"]
    assert len(spool.read("done", id).attempts) == 1
    for handle in (f"{id}.json", spool.path("done", id), program.printable(f"{id}.json"), f"done/{id}.json"):
        assert json.loads(shown(capsys, "show", "--json", "--", handle, spool=spool))["id"] == id
    lines = shown(capsys, "show", "--", f"{id}.json", spool=spool).splitlines()
    assert lines[:1] == [f"job         {program.printable(id)}"]
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize("id", ["-x", "--all", "two\nlines", "$(touch canary)", os.fsdecode(b"half \xc3"), "\x1b[31mred"])
def test_the_real_command_takes_the_id_as_it_is_from_a_shell(served, id):
    spool, _ = served
    logs = subprocess.run([*QUEUECTL, "--spool", spool.root, "logs", "--", id], capture_output=True, timeout=60)
    assert (logs.returncode, logs.stdout) == (0, os.fsencode(id) + b"\n")


@pytest.mark.parametrize("id", TOO_LONG)
def test_a_name_that_is_too_long_for_a_job_is_a_dead_letter_that_says_so(served, id, capsys):
    spool, _ = served
    assert spool.read("dead", id).problem == f"an id can't be longer than {LONGEST_ID} bytes"
    shown_as = shown(capsys, "show", "--", id, spool=spool)
    assert f"not a whole job: an id can't be longer than {LONGEST_ID} bytes" in shown_as


def test_a_name_that_no_job_can_have_is_ignored_and_status_says_why(served):
    spool, home = served
    why = warnings(spool)
    assert set(why) == {f"pending/{name}" for name in IGNORED}
    assert [why[f"pending/{name}"] for name in ("x.json~", ".json", "json")] == [
        "its name ends in ~", "its name begins with a dot", "its name doesn't end in .json"]  # fmt: skip
    assert not (home / "canary").exists()


def test_every_list_is_json_that_names_each_file_as_it_is(served):
    spool, _ = served
    assert {job["id"] for job in said("list", "--state", "done", spool=spool)} >= set(ODD)
    dead = {job["id"]: job["problem"] for job in said("dlq", "list", spool=spool)}
    assert set(dead) == set(TOO_LONG)
    assert all(os.path.lexists(job["file"]) for job in said("list", spool=spool))


def test_an_odd_name_may_be_retried_by_what_is_shown_and_runs(spool, capsys):
    for id in ("-x", "a\nb", "\x1b[31m", os.fsdecode(b"\xff")):
        drop(spool, id, {"command": "true"}, "dead")
        assert shown(capsys, "dlq", "retry", "--", program.printable(id), spool=spool) == f"{program.printable(id)}\n"
        assert where(spool, id) == ["pending"]
    with pool(spool, 1, "--drain") as supervisor:
        assert supervisor.wait(30) == 0
    assert len(spool.names("done")) == 4
