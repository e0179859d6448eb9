"""What a shell is told: its script, and what the word at hand may become."""

from __future__ import annotations

import re

from jobspool.job import BACKOFFS, DEAD_PARENT, IO_CLASSES
from jobspool.say import printable, short
from jobspool.states import DEAD, FAILED, PENDING, PROCESSING, STATES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SHELLS = {
    "bash": """\
_queuectl() {
    local IFS=$'\\n'
    COMPREPLY=($(queuectl __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2> /dev/null | cut -f 1))
}
complete -o default -o nosort -F _queuectl queuectl
""",
    "zsh": """\
#compdef queuectl
_queuectl() {
    local -a found
    found=(${(f)"$(queuectl __complete "${(@)words[2,CURRENT]}" 2> /dev/null | sed 's/:/\\\\:/g; s/\\t/:/')"})
    if (( $#found )); then _describe -V queuectl found; else _files; fi
}
if [ "$funcstack[1]" = _queuectl ]; then _queuectl "$@"; else compdef _queuectl queuectl; fi
""",
    "fish": """\
complete -c queuectl -e
complete -c queuectl -k -a '(queuectl __complete (commandline -opc)[2..] (commandline -ct) 2> /dev/null)'
""",
}


SECOND_WORDS = {
    "dlq": ["list", "retry", "show", "purge"],
    "config": ["list", "get", "set", "unset"],
    "schedule": ["list", "add", "show", "pause", "resume", "run-now", "rm"],
    "completion": list(SHELLS),
}
MOST_COMPLETED = 100  # jobs that are offered, the newest first


def complete(words: list[str], usages: dict[str, str], others: dict[str, str], newest: Callable) -> list[str]:
    """Return what the last word may become, each with its description behind a tab; nothing where files may stand.

    `usages` are the commands' texts by their names, `others` these names by what else they are called; `newest` is called with
    states and a number, for the jobs that came to them last.
    """
    *before, part = words or [""]
    if before and before[0] == "--spool":
        before = before[2:]
    if not before:
        found = [f"{name}\t{usage.split(chr(10))[0]}" for name, usage in usages.items()]
    elif (name := others.get(before[0], before[0])) in usages:
        found = _completed(name, usages[name], before[1:], part, newest)
    else:
        found = []
    return [each for each in found if each.startswith(part)]


def _completed(name: str, usage: str, before: list[str], part: str, newest: Callable) -> list[str]:
    takes = dict(re.findall(r"^  (?:-\w )?(--[\w-]+)(=<\w+>)?", usage, re.M))
    if before and takes.get(before[-1]):
        return _values(before[-1])
    if part.startswith("-"):
        said = dict(re.findall(r"^  (?:-\w )?(--[\w-]+)(?:=<\w+>)?  +(.*)", usage, re.M))
        return [f"{option}\t{said.get(option, '')}" for option in takes]
    given = [word for i, word in enumerate(before) if not word.startswith("-") and not (i and takes.get(before[i - 1]))]
    if name in SECOND_WORDS and not given:
        return SECOND_WORDS[name]
    if name == "config" and given[0] in ("get", "set", "unset"):
        return _values("--key") if len(given) == 1 else []
    return _offered(name, part, newest) if "<job>" in usage else []


VALUES = {
    "--state": list(STATES),
    "--backoff": list(BACKOFFS),
    "--dead-parent": list(DEAD_PARENT),
    "--unique-until": ["done", "started"],
    "--ionice": list(IO_CLASSES),
    "--catch-up": ["none", "one", "all"],
    "--overlap": ["skip", "queue", "allow"],
    "--log": ["stdout", "stderr", "syslog", "journald"],
    "--log-format": ["text", "json"],
    "--log-level": ["error", "warning", "info", "debug"],
    "--by": ["name", "group", "batch"],
}


def _values(option: str) -> list[str]:
    if option in VALUES:
        return VALUES[option]
    if option == "--signal":
        import signal

        return [each.name.removeprefix("SIG") for each in signal.Signals]
    if option == "--key":
        from jobspool.config import SETTINGS

        return [f"{setting.name}\t{setting.meaning}" for setting in SETTINGS.values()]
    return []


def _offered(name: str, part: str, newest: Callable) -> list[str]:
    """Return the handles of the newest jobs that the command is for, with their commands."""
    states = {
        "cancel": (PENDING, FAILED, PROCESSING),
        "kill": (PROCESSING,),
        "retry": (FAILED, DEAD),
        "dlq": (DEAD,),
        "hold": (PENDING, FAILED),
        "release": (PENDING, FAILED),
        "wait": (PENDING, FAILED, PROCESSING),
    }.get(name, STATES)
    jobs = reversed(newest(states, MOST_COMPLETED))
    return ["@last\tthe job that was added last", "@failed\tthe job that failed last"] * (part[:1] == "@") + [
        f"{short(job.id)}\t{job.state}: {printable(job.command)}" for job in jobs
    ]
