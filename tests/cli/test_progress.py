"""What takes longer than a second shows a person how far it is, and a pipe nothing of it."""

import re

import pytest
from kit import drop, pool, queuectl, until

import queuectl as command


def test_a_drain_shows_how_far_it_is_below_what_it_tells(spool, terminal):
    for i in range(4):
        drop(spool, f"x{i}", {"command": "sleep 0.6"})
    drain = terminal("start", "--drain")
    drain.expect("/4")
    assert drain.end() == 0
    shown = drain.shown
    assert [f"done        x{i}" in shown for i in range(4)] == [True] * 4
    assert "jobs" not in shown.splitlines()[-1]


def test_a_wait_shows_how_far_it_is_and_says_nothing_of_it_in_a_pipe(spool, terminal):
    for i in range(3):
        drop(spool, f"x{i}", {"command": "sleep 0.6"})
    wait = terminal("wait")
    until(lambda: "0/3" in wait.shown, "the bar of a wait")
    with pool(spool):
        assert wait.end() == 0
    assert re.search(r"[12]/3", wait.shown)
    assert queuectl("wait", spool=spool).stderr == ""


@pytest.mark.parametrize("words", [["retry", "--all"], ["rm", "--state", "dead", "--yes"], ["cancel", "--state", "pending"]])
def test_jobs_that_are_seen_to_one_by_one_are_counted(spool, monkeypatch, words):
    for i in range(5):
        drop(spool, f"x{i}", {"command": "true"}, "pending" if words[0] == "cancel" else "dead")
    told = _told(monkeypatch)
    assert command.run(["--spool", spool.root, *words]) == 0
    assert told == [(i, 5) for i in range(1, 6)]


def test_many_that_are_added_are_counted(spool, monkeypatch, tmp_path):
    (tmp_path / "jobs").write_text("true\n" * 50)
    told = _told(monkeypatch)
    assert command.run(["--spool", spool.root, "enqueue", "--from", str(tmp_path / "jobs")]) == 0
    assert told == [(16, 50), (32, 50), (48, 50), (50, 50)]


def _told(monkeypatch):
    """Return what a bar would show, in a list that is filled meanwhile."""
    told = []

    class Bar:
        task_ids = (0,)

        def update(self, _, completed, total, refresh):
            told.append((completed, total))

        def stop(self):
            pass

    monkeypatch.setattr(command, "_bar", lambda *_: Bar())
    monkeypatch.setattr(command.Progress, "AFTER", float("-inf"))
    monkeypatch.setattr(command.Progress, "EVERY", 0.0)
    monkeypatch.setattr(command.sys.stderr, "isatty", lambda: True, raising=False)
    return told


def test_a_bar_is_drawn_once_and_goes(monkeypatch, capsys):
    monkeypatch.setattr(command.Progress, "AFTER", float("-inf"))
    monkeypatch.setattr(command.sys.stderr, "isatty", lambda: True, raising=False)
    with command.Progress("jobs", 8) as progress:
        progress.tell(3)
        with progress.hidden():
            pass
    assert "3/8" in capsys.readouterr().err
