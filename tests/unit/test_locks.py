"""Tokens of what is limited: taken all or none, and let go of whatever fails."""

import os
import stat

import pytest
from kit import drop

from jobspool import config, hands, locks, run
from jobspool.config import Settings

JOB = {"locks": ["a"], "slots": {"gpu": 2}}
SETTINGS = Settings({"slots": {"gpu": 3}})


def open_files():
    return len(os.listdir("/proc/self/fd"))


def test_all_or_none(spool):
    before = open_files()
    held = locks.take(spool, JOB, SETTINGS)
    assert [(token.name, token.number) for token in held] == [("lock a", 0), ("slot gpu", 0), ("slot gpu", 1)]
    assert locks.take(spool, {"slots": {"gpu": 2}}, SETTINGS) == locks.Full("slot gpu*2")
    [one] = locks.take(spool, {"slots": {"gpu": 1}}, SETTINGS)
    assert one.number == 2
    assert locks.take(spool, {"slots": {"gpu": 1}}, SETTINGS) == locks.Full("slot gpu")
    assert locks.take(spool, {"locks": ["a", "b"]}, SETTINGS) == locks.Full("lock a")
    locks.release([*held, one])
    assert open_files() == before


def test_what_was_taken_is_let_go_of_when_the_disk_fails(spool, monkeypatch):
    before, opened = open_files(), []
    real = locks.open_token

    def fail(spool, name, settings):
        opened.append(name)
        if len(opened) == 3:
            raise OSError(5, "Input/output error")
        return real(spool, name, settings)

    monkeypatch.setattr(locks, "open_token", fail)
    with pytest.raises(OSError, match="Input/output"):
        locks.take(spool, JOB, SETTINGS)
    assert (open_files(), len(opened)) == (before, 3)


def test_tokens_of_a_shared_spool_are_the_groups(spool):
    mask = os.umask(0o077)
    try:
        locks.release(locks.take(spool, {"locks": ["a"]}, Settings({"group": "builders"})))
    finally:
        os.umask(mask)
    assert stat.S_IMODE(os.stat(f"{spool.root}/locks/lock a.0").st_mode) == 0o660


@pytest.mark.parametrize("numbers", [[5, 6, 7], [100, 101], [101, 100], [103, 100, 7], [99, 100]])
def test_what_a_job_holds_is_not_overwritten_by_what_it_gets(tmp_path, numbers):
    files, made = [], []
    for number in numbers:
        path = tmp_path / str(number)
        path.touch()
        descriptor = os.open(path, os.O_RDONLY)
        os.dup2(descriptor, number + 300)
        os.close(descriptor)
        files.append(number + 300)
    held, copies = run._beyond(files, 400)
    made += copies
    got = {}
    for i, descriptor in enumerate(held):  # what posix_spawn does, one behind the other
        got[400 + i] = os.fstat(got.get(descriptor, descriptor) if isinstance(got.get(descriptor), int) else descriptor).st_ino
        assert descriptor not in range(400, 400 + i)
    assert list(got.values()) == [(tmp_path / str(number)).stat().st_ino for number in numbers]
    for descriptor in [*files, *made]:
        os.close(descriptor)


def test_a_replaced_job_takes_the_place_of_what_is_no_job(spool):
    drop(spool, "k", b"{")
    job, added = hands.add_unique(spool, "k", {"command": "new"}, None, 0.0, "replace", config.Settings())
    assert (added, job.command, spool.read("dead", "k").problem is not None) == (True, "new", True)


def test_what_moves_while_it_is_looked_for_is_found(spool, monkeypatch):
    drop(spool, "k", {"command": "old"})
    real = spool.state_of

    def moves(id):
        state = real(id)
        if state == "pending":
            os.rename(spool.path("pending", id), spool.path("processing", id))
        return state

    monkeypatch.setattr(spool, "state_of", moves)
    job, added = hands.add_unique(spool, "k", {"command": "new"}, None, 0.0, "skip", config.Settings())
    assert (added, job.state, spool.count("pending")) == (False, "processing", 0)
