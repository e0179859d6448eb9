"""Times as people type them: "10m", "1h30m", "tomorrow 7:00", "2026-12-01T08:00Z".

A length of time is elapsed seconds, whatever clocks are set to; a moment without a zone is this machine's local time, so
"tomorrow 7:00" is seven o'clock also where clocks change in the night.
"""

from __future__ import annotations

import re

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
FOREVER = "forever"
KEEP_AGE = "a time (90s, 30m, 12h, 7d, 4w), or forever"
LONGEST = 315_360_000.0  # seconds: ten years
EXAMPLES = "90s, 10m, 1h30m, 7d"
ELAPSED = re.compile(r"\s*(?:in\b|now\s*\+|\d+\s*(?:s|sec|secs|seconds?|m|min|mins|minutes?|h|hours?|d|days?|w|weeks?)\b)", re.I)
DAY = r"(?:today|tomorrow|(?:next\s+)?(?:mon|tue|wed|thu|fri|sat|sun)(?:s|nes|rs|ur)?(?:day)?)"
HOUR = re.compile(rf"\b({DAY})(?:\s+at)?\s+(\d\d?)\s*$", re.I)
HOUR_FIRST = re.compile(rf"^\s*(?:at\s+)?(\d\d?)\s+(?={DAY}\s*$)", re.I)
TEATIME = re.compile(r"\bteatime\b", re.I)  # at(1)


def duration(text: str) -> float:
    """Return the seconds that a person typed: a number of them, or numbers with units, as 1h30m. Raises ValueError."""
    text = text.strip().lower()
    if re.fullmatch(r"\d*\.?\d+", text):
        seconds = float(text)
    else:
        parts = re.findall(r"(\d+(?:\.\d+)?)\s*([smhdw])\s*", text)
        if not parts or re.sub(r"(\d+(?:\.\d+)?)\s*([smhdw])\s*", "", text):
            raise ValueError(f"{text!r} is no time: {EXAMPLES}")
        seconds = sum(float(number) * UNITS[unit] for number, unit in parts)
    if not 0 <= seconds <= LONGEST:
        raise ValueError(f"{text!r} is not a time from 0 to ten years")
    return seconds


def moment(text: str, now: float) -> float:
    """Return the moment that a person typed, in seconds since 1970: ISO 8601, a length of time from now, or what at(1) takes.

    Raises ValueError.
    """
    from datetime import datetime

    if re.search(r"\b(?:2[4-9]|[3-9]\d):\d\d", text):
        raise ValueError(f"{text!r} is no time: a day has 24 hours")
    try:
        if not re.fullmatch(r"\s*\d{8}\s*", text):  # 20261201 is a day
            return now + duration(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text.strip()).timestamp()  # without a zone it is local
    except (ValueError, OverflowError, OSError):
        return _said(text, now)


def _said(text: str, now: float) -> float:
    """Return what the words mean. What counts from now is counted in UTC, where no hour is left out or comes twice."""
    from datetime import UTC, datetime

    import dateparser

    elapsed = bool(ELAPSED.match(text))
    base = datetime.fromtimestamp(now, UTC).replace(tzinfo=None) if elapsed else datetime.fromtimestamp(now)
    settings = {"PREFER_DATES_FROM": "future", "RELATIVE_BASE": base}
    plain = HOUR_FIRST.sub(r"\1:00 ", HOUR.sub(r"\1 \2:00", TEATIME.sub("16:00", text)))  # else the hour alone would be dropped
    found = dateparser.parse(plain, languages=["en"], settings=settings)
    if found is None:
        raise ValueError(f"{text!r} is no time that is known here: try 10m, 17:00, 'tomorrow 7:00' or 2026-12-01T08:00")
    return (found.replace(tzinfo=UTC) if elapsed and found.tzinfo is None else found).timestamp()


def keep_of(value: object) -> tuple[float | None, int | None] | None:
    """Return the age in seconds, or the number, that a rule keeps; both None for "forever"; None where it is no rule."""
    if value == FOREVER:
        return None, None
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return None, value
    if isinstance(value, str) and value[:-1].isdecimal() and value.isascii() and len(value) < 12 and value[-1] in UNITS:
        return float(int(value[:-1]) * UNITS[value[-1]]), None
    return None
