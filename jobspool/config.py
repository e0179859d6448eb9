"""The settings of a spool: config.json, one table of what each means, and the rules for their values."""

from __future__ import annotations

import errno
import json
import os
from collections import namedtuple

from jobspool import durable
from jobspool.errors import BrokenConfig, WrongValue, shortened
from jobspool.job import BACKOFFS, MEANINGS, TEN_YEARS, WORDS, did_you_mean, number

FORMAT = 1
FILE = "config.json"
LARGEST = 1 << 20  # bytes that are read of it
PIECE = 4096  # bytes at one go
NO_FILE = (errno.EISDIR, errno.ELOOP, errno.ENXIO)
NONE_WORDS = ("none", "null", "")

KEEP = "a time (90s, 30m, 12h, 7d, 4w), a whole number of jobs, or forever"
FOREVER = "forever"
BACKOFF = f"one of {', '.join(BACKOFFS)}, or a list of times, as 10s,1m,10m"
EXITS = f"a list of exit codes and what they mean ({', '.join(MEANINGS)}), as 3=done,64=dead,75=retry"

SLOTS = "a list of what there is and how many of it, as gpu=2,license=5"
GROUPS = "an object of groups, each with some of concurrency, rate, weight, paused, keep_done, keep_dead: see queuectl group"
GROUP_WORDS = {
    "concurrency": lambda value: isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 1024,
    "rate": lambda value: isinstance(value, str) and _is_rate(value),
    "weight": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool) and 0.001 <= value <= 1000,
    "paused": lambda value: isinstance(value, bool),
    "keep_done": lambda value: isinstance(value, str) and _is_keep(value),
    "keep_dead": lambda value: isinstance(value, str) and _is_keep(value),
}

# low, high: the range; or low is the words that may be chosen, or one of KEEP, BACKOFF, EXITS, SLOTS and GROUPS.
Setting = namedtuple("Setting", "name default unit low high meaning")

SETTINGS = {
    setting.name: setting
    for setting in (
        Setting("max_retries", 3, "tries", 0, 1_000_000, "how often a failed job is tried again"),
        Setting("backoff", "exponential", "", BACKOFF, None, "how the waits before retries grow"),
        Setting("backoff_base", 2, "", 0, 1_000_000, "retry n comes backoff_base ** n seconds after the failure"),
        Setting("backoff_max", 3600, "seconds", 0.0, TEN_YEARS, "the longest wait before a retry"),
        Setting("backoff_jitter", 0.1, "share", 0.0, 10.0, "a random share of the wait, up to this, is added to it"),
        Setting("exits", {}, "", EXITS, None, "what exit codes mean, beside 0=done and 75=snooze"),
        Setting("snooze", 60, "seconds", 0.0, TEN_YEARS, "how long a job waits that snoozes"),
        Setting("groups", {}, "", GROUPS, None, "limits of groups of jobs"),
        Setting("slots", {}, "", SLOTS, None, "what jobs may take some of, and how many there are"),
        Setting(
            "priority_aging",
            None,
            "seconds",
            0.001,
            TEN_YEARS,
            "waiting for so long makes up for one of priority; none: it doesn't",
        ),
        Setting("timeout", None, "seconds", 0.001, TEN_YEARS, "how long an attempt may take; none: as long as it likes"),
        Setting("grace", 10, "seconds", 0.0, 86_400.0, "the time between TERM and KILL when an attempt is ended"),
        Setting("workers", 1, "workers", 1, 1024, "how many workers start without --count"),
        Setting("fsync", "group", "", ("always", "group", "never"), None, "when outcomes reach the disk: see queuectl.conf(5)"),
        Setting("max_job_bytes", 1_048_576, "bytes", 64, 1_073_741_824, "the largest job file that is run"),
        Setting("keep_done", "7d", "", KEEP, None, "how long, or how many, jobs stay in done/; logs go with their job"),
        Setting("keep_dead", FOREVER, "", KEEP, None, "the same for dead/"),
        Setting("journal_bytes", 67_108_864, "bytes", 0, 2**62, "how much of the journal is kept; 0: none is written"),
        Setting("log_max_bytes", 104_857_600, "bytes", 4096, 2**62, "the longest log of one attempt; the middle is cut out"),
    )
}
OF_A_JOB = ("retry_until", "deadline")  # rules that no spool has
ABOUT_THE_SPOOL = ("format", "group")


class Settings:
    """The settings of a spool, each under its name as an attribute. `group` is the group a shared spool is for, or None."""

    def __init__(self, given: dict[str, object] | None = None) -> None:
        self.given = dict(given or {})
        self.group = self.given.get("group")

    def __getattr__(self, name: str) -> object:
        if name not in SETTINGS and name not in OF_A_JOB:
            raise AttributeError(name)
        value = self.__dict__[name] = self.given.get(name, SETTINGS[name].default if name in SETTINGS else None)
        return value

    def for_job(self, record: dict) -> Settings:
        """Return the settings with the job's own in the place of the spool's."""
        own = {name: record[name] for name in RULES & record.keys()}
        if not own:
            return self
        if "exits" in own:
            own["exits"] = {**self.exits, **own["exits"]}
        if "retry_until" in own:
            own.setdefault("max_retries", SETTINGS["max_retries"].high)
        return Settings({**self.given, **own})


RULES = {*SETTINGS, *OF_A_JOB} - {"slots", "groups"}  # of the settings, a job's own words win over these


def name_of(word: str) -> str:
    """Return the setting's name that a person typed as `word`. Raises WrongValue with the nearest one."""
    name = word.strip().lower().replace("-", "_")
    if name not in SETTINGS:
        raise WrongValue(f"there is no setting {word!r}{did_you_mean(name, SETTINGS, ':')} `queuectl config` lists them all")
    return name


def value_of(name: str, text: str) -> object:
    """Return the value that a person typed for the setting. Raises WrongValue with the rule."""
    setting = SETTINGS[name]
    if setting.default is None and text.strip().lower() in NONE_WORDS:
        return None
    if isinstance(setting.low, tuple):
        return checked(name, text.strip().lower())
    if setting.low == KEEP:
        word = text.strip().lower()
        return checked(name, int(word) if word.isdecimal() and len(word) < 20 else word)
    if setting.low in READ:
        value = READ[setting.low](text.strip())
        try:
            return checked(name, value)
        except WrongValue:
            raise WrongValue(f"{name} can't be {text!r}: it takes {rule(setting)}") from None
    try:
        return checked(name, number(text))
    except ValueError:
        raise WrongValue(f"{name} can't be {text!r}: it takes {rule(setting)}") from None


def checked(name: str, value: object) -> object:
    """Return `value` if the setting may have it. Raises WrongValue with the rule."""
    setting = SETTINGS[name]
    if value is None and setting.default is None:
        return value
    if isinstance(setting.low, tuple):
        good = value in setting.low
    elif setting.low == KEEP:
        good = _is_keep(value)
    elif setting.low in READ:
        good = CHECKED.get(name, WORDS.get(name))(value) is None
    else:
        kind = int if _is_whole(setting) else (int, float)
        good = isinstance(value, kind) and not isinstance(value, bool) and setting.low <= value <= setting.high
    if not good:
        raise WrongValue(f"{name} can't be {value!r}: it takes {rule(setting)}")
    return value


def backoff_of(text: str) -> str | list:
    """Return the backoff that a person typed, or as it is what can't be one."""
    from jobspool.times import duration

    try:
        return [duration(part) for part in text.split(",")]
    except ValueError:
        return text.lower()


def exits_of(text: str) -> dict | str:
    """Return what a person typed of exit codes, as 3=done,64=dead; "" for nothing; as it is what can't be that."""
    pairs = [part.strip().partition("=") for part in text.split(",") if part.strip()]
    once = len({code for code, _, _ in pairs}) == len(pairs)
    return {code: meaning for code, equals, meaning in pairs} if once and all(equals for _, equals, _ in pairs) else text


def slots_of(text: str) -> dict | str:
    """Return what a person typed of slots, as gpu=2; as it is what can't be that."""
    pairs = exits_of(text)
    if isinstance(pairs, dict) and text.isascii() and all(map(str.isdecimal, pairs.values())):
        return {name: int(count) for name, count in pairs.items()}
    return text


def groups_of(text: str) -> object:
    """Return the groups that a person typed as JSON; as it is what can't be that."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _groups(value: object) -> str | None:
    good = isinstance(value, dict) and all(
        isinstance(group, dict) and all(word in GROUP_WORDS and GROUP_WORDS[word](given) for word, given in group.items())
        for group in value.values()
    )
    return None if good else GROUPS


def _is_keep(value: object) -> bool:
    from jobspool.times import keep_of

    return keep_of(value) is not None


def _is_rate(text: str) -> bool:
    from jobspool.admission import rate

    try:
        rate(text)
    except ValueError:
        return False
    return True


READ = {BACKOFF: backoff_of, EXITS: exits_of, SLOTS: slots_of, GROUPS: groups_of}
CHECKED = {"groups": _groups}


def rule(setting: Setting) -> str:
    """Return the setting's rule in words: "a whole number from 0 to 1000000"."""
    if isinstance(setting.low, tuple):
        return f"one of {', '.join(setting.low)}"
    if setting.low == KEEP or setting.low in READ:
        return setting.low
    kind = "a whole number" if _is_whole(setting) else "a number"
    none = ", or none" if setting.default is None else ""
    return f"{kind} from {setting.low:g} to {int(setting.high)}{none}"


def _is_whole(setting: Setting) -> bool:
    return isinstance(setting.low, int) and setting.name != "backoff_base"


def load(root: str) -> Settings:
    """Return the settings of the spool at `root`; defaults where it has no config.json.

    Raises BrokenConfig with the place and the cure, OSError where the spool itself is gone, or the disk fails.
    """
    path = f"{root}/{FILE}"
    try:
        content = _content(path)
    except FileNotFoundError:
        durable.see_folder(root)
        return Settings()
    except OSError as error:
        if error.errno not in NO_FILE:
            raise
        raise BrokenConfig(f"{path}: {error.strerror}: mend it, or remove it for the defaults") from None
    try:
        given = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BrokenConfig(f"{path} is not JSON ({error}): mend it, or remove it for the defaults") from None
    return Settings(_checked_file(path, given))


def _content(path: str) -> bytes:
    """Return the file's content, LARGEST bytes at most. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO of that name must not hold us
    try:
        content = os.read(descriptor, PIECE)
        while len(content) % PIECE == 0 and len(content) < LARGEST and (more := os.read(descriptor, PIECE)):
            content += more
        return content
    finally:
        os.close(descriptor)


def _checked_file(path: str, given: object) -> dict:
    if not isinstance(given, dict):
        raise BrokenConfig(f"{path} is not a JSON object: mend it, or remove it for the defaults")
    version = given.get("format", FORMAT)
    if not isinstance(version, int) or version > FORMAT:
        raise BrokenConfig(f"{path} has format {shortened(repr(version))}, this queuectl knows {FORMAT}: use a newer queuectl")
    if not isinstance(given.get("group"), (str, type(None))):
        raise BrokenConfig(f"{path}: group must be the name of a group")
    for name, value in given.items():
        if name in ABOUT_THE_SPOOL:
            continue
        if name not in SETTINGS:
            raise BrokenConfig(f"{path}: there is no setting {shortened(repr(name))}{did_you_mean(name[:100], SETTINGS)}")
        try:
            checked(name, value)
        except WrongValue as error:
            raise BrokenConfig(f"{path}: {shortened(str(error))}") from None
    return given


def change(root: str, name: str, value: object, spare: str, mode: int) -> Settings:
    """Set the setting, or unset it where `value` is Ellipsis, and return the settings when they are on the disk.

    A `value` that can be called gets the old one, and returns the new one. Two changes at once are both kept: the file is read
    and replaced under a lock on the spool's directory.
    """
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        durable.lock_waiting(folder)
        given = {"format": FORMAT, **load(root).given}
        if value is ...:
            given.pop(name, None)
        else:
            given[name] = value(getattr(Settings(given), name)) if callable(value) else value
        durable.replace(f"{root}/{FILE}", spare, written(given), mode)
    finally:
        os.close(folder)
    return Settings(given)


def change_group(root: str, name: str, changes: dict[str, str], spare: str, mode: int) -> Settings:
    """Change the limits of the group as a person typed them, "none" for no limit. Returns as change() does. Raises WrongValue."""
    new = {word: None if text.lower() == "none" else _group_value(word, text) for word, text in changes.items()}

    def changed(groups: dict) -> dict:
        group = {word: value for word, value in {**groups.get(name, {}), **new}.items() if value is not None}
        return {each: limits for each, limits in {**groups, name: group}.items() if limits}

    return change(root, "groups", changed, spare, mode)


def _group_value(word: str, text: str) -> object:
    try:
        value = text if word in ("rate", "keep_done", "keep_dead") else text == "true" if word == "paused" else number(text)
    except ValueError:
        value = text
    if not GROUP_WORDS[word](value):
        rules = {"concurrency": "a whole number from 1 to 1024", "rate": "10/m, 3/10s or the like", "weight": "a number above 0"}
        raise WrongValue(
            f"--{word.replace('_', '-')} can't be {text!r}: it takes {rules.get(word, 'a time such as 7d, forever')}, or none"
        )
    return value


def written(given: dict) -> bytes:
    """Return settings as the content of config.json."""
    return (json.dumps(given, indent=2) + "\n").encode()
