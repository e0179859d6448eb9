"""The workers' own log: what a supervisor reports, through the logging module, to where `start --log` says.

    event -> record, with its level -> Repeats, which keeps back what repeats -> Text or Objects, its form -> an outlet

An event is a dictionary, as supervisor.py makes them; `about` in it is what tells that it repeats.
"""

from __future__ import annotations

import json
import logging
import os
import time

from jobspool import outlets
from jobspool.job import iso
from jobspool.say import counted, printable, short, span, took, until
from jobspool.trouble import MAY_PASS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from jobspool.outlets import Outlet

FORMS = ("text", "json")
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
NAMES = {number: name for name, number in LEVELS.items()}
OF_EVENTS = {
    "began": logging.DEBUG,
    **dict.fromkeys(("recovered", "rejected", "worker ended", "lost"), logging.WARNING),
    **dict.fromkeys(("trouble", "buried"), logging.ERROR),
}
OF_VERDICTS = {"failed": logging.WARNING, "dead": logging.ERROR}
SAY_AGAIN = 60.0  # seconds until what repeats is told again
TIME, DATE = "%H:%M:%S", "%Y-%m-%d %H:%M:%S"  # text's clock, for who watches, and for who reads later
SOCKETS = {"journald": outlets.JOURNAL, "syslog": outlets.SYSLOG}
STREAMS = {"stdout": 1, "stderr": 2}


class NoLog(Exception):
    """The log can't be written to where it was to go: the message says why, and what to type."""


def level_of(event: dict) -> int:
    """Return the event's level, as the logging module counts them."""
    if event["event"] == "ended":
        return OF_VERDICTS.get(event["attempt"]["verdict"], logging.INFO)
    return OF_EVENTS.get(event["event"], logging.INFO)


class Teller:
    """Tells of events, no less than `level`, where `outlet` leads to. To be called with no event, too, now and then."""

    def __init__(self, outlet: Outlet, level: str = "info") -> None:
        self.outlet = outlet
        self.repeats = Repeats()
        self._logger = logging.Logger("queuectl", LEVELS[level])
        self._logger.addFilter(self.repeats)
        self._logger.addHandler(outlet)

    def __call__(self, events: list[dict]) -> None:
        for event in events:
            level = level_of(event)
            if self._logger.isEnabledFor(level):
                self._logger.handle(Record(event, level))
        for record in self.repeats.overdue(bool(events) and events[-1]["event"] == "stopped"):
            self.outlet.handle(record)
        self.outlet.flush()


class Record(logging.LogRecord):
    """The record of the logging module that stands for an event; without looking, for each, at what never changes."""

    def __init__(self, event: dict, level: int) -> None:
        self.__dict__ |= COMMON
        self.event = event
        self.levelno = level
        self.levelname = logging.getLevelName(level)
        self.created = time.time()
        self.kept = 0

    def getMessage(self) -> str:
        """Return the line for people."""
        return line(self.event)


COMMON = vars(logging.LogRecord("queuectl", logging.INFO, "", 0, None, None, None))


class Repeats(logging.Filter):
    """Lets the first of a cause through, and then none for SAY_AGAIN seconds. What comes next says how many were `kept` back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._known: dict[str, Known] = {}  # in the order of their times

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether the record is to be told."""
        cause = cause_of(record.event)
        if cause is None:
            return True
        clock, known = self._clock(), self._known.get(cause)
        if known is not None and clock - known.told < SAY_AGAIN:
            known.kept, known.last = known.kept + 1, record
            return False
        record.kept = self._known.pop(cause).kept if known is not None else 0
        self._known[cause] = Known(clock)
        return True

    def overdue(self, all_of_them: bool = False) -> list[logging.LogRecord]:
        """Forget the causes that have not come again for that time, or all; return the last of each that was kept back."""
        left = []
        while self._known:
            cause, known = next(iter(self._known.items()))
            if not all_of_them and self._clock() - known.told < SAY_AGAIN:
                break
            del self._known[cause]
            if known.last is not None:
                known.last.kept = known.kept - 1  # beside itself
                left.append(known.last)
        return left


class Known:
    """A cause that was told of at `told` (monotonic), how many were kept back since, and the last of them."""

    def __init__(self, told: float) -> None:
        self.told = told
        self.kept = 0
        self.last: logging.LogRecord | None = None


def cause_of(event: dict) -> str | None:
    """Return what tells that the event repeats, None where each is to be told of."""
    if event["event"] == "trouble":
        return event.get("about") or event["why"]
    return f"worker ended {event['status']}" if event["event"] == "worker ended" else None


class Text(logging.Formatter):
    """A calm line for people, with the time in the form `clock`, or without it."""

    def __init__(self, clock: str = "") -> None:
        super().__init__()
        self._clock = f"{clock} " if clock else ""
        self._now = (-1, "")  # a second, and how it is said

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, in which nothing is that a terminal might obey."""
        second = int(record.created)
        if second != self._now[0]:
            self._now = second, time.strftime(self._clock, time.localtime(second))
        kept = f" ({record.kept} more like it {'was' if record.kept == 1 else 'were'} kept back)" if record.kept else ""
        return f"{self._now[1]}{line(record.event)}{kept}"


class Objects(logging.Formatter):
    """A JSON object for programs, in one line: the time, the level, and all that is known of the event."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the object."""
        known = {"time": iso(record.created), "level": NAMES[record.levelno], **record.event}
        known.pop("about", None)
        return json.dumps({**known, "kept_back": record.kept} if record.kept else known)


def fields(record: logging.LogRecord) -> dict[str, object]:
    """Return what the journal is to know of the event, by the names of its fields; for people there is the message."""
    event = record.event
    attempt = event.get("attempt", {})
    known = {
        "event": event["event"],
        "job": event.get("id"),
        "attempt": attempt.get("number", event.get("number")),
        "why": event.get("why"),
        "kept_back": record.kept or None,
        **{word: attempt.get(word) for word in ("verdict", "reason", "exit", "signal", "duration", "worker")},
    }
    return {f"QUEUECTL_{word.upper()}": value for word, value in known.items() if value is not None}


def teller(
    target: str, form: str, level: str, encoding: str = "utf-8", copies: tuple[int, ...] = (), mode: int | None = None
) -> Teller:
    """Return what tells of events at the target: stdout, stderr, journald, syslog (another socket: syslog:PATH), or a file.

    A file that isn't there gets the mode; `copies` are descriptors that become the same file. Raises NoLog.
    """
    kind, _, path = target.partition(":")
    if target in STREAMS:
        outlet, clock = outlets.Stream(STREAMS[target], encoding), TIME
    elif kind == "journald":
        outlet, clock = outlets.Journal(fields, path or outlets.JOURNAL), ""
    elif kind == "syslog":
        outlet, clock = outlets.Syslog(path or outlets.SYSLOG), ""
    else:
        outlet, clock = outlets.File(target, outlets.MODE if mode is None else mode, copies), DATE
    outlet.setFormatter(Objects() if form == "json" else Text(clock))
    _see(outlet, kind)
    return Teller(outlet, level)


def _see(outlet: Outlet, kind: str) -> None:
    """Return when the outlet is open, or will be once there is room. Raises NoLog."""
    if isinstance(outlet, outlets.Stream) and not isinstance(outlet, outlets.File):
        return
    try:
        outlet.open()
    except OSError as error:
        if error.errno in MAY_PASS:
            return
        cure = "choose another place"
        if kind in SOCKETS:
            cure = f"nobody listens there, or lets us speak: {kind}:PATH names another socket, or --log FILE a file"
        raise NoLog(f"can't write the log to {outlet.path}: {error.strerror or error}: {cure}") from None


def absolute(target: str, folder: str | None = None) -> str:
    """Return the target with the path of a file, seen from that directory, or the current one, as it is from anywhere."""
    known = target in STREAMS or target.partition(":")[0] in SOCKETS
    return target if known else os.path.abspath(os.path.join(folder or "", target))


def line(event: dict) -> str:
    """Return what a person is told of the event, with nothing in it that a terminal might obey."""
    kind = event["event"]
    job = short(event["id"]) if "id" in event else ""
    if kind == "ended":
        return _line_of_end(job, event["attempt"])
    return LINES.get(kind, lambda event, job: kind)(event, job)


def _line_of_end(job: str, attempt: dict) -> str:
    how = attempt.get("reason") or "exit 0"
    again = {"failed": ", retry due in", "snoozed": ", again in"}.get(attempt["verdict"])
    retry = f"{again} {span(until(attempt['due']))}" if again else ""
    return f"{attempt['verdict']:<11} {job}  attempt {attempt['number']}: {printable(how)}, {took(attempt['duration'])}{retry}"


LINES: dict[str, Callable[[dict, str], str]] = {
    "began": lambda event, job: f"began       {job}  attempt {event['number']}: {printable(event['command'])}",
    "started": lambda event, job: f"started     {counted(event['workers'], 'worker')}",
    "scaled": lambda event, job: f"workers     {counted(event['workers'], 'worker')} from now on",
    "moved": lambda event, job: f"moved       {job}  cancelled, or moved away by hand: ended",
    "recovered": lambda event, job: f"recovered   {job}  {printable(event['why'])}: {event['state']}",
    "buried": lambda event, job: f"dead        {job}  {printable(event['why'])}",
    "scheduled": lambda event, job: f"scheduled   {job}  {printable(event['why'])}",
    "held back": lambda event, job: f"held back   nothing new starts: {printable(event['why'])}",
    "goes on": lambda event, job: f"goes on     {event['why']}",
    "rejected": lambda event, job: f"rejected    {job}  not a whole job, now in dead/: {printable(event['why'])}",
    "noted": lambda event, job: f"noted       {job}  {event['why']}",
    "drained": lambda event, job: "drained     nothing is left to do or to wait for",
    "stopping": lambda event, job: (
        "stopping"
        + (f"    when {counted(event['running'], 'running job')} ended; once more interrupts" if event["running"] else "")
    ),
    "interrupting": lambda event, job: f"stopping    {counted(event['running'], 'running job')} interrupted and put back",
    "worker ended": lambda event, job: f"worker      {event['pid']} ended ({event['status']}): another takes its place",
    "trouble": lambda event, job: f"trouble     {printable(event['why'])}",
    "lost": lambda event, job: f"lost        {counted(event['count'], 'line')} of this log, which nobody took",
}
