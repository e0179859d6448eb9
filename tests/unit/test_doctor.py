"""What is wrong with a spool is said: one scene for each kind of finding."""

import fcntl
import json
import os
import signal
import socket
import time
from pathlib import Path

import pytest
from kit import alive, comes_to, drop, everyone, new_spool, pool, queuectl, until, until_it_runs, workers

from jobspool import claim as claims
from jobspool import doctor, process, roster
from jobspool.states import STATES

HOUR = 3600


def kinds(spool):
    return sorted({finding.kind for finding in doctor.examine(spool)})


def finding(spool, kind):
    [found] = [found for found in doctor.examine(spool) if found.kind == kind]
    return found


# ---- scenes: each lays one thing wrong


def missing(spool):
    os.rmdir(spool.folder("failed"))


def mode(spool):
    os.chmod(spool.folder("pending"), 0o777)


def owner(spool):
    if os.geteuid():
        pytest.skip("takes root, to give a directory away")
    os.chown(spool.folder("done"), 65534, -1)


def split(spool):
    target = f"/dev/shm/queuectl-split-{os.getpid()}"
    os.mkdir(target)
    try:
        if os.stat(target).st_dev == os.stat(spool.root).st_dev:
            pytest.skip("takes a second file system at /dev/shm")
        seen = doctor.Seen(spool)
        found = os.stat(target)
        real, doctor._look = doctor._look, lambda path: found if path.endswith("/dead") else real(path)
        try:
            return [each.kind for each in doctor.directories(seen)]
        finally:
            doctor._look = real
    finally:
        os.rmdir(target)


def config(spool):
    Path(spool.root, "config.json").write_text('{"max_retries": "many"}')


def unserved(spool):
    drop(spool, "x", {"command": "true"})


def paused(spool):
    drop(spool, "x", {"command": "true"})
    Path(spool.root, "paused").touch()


def orphan(spool):
    drop(spool, "x", {"command": "true"}, "processing")


def ignored(spool):
    Path(spool.folder("pending"), "x.json~").touch()


def unsafe(spool):
    Path(spool.root, "elsewhere").write_text('{"command": "true"}')
    os.symlink(f"{spool.root}/elsewhere", spool.path("failed", "link"))


def unreadable(spool):
    drop(spool, "x", {"comand": "true"}, "dead")


def links(spool):
    os.utime(drop(spool, "linked", {"command": "true"}, "failed"), (time.time() + 4,) * 2)
    os.link(spool.path("failed", "linked"), spool.path("dead", "linked"))


def twins(spool):
    for state in ("done", "dead"):
        drop(spool, "twin", {"command": "true"}, state)


def leftover(spool):
    path = Path(spool.root, "tmp", "4194304-x")  # above the highest process id there can be
    path.touch()
    spool.now = lambda: time.time() + HOUR


def far(spool):
    os.utime(drop(spool, "x", {"command": "true"}, "done"), (time.time() + HOUR,) * 2)


def stale(spool):
    known = {
        "role": "worker",
        "name": "here:4194304",
        "pid": 4194304,
        "start": 1,
        "boot": process.boot(),
        "spool": roster.identity(spool),
    }
    Path(spool.root, "workers", "worker-4194304.json").write_text(json.dumps(known))


SCENES = {
    "missing": missing, "mode": mode, "owner": owner, "config": config, "unserved": unserved, "paused": paused, "orphan": orphan,
    "ignored": ignored, "unsafe": unsafe, "unreadable": unreadable, "links": links, "twins": twins, "leftover": leftover,
    "time": far, "stale": stale,
}  # fmt: skip
MENDED = {"missing", "mode", "orphan", "links", "time", "stale"}
ELSEWHERE = {"split", "filesystem", "room", "inotify", "stopped", "held"}  # each has a test of its own below


def test_a_sound_spool_has_nothing_wrong(spool):
    for state in ("failed", "done", "dead"):
        os.utime(
            drop(spool, f"x-{state}", {"command": "true"}, state), (time.time() + (HOUR if state == "failed" else -HOUR),) * 2
        )
    os.utime(drop(spool, "later", {"command": "true"}), (time.time() + HOUR,) * 2)
    assert list(doctor.examine(spool)) == []


@pytest.mark.parametrize("kind", SCENES)
def test_each_kind_of_trouble_is_found(kind, spool):
    SCENES[kind](spool)
    assert kinds(spool) == [kind]


@pytest.mark.parametrize("kind", sorted(MENDED))
def test_what_can_be_mended_is_mended_and_nothing_is_lost(kind, spool):
    SCENES[kind](spool)
    held = sorted(content(spool))
    finding(spool, kind).mend()
    spool.now = lambda: time.time() + 1  # the orphan's retry is not due yet, so that nothing waits
    assert (kind in kinds(spool), sorted(content(spool))) == (False, held)


def content(spool):
    """The commands in the spool, each once a file."""
    jobs = [job for state in STATES if os.path.isdir(spool.folder(state)) for job in spool.jobs(state)]
    found = {os.lstat(spool.path(job.state, job.id)).st_ino: job.command for job in jobs}
    return found.values()


def test_only_that_is_offered_to_be_mended_which_can_be(tmp_path):
    offered = set()
    for kind, lay in SCENES.items():
        (tmp_path / kind).mkdir()
        spool = new_spool(tmp_path / kind)
        lay(spool)
        offered |= {found.kind for found in doctor.examine(spool) if found.mend}
    assert offered == MENDED


def test_every_kind_is_shown_by_a_test():
    assert set(SCENES) | ELSEWHERE == set(doctor.MEANS)


def test_a_state_on_another_disk_is_told(spool):
    assert split(spool) == ["split"]


def test_a_disk_that_is_nearly_full_is_told(spool, monkeypatch):
    room = os.statvfs(spool.root)
    little = os.statvfs_result((room.f_bsize, 4096, 1 << 20, 100, 100, 1 << 20, 50, 50, room.f_flag, 255))
    monkeypatch.setattr(os, "statvfs", lambda path: little)
    assert [found.kind for found in doctor.examine(spool)] == ["room", "room"]


def test_a_file_system_that_keeps_no_promises_is_told(spool, monkeypatch):
    monkeypatch.setattr(doctor.filesystem, "problems", lambda root, spare: ["it is on nfs4"])
    assert kinds(spool) == ["filesystem"]


def test_used_up_inotify_is_told(spool, monkeypatch):
    monkeypatch.setattr(doctor.Watch, "start", lambda self: None)
    assert kinds(spool) == ["inotify"]


def test_a_worker_that_a_signal_holds_still_is_told(spool):
    with pool(spool):
        [pid] = workers(spool)
        os.kill(pid, signal.SIGSTOP)
        try:
            until(lambda: process.stopped(pid), "the worker to stop")
            found = finding(spool, "stopped")
        finally:
            os.kill(pid, signal.SIGCONT)
    assert found.cure == f"kill -CONT {pid}"


def test_a_job_held_by_what_it_left_running_is_told_with_the_process(spool, tmp_path):
    """Its worker and its main process are dead; a daemon of it lives, and has the lock."""
    script = tmp_path / "leaves.sh"
    script.write_text(f"setsid sleep 1000 & echo $! > {tmp_path}/left\nsleep 1000\n")
    with pool(spool):
        spool.add(argv=["sh", str(script)], id="x", max_retries=0)
        left = int(until(lambda: (tmp_path / "left").exists() and (tmp_path / "left").read_text(), "the daemon"))
        until(lambda: process.words_of(left).startswith("sleep"), "its command")
        [worker] = [entry for entry in everyone(spool) if entry["role"] == "worker"]
        os.kill(worker["pid"], signal.SIGKILL)
        until(lambda: not alive(worker), "the worker's end")
        group = until(
            lambda: [entry.get("group") for entry in everyone(spool) if entry.get("job") == "x" and entry["group"]], "its group"
        )[0]
        os.killpg(group, signal.SIGKILL)
        until(lambda: not process.members(group), "the group's end")
        found = until(lambda: [f for f in doctor.examine(spool) if f.kind == "held"], "the finding")[0]
        os.kill(left, signal.SIGKILL)
        comes_to(spool, "x", "dead")
    assert f"{left} (sleep 1000)" in found.what
    assert found.cure == f"wait for them, or kill {left}"


def test_a_running_job_is_no_orphan(spool):
    with pool(spool, 2):
        spool.add("sleep 1000", id="x")
        comes_to(spool, "x", "processing")
        until(lambda: any(entry.get("job") == "x" for entry in everyone(spool)), "the worker's note")
        assert kinds(spool) == []


def test_looking_takes_no_lock_and_changes_nothing(spool, monkeypatch):
    for lay in SCENES.values():
        if lay not in (missing, owner, leftover):
            lay(spool)
    before, locked = tree(spool), []
    monkeypatch.setattr(fcntl, "flock", lambda file, how: locked.append(os.readlink(f"/proc/self/fd/{file}")))
    assert set(kinds(spool)) >= set(SCENES) - {"missing", "owner", "unserved", "leftover"}
    assert tree(spool) == before
    assert {os.path.dirname(path) for path in locked} == {f"{spool.root}/tmp"}  # its own, to try whether locks exclude


def tree(spool):
    return {
        path: (os.lstat(path).st_ino, os.lstat(path).st_mtime_ns, os.lstat(path).st_mode)
        for state in (*STATES, "workers")
        for path in map(str, Path(spool.root, state).iterdir())
    }


# ---- the command


def test_the_command_ends_with_0_only_if_all_is_well(spool):
    well = queuectl("doctor", spool=spool)
    assert (well.returncode, well.stdout) == (0, f"all is well with {spool.root}\n")
    missing(spool)
    ill = queuectl("fsck", spool=spool)
    assert (ill.returncode, ill.stderr) == (1, "")
    assert f"> queuectl init {spool.root}   (or: queuectl doctor --fix)" in ill.stdout


def test_fix_mends_and_says_what_is_left(spool):
    missing(spool)
    mode(spool)
    fixed = queuectl("doctor", "--fix", spool=spool)
    assert (fixed.returncode, fixed.stdout.splitlines()[-1]) == (0, "2 of 2 findings mended; all is well now")
    ignored(spool)
    assert queuectl("doctor", "--fix", spool=spool).returncode == 1


def test_json_is_an_object_a_line(spool):
    missing(spool)
    ignored(spool)
    lines = [json.loads(line) for line in queuectl("doctor", "--json", spool=spool).stdout.splitlines()]
    assert [(line["kind"], line["fixable"], line["fixed"]) for line in lines] == [
        ("missing", True, False),
        ("ignored", False, False),
    ]
    assert lines[0]["means"] == doctor.MEANS["missing"]


def test_a_spool_that_other_commands_refuse_is_examined(spool):
    mode(spool)
    assert queuectl("status", spool=spool).returncode == 1
    assert "has mode 0777" in queuectl("doctor", spool=spool).stdout


def test_what_is_no_directory_is_no_spool(tmp_path):
    done = queuectl("--spool", tmp_path / "nowhere", "doctor")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"queuectl init {tmp_path}/nowhere" in done.stderr


def test_a_socket_in_the_spool_is_told_and_not_opened(spool):
    with socket.socket(socket.AF_UNIX) as ear:
        here = os.getcwd()
        os.chdir(spool.folder("pending"))  # a socket's path is short
        try:
            ear.bind("x.json")
        finally:
            os.chdir(here)
        assert finding(spool, "unsafe").what == "pending/x.json: a socket, not a regular file"


def test_who_holds_a_job_is_told_even_if_it_was_never_a_worker(spool):
    drop(spool, "x", {"command": "true"})
    claim = claims.take(spool, "x", spool.settings())
    found = finding(spool, "held")
    claim.release()
    assert f"kill {os.getpid()}" in found.cure


def test_a_job_that_moves_while_one_looks_is_no_twin(spool, monkeypatch):
    """A pool is at work: what was read in one directory may lie in the next when that is read."""
    drop(spool, "x", {"command": "true"}, "done")
    seen = doctor.Seen(spool)
    seen.files["pending"]["x"] = seen.files["done"]["x"]
    assert list(doctor.twins(seen)) == []


def test_one_file_in_two_states_is_mended_whichever_these_are(spool):
    for states in (("pending", "done"), ("done", "dead"), ("failed", "dead")):
        path = drop(spool, "-".join(states), {"command": "true"}, states[0])
        os.link(path, spool.path(states[1], "-".join(states)))
    assert [finding.mend() for finding in doctor.examine(spool) if finding.kind == "links"] == [None] * 3
    assert "links" not in kinds(spool)
    assert len(list(spool.jobs())) == 3


def test_a_link_in_the_place_of_the_settings_is_not_taken_for_open_to_all(spool, tmp_path):
    (tmp_path / "mine").write_text("{}")
    (tmp_path / "mine").chmod(0o600)
    os.unlink(f"{spool.root}/config.json") if os.path.exists(f"{spool.root}/config.json") else None
    os.symlink(tmp_path / "mine", f"{spool.root}/config.json")
    assert kinds(spool) == []
    assert queuectl("doctor", "--fix", spool=spool).returncode == 0
    assert (tmp_path / "mine").stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root, to make a file of another's")
def test_what_one_may_not_read_is_for_its_owner_to_mend(spool):
    os.chown(drop(spool, "x", {"command": "true"}), 12345, 12345)
    (finding,) = doctor.examine(spool)
    assert (finding.kind, finding.what) == ("unsafe", "pending/x.json: it belongs to user 12345, whom this worker doesn't serve")
    assert finding.cure == f"chown root {spool.path('pending', 'x')}, if it is to run"


def test_a_supervisor_that_is_gone_is_missed_though_its_workers_end_what_they_run(spool):
    spool.add("sleep 1000", id="x")
    with pool(spool) as supervisor:
        until_it_runs(spool)
        os.kill(supervisor.pid, signal.SIGKILL)
        supervisor.wait()
        spool.add("true")
        assert "unserved" in kinds(spool)
        assert "the supervisor of 1 worker is gone" in queuectl("status", spool=spool).stdout
