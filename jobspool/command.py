"""What a job's command becomes: the program, its words and its environment.

A command with nothing in it that needs a shell is executed directly, which halves what it costs; the rule is narrow on
purpose, so that both ways always do the same.
"""

from __future__ import annotations

import os
import re
import time

from jobspool import cgroup
from jobspool.errors import shortened
from jobspool.job import IO_CLASSES

SHELL = "/bin/sh"
AN_INSTANT = 0.02  # seconds for which a program that was found stays where it is
PLAIN = re.compile(r"[A-Za-z0-9_./:,@%+-][A-Za-z0-9_./:,@%+=-]*(?:[ \t]+[A-Za-z0-9_./:,@%+=-]+)*")
# The words that mean something to a POSIX shell itself: its reserved words and built-in utilities (POSIX.1-2017, XCU 2.4,
# 2.14 and 1.6), and those of dash and bash beside. `true`, `false` and `sleep` do the same as programs.
OF_THE_SHELL = frozenset(
    "alias bg bind break builtin caller case cd chdir command compgen complete compopt continue coproc declare dirs disown do "
    "done echo elif else enable esac eval exec exit export fc fg fi for function getopts hash help history if in jobs kill let "
    "local logout mapfile newgrp popd printf pushd pwd read readarray readonly return select set shift shopt source "
    "suspend test then time times trap type typeset ulimit umask unalias unset until wait while . : [".split()
)


_found: dict[tuple[str, str], tuple[str, float]] = {}  # name and search path: its path, until when (monotonic)


class CannotStart(Exception):
    """A command that can't be started: its exit `status` (126 or 127, as in POSIX shells) and the reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = shortened(reason)


def words(record: dict) -> list[str]:
    """Return the program and its arguments: the argv of the record, or of its command, or a shell with it."""
    if "argv" in record:
        return record["argv"]
    return direct(record["command"]) or [SHELL, "-c", "--", record["command"]]


def direct(command: str) -> list[str] | None:
    """Return the command's words if a shell would do nothing but run them, else None."""
    if not PLAIN.fullmatch(command):
        return None
    split = command.split()
    return None if split[0] in OF_THE_SHELL or "=" in split[0] else split


def limiting(record: dict) -> list[str]:
    """Return the words before a program that has limits of the kernel's, of a shell that sets them and becomes it; else none."""
    if LIMITED.isdisjoint(record):
        return []
    limits, nice, io = record.get("limits", {}), record.get("nice"), record.get("ionice")
    sets = [f"ulimit -S {option} {limits[word] // size}" for word, (option, size) in ULIMITS.items() if word in limits]
    before = cgroup.scope(record) + (["nice", "-n", str(nice)] if nice is not None else [])
    before += ["ionice", "-c", str(IO_CLASSES[io])] if io else []
    return [SHELL, "-c", "; ".join([*sets, f'exec {" ".join(before)} "$@"']), "queuectl"] if sets or before else []


LIMITED = frozenset(("limits", "nice", "ionice"))
ULIMITS = {"cpu": ("-t", 1), "files": ("-n", 1), "core": ("-c", 512)}  # POSIX counts files in blocks


def find_program(name: str, search: str) -> str:
    """Return the path of the program `name`, looked for in the `search` path unless it has a slash, or was just found there.

    Raises CannotStart: 127 when it isn't there, 126 when it can't be executed.
    """
    if "/" in name:
        return name
    found, until = _found.get((name, search), ("", 0.0))
    if time.monotonic() < until:
        return found
    found = _find(name, search)
    _found.clear()  # but for the last one: many jobs of one kind come behind each other
    _found[name, search] = found, time.monotonic() + AN_INSTANT
    return found


def _find(name: str, search: str) -> str:
    paths = [f"{folder or '.'}/{name}" for folder in search.split(":")]
    for path in paths:
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    if found := next(filter(os.path.isfile, paths), None):
        raise CannotStart(126, f"{found} is not executable")
    raise CannotStart(127, f"command not found: {name}")


def enter(folder: str) -> None:
    """Make `folder` the working directory. Raises CannotStart."""
    try:
        os.chdir(folder)
    except FileNotFoundError:
        raise CannotStart(127, f"cwd {folder} is gone") from None
    except OSError as error:
        raise CannotStart(126, f"cwd {folder}: {error.strerror}") from None


def leave() -> None:
    """Make / the working directory: an idle worker keeps no file system from being unmounted."""
    os.chdir("/")
