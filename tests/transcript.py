"""Run a transcript, a text of `$ command` lines each followed by what it prints, and tell where the truth differs.

`...` at the end of a line stands for the rest of that line, and alone on a line for any lines. `# exit N` behind the output
says the exit status where it isn't 0. What differs from run to run (ids, times, process ids, the directory) is made alike in both.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).parent.parent
ALIKE = (
    (re.compile(r"\d{8}T\d{6}\.\d{6}-[0-9a-z]{6}"), "ID"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"), "TIME"),
    (re.compile(r"\d\d:\d\d:\d\d"), "TIME"),
    (re.compile(r"\b[0-9.]+ (s|min|h|d)\b"), "SPAN"),
    (re.compile(r"supervisor \d+"), "supervisor PID"),
    (re.compile(r"/home/ann/shop"), "HERE"),
    (re.compile(r"queuectl: workers run as root[^\n]*\n"), ""),
    (re.compile(r"[ \t]+"), " "),
    (re.compile(r" +\n"), "\n"),
)


def steps(text):
    """Yield (command, expected output, expected exit status)."""
    for block in re.split(r"^\$ ", text, flags=re.M)[1:]:
        command, _, output = block.partition("\n")
        status = re.search(r"^# exit (\d+)\n", output, re.M)
        yield command, re.sub(r"^# exit \d+\n", "", output, flags=re.M), int(status.group(1)) if status else 0


def install(folder):
    """Put a `queuectl` of this checkout into folder/.bin and return the environment that finds it."""
    folder = Path(folder) / ".bin"
    folder.mkdir()
    script = folder / "queuectl"
    script.write_text(
        f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(TOP / "tests" / "run_queuectl.py"))} "$@"\n'
    )
    script.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("QUEUECTL_")}
    return {**environment, "PATH": f"{folder}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}


def differences(text, folder, compare=True):
    """Run the transcript in `folder` and yield what differs: "command: expected ..., got ..."."""
    environment = install(folder)
    for command, expected, status in steps(text):
        ran = subprocess.run(
            command,
            shell=True,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
        if ran.returncode != status:
            yield f"$ {command}\nexpected exit {status}, got {ran.returncode}:\n{ran.stdout}"
        elif compare and not matches(expected, ran.stdout.replace(str(folder), "/home/ann/shop")):
            yield f"$ {command}\nexpected:\n{expected}got:\n{ran.stdout}"


def matches(expected, printed):
    """Tell whether what was printed is what was expected, but for what varies."""
    pattern = "".join(map(pattern_of, alike(expected).splitlines()))
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in alike(printed).splitlines())) is not None


def pattern_of(line):
    """The pattern for one line of expected output."""
    if line == "...":
        return "(?:.*\n)*?"
    if line.endswith("..."):
        return re.escape(line.removesuffix("...")) + ".*\n"
    return re.escape(line) + "\n"


def alike(text):
    for pattern, word in ALIKE:
        text = pattern.sub(word, text)
    return text.strip("\n")
