"""Times as people type them, by a clock that stands where it is told, in zones where clocks change."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobspool.times import duration, moment

NOW = 1_795_644_000.0  # 2026-11-25 22:00 UTC, a Wednesday


@pytest.fixture
def zone(monkeypatch):
    """Let the machine's zone be as told."""

    def be(name):
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield be
    monkeypatch.delenv("TZ", raising=False)
    time.tzset()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("30", 30),
        ("1.5", 1.5),
        ("90s", 90),
        ("10m", 600),
        ("1h30m", 5400),
        ("7d", 604_800),
        ("2 w", 1_209_600),
        ("1H", 3600),
        ("0", 0),
    ],
)
def test_a_length_of_time(text, wanted):
    assert duration(text) == wanted


@pytest.mark.parametrize("text", ["", "m", "10x", "-5", "1h-5m", "10m!", "nan", "inf", "11000d", "ten minutes", "1e99"])
def test_what_is_no_length_of_time(text):
    with pytest.raises(ValueError):
        duration(text)


@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59))
def test_numbers_with_units_add_up(hours, minutes, seconds):
    assert duration(f"{hours}h{minutes}m {seconds}s") == hours * 3600 + minutes * 60 + seconds


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("10m", "2026-11-25 22:10"),
        ("in 10 minutes", "2026-11-25 22:10"),
        ("now + 2 hours", "2026-11-26 00:00"),
        ("23:30", "2026-11-25 23:30"),
        ("7:00", "2026-11-26 07:00"),
        ("tomorrow 7:00", "2026-11-26 07:00"),
        ("teatime tomorrow", "2026-11-26 16:00"),
        ("tomorrow 7", "2026-11-26 07:00"),
        ("tomorrow at 7", "2026-11-26 07:00"),
        ("7 tomorrow", "2026-11-26 07:00"),
        ("friday 8", "2026-11-27 08:00"),
        ("next monday at 9", "2026-11-30 09:00"),
        ("fri 18", "2026-11-27 18:00"),
        ("noon", "2026-11-26 12:00"),
        ("midnight", "2026-11-26 00:00"),
        ("saturday 9am", "2026-11-28 09:00"),
        ("9pm tomorrow", "2026-11-26 21:00"),
        ("24 Dec 18:00", "2026-12-24 18:00"),
        ("2026-12-01", "2026-12-01 00:00"),
        ("2026-12-01T08:00", "2026-12-01 08:00"),
        ("2026-12-01T08:00+05:30", "2026-12-01 02:30"),
        ("2026-12-01 08:00Z", "2026-12-01 08:00"),
    ],
)
def test_a_moment(zone, text, wanted):
    zone("UTC")
    assert time.strftime("%Y-%m-%d %H:%M", time.gmtime(moment(text, NOW))) == wanted


@pytest.mark.parametrize("text", ["", "soon", "25:99", "2026-13-45", "when hell freezes"])
def test_what_is_no_moment(text):
    with pytest.raises(ValueError):
        moment(text, NOW)


@pytest.mark.parametrize(("day", "hours"), [("2026-03-28", 23), ("2026-10-24", 25), ("2026-11-25", 24)])
def test_tomorrow_at_seven_is_seven_by_the_clock_also_where_clocks_change(zone, day, hours):
    zone("Europe/Berlin")
    now = moment(f"{day}T07:00", NOW)
    assert moment("tomorrow 7:00", now) - now == hours * 3600
    assert time.localtime(moment("tomorrow 7:00", now))[3:5] == (7, 0)


@pytest.mark.parametrize("text", ["in 10 hours", "10h", "now + 10 hours", "10 hours"])
def test_a_length_of_time_is_elapsed_time_also_where_clocks_change(zone, text):
    zone("Europe/Berlin")
    now = moment("2026-03-28T20:00", NOW)
    assert moment(text, now) - now == 36_000


def test_an_hour_that_is_left_out_is_the_one_behind_it(zone):
    zone("Europe/Berlin")
    assert time.localtime(moment("2026-03-29T02:30", NOW))[3:5] == (3, 30)
