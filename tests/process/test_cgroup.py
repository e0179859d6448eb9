"""A memory limit that the kernel keeps: with a stand-in for systemd-run, as no systemd runs where tests do."""

import os

import pytest
from kit import drop

from jobspool import cgroup, command
from jobspool.channel import Channel
from jobspool.worker import Worker


@pytest.fixture
def systemd(tmp_path, monkeypatch):
    """A systemd-run that writes down its words and becomes what stands behind them; with a file `no`, it refuses."""
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin/systemd-run"
    script.write_text(
        f'#!/bin/sh\ntest -e {tmp_path}/no && exit 1\necho "$@" >> {tmp_path}/words\n'
        'while [ "$1" != -- ]; do shift; done; shift; exec "$@"\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setattr(cgroup, "BOOTED", str(tmp_path))
    cgroup.available.cache_clear()
    yield tmp_path
    cgroup.available.cache_clear()


def work(spool, id):
    """Run the job in a worker here, and return its last attempt."""
    _, theirs = Channel.pair()
    worker = Worker(spool, theirs, os.getpid())
    worker.work(id)
    worker.finish()
    return spool.find(id).attempts[-1]


def test_a_job_with_a_memory_limit_is_a_scope(spool, systemd):
    drop(spool, "x", {"command": "echo in $0; nice", "limits": {"memory": 1 << 26, "files": 50}, "nice": 2})
    attempt = work(spool, "x")
    assert attempt["verdict"] == "done"
    [_, words] = (systemd / "words").read_text().splitlines()
    assert f"--scope --quiet --collect -p MemoryMax={1 << 26} -p MemorySwapMax=0 -- nice -n 2" in words


def test_who_is_killed_there_was_over_its_limit(spool, systemd):
    drop(spool, "x", {"command": "kill -9 $$", "limits": {"memory": 1 << 26}, "max_retries": 0})
    assert work(spool, "x")["reason"] == "over 64 MiB of memory"


def test_where_it_is_refused_all_is_as_ever(spool, systemd):
    (systemd / "no").touch()
    drop(spool, "x", {"command": "kill -9 $$", "limits": {"memory": 1 << 26}, "max_retries": 0})
    assert work(spool, "x")["reason"] == "ended by SIGKILL"
    assert command.limiting({"limits": {"memory": 1}}) == []


def test_other_jobs_know_nothing_of_it(systemd):
    assert command.limiting({"command": "true", "limits": {"files": 5}})[:2] == ["/bin/sh", "-c"]
    assert not (systemd / "words").exists()
