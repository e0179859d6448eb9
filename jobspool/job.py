"""What a job is: one JSON object, whose words are the table WORDS.

The file says what to do and what was tried; its name is the job's id, its directory the state, its mtime from when it may
run. So none of these stands inside. What is no whole job is refused here with the reason, and is never changed.
"""

from __future__ import annotations

import functools
import json
import math
import os
import time
from json.encoder import encode_basestring

from jobspool.errors import NotAJob

ENDING = ".json"
LONGEST_ID = 200  # bytes: the logs' names, and NAME~1.json, must fit the 255 of NAME_MAX
IGNORED_ENDINGS = ("~", ".swp", ".part", ".tmp")
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: nothing that looks like something else
TEN_YEARS = 315_360_000.0
EARLIEST, LATEST = -62_135_596_800_000_000, 253_402_300_799_999_999  # microseconds: years 1 and 9999, as ISO 8601 has them
SMALL = 2048  # characters, which always have room
SLACK = 512  # bytes by which indentation may always lengthen a file
READABLE = 65_536  # characters: a job that takes more is written on one line
ROOM_FOR_ATTEMPTS = 20_971_520  # bytes: 2 KiB for each of retry.MOST_ATTEMPTS
DEEPEST = 100  # objects and lists within each other: what is read must be written again, at whatever depth of the stack
VERDICTS = ("done", "failed", "dead", "interrupted", "snoozed")
BACKOFFS = ("exponential", "linear", "fixed")
MEANINGS = ("done", "retry", "dead", "snooze")
DEAD_PARENT = ("wait", "cancel", "run")  # what comes of a job when one that it comes after is dead
TOO_DEEP = "not JSON that anybody meant: nested too deep"


class Job:
    """A job as it lay in the spool at one moment.

    `id`, `state`, `mtime` and `ctime` (seconds since 1970) say what and where it was; `record` is what its file said.
    A file in the spool that is no whole job has an empty record and `problem`, the reason.
    """

    __slots__ = ("ctime", "id", "mtime", "problem", "record", "state")

    def __init__(self, id: str, state: str, record: dict, mtime: float, ctime: float, problem: str | None = None) -> None:
        self.id = id
        self.state = state
        self.record = record
        self.mtime = mtime
        self.ctime = ctime
        self.problem = problem

    @property
    def attempts(self) -> list[dict]:
        """The attempts on record, oldest first."""
        return self.record.get("attempts", [])

    @property
    def command(self) -> str:
        """The command as a person would type it."""
        return command_line(self.record)

    @property
    def handle(self) -> str:
        """The short way to name it: the random end of an id that the queue made, else the id."""
        return self.id[23:] if made_by_queue(self.id) else self.id

    def __repr__(self) -> str:
        return f"Job({self.id!r}, {self.state!r})"


def command_line(record: dict) -> str:
    """Return the record's command as a person would type it, "" where it has none."""
    if "argv" in record:
        import shlex

        return shlex.join(record["argv"])
    return record.get("command", "")


# ---- times: seconds since 1970 in the program, UTC in ISO 8601 for people and files


@functools.lru_cache(16)  # an attempt's start is written three times
def iso(seconds: float) -> str:
    """Return the time as 2026-11-24T10:15:30.123456Z; the first or last there is where its year has not four digits."""
    whole, micros = divmod(min(max(round(seconds * 1_000_000), EARLIEST), LATEST), 1_000_000)
    return f"{_iso_second(whole)}.{micros:06d}Z"


@functools.lru_cache(4)  # of many jobs in one second
def _iso_second(whole: int) -> str:
    return "{:04d}-{:02d}-{:02d}T{:02d}:{:02d}:{:02d}".format(*time.gmtime(whole)[:6])


def seconds(text: str) -> float:
    """Return the seconds since 1970 that an ISO 8601 time with its zone names. Raises ValueError."""
    if len(text) == 27 and text.isascii() and text[19] == "." and text[26] == "Z" and text[20:26].isdecimal():
        return (_whole_seconds(text[:19]) * 1_000_000 + int(text[20:26])) / 1_000_000  # as iso() writes it
    return _moment(text)


@functools.lru_cache(4)
def _whole_seconds(text: str) -> int:
    return round(_moment(f"{text}Z"))


def _moment(text: str) -> float:
    from datetime import datetime

    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"no time zone in {text!r}")
    return moment.timestamp()


# ---- names


def new_id(now: float, luck: int) -> str:
    """Return an id that sorts by time and ends in 30 random bits of `luck`: 20261124T101530.123456-k7m3q9."""
    whole, micros = divmod(round(now * 1_000_000), 1_000_000)
    end = "".join([ALPHABET[luck >> shift & 31] for shift in (0, 5, 10, 15, 20, 25)])
    return f"{_second(whole)}.{micros:06d}-{end}"


@functools.lru_cache(4)
def _second(whole: int) -> str:
    return time.strftime("%Y%m%dT%H%M%S", time.gmtime(whole))


def made_by_queue(id: str) -> bool:
    """Tell whether new_id() makes ids of this shape."""
    return len(id) == 29 and id[8] == "T" and id[15] == "." and id[22] == "-" and id[:8].isdigit()


def check_id(id: str) -> str:
    """Return `id` if a file may be called so. Raises NotAJob with the rule it breaks."""
    if not id:
        raise NotAJob("an id can't be empty")
    if id.startswith("."):
        raise NotAJob("an id can't begin with a dot: such files are ignored")
    if "/" in id or "\0" in id:
        raise NotAJob("an id can't contain a slash or a NUL")
    if len(os.fsencode(id)) > LONGEST_ID:
        raise NotAJob(f"an id can't be longer than {LONGEST_ID} bytes")
    return id


def id_of(name: str) -> str | None:
    """Return the id of the job in a file of that name, or None for a name that is ignored."""
    if name.startswith(".") or not name.endswith(ENDING):
        return None
    return name[: -len(ENDING)]


# ---- words


def _text(value: object) -> str | None:
    if not isinstance(value, str):
        return "must be a string"
    if "\0" in value:
        return "can't contain a NUL"
    return None


def _command(value: object) -> str | None:
    if isinstance(value, list):
        return "must be a string: a list goes under 'argv'"
    return _text(value) or (None if value.strip() else "is empty")


def _argv(value: object) -> str | None:
    if not isinstance(value, list) or not value:
        return "must be a list of strings, the program first"
    problem = next((f"has an item that {wrong}" for wrong in map(_text, value) if wrong), None)
    return problem or (None if value[0] else "has an empty program")


def _cwd(value: object) -> str | None:
    return _text(value) or (None if value.startswith("/") else "must be an absolute path")


def _env(value: object) -> str | None:
    if not isinstance(value, dict):
        return "must be an object of strings"
    for name, text in value.items():
        if not name or "=" in name or "\0" in name:
            return f"has a name that no variable can have: {name!r}"
        if wrong := _text(text):
            return f"{name} {wrong}"
    return None


def _number(value: object, low: float, high: float, rule: str) -> str | None:
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high
    return None if good else f"{rule}, and no string" if isinstance(value, str) else rule


def _timeout(value: object) -> str | None:
    rule = "must be a number of seconds above 0, at most ten years"
    return _number(value, 0, TEN_YEARS, rule) or (rule if value == 0 else None)


def _whole(value: object, low: int, high: int, rule: str) -> str | None:
    good = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
    return None if good else f"{rule}, and no string" if isinstance(value, str) else rule


def _max_retries(value: object) -> str | None:
    return _whole(value, 0, 1_000_000, "must be a whole number from 0 to 1000000")


def _backoff_base(value: object) -> str | None:
    return _number(value, 0, 1_000_000, "must be a number from 0 to 1000000")


def _priority(value: object) -> str | None:
    return _whole(value, -(2**31), 2**31, "must be a whole number, at most 2147483648 either way")


def _seconds(value: object) -> str | None:
    return _number(value, 0, TEN_YEARS, "must be a number of seconds, at most ten years")


def _one_of(value: object, known: object, more: str = "") -> str | None:
    """Return None where the value is one of those known, else the rule, with the nearest."""
    if isinstance(value, str) and value in known:
        return None
    near = did_you_mean(value, known) if isinstance(value, str) else ""
    return f"must be one of {', '.join(known)}{more}{near}"


def _backoff(value: object) -> str | None:
    if isinstance(value, list):
        return "must be a list of seconds" if not value or any(map(_seconds, value)) else None
    return _one_of(value, BACKOFFS, ", or a list of seconds")


def _exits(value: object) -> str | None:
    if not isinstance(value, dict):
        return f'must be an object that tells of exit codes what they mean, as {{"3": "done"}}: {", ".join(MEANINGS)}'
    for code, meaning in value.items():
        if not (code.isascii() and code.isdecimal() and str(int(code)) == code and int(code) <= 255):
            return f"has {code!r}, which is no exit code: they are 0 to 255"
        if meaning not in MEANINGS:
            return f"says that {code} means {meaning!r}: it may be one of {', '.join(MEANINGS)}"
    return None


def _moment_of(value: object) -> str | None:
    return None if _is_time(value) else "must be a time with its zone, as 2026-11-24T10:15:30Z"


LIMITS = {"memory": "bytes", "cpu": "seconds", "files": "open files", "core": "bytes"}  # of `limits`, and what they count
IO_CLASSES = {"best-effort": 2, "idle": 3}  # ionice(1)


def _limits(value: object) -> str | None:
    if not isinstance(value, dict) or not value:
        return 'must be an object, as {"memory": 536870912, "cpu": 600}'
    for word, most in value.items():
        if word not in LIMITS:
            return f"has no {word!r}: there are {', '.join(LIMITS)}"
        if _whole(most, word != "core", 2**62, "no"):
            return f"says {most!r} for {word}: it takes a whole number of {LIMITS[word]}"
    return None


def _signal(value: object) -> str | None:
    import signal

    return None if isinstance(value, str) and hasattr(signal.Signals, f"SIG{value}") else "must be a signal's name, as INT"


def _keep(value: object) -> str | None:
    from jobspool.times import KEEP_AGE, keep_of

    return None if isinstance(value, str) and keep_of(value) is not None else f"must be {KEEP_AGE}"


def _word(value: object) -> str | None:
    return _text(value) or (None if value.strip() else "is empty")


def _words(value: object) -> str | None:
    good = isinstance(value, list) and value and not any(map(_word, value))
    return None if good else "must be a list of strings"


def _ids(value: object) -> str | None:
    good = isinstance(value, list) and value and not any(map(_id, value))
    return None if good else "must be a list of the ids of jobs"


def _slots(value: object) -> str | None:
    named = isinstance(value, dict) and all(name and name.isprintable() and not set(name) & set("= *") for name in value)
    good = named and not any(_whole(count, 1, 1024, "no") for count in value.values())
    return None if good else 'must be an object of names and whole numbers from 1 to 1024, as {"gpu": 1}'


def _dead_parent(value: object) -> str | None:
    return _one_of(value, DEAD_PARENT)


def quoted(name: str) -> str:
    """Return the name as a file of it may be called: what no name of a file may have, and %, as %2F."""
    whole = "".join(f"%{ord(each):02X}" if each in "/%\0" or (each == "." and not i) else each for i, each in enumerate(name))
    if len(whole.encode("utf-8", "surrogateescape")) <= LONGEST_ID:
        return whole
    import hashlib

    return f"{whole[:40]}-{hashlib.sha256(whole.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}"


def _id(value: object) -> str | None:
    if wrong := _text(value):
        return wrong
    try:
        check_id(value)
    except NotAJob as error:
        return f"is not to be used: {error}"
    return None


def _attempts(value: object) -> str | None:
    if not isinstance(value, list):
        return "must be a list"
    for entry in value:
        if not isinstance(entry, dict) or entry.get("verdict") not in VERDICTS or not _is_time(entry.get("ended")):
            return f"must be as the queue wrote it: objects with ended and verdict ({', '.join(VERDICTS)})"
        for word, value in entry.items():
            if word in ATTEMPT_WORDS and not ATTEMPT_WORDS[word](value):
                return f"has a {word} that is no {NO_SUCH[ATTEMPT_WORDS[word]]}"
    return None


def _is_time(value: object) -> bool:
    try:
        seconds(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def _is_number(value: object) -> bool:
    return _number(value, -(2**63), 2**63, "no") is None


def _is_text(value: object) -> bool:
    return isinstance(value, str)


NO_SUCH = {_is_time: "time", _is_number: "number", _is_text: "string"}
ATTEMPT_WORDS = {
    **dict.fromkeys(("started", "ended", "due"), _is_time),
    **dict.fromkeys(("number", "duration", "exit", "cpu", "memory"), _is_number),
    **dict.fromkeys(("worker", "signal", "reason", "trace", "span"), _is_text),
}


WORDS = {
    "command": _command,
    "argv": _argv,
    "cwd": _cwd,
    "env": _env,
    "timeout": _timeout,
    "idle_timeout": _timeout,
    "grace": _seconds,
    "stop_signal": _signal,
    "limits": _limits,
    "nice": lambda value: _whole(value, -20, 19, "must be a whole number from -20 to 19"),
    "ionice": lambda value: _one_of(value, IO_CLASSES),
    "max_retries": _max_retries,
    "retry_until": _moment_of,
    "backoff": _backoff,
    "backoff_base": _backoff_base,
    "exits": _exits,
    "snooze": _seconds,
    "expires": _moment_of,
    "deadline": _moment_of,
    "priority": _priority,
    "group": _word,
    "batch": _word,
    "keep": _keep,
    "locks": _words,
    "slots": _slots,
    "after": _ids,
    "after_any": _ids,
    "after_fail": _ids,
    "dead_parent": _dead_parent,
    "name": _text,
    "tags": lambda value: _argv(value) and "must be a list of strings",
    "hold": _text,
    "cancelled": _text,
    "meta": lambda value: None,
    "attempts": _attempts,
}

NEW_WORDS = {**WORDS, "id": _id}  # of a job that is given to be added: its file has no name yet

# Words that people bring along, and what they can't know stands elsewhere.
OTHER_WORDS = {
    "cmd": "command",
    "args": "argv",
    "retries": "max_retries",
    "tries": "max_retries",
    "dir": "cwd",
    "environment": "env",
}
MTIME = "the file's mtime says from when it may run, as touch -d sets it"
NOT_INSIDE = {
    "id": "the file's name is the id",
    "state": "the directory is the state",
    **dict.fromkeys(("at", "delay", "start", "not_before"), MTIME),
    **dict.fromkeys(("memory", "cpu", "open_files"), "it is one of the words of limits"),
    **dict.fromkeys(("unique", "unique_key"), "a job that there may be one of has a name of its own"),
}


def check(record: object, words: dict = WORDS) -> dict:
    """Return `record` if it is a whole job. Raises NotAJob with the first rule that it breaks."""
    if not isinstance(record, dict):
        raise NotAJob("not a JSON object")
    for word, value in record.items():
        rule = words.get(word)
        if rule is None:
            raise NotAJob(f"unknown key {word!r}{_meant(word)} (meta is the place for one's own)")
        if problem := rule(value):
            raise NotAJob(f"{word} {problem}")
    if ("command" in record) == ("argv" in record):
        both = "both command and argv" if "command" in record else "neither command nor argv"
        raise NotAJob(f"{both}: one of them says what to run")
    return record


def _meant(word: str) -> str:
    if word in OTHER_WORDS:
        return f", did you mean {OTHER_WORDS[word]!r}?"
    return f": {NOT_INSIDE[word]}" if word in NOT_INSIDE else did_you_mean(word, WORDS)


def did_you_mean(word: str, known: object, otherwise: str = "") -> str:
    """Return ", did you mean X?" for the nearest of the `known` words, or `otherwise`."""
    import difflib

    near = difflib.get_close_matches(word.replace("-", "_"), list(known), 1, 0.6)
    return f", did you mean {near[0]!r}?" if near else otherwise


# ---- files


def parse(content: bytes, limit: int, words: dict = WORDS) -> dict:
    """Return the record in a job file's content. Raises NotAJob with the reason.

    A newcomer has at most `limit` bytes; what its attempts add is the queue's own doing, and not counted.
    """
    large = len(content) > limit
    if large and (len(content) > largest(limit) or b'"attempts"' not in content):
        raise NotAJob(f"larger than max_job_bytes ({limit} bytes)")
    if not content.strip():
        raise NotAJob("empty")
    if content.startswith(b"\xef\xbb\xbf"):
        raise NotAJob("begins with a byte order mark: save it as UTF-8 without one")
    try:
        text = content.decode("utf-8")
        record = _decoder().decode(text)
    except UnicodeDecodeError as error:
        raise NotAJob(f"not UTF-8: byte {error.start + 1}") from None
    except json.JSONDecodeError as error:
        raise NotAJob(f"not JSON: {error.msg}: line {error.lineno} column {error.colno}") from None
    except RecursionError:
        raise NotAJob(TOO_DEEP) from None
    except ValueError as error:
        if isinstance(error, NotAJob):
            raise
        raise NotAJob("a number that is too long") from None
    if text.count("[") + text.count("{") > DEEPEST and depth(record) > DEEPEST:
        raise NotAJob(TOO_DEEP)
    _no_surrogates(text, record)
    check(record, words)
    if large and not record.get("attempts"):
        raise NotAJob(f"larger than max_job_bytes ({limit} bytes)")
    return record


@functools.lru_cache(1)
def _decoder() -> json.JSONDecoder:
    return json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_constant, parse_float=_finite)


def largest(limit: int) -> int:
    """Return the bytes of the largest file that the queue makes of a newcomer of `limit` bytes, with all its attempts."""
    return 4 * limit + ROOM_FOR_ATTEMPTS  # 1e15 is written as 1000000000000000.0


def written(record: dict) -> bytes:
    """Return the record as the content of a job file: JSON in UTF-8, indented for people where that isn't too long."""
    text = _indented(record)
    if len(text) > SMALL:
        brief = json.dumps(record, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        job = {word: value for word, value in record.items() if word != "attempts"}
        if len(text) > 2 * len(brief) + SLACK or len(json.dumps(job, ensure_ascii=False)) > READABLE:
            text = brief  # nested lists would grow a hundredfold, and a claim has room for twice the size
    return (text + "\n").encode("utf-8")


def _indented(value: object, margin: str = "\n") -> str:
    """Return what json.dumps(value, indent=2) would, in a quarter of its time: only compact JSON is written by C code there."""
    if type(value) is str:
        return encode_basestring(value)
    if type(value) is int or (type(value) is float and math.isfinite(value)):
        return repr(value)
    inner = margin + "  "
    if isinstance(value, dict) and value:
        lines = [f"{encode_basestring(word)}: {_indented(part, inner)}" for word, part in value.items()]
        return f"{{{inner}{f',{inner}'.join(lines)}{margin}}}"
    if isinstance(value, (list, tuple)) and value:
        return f"[{inner}{f',{inner}'.join([_indented(part, inner) for part in value])}{margin}]"
    return json.dumps(value, allow_nan=False)


def _once(pairs: list[tuple[str, object]]) -> dict:
    record = dict(pairs)
    if len(record) < len(pairs):
        seen = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise NotAJob(f"the key {twice!r} stands twice")
    return record


def _no_constant(word: str) -> float:
    raise NotAJob(f"{word} is no number in JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise NotAJob(f"the number {text[:20]} is too large")
    return value


def depth(record: object) -> int:
    """Return how many objects and lists lie within each other at most."""
    depth, level = 0, [record]
    while level := [value for value in level if isinstance(value, (dict, list))]:
        depth += 1
        level = [inner for value in level for inner in (value.values() if isinstance(value, dict) else value)]
    return depth


def _no_surrogates(text: str, record: object) -> None:
    if "\\u" not in text:
        return
    try:
        json.dumps(record, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise NotAJob("half a surrogate pair (\\ud800 to \\udfff) is no character") from None


# ---- what the last record left


def last_mark(record: dict) -> float | None:
    """Return the mtime that the queue gave the file with the last attempt's record, None before any.

    It tells a job whose outcome was just recorded from one that was claimed again: a claim sets another mtime.
    """
    attempts = record.get("attempts")
    if not attempts:
        return None
    last = attempts[-1]
    return seconds(last.get("due", last["ended"]))


def same_time(one: float | None, other: float | None) -> bool:
    """Tell whether two times are the same microsecond."""
    return one is not None and other is not None and round(one * 1_000_000) == round(other * 1_000_000)


def last_moment(record: dict) -> float | None:
    """Return the moment from which on the job is not begun any more, in seconds since 1970; None where there is none."""
    if "expires" not in record and "deadline" not in record:
        return None
    return min(seconds(record[word]) for word in ("expires", "deadline") if word in record)


def too_late(record: dict, now: float) -> str | None:
    """Return in words why the job is not begun any more, None while its last moment has not come."""
    last = last_moment(record)
    if last is None or last > now:
        return None
    word = "expires" if "expires" in record and seconds(record["expires"]) == last else "deadline"
    return f"too late: {'it expired' if word == 'expires' else 'its deadline was'} at {record[word]}"


def waits_until(record: dict, mtime: float) -> float:
    """Return from when a pending file of that mtime may run.

    That is its mtime; but a file that still carries the due time of its last try was taken out of failed/ by hand,
    before its time, and may run now. One that is held has no such time: infinity.
    """
    if "hold" in record:
        return math.inf
    return 0.0 if _is_early(record, mtime) else mtime


def waits_since(record: dict, mtime: float, ctime: float) -> float:
    """Return since when a pending file of these times could have run.

    That is its mtime; but one that was brought back after an attempt behind which nothing more was to come, or before its time,
    could since it came: that is its ctime, which a rename sets.
    """
    tried = record.get("attempts")
    brought_back = tried and (tried[-1]["verdict"] != "failed" or _is_early(record, mtime))
    return max(mtime, ctime) if brought_back else mtime


def _is_early(record: dict, mtime: float) -> bool:
    """Tell whether a pending file of that mtime was taken out of failed/ by hand, before its time."""
    tried = record.get("attempts")
    return bool(tried) and tried[-1]["verdict"] == "failed" and same_time(last_mark(record), mtime)


# ---- words that people type for a new job


def number(text: str) -> int | float:
    """Return the number that a person typed, whole where it is whole. Raises ValueError."""
    try:
        return int(text)
    except ValueError:
        value = float(text)
        if not math.isfinite(value):
            raise ValueError(text) from None
        return value
