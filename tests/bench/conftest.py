"""A place that nobody mounts, a command that leaves a line, and a report of a run that never was."""

from dataclasses import replace

import pytest

from bench.place import Place
from bench.report import Report
from bench.row import Failed, Row

MACHINE = {
    "cores": 2, "processor": "AMD EPYC", "memory": "24 GiB", "kernel": "Linux 6.1", "file system": "ext4", "python": "3.11.7",
    "queuectl": "0.1.0", "peers": {"nq": "0.3"},
}  # fmt: skip
LATER = {"unit": "ms", "more_is_better": False}
ROWS = (
    Row("drain-2-never", "drain 20,000 `true`, 2 workers", "jobs/s", [2600.0, 2400.0], "y", [2000.0, 2000.0], 1.3, 1.45, note="53 calls"),
    Row("drain-beside-nq", "drain beside nq", "jobs/s", [2000.0, 2200.0], "nq", [400.0, 400.0], 1.0, 7.0, note="a | b", y=[2000.0, 2000.0]),
    Row("reaction-idle", "from `mv` to the job", ours=[0.4, 0.5, 0.02], **LATER),
    Row("reaction-idle-p50", "from `mv` to the job, p50", ours=[0.4, 0.5], at_least=1.2, **LATER),
    *(Row(f"size-{what}-{count}", f"{what}, {count:,} pending", ours=[1.0, 2.0], **LATER) for what in ("claim", "status") for count in (100, 1000)),
)  # fmt: skip


class Folder(Place):
    """A temporary directory, whoever we are."""

    def _mount(self):
        return False


@pytest.fixture
def place():
    with Folder() as made:
        yield made


class Tally:
    """Counts the runs of its command, outside of any queue."""

    def __init__(self, path):
        self.path, self.command = path, f"echo ran >> {path}"  # O_APPEND

    def lines(self):
        return len(self.path.read_text().splitlines()) if self.path.exists() else 0


@pytest.fixture
def tally(tmp_path):
    return Tally(tmp_path / "tally")


@pytest.fixture
def report():
    return Report(
        "2026-11-25T04:15", MACHINE, rows=[replace(row) for row in ROWS], failed=[Failed("idle", "AssertionError: no | job")]
    )
