"""What was kept long enough goes, with its logs; what waits or runs never does."""

import json
import os
import time
from pathlib import Path

import pytest
from kit import drop, where

from jobspool import Spool, config, durable, retention, times, whereabouts
from jobspool.job import iso, seconds

NOW = 2_000_000_000.0
DAY = 86_400.0


@pytest.fixture
def spool(spool):
    spool.ready()
    return Spool(spool.root, now=lambda: NOW)


def lay(spool, id, state, age, attempts=0):
    """A job that came to `state` so many seconds ago, with a log of each attempt."""
    entry = {"ended": "2026-11-24T10:15:30Z", "verdict": "done"}
    path = drop(spool, id, {"command": "true", **({"attempts": [entry] * attempts} if attempts else {})}, state)
    os.utime(path, (NOW - age, NOW - age))
    for number in range(1, attempts + 1):
        Path(spool.log_path(id, number, "out")).write_text("out")
        Path(spool.log_path(id, number, "err")).write_text("err")


def walk(spool, state, rule):
    refused = []
    for _ in retention.prune_state(spool, state, rule, spool.settings(), refused):
        pass
    return refused


def logs(spool):
    return sorted(os.listdir(f"{spool.root}/logs"))


@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        ("forever", (None, None)),
        ("90s", (90.0, None)),
        ("30m", (1800.0, None)),
        ("12h", (43_200.0, None)),
        ("7d", (604_800.0, None)),
        ("4w", (2_419_200.0, None)),
        (1000, (None, 1000)),
        (0, (None, 0)),
    ],
)
def test_a_rule_keeps_an_age_or_a_number(rule, kept):
    assert (times.keep_of(rule), config.checked("keep_done", rule)) == (kept, rule)


@pytest.mark.parametrize(
    "rule", ["", "7", "d", "7 d", "-1d", "7y", "never", -1, 1.5, True, None, "\u0667d", ["7d"], "99999999999d"]
)
def test_what_is_no_rule_is_told_the_rule(rule):
    with pytest.raises(config.WrongValue, match="takes a time .*, a whole number of jobs, or forever"):
        config.checked("keep_done", rule)


@pytest.mark.parametrize(("typed", "value"), [("7d", "7d"), (" Forever", "forever"), ("1000", 1000)])
def test_a_rule_as_it_is_typed(typed, value):
    assert config.value_of("keep_dead", typed) == value


def test_what_is_older_goes_with_its_logs_and_what_is_younger_stays(spool):
    lay(spool, "old", "done", 7 * DAY + 1, attempts=2)
    lay(spool, "young", "done", 7 * DAY - 1, attempts=1)
    walk(spool, "done", "7d")
    assert (spool.names("done"), logs(spool)) == (["young"], ["young.1.err", "young.1.out"])
    assert os.listdir(f"{spool.root}/tmp") == []


def test_the_newest_stay(spool):
    for age in range(10):
        lay(spool, f"a{age}", "dead", age)
    walk(spool, "dead", 3)
    assert sorted(spool.names("dead")) == ["a0", "a1", "a2"]
    walk(spool, "dead", 3)
    assert len(spool.names("dead")) == 3
    walk(spool, "dead", 0)
    assert spool.names("dead") == []


def test_fewer_than_are_kept_all_stay(spool):
    lay(spool, "a", "done", 1000 * DAY)
    walk(spool, "done", 2)
    walk(spool, "done", "forever")
    assert where(spool, "a") == ["done"]


def test_a_whole_walk_leaves_what_waits_or_runs(spool):
    for state in ("pending", "processing", "failed", "done", "dead"):
        lay(spool, state, state, 1000 * DAY)
    settings = config.Settings({"keep_done": 0, "keep_dead": "1s"})
    pruner = retention.Pruner(spool)
    pruner.step(settings)
    assert sorted(job.id for job in spool.jobs()) == ["failed", "pending", "processing"]
    assert pruner.at > time.monotonic()


@pytest.mark.parametrize(
    ("given", "seconds"),
    [({}, 600), ({"keep_done": "10m"}, 60), ({"keep_done": "1s"}, 1), ({"keep_done": "forever"}, 600), ({"keep_dead": 5}, 10)],
)
def test_how_long_between_two_walks(given, seconds):
    assert retention.pause(config.Settings(given)) == seconds


def test_by_default_done_stays_a_week_and_dead_for_ever(spool):
    for age in (6, 8):
        lay(spool, f"done{age}", "done", age * DAY)
        lay(spool, f"dead{age}", "dead", age * DAY)
    retention.Pruner(spool).step(config.Settings())
    assert sorted(job.id for job in spool.jobs()) == ["dead6", "dead8", "done6"]


def test_what_is_no_job_file_is_not_touched(spool):
    for name in (".gitkeep", "x.json~", "note.txt"):
        Path(spool.folder("done"), name).write_text("")
        os.utime(Path(spool.folder("done"), name), (0, 0))
    os.mkdir(f"{spool.folder('done')}/folder.json")
    walk(spool, "done", 0)
    assert sorted(os.listdir(spool.folder("done"))) == [".gitkeep", "folder.json", "note.txt", "x.json~"]


def test_another_that_came_under_the_name_stays(spool):
    lay(spool, "a", "done", 9 * DAY)
    seen = os.lstat(spool.path("done", "a"))
    os.unlink(spool.path("done", "a"))
    drop(spool, "a", {"command": "newer"}, "done")
    assert not retention.prune(spool, "done", "a", seen)
    assert (where(spool, "a"), os.listdir(f"{spool.root}/tmp")) == (["done"], [])


def test_one_that_hands_took_away_stays_where_they_put_it(spool):
    lay(spool, "a", "done", 9 * DAY, attempts=1)
    seen = os.lstat(spool.path("done", "a"))
    os.rename(spool.path("done", "a"), spool.path("pending", "a"))
    assert not retention.prune(spool, "done", "a", seen)
    assert (where(spool, "a"), len(logs(spool))) == (["pending"], 2)


def test_one_that_was_touched_stays(spool):
    lay(spool, "a", "done", 9 * DAY)
    seen = os.lstat(spool.path("done", "a"))
    os.utime(spool.path("done", "a"))
    assert not retention.prune(spool, "done", "a", seen)
    assert where(spool, "a") == ["done"]


def test_two_newcomers_of_one_name_both_stay(spool, monkeypatch):
    lay(spool, "a", "done", 9 * DAY)
    seen = os.lstat(spool.path("done", "a"))
    os.utime(spool.path("done", "a"))
    plain = durable.move_own

    def hands_are_quick(source, target):
        plain(source, target)
        drop(spool, "a", {"command": "newer"}, "done")

    monkeypatch.setattr(durable, "move_own", hands_are_quick)
    assert not retention.prune(spool, "done", "a", seen)
    assert sorted(spool.names("done")) == ["a", "a~1"]


def test_logs_that_were_set_aside_go_too(spool):
    lay(spool, "a", "done", 9 * DAY, attempts=1)
    Path(spool.root, "logs", "a.1~1.out").write_text("of an older one")
    Path(spool.root, "logs", "a.1~2.out").write_text("of an older one")
    walk(spool, "done", "1d")
    assert logs(spool) == []


def test_logs_without_a_job_go_after_a_day(spool):
    for name, age in (("gone.1.out", 2), ("fresh.1.out", 0.5), ("here.1.err", 2)):
        path = Path(spool.root, "logs", name)
        path.write_text("said")
        os.utime(path, (NOW - age * DAY,) * 2)
    lay(spool, "here", "pending", 0)
    for _ in retention.prune_logs(spool):
        pass
    assert logs(spool) == ["fresh.1.out", "here.1.err"]


def test_a_log_that_goes_while_the_logs_are_looked_at_is_passed_over(spool):
    """An empty one goes when its attempt ends."""
    for id in "abc":
        Path(spool.log_path(id, 1, "out")).touch()
    looks = retention.prune_logs(spool)
    next(looks)
    for path in Path(spool.root, "logs").iterdir():
        path.unlink()
    assert list(looks) == []


def test_a_walk_goes_in_slices(spool, monkeypatch):
    monkeypatch.setattr(retention, "SLICE", 0.0)
    for number in range(20):
        lay(spool, f"a{number}", "done", 9 * DAY)
    pruner, steps = retention.Pruner(spool), 0
    while spool.names("done"):
        pruner.step(config.Settings())
        steps += 1
        assert steps < 100
    assert steps == 40  # each is read first, and then looked at


def test_after_trouble_the_walk_begins_anew(spool, monkeypatch):
    lay(spool, "a", "done", 9 * DAY)
    pruner = retention.Pruner(spool)
    with monkeypatch.context() as patched:
        patched.setattr(durable, "move_own", lambda *_: (_ for _ in ()).throw(OSError(5, "broken")))
        with pytest.raises(OSError, match="broken"):
            pruner.step(config.Settings())
    pruner.step(config.Settings())
    assert where(spool, "a") == []


def test_the_logs_of_a_name_stay_while_another_job_has_it(spool):
    """It may be running just now, and these be what it prints."""
    lay(spool, "a", "done", 9 * DAY, attempts=1)
    lay(spool, "a", "processing", 0)
    walk(spool, "done", "1d")
    assert (where(spool, "a"), len(logs(spool))) == (["processing"], 2)


def test_what_is_not_called_as_a_log_of_a_job_stays(spool, tmp_path):
    for name in ("supervisor.log", "notes.txt", "a.b.out", "gone.1.out"):
        path = Path(spool.root, "logs", name)
        path.write_text("said")
        os.utime(path, (NOW - 2 * DAY,) * 2)
    list(retention.prune_logs(spool))
    assert logs(spool) == ["a.b.out", "notes.txt", "supervisor.log"]
    os.rename(f"{spool.root}/logs", tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "gone.1.out").write_text("not ours")
    os.utime(tmp_path / "elsewhere" / "gone.1.out", (NOW - 2 * DAY,) * 2)
    os.symlink(tmp_path / "elsewhere", f"{spool.root}/logs")
    list(retention.prune_logs(spool))
    assert "gone.1.out" in os.listdir(tmp_path / "elsewhere")


def test_what_is_never_run_is_never_removed(spool, tmp_path):
    for id in ("linked", "open"):
        lay(spool, id, "done", 9 * DAY)
    os.link(spool.path("done", "linked"), tmp_path / "elsewhere")
    os.chmod(spool.path("done", "open"), 0o666)
    walk(spool, "done", "1d")
    walk(spool, "done", 0)
    assert sorted(spool.names("done")) == ["linked", "open"]


def test_what_the_disk_keeps_keeps_no_other(spool, monkeypatch):
    for id in "abc":
        lay(spool, id, "done", 9 * DAY)
    plain = durable.move_own

    def refuse(source, target):
        if source.endswith("/b.json"):
            raise PermissionError(1, "no")
        plain(source, target)

    monkeypatch.setattr(durable, "move_own", refuse)
    assert ([error.errno for error in walk(spool, "done", "1d")], spool.names("done")) == ([1], ["b"])


def test_an_old_job_that_hands_put_into_done_is_kept_from_then_on(spool, monkeypatch):
    """mv leaves its time as it is; what was recorded there is as old as its record says."""
    monkeypatch.setattr(whereabouts, "SETTLED", 0.0)
    now = time.time()
    spool = Spool(spool.root)
    ended = {"ended": iso(now - 9 * DAY), "verdict": "done"}
    for id, record in (("skipped", {}), ("recorded", {"attempts": [ended]})):
        path = drop(spool, id, {"command": "true", **record}, "done")
        os.utime(path, (seconds(ended["ended"]),) * 2)
    walk(spool, "done", "7d")
    assert spool.names("done") == ["skipped"]


def test_many_of_one_time_are_kept_by_their_names(spool):
    for number in range(9):
        lay(spool, f"a{number}", "done", 5)
    walk(spool, "done", 3)
    assert sorted(spool.names("done")) == ["a6", "a7", "a8"]


def test_a_number_beyond_all_memory_keeps_all(spool):
    lay(spool, "a", "done", 5)
    assert (walk(spool, "done", 10**12), spool.names("done")) == ([], ["a"])


def test_a_new_rule_is_kept_at_once(spool):
    pruner = retention.Pruner(spool)
    pruner.step(config.Settings())
    assert not pruner.is_due(config.Settings(), time.monotonic())
    assert pruner.is_due(config.Settings({"keep_done": 5}), time.monotonic())


def test_a_job_that_hands_put_aside_after_its_tries_is_kept_from_then_on(spool):
    now = time.time()
    spool = Spool(spool.root)
    ended = {"ended": iso(now - 9 * DAY), "verdict": "failed"}
    os.utime(drop(spool, "a", {"command": "true", "attempts": [ended]}, "done"), (seconds(ended["ended"]),) * 2)
    walk(spool, "done", "7d")
    assert spool.names("done") == ["a"]


@pytest.mark.parametrize(
    ("job", "group", "kept"),
    [
        ({}, {}, False),
        ({"keep": "forever"}, {}, True),
        ({"keep": "30d"}, {}, True),
        ({"keep": "1h"}, {}, False),
        ({"group": "g"}, {"keep_done": "30d"}, True),
        ({"group": "g", "keep": "1h"}, {"keep_done": "30d"}, False),
        ({"group": "other"}, {"keep_done": "30d"}, False),
    ],
)
def test_a_job_is_kept_by_its_own_word_or_its_groups_before_the_spools(spool, job, group, kept):
    lay(spool, "x", "done", 9 * DAY)
    path = Path(spool.path("done", "x"))
    found = path.stat()
    path.write_text(json.dumps({**json.loads(path.read_text()), **job}))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    pruner = retention.Pruner(spool)
    pruner.step(config.Settings({"groups": {"g": group}} if group else {}))
    assert (spool.names("done") == ["x"]) == kept


def test_a_job_may_be_kept_for_less_than_all_others(spool):
    lay(spool, "x", "done", 9 * DAY)
    path = Path(spool.path("done", "x"))
    found = path.stat()
    path.write_text(json.dumps({**json.loads(path.read_text()), "keep": "8d"}))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    lay(spool, "y", "done", 9 * DAY)
    for _ in range(3):
        retention.Pruner(spool).step(config.Settings({"keep_done": "forever"}))
    assert spool.names("done") == ["y"]


def test_what_can_not_be_read_once_is_kept_if_it_says_so(spool, monkeypatch):
    lay(spool, "x", "done", 9 * DAY)
    path = Path(spool.path("done", "x"))
    found = path.stat()
    path.write_text(json.dumps({**json.loads(path.read_text()), "keep": "forever"}))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    real, failed = retention.read_file, []

    def fail(*words):
        if not failed:
            failed.append(True)
            raise OSError(24, "Too many open files")
        return real(*words)

    monkeypatch.setattr(retention, "read_file", fail)
    pruner = retention.Pruner(spool)
    pruner.step(config.Settings())
    assert (failed, spool.names("done")) == ([True], ["x"])
