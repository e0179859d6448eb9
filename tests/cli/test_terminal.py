"""What a person sees, on a real pseudo-terminal of 80 columns."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios

from kit import QUEUECTL, drop, pool, until


def seen(*words, spool, columns=80, **environment):
    """Run the command on a terminal and return what appears there, with its colours taken away."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    program = subprocess.Popen(
        [*QUEUECTL, *words],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env={**env, "TERM": "xterm", "QUEUECTL_SPOOL": spool.root, **environment},
    )
    os.close(follower)
    shown = b""
    while True:
        try:
            piece = os.read(leader, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        shown += piece
    os.close(leader)
    program.wait(30)
    return re.sub(r"\x1b\[[0-9;]*m", "", shown.decode()).replace("\r\n", "\n")


def test_a_table_fits_the_terminal_and_cuts_commands_not_jobs(spool):
    long = spool.add("echo " + "many words " * 40)
    lines = seen("list", spool=spool).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[1].startswith(f"{long.handle}  pending  0/4 ")
    assert lines[1].endswith("…")


def test_a_long_id_stands_whole_in_a_table_that_fits_all_the_same(spool):
    id = "a-very-long-id-for-a-job-that-nobody-can-remember-but-a-tool-made-it-" + "x" * 60
    drop(spool, id, {"command": "true"})
    drop(spool, "short", {"command": "false"})
    heads, *lines = seen("list", spool=spool).splitlines()
    assert max(map(len, (heads, *lines))) <= 80
    width = heads.index("state")
    assert "".join(line[:width].strip() for line in lines) == id + "short"


def test_the_handle_that_is_shown_is_taken(spool):
    id = spool.add("true").id
    shown = seen("list", spool=spool).splitlines()[1].split()[0]
    assert f"job         {id}" in seen("show", shown, spool=spool)


def test_status_fits_80_columns(spool):
    spool.add("sleep 1000 " + "# a long remark " * 20)
    with pool(spool):
        until(lambda: "sleep 1000" in seen("status", spool=spool), "the running job")
        shown = seen("status", spool=spool)
    assert max(map(len, shown.splitlines())) <= 80


def test_a_person_is_told_that_no_worker_runs(spool):
    assert "no worker is running" in seen("enqueue", "true", spool=spool)
    assert "no worker" not in seen("enqueue", "true", "-q", spool=spool)


def test_an_empty_list_says_so_to_a_person(spool):
    assert seen("list", spool=spool) == f'queuectl: no jobs in {spool.root}: queuectl enqueue "COMMAND" adds one\n'


def test_escape_sequences_never_reach_the_terminal_raw(spool):
    evil = "\x1b]0;owned\x07\x1b[2J\u202e"
    drop(spool, "x\x1b[31m", {"command": f"echo {evil}", "name": evil})
    drop(spool, "y", {f"{evil}": 1}, "dead")
    (open(f"{spool.root}/pending/z\x1b[31m", "w")).close()
    for words in (
        ["list"],
        ["status"],
        ["dlq", "list"],
        ["show", "x"],
        ["show", "y"],
        ["logs", "x"],
        ["dlq", "retry", "x"],
        ["dlq", "retry", "y"],
    ):
        shown = seen(*words, spool=spool)
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", shown), words


def test_a_narrow_terminal_and_a_dumb_one_are_borne(spool):
    spool.add("echo " + "x" * 100)
    for environment in ({"columns": 40}, {"TERM": "dumb"}, {"NO_COLOR": "1"}):
        assert "pending" in seen("list", spool=spool, **environment)
