"""`make bench [QUICK=1] [ROWS=drains,idle]`: measure everything beside its peers, print the table, write bench/results/."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import import_module

from rich.console import Console

from bench import table
from bench.machine import machine
from bench.place import Place
from bench.report import Report
from bench.row import Failed, Row

MODULES = ("drains", "adding", "ordering", "watched", "reacting", "many", "idle", "printing", "wide")
BENCH = os.path.dirname(os.path.abspath(__file__))
RESULTS = f"{BENCH}/results"
TRIES = f"{RESULTS}/tries"  # of runs that are quick, or not of all: they never take the place of whole ones
PLOTTER = f"{BENCH}/.peers/venv/bin/python"  # has matplotlib
WIDE = 150  # columns, where no terminal tells


def main() -> int:
    """Do what the environment asks for; return 1 where anything could not be measured, 2 where no rows have that name."""
    quick = os.environ.get("QUICK", "0") not in ("", "0")
    wanted = os.environ.get("ROWS", "").replace(",", " ").split() or list(MODULES)
    if unknown := [name for name in wanted if name not in MODULES]:
        print(f"bench: ROWS has {', '.join(unknown)}; there are {', '.join(MODULES)}", file=sys.stderr)
        return 2
    whole = not quick and set(wanted) == set(MODULES)
    with Place() as place:
        return measure(place, wanted, quick, RESULTS if whole else TRIES)


def measure(place: Place, modules: list[str], quick: bool, folder: str) -> int:
    """Measure the rows of these modules, print each, write all into `folder`, draw it, and return the exit status."""
    console = Console(width=None if sys.stdout.isatty() else WIDE, highlight=False)
    report = Report(f"{datetime.now(UTC):%Y-%m-%dT%H:%M}", machine(place), quick)
    console.print(table.heading())
    for row in found(report, place, modules):
        console.print(table.as_text(row))
        (report.failed if isinstance(row, Failed) else report.rows).append(row)
    path = report.save(folder)
    if missing := plot(path):
        report.failed.append(missing)
        console.print(table.as_text(missing))
    console.print(table.where_and_when(report))
    console.print(f"{len(report.rows)} rows, {len(report.failed)} failed: {os.path.relpath(path)}")
    return 1 if report.failed else 0


def found(report: Report, place: Place, modules: list[str]) -> Iterator[Row | Failed]:
    """Get the peers, then yield each row as soon as it is measured; in the place of those that fail comes why."""
    try:
        report.machine["peers"] = _peers()
    except Exception as error:  # noqa: BLE001 - whatever it was: it is told, the run exits with 1, and what needs no peer goes on
        yield Failed.by("peers", error)
    for module in modules:
        print(f"bench: {module} ...", file=sys.stderr)
        try:
            yield from import_module(f"bench.{module}").rows(place, report.quick)
        except Exception as error:  # noqa: BLE001 - the same
            yield Failed.by(module, error)


def plot(path: str) -> Failed | None:
    """Draw that file's plots beside it, or return why they aren't drawn."""
    try:
        subprocess.run([PLOTTER, "-m", "bench.plot", path], cwd=os.path.dirname(BENCH), check=True, stderr=subprocess.PIPE)
    except (OSError, subprocess.CalledProcessError) as error:
        return Failed.by("plots", error)
    return None


def _peers() -> dict[str, str]:
    """Install all peers that can be had, and return their versions."""
    peers = import_module("bench.peers")
    peers.install()
    return {peer.name: peer.version() for peer in peers.available()}


if __name__ == "__main__":
    sys.exit(main())
