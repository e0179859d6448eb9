"""Real file systems, cut from their power while real workers run: a short run of `make powercut`."""

import os
import tempfile

import pytest
from powercut.load import FILE_SYSTEMS, missing, record
from powercut.replay import replay
from powercut.run import MEMORY

STATES = 60  # of each file system; the long run tries thousands
SEED = int(os.environ.get("SEED", 1))


@pytest.fixture(scope="module", params=FILE_SYSTEMS)
def recording(request):
    if why := missing(request.param):
        pytest.skip(why)
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        yield record(request.param, "group", 48, folder), folder


def test_nothing_is_lost_torn_or_there_twice(recording):
    recorded, folder = recording
    found = replay(recorded, STATES, SEED, folder)
    assert (found.violations, found.states) == ([], STATES)
    assert found.unmountable["states"] < STATES / 10


def test_the_disk_saw_flushes_and_the_witness_heard_of_all(recording):
    recorded, _ = recording
    flushes = sum(write.data is None for write in recorded.writes[recorded.first :])
    added = {word.job for word in recorded.witness if word.ended is None}
    ended = {word.job for word in recorded.witness if word.ended and word.ended[1] in ("done", "dead")}
    assert len(added) == 48
    assert (ended, flushes > 48) == (added, True)


def test_a_witness_who_heard_more_than_is_there_is_believed(recording):
    """The comparison finds what it is to find: an add that was never made, an end that never came."""
    recorded, folder = recording
    liar = recorded.witness[0]._replace(job="never-added", count=0)
    early = next(word for word in recorded.witness if word.ended)._replace(count=0)
    found = replay(recorded._replace(witness=[liar, early]), 3, SEED, folder)
    assert found.lost["states"] == 3
    assert any("never-added was added, and is gone" in violation for violation in found.violations)
