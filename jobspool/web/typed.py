"""The command line that does the same as what the page did, so that the page teaches the command."""

from __future__ import annotations

import shlex

from jobspool.job import Job
from jobspool.say import printable

OPTIONS = {  # words of a job's file whose option takes the value as it is
    "max_retries": "--max-retries",
    "timeout": "--timeout",
    "idle_timeout": "--idle-timeout",
    "grace": "--grace",
    "stop_signal": "--stop-signal",
    "nice": "--nice",
    "ionice": "--ionice",
    "expires": "--expires",
    "deadline": "--deadline",
    "retry_until": "--retry-until",
    "backoff_base": "--backoff-base",
    "snooze": "--snooze",
    "priority": "--priority",
    "group": "--group",
    "batch": "--batch",
    "dead_parent": "--dead-parent",
    "cwd": "--cwd",
    "hold": "--hold",
    "keep": "--keep",
    "name": "--name",
}
LISTS = {"locks": "--lock", "after": "--after", "after_any": "--after-any", "after_fail": "--after-fail"}
PAIRS = {"exits": "--exits", "slots": "--slots"}
LIMITS = {"memory": "--memory", "cpu": "--cpu-time", "files": "--open-files", "core": "--core-size"}


class _NoOption(Exception):
    """No option says that: the job is given as JSON."""


def named(job: Job) -> str:
    """Return how a shell is told which job is meant."""
    word = shlex.quote(printable(job.handle))
    return f"-- {word}" if word.startswith("-") else word


def command(verb: str, job: Job, *options: str) -> str:
    """Return `queuectl VERB OPTIONS JOB`, as one would type it."""
    return " ".join(["queuectl", verb, *map(shlex.quote, options), named(job)])


def by_reason(reason: str, verb: str) -> str:
    """Return what does that to all jobs that died of exactly this."""
    return f"{shlex.join(['queuectl', 'list', '--state', 'dead', '--reason', reason, '-q'])} | queuectl {verb} -"


def enqueue(record: dict, id: str | None, start: str | None) -> str:
    """Return the command line that adds such a job."""
    before = [f"--id={id}"] if id is not None else []
    before += [f"--at={start}"] if start is not None else []
    try:
        options = [each for word, value in record.items() if word not in ("command", "argv") for each in _option(word, value)]
        words = ["--", *record["argv"]] if "argv" in record else _one_word(record["command"])
    except _NoOption:
        import json

        options, words = [], [json.dumps(record, ensure_ascii=False)]
    return shlex.join(["queuectl", "enqueue", *before, *options, *words])


def _one_word(command: str) -> list[str]:
    if command.lstrip().startswith(("{", "[")) or command.startswith("-"):
        raise _NoOption  # that would be taken for JSON, or for an option
    return [command]


def _option(word: str, value: object) -> list[str]:
    if word in OPTIONS:
        return [f"{OPTIONS[word]}={value}"]
    if word in LISTS and not any("," in each or each != each.strip() for each in value):
        return [f"{LISTS[word]}={','.join(value)}"]
    if word in PAIRS and not any("," in name or name != name.strip() for name in value):
        return [f"{PAIRS[word]}={','.join(f'{name}={part}' for name, part in value.items())}"]
    if word == "backoff":
        return [f"--backoff={value if isinstance(value, str) else ','.join(map(str, value))}"]
    if word == "limits":
        return [f"{LIMITS[each]}={most}" for each, most in value.items()]
    if word == "env":
        return [f"--env={name}={text}" for name, text in value.items()]
    if word == "tags":
        return [f"--tag={tag}" for tag in value]
    raise _NoOption
