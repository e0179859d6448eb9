"""A directory of the spool, or all of it, is taken away under the workers, and comes back or is made anew."""

import errno
import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from disk.bad import at_once, go, noter, ran, the_message, troubles, waiter
from kit import children, comes_to, drop, everyone, log, new_spool, pool, see, until, workers

from jobspool import claim as claims
from jobspool import config, durable
from jobspool.durable import DirectoryGone
from jobspool.sight import AFTER_TROUBLE
from jobspool.states import STATES

LATER = [f"later{number}" for number in range(5)]
CURE = "put it back, or `queuectl init {0}` makes it anew"


def lay(spool, folder):
    """One job runs, and five are put off."""
    spool.add(waiter(folder, "one"), id="one")
    until(lambda: ran(folder) == ["one"], "it to run")
    for id in LATER:
        path = folder / f"{id}.json"
        path.write_text(json.dumps({"command": noter(folder, id)}))
        os.utime(path, (time.time() + 3600,) * 2)
        path.rename(spool.path("pending", id))


def release(pending):
    """Let the five run now, wherever their directory is."""
    for id in LATER:
        os.utime(f"{pending}/{id}.json")


def ends_well(spool, folder):
    """Wait until each has run, once."""
    for id in ("one", *LATER):
        comes_to(spool, id, "done")
    assert ran(folder) == sorted(["one", *LATER])
    assert {len(job.attempts) for job in spool.jobs()} == {1}


def test_while_a_state_is_gone_nothing_is_run_and_all_goes_on_when_it_is_back():
    at_once(take_away, {state: (state,) for state in STATES})


def take_away(folder, state):
    spool = new_spool(folder)
    place, away = spool.folder(state), f"{folder}/away"
    with pool(spool, 2) as supervisor:
        lay(spool, folder)
        os.rename(place, away)
        release(away if state == "pending" else spool.folder("pending"))
        said = the_message(supervisor)
        go(folder, "one")
        if state in ("failed", "dead"):
            comes_to(spool, "one", "done")
        assert ran(folder) == ["one"]
        os.rename(away, place)
        ends_well(spool, folder)
    assert said.startswith(f"{place} is gone: {CURE.format(spool.root)}; ")


def test_a_state_that_is_replaced_is_used_and_what_was_in_the_old_one_goes_on_when_it_is_put_there():
    at_once(replace, {state: (state,) for state in STATES})


def replace(folder, state):
    spool = new_spool(folder)
    place, away = Path(spool.folder(state)), folder / "away"
    config.change(spool.root, "backoff_base", 0, spool.spare(), 0o600)
    with pool(spool, 2) as supervisor:
        lay(spool, folder)
        away.mkdir(mode=0o700)
        durable.exchange(str(away), str(place))  # at one instant: there is none without it, which would be told
        release(away if state == "pending" else spool.folder("pending"))
        comes_to(spool, spool.add("true").id, "done")
        if state == "processing":
            until(lambda: " moved " in supervisor.log.read_text(), "the word that it was moved away")
        go(folder, "one")
        for path in away.iterdir():
            path.rename(place / path.name)
        for id in ("one", *LATER):
            comes_to(spool, id, "done")
        assert troubles(supervisor) == []
    assert sorted(set(ran(folder))) == sorted(["one", *LATER])
    assert len(ran(folder)) == 6 + (state == "processing")


def test_what_is_beside_the_states_is_made_anew():
    at_once(make_anew, {name: (name,) for name in ("tmp", "logs", "workers")})


def make_anew(folder, name):
    spool = new_spool(folder)
    with pool(spool, 2) as supervisor:
        lay(spool, folder)
        shutil.rmtree(f"{spool.root}/{name}")
        release(spool.folder("pending"))
        spool_says = spool.root + f"/{name} is gone: it is made anew"
        said = the_message(supervisor)
        go(folder, "one")
        ends_well(spool, folder)
        until(lambda: len(workers(spool, supervisor.pid)) == 2 and len(everyone(spool)) == 3, "who runs to be noted")
        id = spool.add("echo said").id
        comes_to(spool, id, "done")
        assert log(spool, id) == b"said\n"
    assert said.startswith(spool_says)
    assert os.listdir(f"{spool.root}/workers") == []


def test_a_spool_may_be_moved_away_and_back_while_jobs_run():
    at_once(move_away, {"the spool": ("",), "what it is in": ("/..",)})


def move_away(folder, up):
    (folder / "in").mkdir()
    spool = new_spool(folder / "in")
    place, away = os.path.normpath(spool.root + up), f"{folder}/away"
    with pool(spool, 2) as supervisor:
        supervisor.log = supervisor.log.rename(folder / "log")
        lay(spool, folder)
        os.rename(place, away)
        go(folder, "one")
        said = the_message(supervisor)
        release(f"{away}/spool/pending" if up else f"{away}/pending")
        os.rename(away, place)
        ends_well(spool, folder)
    assert said.startswith(f"{spool.root} is gone: {CURE.format(spool.root)}; ")


def test_workers_of_a_spool_that_is_gone_for_good_end_when_they_are_told_to(tmp_path):
    """There is nothing to record into. While they may come back, outcomes wait: see above."""
    spool = new_spool(tmp_path / "in")
    with pool(spool, 2) as supervisor:
        lay(spool, tmp_path)
        supervisor.log = supervisor.log.rename(tmp_path / "log")
        shutil.rmtree((tmp_path / "in").rename(tmp_path / "away"))  # at one instant, so that there is one thing to tell
        go(tmp_path, "one")
        assert the_message(supervisor).startswith(f"{spool.root} is gone: {CURE.format(spool.root)}; ")
        supervisor.terminate()
        assert supervisor.wait(30) == 0


@pytest.mark.parametrize("fsync", ["always", "never"])
def test_workers_that_wait_for_each_record_end_too(tmp_path, fsync):
    """They record in the thread that hears orders."""
    spool = new_spool(tmp_path / "in")
    config.change(spool.root, "fsync", fsync, spool.spare(), 0o600)
    with pool(spool, 1) as supervisor:
        spool.add(f"touch {tmp_path}/ran; until test -e {tmp_path}/go; do sleep 0.05; done")
        until((tmp_path / "ran").exists, "the job to run")
        supervisor.log = supervisor.log.rename(tmp_path / "log")
        shutil.rmtree((tmp_path / "in").rename(tmp_path / "away"))  # at one instant, so that there is one thing to tell
        (tmp_path / "go").touch()
        assert " is gone: " in the_message(supervisor)
        supervisor.terminate()
        assert supervisor.wait(30) == 0


# ---- what a supervisor sees


def test_what_was_touched_while_nobody_could_see_it_is_seen_when_it_is_back(spool, sight, tmp_path):
    os.utime(drop(spool, "x", {"command": "true"}), (time.time() + 3600,) * 2)
    assert see(sight) is None
    os.rename(spool.folder("pending"), tmp_path / "away")
    see(sight)
    os.utime(tmp_path / "away/x.json")
    os.rename(tmp_path / "away", spool.folder("pending"))
    assert see(sight) == "x"


def test_a_paused_spool_that_is_moved_away_and_back_stays_paused(spool, sight, tmp_path):
    drop(spool, "x", {"command": "true"})
    Path(spool.root, "paused").touch()
    see(sight)
    os.rename(spool.root, tmp_path / "away")
    see(sight)
    assert (sight.paused, {type(error) for error in sight.told}) == (True, {DirectoryGone})
    os.rename(tmp_path / "away", spool.root)
    assert see(sight) is None
    os.unlink(f"{spool.root}/paused")
    assert see(sight) == "x"


def test_a_failed_job_that_could_not_be_moved_when_it_was_due_is_moved_later(spool, sight, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr(claims, "due_again", fail)
        drop(spool, "x", {"command": "true"}, "failed")
        assert see(sight) is None
    assert sight.seconds_to_sleep(time.monotonic()) > 0
    assert [error.errno for error in sight.told] == [errno.EIO]
    spool.now = lambda: time.time() + AFTER_TROUBLE
    assert (see(sight), spool.names("failed")) == ("x", [])


def test_a_worker_that_dies_while_the_spool_is_away_is_replaced_without_an_error(tmp_path):
    spool = new_spool(tmp_path / "in")
    with pool(spool, 1) as supervisor:
        (worker,) = workers(spool)
        supervisor.log = supervisor.log.rename(tmp_path / "log")
        os.rename(spool.root, tmp_path / "away")
        os.kill(worker, signal.SIGKILL)
        until(lambda: children(supervisor.pid) not in ([], [worker]), "another")
        until(lambda: troubles(supervisor), "word of it")
        os.rename(tmp_path / "away", spool.root)
        comes_to(spool, spool.add("true").id, "done")
        assert "Traceback" not in supervisor.log.read_text()
