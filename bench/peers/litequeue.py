"""litequeue, a queue in SQLite: for what it costs to add durably."""

from __future__ import annotations

import os
import subprocess

from bench.peers import setup
from bench.place import Place

NAME = "litequeue"
NOTE = "its own journal, WAL, with synchronous=FULL: each put is on disk when it returns; the program's start isn't counted"


def missing() -> list[str]:
    """What it needs that install() didn't get."""
    return [] if NAME in setup.versions() else [NAME]


def version() -> str:
    """Return the package's version."""
    return f"litequeue {setup.versions()[NAME]}"


def add_each(place: Place, lines: list[str]) -> float:
    """Add the lines to a new queue, one put each, and return the seconds. Raises CalledProcessError where not all came in."""
    folder = place.fresh(NAME)
    os.mkdir(folder)
    words = [setup.PYTHON, f"{setup.BENCH}/peers/inside/litequeue_add.py", f"{folder}/queue.sqlite3"]
    at = {"text": True, "check": True, "cwd": "/", "env": setup.environment()}
    return float(subprocess.run(words, input="".join(f"{line}\n" for line in lines), stdout=subprocess.PIPE, **at).stdout)
