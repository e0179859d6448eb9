"""Each verb, cut by a power failure at any place: whatever of what was not synced is missing, and in whatever order."""

import os
import random

import pytest
from crash.actors import Actor
from crash.disk import Disk, Journal
from crash.scenes import SCENES
from crash.test_crash_points import recovered, seen, set_up

from jobspool import Spool
from jobspool import claim as claims
from jobspool.states import FAILED, PENDING, PROCESSING

SAMPLES = int(os.environ.get("POWER_SAMPLES", 12))  # of each cut that leaves more than can be enumerated
MOST = 200 * SAMPLES  # different disks of a scene
SEED = int(os.environ.get("POWER_SEED", 1))


def lay(tree, root):
    """Write the tree into the spool at `root`, in place of what lies there."""
    for folder, _, files in os.walk(root):
        for name in files:
            os.unlink(f"{folder}/{name}")
    first = {}
    for path, (file, content, mtime) in tree.items():
        if file in first:
            os.link(first[file], path)
            continue
        first[file] = path
        with open(path, "wb") as new:
            new.write(content)
        os.utime(path, ns=(mtime, mtime))


def played(scene, place, kind):
    """Play the scene to its end; yield, after each of its calls, the disk's model and what was said until then."""
    spool = set_up(scene, place)
    spool._ordered = kind is Journal  # whatever it really lies on
    disk, before, said = kind(spool.root), seen(spool), []
    actor = Actor(lambda say: scene.deed(spool, say))
    done = 0
    while True:
        while done < len(actor.ops) and actor.ops[done][1] is not None:
            disk.call(*actor.ops[done])
            done += 1
        if actor.now.kind == "said":
            said.append(actor.now.what)
        yield disk, before, list(said)
        if actor.now.kind == "ended":
            assert actor.now.what is None, actor.now.what
            return
        actor.step()


def check(spool, before, after, said, where, goes):
    for token, places in after.items():
        files = {os.lstat(spool.path(place.state, place.id)).st_ino for place in places}
        assert len(files) == 1, f"{where}: {token} is in {places}"
        assert PROCESSING not in {place.state for place in places}, f"{where}: {token} is in {places}"
    assert (set(before) | {token for word, token, *_ in said if word == "added"}) - set(goes) <= set(after), f"{where}: lost"
    assert {token for token in after if isinstance(token, str)} <= set(before), f"{where}: what is no job was left"
    for word, token, *state in said:
        if word in ("ended", "moved"):
            assert [place.state for place in after[token]] == state, f"{where}: told {word} {state[0]}, found {after[token]}"


def check_goes_on(spool, where):
    """What waits can be claimed, what is due comes back, and then each job has one name."""
    for id in spool.names(FAILED):
        claims.due_again(spool, id, spool.now() + 3600)
    for id in spool.names(PENDING):
        claim = claims.take(spool, id, spool.settings())
        if isinstance(claim, claims.Refused):
            assert claim.kind in ("unfit", "early"), f"{where}: {id} is refused: {claim}"
        else:
            claim.release()
    for token, places in seen(spool).items():
        assert len(places) == 1 or token == "half", f"{where}: {token} is still in {places}"


@pytest.mark.parametrize("kind", [Disk, Journal], ids=["no order", "journal"])
@pytest.mark.parametrize("scene", [scene for scene in SCENES if scene.fsync != "never"], ids=lambda scene: scene.name)
def test_power_cut_anywhere(scene, kind, tmp_path):
    luck = random.Random(SEED)
    trees = {}
    for disk, before, said in played(scene, tmp_path, kind):
        calls = len(disk.effects)
        for tree in disk.trees(luck, SAMPLES):
            trees.setdefault((tuple(sorted(tree.items())), tuple(said)), (tree, before, said, calls))
    spool = Spool(tmp_path / "spool")
    for tree, before, said, calls in luck.sample(list(trees.values()), min(MOST, len(trees))):
        lay(tree, spool.root)
        where = f"cut after {calls} changes (POWER_SEED={SEED})"
        check(spool, before, recovered(spool), said, where, scene.goes)
        check_goes_on(spool, where)
    assert len(trees) > 2
