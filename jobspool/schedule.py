"""Recurring jobs: each file in schedules/ adds a job at its times, once for each, however many supervisors there are.

    {"cron": "30 2 * * *", "zone": "Europe/Berlin", "catch_up": "one", "overlap": "skip", "job": {"command": "backup"}}

The job's name is the schedule's and the tick's time, so the file system decides that there is one; the last tick that was seen to
is the mtime of a file in locks/, changed under its lock. cronsim knows cron's notation, and what becomes of hours that clocks
leave out.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import time
import zlib
from contextlib import suppress
from datetime import UTC, datetime

from jobspool import durable, locks
from jobspool.errors import JobExists, NotAJob, QueueError
from jobspool.job import ENDING, Job, check, did_you_mean, id_of, iso
from jobspool.spool import Spool, read_file
from jobspool.states import FAILED, PENDING, PROCESSING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jobspool.config import Settings

FOLDER = "schedules"
LOOK_EVERY = 5.0  # seconds between looks for schedules that are new, changed or gone
ON_TIME = 60.0  # seconds, within which a tick is no old one that is to be caught up with
MOST_AT_ONCE = 1000  # ticks that are caught up with
LARGEST = 1 << 20  # bytes
LONGEST_NAME = 180  # bytes: a job's name has 16 more, and at most 200
A_DAY = 86_400.0  # seconds, by which a clock that is right is never ahead
CATCH_UPS = ("none", "one", "all")
OVERLAPS = ("skip", "queue", "allow")
WORDS = {
    "cron": lambda value: isinstance(value, str),
    "every": lambda value: _is_number(value) and 1 <= value <= 315_360_000,
    "zone": lambda value: isinstance(value, str) and _zone(value) is not None,
    "catch_up": lambda value: value in CATCH_UPS,
    "overlap": lambda value: value in OVERLAPS,
    "jitter": lambda value: _is_number(value) and 0 <= value <= 86_400,
    "paused": lambda value: isinstance(value, bool),
    "job": lambda value: isinstance(value, dict),
}
RULES = {
    "cron": "must be five fields, as 30 2 * * *",
    "every": "must be a number of seconds from 1",
    "zone": "must be the name of a time zone, as Europe/Berlin",
    "catch_up": f"must be one of {', '.join(CATCH_UPS)}",
    "overlap": f"must be one of {', '.join(OVERLAPS)}",
    "jitter": "must be a number of seconds, at most a day",
    "paused": "must be true or false",
    "job": "must be an object, as a job's file has it",
}


NICKNAMES = {  # crontab(5)
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


class NotASchedule(QueueError):
    """What is in a file of schedules/ makes no schedule: the message says why."""


class Schedule:
    """A schedule: its name, and what its file says."""

    def __init__(self, name: str, record: dict) -> None:
        self.name = name
        self.record = record
        self.paused = record.get("paused", False)
        self.zone = _zone(record["zone"]) if "zone" in record else local_zone()
        self._cron = NICKNAMES.get(record.get("cron"), record.get("cron"))

    def shown(self, tick: float) -> str:
        """Return the time as people read it, in the schedule's zone."""
        return datetime.fromtimestamp(tick, UTC).astimezone(self.zone).strftime("%Y-%m-%d %H:%M:%S %Z")

    def ticks(self, after: float) -> Iterator[float]:
        """Yield its times behind that one, in seconds since 1970; none where there are no more."""
        if "every" in self.record:
            every = self.record["every"]
            yield from (every * count for count in itertools.count(int(after // every) + 1))
            return
        from cronsim import CronSim, CronSimError

        start = datetime.fromtimestamp(after, UTC).astimezone(self.zone)
        try:
            for each in CronSim(self._cron, start):
                yield each.timestamp()
        except (CronSimError, StopIteration, OverflowError):
            return

    def latest(self, now: float) -> float | None:
        """Return its last time up to now, None where there was none."""
        if "every" in self.record:
            return now // self.record["every"] * self.record["every"]
        from cronsim import CronSim, CronSimError

        start = datetime.fromtimestamp(now // 1 + 1, UTC).astimezone(self.zone)
        try:
            return next(CronSim(self._cron, start, reverse=True)).timestamp()
        except (CronSimError, StopIteration, OverflowError):
            return None

    def next(self, now: float) -> float | None:
        """Return its next time."""
        return next(self.ticks(now), None)

    def id(self, tick: float) -> str:
        """Return the name of the job of that time."""
        return f"{self.name}-{time.strftime('%Y%m%dT%H%M%S', time.gmtime(tick))}"

    def is_of(self, id: str) -> bool:
        """Tell whether a job of that name is one of its own."""
        return re.fullmatch(rf"{re.escape(self.name)}-\d{{8}}T\d{{6}}(?:~\d+)?", id) is not None

    def job(self, tick: float) -> tuple[dict, float]:
        """Return the job of that time, and from when it may run: the same for whoever asks, also with a jitter."""
        job = dict(self.record["job"])
        if self.record.get("overlap", "skip") == "queue":
            job["locks"] = [*job.get("locks", ()), f"schedule {self.name}"]
        luck = zlib.crc32(f"{self.name} {tick}".encode("utf-8", "surrogateescape")) / 2**32
        return job, tick + self.record.get("jitter", 0) * luck


def parse(name: str, content: bytes) -> Schedule:
    """Return the schedule in a file's content. Raises NotASchedule."""
    if len(os.fsencode(name)) > LONGEST_NAME:
        raise NotASchedule(f"its name has more than {LONGEST_NAME} bytes, and its jobs' names are longer")
    try:
        record = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise NotASchedule(f"not JSON: {error}") from None
    if not isinstance(record, dict):
        raise NotASchedule("not a JSON object")
    for word, value in record.items():
        if word not in WORDS:
            raise NotASchedule(f"unknown key {word!r}{did_you_mean(word, WORDS)}: there are {', '.join(WORDS)}")
        if not WORDS[word](value):
            raise NotASchedule(f"{word} {RULES[word]}, not {value!r}")
    if ("cron" in record) == ("every" in record):
        raise NotASchedule("one of cron and every says when")
    if "job" not in record:
        raise NotASchedule("job says what is to run")
    try:
        check(record["job"])
        if "cron" in record:
            _check_cron(record["cron"])
    except NotAJob as error:
        raise NotASchedule(f"job: {error}") from None
    return Schedule(name, record)


def _check_cron(text: str) -> None:
    from cronsim import CronSim, CronSimError

    try:
        CronSim(NICKNAMES.get(text, text), datetime.now(UTC))
    except (CronSimError, ValueError) as error:
        raise NotASchedule(f"cron {text[:100]!r}: {error}; its fields are minute hour day month weekday") from None


def local_zone() -> object:
    """Return the machine's time zone with its rules for the year, None where only what it is now can be known."""
    from zoneinfo import ZoneInfo

    name = os.environ.get("TZ", "").lstrip(":")
    if name:
        return _zone(name)
    try:
        with open("/etc/localtime", "rb") as file:
            return ZoneInfo.from_file(file)
    except (OSError, ValueError):
        return None


def _zone(name: str) -> object:
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (OSError, ValueError, LookupError):
        return None


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def path_of(spool: Spool, name: str) -> str:
    """Return where the schedule's file lies."""
    return f"{spool.root}/{FOLDER}/{name}{ENDING}"


def load(spool: Spool, name: str, settings: Settings) -> Schedule:
    """Return the schedule of that name. Raises NotASchedule, FileNotFoundError."""
    path = path_of(spool, name)
    if odd := spool.distrust(os.lstat(path), settings):
        raise NotASchedule(odd)
    return parse(name, read_file(path, LARGEST)[0])


def names(spool: Spool) -> list[str]:
    """Return the names of the schedules, in order."""
    try:
        return sorted(filter(None, map(id_of, os.listdir(f"{spool.root}/{FOLDER}"))))
    except (FileNotFoundError, NotADirectoryError):
        return []


def last(spool: Spool, name: str, settings: Settings) -> float:
    """Return the last tick that was seen to, in seconds since 1970; for a schedule that is new, now."""
    descriptor = _open_last(spool, name, settings)
    try:
        return os.fstat(descriptor).st_mtime
    finally:
        os.close(descriptor)


def _last(name: str) -> str:
    """Return the name, in locks/, of the file whose mtime is the last tick that was seen to."""
    return f"schedule {name}.last"


def _open_last(spool: Spool, name: str, settings: Settings) -> int:
    new = not os.path.lexists(locks.path_of(spool, _last(name)))
    descriptor = locks.open_token(spool, _last(name), settings)
    if new:
        durable.stamp(descriptor, spool.now())
    return descriptor


def begin(spool: Spool, name: str, settings: Settings) -> None:
    """Let nothing be to be caught up with: the schedule is new, or another."""
    descriptor = _open_last(spool, name, settings)
    try:
        durable.stamp(descriptor, spool.now())
    finally:
        os.close(descriptor)


def see_to(spool: Spool, schedule: Schedule, settings: Settings) -> list[Job]:
    """Add the jobs of the ticks that have come since the last look, and return them: one for each, whoever else does this."""
    descriptor = _open_last(spool, schedule.name, settings)
    try:
        durable.lock_waiting(descriptor)
        now, seen = spool.now(), os.fstat(descriptor).st_mtime_ns / 1e9
        if seen > now + A_DAY:  # the clock was wrong once
            durable.stamp(descriptor, now)
            return []
        come = _come(schedule, seen, now)
        if not come:
            return []
        wanted = come if schedule.record.get("catch_up") != "none" or now - come[-1] <= ON_TIME else []
        added = [] if schedule.paused else [job for tick in wanted if (job := _add(spool, schedule, tick))]
        durable.stamp(descriptor, come[-1] + 0.000001)
        return added
    finally:
        os.close(descriptor)


def _come(schedule: Schedule, seen: float, now: float) -> list[float]:
    """Return the ticks that have come since `seen`: where not all of them are wanted, only the last."""
    if schedule.record.get("catch_up") == "all":
        return list(itertools.islice(itertools.takewhile(lambda tick: tick <= now, schedule.ticks(seen)), MOST_AT_ONCE))
    latest = schedule.latest(now)
    return [latest] if latest is not None and latest > seen else []


def _add(spool: Spool, schedule: Schedule, tick: float) -> Job | None:
    """Add the job of that tick, unless it is there, or an older one of the schedule is not to be overlapped."""
    if schedule.record.get("overlap", "skip") == "skip" and unfinished(spool, schedule):
        return None
    job, start = schedule.job(tick)
    with spool.naming():
        if spool.state_of(schedule.id(tick)):
            return None
        with suppress(JobExists):  # RACE: hands have just put one there
            return spool.put(schedule.id(tick), job, start)
    return None


def all_told(spool: Spool, settings: Settings) -> list[dict]:
    """Return what is told of each schedule, or file that is none: its name, its next times, what is unfinished, its words."""
    found = []
    for name in names(spool):
        try:
            one = load(spool, name, settings)
        except (NotASchedule, OSError) as error:
            found.append({"name": name, "problem": str(error)})
            continue
        nexts = [] if one.paused else [iso(tick) for tick in itertools.islice(one.ticks(spool.now()), 3)]
        found.append({"name": name, "next": nexts, "unfinished": len(unfinished(spool, one)), **one.record})
    return found


def unfinished(spool: Spool, schedule: Schedule) -> list[str]:
    """Return the ids of the schedule's jobs that wait or run."""
    states = (PENDING, FAILED, PROCESSING) * 2  # twice, as they may move against our looking
    return sorted({id for state in states for id in spool.names(state) if schedule.is_of(id)})


def remove(spool: Spool, name: str) -> None:
    """Remove the schedule, and what is known of its last time. Raises FileNotFoundError."""
    os.lstat(path_of(spool, name))
    durable.remove(path_of(spool, name))
    durable.remove(locks.path_of(spool, _last(name)))


def run_now(spool: Spool, schedule: Schedule) -> Job:
    """Add a job of the schedule for now, beside its times. Raises JobExists where one was added this second."""
    job, _ = schedule.job(spool.now())
    return spool.add_many([(schedule.id(spool.now()), job)])[0]


class Calendar:
    """What one supervisor knows of the schedules: `at` is when step() wants to be called next (monotonic)."""

    def __init__(self, spool: Spool, tell: Callable[..., None]) -> None:
        self._spool = spool
        self._tell = tell
        self._known: dict[str, tuple[tuple, Schedule | None, float | None]] = {}  # by name: its file, what it says, its next tick
        self._then = 0.0  # when the last step was (seconds since 1970)
        self.at = 0.0

    def step(self, settings: Settings) -> None:
        """See to what has come, and look which schedules there are. Raises OSError."""
        clock, now = time.monotonic(), self._spool.now()
        if now < self._then:
            self._known = {}  # the clock was set back: what comes next is another time
        self._then = now
        there = names(self._spool)
        self._known = {name: known for name, known in self._known.items() if name in there}
        for name in there:
            try:
                self._look(name, settings)
            except (OSError, QueueError, NotAJob) as error:  # of this one: the others go on
                self._known[name] = ((), None, self._spool.now() + LOOK_EVERY)
                self._tell("trouble", why=f"the schedule {name} waits: {error}", about=f"schedule {name}")
        now = self._spool.now()
        nexts = [tick for _, _, tick in self._known.values() if tick is not None]
        wait = LOOK_EVERY if there else 2 * LOOK_EVERY
        self.at = clock + max(0.0, min([wait, *(tick - now + 0.001 for tick in nexts)]))

    def _look(self, name: str, settings: Settings) -> None:
        path = path_of(self._spool, name)
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            return  # RACE: it has just been removed
        looks = (found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size)
        before, schedule, tick = self._known.get(name, (None, None, None))
        if before != looks:
            schedule, tick = self._read(name, settings), None
        if schedule is not None:
            now = self._spool.now()
            if tick is None or tick <= now:
                for job in see_to(self._spool, schedule, settings):
                    self._tell("scheduled", id=job.id, why=f"by the schedule {name}")
                behind = (
                    schedule.record.get("catch_up") == "all"
                    and next(schedule.ticks(last(self._spool, name, settings)), now + 1) <= now
                )
                tick = now if behind else schedule.next(now)
        self._known[name] = (looks, schedule, tick)

    def _read(self, name: str, settings: Settings) -> Schedule | None:
        try:
            return load(self._spool, name, settings)
        except (NotASchedule, FileNotFoundError) as error:
            self._tell("trouble", why=f"{FOLDER}/{name}{ENDING} is no schedule: {error}", about=f"schedule {name}")
            return None
