"""Each peer of `make bench` runs all its jobs, says so only then, and leaves nothing behind. Only those that are installed."""

import os
import signal
import threading

import pytest

from bench import peers
from bench.peers import PEERS, setup
from bench.place import Place

JOBS, WORKERS = 20, 2


@pytest.fixture
def place(tmp_path):
    """A place for measuring, on what file system there is."""
    found = Place()
    found.folder = str(tmp_path)
    return found


@pytest.fixture(params=PEERS, ids=lambda kind: kind.__name__)
def peer(request):
    found = request.param()
    if found.missing:
        pytest.skip(f"{', '.join(found.missing)} not installed: make bench does that")
    yield found
    found.close()
    assert left_of(found) == []


def left_of(peer):
    """The processes of the peer that live."""
    return [pid for crew in (peer.crew, getattr(peer, "servers", None)) if crew for pid in crew.bearers()]


def appending(folder):
    """A command without a need for a shell that appends a line to the file `out` there."""
    (folder / "line").write_text("ran\n")
    return f"dd if={folder}/line of={folder}/out oflag=append conv=notrunc status=none"


def test_a_drain_runs_each_job_once(peer, place, tmp_path):
    peer.prepare(place, [appending(tmp_path)] * JOBS)
    assert not (tmp_path / "out").exists()
    seconds = peer.drain(WORKERS)
    assert (tmp_path / "out").read_text() == "ran\n" * JOBS
    assert 0 < seconds < 30


def test_a_drain_with_a_job_that_fails_is_no_drain(peer, place):
    peer.prepare(place, [*["true"] * 5, "false"])
    with pytest.raises(AssertionError):
        peer.drain(WORKERS)


def test_an_interrupted_drain_leaves_no_process(peer, place, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    peer.prepare(place, [f"cat {tmp_path}/fifo"])

    def interrupt():
        with open(tmp_path / "fifo", "wb"):  # which waits until the job has opened it, too
            os.kill(os.getpid(), signal.SIGINT)
            closed.wait()

    closed = threading.Event()
    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        peer.drain(WORKERS)
    try:
        assert left_of(peer)
        peer.close()
        assert left_of(peer) == []
    finally:
        closed.set()
        thread.join()


def test_litequeue_adds_each_line(place):
    if peers.litequeue.missing():
        pytest.skip("litequeue not installed: make bench does that")
    assert peers.litequeue.add_each(place, ["true"] * JOBS) > 0


def test_no_peer_is_available_where_nothing_is_installed(monkeypatch, tmp_path):
    monkeypatch.setattr(setup, "FOUND", str(tmp_path / "versions.json"))
    assert (peers.available(), peers.litequeue.missing()) == ([], ["litequeue"])


def test_each_peer_says_what_it_is(peer):
    assert peer.name and peer.note and any(digit.isdigit() for digit in peer.version())
