"""A command that is executed directly does what a shell would have done with it."""

import os
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobspool.command import CannotStart, direct, enter, find_program, words


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """A directory with `show`, which prints its words one a line, and `fails`, which exits 3."""
    folder = tmp_path_factory.mktemp("programs")
    for name, text in {"show": 'printf "<%s>\\n" "$0" "$@"', "fails": "exit 3", "te=st": "exit 4", "1": "exit 5"}.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    (folder / "text").write_text("not a program")
    (folder / "folder").mkdir()
    return folder


def ended(argv, programs):
    """How the words end, and what they print."""
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": "/nowhere"}
    try:
        program = find_program(argv[0], environment["PATH"])
        done = subprocess.run(
            argv, executable=program, capture_output=True, env=environment, cwd=programs, stdin=subprocess.DEVNULL
        )
    except CannotStart as problem:
        return problem.status, b""
    except PermissionError:
        return 126, b""
    except OSError:
        return 127, b""
    return done.returncode, done.stdout


def same_as_a_shell(command, programs):
    split = direct(command)
    return split is None or ended(split, programs) == ended(["/bin/sh", "-c", "--", command], programs)


@pytest.mark.parametrize(
    "command",
    [
        "show",
        "show a b",
        "show \t a\t\tb",
        "./show -x --long=1 a=b %d 1,2 a:b x@y +1 -",
        "show a~b =x x= .. . / //",
        "show in do then 2 time",
        "fails now",
        "true",
        "false",
        "sleep 0",
        "./text",
        "folder",
        "./folder",
        "./nowhere",
        "nowhere at all",
        "1",
        "./te=st",
        "%1",
        "+1",
        "@",
        ",",
        "/bin/echo -n a",
        "env true",
        "cat /dev/null",
    ],
)
def test_a_plain_command_ends_and_prints_as_in_a_shell(command, programs):
    assert same_as_a_shell(command, programs)


WORD = st.text(st.sampled_from("abz019_./:,@%+-= \t~$*?#!'\"\\&|;<>()[]{}^`\nü"), max_size=6)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.sampled_from(["show ", "./show ", "show\t", "fails "]), st.lists(WORD, max_size=4))
def test_whatever_stands_behind_a_program_it_gets_the_words_that_a_shell_gives_it(programs, program, parts):
    command = program + " ".join(parts)
    split = direct(command)
    assert split is None or ended(split, programs) == ended(["/bin/sh", "-c", "--", command], programs)


@pytest.mark.parametrize(
    "command",
    [
        "echo hi",
        "cd /tmp",
        "exit 3",
        "test -e /",
        "[ 1 ]",
        ":",
        ". ./x",
        "time sleep 0",
        "if",
        "A=1",
        "A=1 make",
        "ls | wc",
        "ls > x",
        "ls 2>&1",
        "ls &",
        "ls;ls",
        "ls *",
        "ls ~",
        "ls $HOME",
        "ls 'a b'",
        'ls "a"',
        "ls a\\ b",
        "ls # no",
        "ls {a,b}",
        "ls `x`",
        "! ls",
        "ls\n",
        "ls\nls",
        " ls",
        "ls\u00a0x",
        "ü",
    ],
)
def test_what_needs_a_shell_gets_one(command):
    assert words({"command": command}) == ["/bin/sh", "-c", "--", command]


def test_what_needs_no_shell_gets_none():
    assert words({"command": "convert  in.png\tout.jpg"}) == ["convert", "in.png", "out.jpg"]


def test_an_argv_is_taken_as_it_is():
    assert words({"argv": ["echo", "$HOME", ""]}) == ["echo", "$HOME", ""]


def test_a_program_is_looked_for_along_the_path(programs):
    assert find_program("show", f"/nowhere:{programs}") == f"{programs}/show"


def test_an_empty_part_of_the_path_is_the_working_directory(programs, monkeypatch):
    monkeypatch.chdir(programs)
    assert find_program("show", "/nowhere:") == "./show"


def test_a_name_with_a_slash_is_not_looked_for():
    assert find_program("./x", "/bin") == "./x"


def test_a_program_that_isnt_there_is_127():
    with pytest.raises(CannotStart) as problem:
        find_program("nowhere", "/bin")
    assert (problem.value.status, problem.value.reason) == (127, "command not found: nowhere")


def test_a_program_that_cant_be_executed_is_126(programs):
    with pytest.raises(CannotStart) as problem:
        find_program("text", str(programs))
    assert (problem.value.status, problem.value.reason) == (126, f"{programs}/text is not executable")


@pytest.mark.parametrize(
    ("folder", "status", "reason"),
    [("gone", 127, "cwd {}/gone is gone"), ("text", 126, "cwd {}/text: Not a directory")],
)
def test_a_working_directory_that_cant_be_entered_says_why(programs, folder, status, reason):
    with pytest.raises(CannotStart) as problem:
        enter(f"{programs}/{folder}")
    assert (problem.value.status, problem.value.reason) == (status, reason.format(programs))
