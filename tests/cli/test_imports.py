"""What a command imports before it does anything: each module costs its milliseconds, each time that somebody types it."""

import subprocess
import sys
from pathlib import Path

import docopt
import pytest
from kit import TOP

# Without site, which may import anything. Python's own start, and what its modules import of each other, are not ours.
SEE = """
import sys
sys.path[:0] = [{top!r}, {packages!r}]
import collections, contextlib, re, typing
before = set(sys.modules)
import queuectl
status = queuectl.main(sys.argv[1:])
print(*sorted(name for name in set(sys.modules) - before if not name.startswith("_")), file=sys.stderr)
"""
ALWAYS = {
    *("docopt", "docopt._version", "errno", "fcntl", "json", "json.decoder", "json.encoder", "json.scanner", "math", "queuectl"),
    *("jobspool", *(f"jobspool.{name}" for name in "config durable errors filesystem job say spool states trust".split())),
}
ROSTER = ["jobspool.process", "jobspool.roster", "select", "signal", "datetime"]


@pytest.mark.parametrize(
    ("words", "more"),
    [
        (["enqueue", "true"], ["jobspool.journal", "pwd"]),
        (["enqueue", "--", "make", "all"], ["jobspool.journal", "pwd"]),
        (["list"], ["jobspool.retry"]),
        (["list", "--limit", "1"], ["jobspool.retry", "heapq"]),
        (["status"], [*ROSTER, "jobspool.vital"]),
    ],
    ids=" ".join,
)
def test_a_command_imports_no_more_than_it_needs(spool, words, more):
    for _ in range(2):
        spool.add("true")
    code = SEE.format(top=str(TOP), packages=str(Path(docopt.__file__).parents[1]))
    command = [sys.executable, "-S", "-E", "-c", code, *words]
    ended = subprocess.run(command, env={"QUEUECTL_SPOOL": spool.root}, capture_output=True, text=True, timeout=60)
    assert set(ended.stderr.splitlines()[-1].split()) == ALWAYS | set(more)
