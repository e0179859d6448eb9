"""Each verb, stopped before and after each change it makes on the disk, and halfway through each write; then recovered.

The child that does it really dies there. Recovery is cut at each of its own changes as well, and the recovery after that too.
"""

import os
import shutil
import tempfile
from collections import namedtuple

import pytest
from crash.actors import Actor
from crash.scenes import SCENES, recover
from kit import until

from jobspool import Spool, config
from jobspool.claim import STATE_OF
from jobspool.states import PENDING, PROCESSING

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # order is tested here, not the disk


@pytest.fixture
def place():
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        yield folder


# Where a job lies, under which id, how many attempts are on record, and the last one's verdict.
Place = namedtuple("Place", "state id tries verdict")


def seen(spool):
    """The places of each job, by its token; of a file that is no job by its name."""
    found = {}
    for job in spool.jobs():
        attempts = job.record.get("attempts", [])
        verdict = attempts[-1]["verdict"] if attempts else None
        found.setdefault(job.record.get("meta", job.id), []).append(Place(job.state, job.id, len(attempts), verdict))
    return found


def set_up(scene, folder):
    spool = Spool.init(f"{folder}/spool")
    config.change(spool.root, "fsync", scene.fsync, spool.spare(), 0o600)
    scene.set(spool)
    return spool


def cuts(act):
    """Yield the actor, dead, for each place where `act` can be cut; at last when it came to its end. Each time anew: act()."""
    steps, going = 0, True
    while going:
        for half in (False, True):
            actor = act()
            said = actor.run(steps)
            writes = actor.alive and actor.now.what.name == "write"
            if half and not writes:
                actor.kill() if actor.alive else None
                continue
            going = actor.alive
            actor.step("half") if half else actor.kill() if actor.alive else None
            yield said, f"{'halfway in' if half else 'before'} change {steps + 1}: {actor.now}"
        steps += 1


def check_kept(before, after, said, where, goes=()):
    """What holds at every instant: each job is whole, in one place; what was acknowledged is there; nothing recorded is gone."""
    for token, places in after.items():
        assert len(places) == 1, f"{where}: {token} is in {places}"
    added = {token for word, token, *_ in said if word == "added"}
    assert (set(before) | added) - set(goes) <= set(after), f"{where}: lost"
    for token, [was] in before.items():
        if token not in after:
            continue
        assert was.tries <= after[token][0].tries <= was.tries + 1, f"{where}: {was} became {after[token]}"


def check_recovered(before, cut, after, said, where, goes=()):
    """What holds after recovery: no orphan, every recorded outcome final, what was told is true."""
    check_kept(cut, after, said, where, goes)
    for token, [was] in cut.items():
        now, first = after[token][0], before.get(token, [was])[0]
        assert now.state != PROCESSING, f"{where}: an orphan stays"
        if was.state == PROCESSING and first.state == PENDING:
            assert now.tries == first.tries + 1, f"{where}: its try is not on record"
        if was.tries > first.tries:
            assert now[0] == STATE_OF[was.verdict] and now[2:] == was[2:], f"{where}: the record {was} became {now}"
    for word, token, *state in said:
        if word in ("ended", "moved"):
            assert after[token][0].state == state[0], f"{where}: told {word} {state[0]}, found {after[token]}"


def recovered(spool):
    """Recover until nothing is in processing/: a job whose worker died is left alone until it has ended."""

    def done():
        recover(spool)
        return not spool.names(PROCESSING)

    until(done, "recovery")
    return seen(spool)


def copy(spool, folder):
    """The spool as it lies there, with its times, elsewhere."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(spool.root, folder, symlinks=True)
    return Spool(folder)


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_cut_anywhere_then_recovered(scene, place):
    states = {}
    before = {}

    def act():
        shutil.rmtree(f"{place}/spool", ignore_errors=True)
        spool = set_up(scene, place)
        before.update(seen(spool))
        return Actor(lambda say: scene.deed(spool, say))

    spool, points = Spool(f"{place}/spool"), 0
    for said, where in cuts(act):
        points += 1
        cut = seen(spool)
        check_kept(before, cut, said, where, scene.goes)
        copied = copy(spool, f"{place}/cut-{points}")
        check_recovered(before, cut, recovered(spool), said, where, scene.goes)
        states.setdefault(repr((sorted(cut.items(), key=repr), said)), (copied, cut, said, where))
    assert points > 1 and spool.settings().fsync == scene.fsync
    for copied, cut, said, where in states.values():
        check_cut_recoveries(copied, before, cut, said, where, scene.goes, place)


def check_cut_recoveries(first, before, cut, said, where, goes, place, depth=2):
    """Cut recovery at each of its changes, and the recovery after that, and see that the end is the same each time."""
    spool = Spool(f"{place}/spool{depth}")
    seen_cut = set()

    def act():
        copy(first, spool.root)
        return Actor(lambda say: recover(spool, say))

    for _, point in cuts(act):
        now, line = seen(spool), f"{where}; recovery cut {point}"
        check_kept(before, now, said, line, goes)
        again = copy(spool, f"{place}/again{depth}")
        check_recovered(before, cut, recovered(spool), said, line, goes)
        if depth > 1 and repr(now) not in seen_cut:
            seen_cut.add(repr(now))
            check_cut_recoveries(again, before, now, said, line, goes, place, depth - 1)
