"""Schedules, by a clock that moves when told: each tick is one job, whoever looks, and whatever the clock does."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest
from kit import Clock

from jobspool import Spool, schedule
from jobspool.schedule import Calendar, NotASchedule, see_to

NOON = 1_795_694_400.0  # 2026-11-26 12:00 UTC


@pytest.fixture
def clock():
    return Clock(NOON)


@pytest.fixture
def spool(tmp_path, clock):
    Spool.init(tmp_path / "spool")
    return Spool(tmp_path / "spool", now=clock)


def write(spool, name="s", **record):
    path = Path(schedule.path_of(spool, name))
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"job": {"command": "true"}, **record}))
    return schedule.load(spool, name, spool.settings())


def come(spool, one):
    return [job.id for job in see_to(spool, one, spool.settings())]


def test_a_new_schedule_has_nothing_to_catch_up_with(spool, clock):
    one = write(spool, cron="*/5 * * * *")
    assert come(spool, one) == []
    clock.time += 299
    assert come(spool, one) == []
    clock.time += 1
    assert come(spool, one) == ["s-20261126T120500"]
    assert come(spool, one) == []


@pytest.mark.parametrize(
    ("catch_up", "wanted"),
    [("none", []), ("one", ["s-20261126T150000"]), ("all", ["s-20261126T130000", "s-20261126T140000", "s-20261126T150000"])],
)
def test_what_was_missed_is_caught_up_with_as_the_schedule_says(spool, clock, catch_up, wanted):
    one = write(spool, cron="0 * * * *", catch_up=catch_up, overlap="allow")
    come(spool, one)
    clock.time += 3 * 3600 + 1800
    assert come(spool, one) == wanted
    assert come(spool, one) == []
    clock.time += 1800
    assert come(spool, one) == ["s-20261126T160000"]


def test_a_long_time_off_is_caught_up_with_at_once(spool, clock):
    one = write(spool, every=1)
    come(spool, one)
    clock.time += 90 * 86_400
    assert len(come(spool, one)) == 1
    every = write(spool, "e", every=1, catch_up="all", overlap="allow")
    come(spool, every)
    clock.time += 2500
    assert [len(come(spool, every)) for _ in range(4)] == [1000, 1000, 500, 0]


def test_each_tick_is_one_job_whoever_looks(spool, clock):
    one = write(spool, every=10, overlap="allow")
    come(spool, one)
    for _ in range(5):
        clock.time += 10
        with ThreadPoolExecutor(8) as threads:
            assert len([id for ids in threads.map(lambda _: come(spool, one), range(8)) for id in ids]) == 1
    assert spool.count("pending") == 5


def test_a_tick_whose_job_is_there_is_not_added_again_after_a_crash(spool, clock):
    one = write(spool, every=10, overlap="allow")
    come(spool, one)
    before = os.stat(f"{spool.root}/locks/schedule s.last").st_mtime_ns
    clock.time += 10
    [id] = come(spool, one)
    os.rename(spool.path("pending", id), spool.path("done", id))
    os.utime(f"{spool.root}/locks/schedule s.last", ns=(before, before))  # as if it was killed before it noted the tick
    assert come(spool, one) == []


@pytest.mark.parametrize(("overlap", "count"), [("skip", 1), ("queue", 3), ("allow", 3)])
def test_what_is_unfinished_is_heeded_as_the_schedule_says(spool, clock, overlap, count):
    one = write(spool, every=60, overlap=overlap)
    come(spool, one)
    for _ in range(3):
        clock.time += 60
        come(spool, one)
    assert spool.count("pending") == count
    locked = {job.record.get("locks") is not None for job in spool.jobs("pending")}
    assert locked == {overlap == "queue"}


def test_a_paused_schedule_adds_nothing_and_has_nothing_to_catch_up_with(spool, clock):
    one = write(spool, every=60, paused=True)
    come(spool, one)
    clock.time += 600
    assert come(spool, one) == []
    assert come(spool, write(spool, every=60)) == []


def test_a_jitter_is_the_same_for_all_who_look_and_within_its_bound(spool):
    one = write(spool, every=60, jitter=30)
    starts = [one.job(60.0 * i)[1] - 60.0 * i for i in range(200)]
    assert all(0 <= start <= 30 for start in starts)
    assert len({round(start) for start in starts}) > 20
    assert one.job(600.0) == write(spool, every=60, jitter=30).job(600.0)


def test_a_clock_that_is_set_back_adds_nothing_twice(spool, clock):
    one = write(spool, every=60, overlap="allow")
    come(spool, one)
    clock.time += 120
    assert len(come(spool, one)) == 1
    clock.time -= 3600
    assert come(spool, one) == []
    clock.time += 3600
    assert come(spool, one) == []
    clock.time += 60
    assert len(come(spool, one)) == 1


@pytest.mark.parametrize(
    ("cron", "day", "wanted"),
    [
        ("30 2 * * *", "2026-03-28T12:00+01:00", ["2026-03-29T01:00", "2026-03-30T00:30"]),  # 2:30 is left out
        ("30 2 * * *", "2026-10-24T12:00+02:00", ["2026-10-25T00:30", "2026-10-26T01:30"]),  # 2:30 comes twice
        ("@daily", "2026-03-28T12:00+01:00", ["2026-03-28T23:00", "2026-03-29T22:00"]),
        ("0 7 * * mon", "2026-11-26T12:00+01:00", ["2026-11-30T06:00", "2026-12-07T06:00"]),
    ],
)
def test_hours_are_of_the_zone_also_where_clocks_change(spool, cron, day, wanted):
    one = write(spool, cron=cron, zone="Europe/Berlin")
    ticks = one.ticks(datetime.fromisoformat(day).timestamp())
    assert [datetime.fromtimestamp(next(ticks)).astimezone().isoformat()[:16] for _ in wanted] == wanted
    last = one.latest(datetime.fromisoformat(f"{wanted[0]}+00:00").timestamp())
    assert last == datetime.fromisoformat(f"{wanted[0]}+00:00").timestamp()


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ({"cron": "x"}, "cron 'x': Wrong number of fields"),
        ({"cron": "0 0 30 2 *"}, "cron '0 0 30 2 *'"),
        ({"every": 0}, "every must be a number of seconds from 1"),
        ({}, "one of cron and every"),
        ({"cron": "* * * * *", "every": 5}, "one of cron and every"),
        ({"every": 5, "zone": "Mars/Base"}, "zone must be the name of a time zone, as Europe/Berlin, not 'Mars/Base'"),
        ({"every": 5, "overlap": "maybe"}, "overlap must be one of skip, queue, allow"),
        ({"every": 5, "catchup": "one"}, "unknown key 'catchup', did you mean 'catch_up'?"),
        ({"every": 5, "job": {"cmd": "x"}}, "job: unknown key 'cmd', did you mean 'command'?"),
        ({"every": 5, "job": 3}, "job must be an object"),
    ],
)
def test_what_is_no_schedule_says_why(spool, record, why):
    with pytest.raises(NotASchedule) as error:
        write(spool, **record)
    assert why in str(error.value)


def test_a_calendar_sees_files_that_come_change_and_go(spool, clock):
    told = []
    calendar = Calendar(spool, lambda kind, **what: told.append((kind, what.get("id") or what["why"])))

    def step():
        told.clear()
        calendar.step(spool.settings())
        return list(told)

    assert step() == []
    write(spool, every=60)
    assert step() == []
    clock.time += 60
    assert step() == [("scheduled", "s-20261126T120100")]
    path = Path(schedule.path_of(spool, "s"))
    path.write_text("{")
    assert step()[0][0] == "trouble"
    clock.time += 60
    assert step() == []
    write(spool, every=120)
    os.remove(spool.path("pending", "s-20261126T120100"))
    assert step() == [("scheduled", "s-20261126T120200")]
    path.unlink()
    clock.time += 600
    assert step() == []


def test_a_file_that_others_could_have_written_is_no_schedule(spool, clock):
    write(spool, every=60)
    os.chmod(schedule.path_of(spool, "s"), 0o666)
    with pytest.raises(NotASchedule):
        schedule.load(spool, "s", spool.settings())


def test_one_that_fails_keeps_no_other_from_its_times(spool, clock):
    told = []
    calendar = Calendar(spool, lambda kind, **what: told.append((kind, what.get("id") or what["why"])))
    write(spool, "a", every=60)
    write(spool, "b", every=60)
    calendar.step(spool.settings())
    os.remove(f"{spool.root}/locks/schedule a.last")
    os.mkdir(f"{spool.root}/locks/schedule a.last")
    clock.time += 60
    calendar.step(spool.settings())
    assert [id for kind, id in told if kind == "scheduled"] == ["b-20261126T120100"]
    assert any("the schedule a waits" in why for kind, why in told if kind == "trouble")


def test_a_last_time_of_a_clock_that_was_wrong_is_forgotten(spool, clock):
    one = write(spool, every=60)
    come(spool, one)
    os.utime(f"{spool.root}/locks/schedule s.last", (9e9, 9e9))
    assert come(spool, one) == []
    clock.time += 60
    assert len(come(spool, one)) == 1


def test_hours_are_of_the_machine_where_no_zone_is_named(spool, monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    ticks = write(spool, cron="0 9 * * *").ticks(datetime.fromisoformat("2026-10-24T12:00+02:00").timestamp())
    assert [datetime.fromtimestamp(next(ticks)).astimezone().isoformat()[:16] for _ in range(2)] == [
        "2026-10-25T08:00",
        "2026-10-26T08:00",
    ]


def test_a_name_that_is_too_long_for_its_jobs_is_none(spool):
    with pytest.raises(NotASchedule, match="its name has more than 180 bytes"):
        schedule.parse("x" * 181, b'{"every": 60, "job": {"command": "true"}}')


def test_a_schedule_that_is_added_again_has_nothing_to_catch_up_with(spool, clock):
    write(spool, every=60, catch_up="all", overlap="allow")
    one = schedule.load(spool, "s", spool.settings())
    come(spool, one)
    schedule.remove(spool, "s")
    clock.time += 36_000
    assert come(spool, write(spool, every=60, catch_up="all", overlap="allow")) == []


def test_a_calendar_goes_on_when_a_clock_that_was_days_ahead_is_set_right(spool, clock):
    told = []
    calendar = Calendar(spool, lambda kind, **what: told.append(kind))
    clock.time += 3 * 86_400
    write(spool, every=60)
    calendar.step(spool.settings())
    clock.time -= 3 * 86_400
    calendar.step(spool.settings())
    assert told == []
    clock.time += 60
    calendar.step(spool.settings())
    assert told == ["scheduled"]
