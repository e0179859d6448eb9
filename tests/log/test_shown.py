"""What a terminal is shown of what jobs print."""

import os
import subprocess

import pytest
from drops.scene import on_terminal
from hypothesis import given
from hypothesis import strategies as st
from kit import PATIENCE, QUEUECTL, pool, until

from jobspool.shown import PART, Shown

RED, PLAIN = "\x1b[31m", "\x1b[0m"
EVIL = "\x1b]0;title\x07\x1b[2J\x1b[3;4H\x08\x9b31m\x1b]52;c;AAAA\x1b\\\u202e"
SEEN = r"\x1b]0;title\x07\x1b[2J\x1b[3;4H\x08\x9b31m\x1b]52;c;AAAA\x1b\\u202e"


def shown(*pieces, colors=True):
    one = Shown(colors)
    return "".join(one.piece(piece).decode() for piece in pieces) + one.piece(b"", last=True).decode()


def test_text_and_colours_pass_and_nothing_else_that_a_terminal_obeys():
    assert shown(f"a\tb\n{RED}grün{PLAIN}{EVIL}".encode()) == f"a\tb\n{RED}grün{PLAIN}{SEEN}"
    assert shown(b"\x1b[38;2;1;2;3mx\x1b[4:3my\x1b[m") == "\x1b[38;2;1;2;3mx\x1b[4:3my\x1b[m"
    assert shown(b"\xff\x9b1m") == r"\xff\x9b1m"
    assert shown(b"\x1b[31", b"\x1b[?25l") == r"\x1b[31\x1b[?25l"


def test_a_bar_that_goes_back_shows_each_step_on_its_own_line():
    assert shown(b"10 %\r20 %\r", b"\n", b"done\r\n") == "10 %\n20 %\ndone\n"


def test_without_colours_only_the_text_passes():
    assert shown(f"{RED}x{PLAIN}".encode(), colors=False) == "x"


@given(st.lists(st.sampled_from(["\x1b", "[", "3", ";", "m", "\r", "\n", "é", "x", "\x9b", "\x07", RED, PLAIN])), st.data())
def test_it_is_the_same_however_it_comes_in_pieces(parts, data):
    content = "".join(parts).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=5)))
    pieces = [content[start:end] for start, end in zip([0, *cuts], [*cuts, len(content)], strict=True)]
    assert shown(*pieces) == shown(content)


@given(st.binary())
def test_whatever_comes_what_is_left_is_text_and_colours(content):
    text = shown(content)
    assert {found.group() for found in PART.finditer(text) if found.lastindex is None} == set()


@pytest.fixture
def printed(spool):
    """A spool with jobs x and y, which have printed in colours, and other things."""
    with pool(spool, 1):
        for id in "xy":
            spool.add(f"printf '{id} {RED}red\\nmore\\033[2J\\n'; printf '{RED}wrong' >&2", id=id)
        until(lambda: spool.count("done") == 2, "both")
    return spool


def on_screen(spool, *words, **env):
    command = [*QUEUECTL, "--spool", spool.root, *words]
    with on_terminal(command, {**os.environ, "TERM": "xterm", "PAGER": "", **env}) as (program, read, _):
        seen = read(lambda seen: False)
        program.wait(PATIENCE)
    return seen.decode().replace("\r\n", "\n")


def test_logs_on_a_terminal_have_their_colours_and_leave_none_behind(printed):
    assert on_screen(printed, "logs", "x") == f"x {RED}red\nmore\\x1b[2J\n{RED}wrong{PLAIN}{PLAIN}"
    assert on_screen(printed, "logs", "x", "--color=never") == "x red\nmore\\x1b[2J\nwrong"
    assert on_screen(printed, "logs", "x", "y", "--stdout") == (
        f"x | x {RED}red{PLAIN}\nx | more\\x1b[2J\ny | y {RED}red{PLAIN}\ny | more\\x1b[2J\n"
    )
    assert on_screen(printed, "logs", "-f", "x", "--stderr") == f"{RED}wrong{PLAIN}"


def test_a_pager_gets_what_the_terminal_would(printed):
    printed.add("true", id="z")
    long = on_screen(printed, "logs", "x", "--stdout", PAGER="sed s/^/P/")
    assert long in (f"x {RED}red\nmore\\x1b[2J\n{PLAIN}", f"Px {RED}red\nPmore\\x1b[2J\nP{PLAIN}")


def test_a_pipe_gets_the_bytes_as_they_are(printed):
    command = [*QUEUECTL, "--spool", printed.root, "logs", "x", "--color=never"]
    ran = subprocess.run(command, capture_output=True, timeout=PATIENCE)
    assert (ran.stdout, ran.stderr) == (f"x {RED}red\nmore\x1b[2J\n".encode(), f"{RED}wrong".encode())
