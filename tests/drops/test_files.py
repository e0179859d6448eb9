"""Odd files: never opened in a way that blocks or follows, never run, never changed, never removed; and status says why."""

import contextlib
import json
import os
import shutil
import socket
import stat
import subprocess
from pathlib import Path

import pytest
from drops.scene import fence, look, said, warnings
from kit import PATIENCE, comes_to, drop, pool, queuectl, until, where
from nobody import NOBODY, as_nobody, spool_of_nobody

from jobspool import process, roster

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="takes root, to make files of others")


def make_file(path, content=b"", mode=0o600, owner=-1, group=-1, link=None):
    """Make a file that is what it is to be before it has its name: the pool may be quick."""
    spare = path.with_name(".spare")
    spare.write_bytes(content)
    os.chown(spare, owner, group)
    spare.chmod(mode)
    if link is not None:
        os.link(spare, link)
    os.rename(spare, path)


def make_socket(path):
    here = os.open(".", os.O_RDONLY)
    os.chdir(path.parent)  # the path of a socket is short
    try:
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as server:
            server.bind(".spare")
            os.rename(".spare", path.name)
    finally:
        os.fchdir(here)
        os.close(here)


def first_name_of(path):
    return path.with_name(f"first-{path.name}")


# name: how it is made at a path, given a job that must not run and a directory outside; and why it isn't run.
ODD = {
    "fifo": (lambda path, job, out: os.mkfifo(path), "a FIFO, not a regular file"),
    "socket": (lambda path, job, out: make_socket(path), "a socket, not a regular file"),
    "directory": (lambda path, job, out: path.mkdir(), "a directory, not a regular file"),
    "full directory": (lambda path, job, out: (path.mkdir(), make_file(path / "in.json", job)), "a directory, not a regular file"),
    "link": (lambda path, job, out: path.symlink_to(out / "job.json"), "a symbolic link, not a regular file"),
    "link to nowhere": (lambda path, job, out: path.symlink_to("nowhere"), "a symbolic link, not a regular file"),
    "link to itself": (lambda path, job, out: path.symlink_to(path.name), "a symbolic link, not a regular file"),
    "link to zeros without end": (lambda path, job, out: path.symlink_to("/dev/zero"), "a symbolic link, not a regular file"),
    "hard link from outside": (lambda path, job, out: os.link(out / "linked.json", path), "it has 2 links: copy it instead of linking"),
    "hard link in the spool": (lambda path, job, out: make_file(first_name_of(path), job, link=path), "it has 2 links: copy it instead of linking"),
    "anyone's": (lambda path, job, out: make_file(path, job, 0o666), "anyone may write it: chmod o-w"),
    "anyone's to write only": (lambda path, job, out: make_file(path, job, 0o602), "anyone may write it: chmod o-w"),
}  # fmt: skip
ODD_OF_ROOT = {
    "character device": (lambda path, job, out: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5)), "a device, not a regular file"),
    "block device": (lambda path, job, out: os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(7, 200)), "a device, not a regular file"),
    "foreign": (lambda path, job, out: make_file(path, job, 0o600, 12345), "it belongs to user 12345, whom this worker doesn't serve"),
    "foreign and setuid": (lambda path, job, out: make_file(path, job, 0o4755, 12345), "it belongs to user 12345, whom this worker doesn't serve"),
    "a foreign group's": (lambda path, job, out: make_file(path, job, 0o660, group=12345), "a foreign group, 12345, may write it: chmod g-w"),
}  # fmt: skip
ALL = {**ODD, **(ODD_OF_ROOT if os.geteuid() == 0 else {})}


@pytest.fixture
def outside(tmp_path):
    """A directory beside the spool with jobs that must not run: yields it and such a job."""
    folder = tmp_path / "outside"
    folder.mkdir()
    job = b'{"command": "echo ran >> %s", "priority": 9}' % os.fsencode(tmp_path / "canary")
    for name in ("job.json", "linked.json"):
        make_file(folder / name, job)
    yield folder, job
    assert not (tmp_path / "canary").exists()


def make_all(spool, state, outside):
    """Put each odd file into that state's directory; return {path: how it looks}."""
    folder, job = outside
    for name, (make, _) in ALL.items():
        make(Path(spool.path(state, name)), job, folder)
    return {path: look(path) for path in [*Path(spool.folder(state)).iterdir(), *folder.iterdir()]}


@pytest.mark.parametrize("state", ["pending", "failed", "processing"])
def test_odd_files_stay_as_they_are_and_stop_nobody(spool, outside, state):
    before = make_all(spool, state, outside)
    with pool(spool, 2):
        fence(spool)
        os.utime(spool.folder(state))
        fence(spool)
        why = warnings(spool)
    assert {path: look(path) for path in before} == before
    wanted = {f"{state}/{name}.json": why for name, (_, why) in ALL.items()}
    assert why == {**wanted, f"{state}/first-hard link in the spool.json": "it has 2 links: copy it instead of linking"}
    with pool(spool, 1, "--drain") as supervisor:  # what is never run is not waited for
        assert supervisor.wait(30) == 0
    assert {path: look(path) for path in before} == before


@pytest.mark.parametrize("state", ["done", "dead"])
def test_odd_files_among_what_is_through_are_listed_as_what_they_are(spool, outside, state):
    before = make_all(spool, state, outside)
    with pool(spool, 1):
        fence(spool)
        os.utime(spool.folder(state))
        fence(spool)
        kinds = {id: why for id, (_, why) in ALL.items() if "not a regular file" in why}
        assert warnings(spool) == {f"{state}/{id}.json": why for id, why in kinds.items()}
        listed = {job["id"]: job.get("problem") for job in said("list", "--state", state, spool=spool)}
        assert {id: listed[id] for id in kinds} == kinds
        for id in ("fifo", "link to nowhere"):
            assert f"not a whole job: {kinds[id]}" in queuectl("show", id, spool=spool).stdout
            assert queuectl("dlq", "retry", f"{id}.json", spool=spool).returncode == 1
    assert {path: look(path) for path in before} == before


def test_an_odd_file_that_is_put_right_runs(spool, outside):
    """Each by what status says."""
    folder, _ = outside
    pending = Path(spool.folder("pending"))
    make_file(pending / "open.json", b'{"command": "true"}', 0o666)
    make_file(folder / "twice.json", b'{"command": "true"}')
    os.link(folder / "twice.json", pending / "twice.json")
    (pending / "link.json").symlink_to(folder / "twice.json")
    if os.geteuid() == 0:
        make_file(pending / "foreign.json", b'{"command": "true"}', 0o600, 12345)
    with pool(spool):
        fence(spool)
        assert set(warnings(spool)) == {f"pending/{name}" for name in os.listdir(pending)}
        os.chmod(pending / "open.json", 0o600)
        comes_to(spool, "open", "done")
        os.unlink(folder / "twice.json")  # nothing tells of this, and pending/ hasn't changed
        comes_to(spool, "twice", "done")
        os.unlink(pending / "link.json")
        drop(spool, "link", {"command": "true"})
        comes_to(spool, "link", "done")
        if os.geteuid() == 0:
            os.chown(pending / "foreign.json", 0, 0)
            comes_to(spool, "foreign", "done")
        assert warnings(spool) == {}


def test_an_odd_file_under_a_name_keeps_a_job_of_that_name_waiting_and_says_so(spool):
    """In processing/; where a job goes when it is through, it is set aside instead."""
    os.mkfifo(spool.path("processing", "x"))
    os.mkfifo(spool.path("done", "y"))
    with pool(spool) as supervisor:
        for id in "xy":
            drop(spool, id, {"command": "true"})
        comes_to(spool, "y~1", "done")
        until(lambda: (job := spool.read("done", "y")) and job.record, "the job's record")
        assert where(spool, "x") == ["pending", "processing"]
        assert warnings(spool) == {
            "processing/x.json": "a FIFO, not a regular file",
            "done/y~1.json": "a FIFO, not a regular file",
        }
        os.unlink(spool.path("processing", "x"))
        comes_to(spool, "x", "done")
    assert supervisor.returncode == 0


def test_a_sparse_file_of_10_gib_is_no_job_and_is_not_read_to_its_end(spool):
    path = Path(spool.path("pending", "x"))
    with open(path, "wb") as file:
        file.truncate(10 << 30)
    with pool(spool):
        fence(spool)
        job = comes_to(spool, "x", "dead")
        found = os.stat(spool.path("dead", "x"))
    assert job.problem.startswith("not JSON: ")
    assert (found.st_size, found.st_blocks) == (10 << 30, 0)


def test_a_job_may_have_any_mode_that_lets_nobody_else_write_it(spool):
    modes = (0o400, 0o444, 0o600, 0o755, 0o4755, 0o2755, 0o6711, 0o1600, 0o7744)
    for mode in modes:
        make_file(Path(spool.path("pending", f"{mode:o}")), b'{"command": "true"}', mode)
    with pool(spool):
        for mode in modes:
            comes_to(spool, f"{mode:o}", "done")
    assert {stat.S_IMODE(os.stat(spool.path("done", f"{mode:o}")).st_mode) for mode in modes} == {0o600}


def test_what_no_file_should_be_beside_the_states_holds_nobody_up(spool):
    """FIFOs and the like in workers/, logs/ and tmp/, and in the place of config.json."""
    odd = [name for name in ALL if "hard link" not in name]
    for folder in ("workers", "tmp"):
        for name in odd:
            ALL[name][0](Path(spool.root, folder, f"{name}.json"), b'{"command": "true"}', Path(spool.root))
    for name in ("x.1.out", "x.1.err", "y.1.out"):
        os.mkfifo(f"{spool.root}/logs/{name}")
    os.unlink(f"{spool.root}/config.json")
    with pool(spool) as supervisor:
        spool.add("echo out; echo err >&2", id="x")
        comes_to(spool, "x", "done")
        os.mkfifo(f"{spool.root}/config.json")
        drop(spool, "beside", {"command": "true"})
        comes_to(spool, "beside", "done")
        assert "is not JSON" in queuectl("list", spool=spool).stderr
        os.unlink(f"{spool.root}/config.json")
        assert queuectl("logs", "x", spool=spool).stdout == "out\n"
        os.unlink(f"{spool.root}/logs/x.1.out")
        os.mkfifo(f"{spool.root}/logs/x.1.out")
        assert queuectl("logs", "x", spool=spool).stdout == ""
        os.mkfifo(f"{spool.root}/logs/supervisor.log")
        assert queuectl("start", "--detach", spool=spool).returncode == 1
    assert supervisor.returncode == 0
    assert sorted(os.listdir(f"{spool.root}/workers")) == sorted(f"{name}.json" for name in odd)


def test_a_file_in_workers_speaks_for_nobody_but_its_writer(spool):
    """`stop` signals what it names, and recovery ends a group: so it must be whole, and its owner's."""
    bystander = subprocess.Popen(["sleep", "1000"])
    try:
        me = {
            "pid": bystander.pid,
            "start": process.started(bystander.pid),
            "boot": process.boot(),
            "spool": roster.identity(spool),
        }
        whole = {"role": "supervisor", "name": "x", **me}
        wrong = (
            {"role": None},
            {"pid": str(bystander.pid)},
            {"pid": -1},
            {"job": "../x"},
            {"job": "x", "since": "soon"},
            {"group": 1},
            {"pid": 10**4000},
            {"start": -1},
        )
        for number, content in enumerate([*({**whole, **each} for each in wrong), [], None, "x"]):
            Path(spool.root, "workers", f"worker-{number}.json").write_text(json.dumps(content))
        assert roster.entries(spool) == []
        assert queuectl("stop", spool=spool).returncode == 1
        path = Path(spool.root, "workers", "supervisor-9.json")
        path.write_text(json.dumps(whole))
        assert [entry.pid for entry in roster.living(spool)] == [bystander.pid]
        if os.geteuid() == 0:
            os.chown(path, NOBODY, NOBODY)
            assert roster.living(spool) == []
            assert queuectl("stop", spool=spool).returncode == 1
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


# ---- as another user: what root drops there, and what one can't read oneself


@pytest.fixture
def theirs():
    with spool_of_nobody() as spool:
        yield spool


def told_to_nobody(spool):
    """What status warns nobody of."""
    command = [*as_nobody(), "", "", "--spool", spool.root, "status", "--json"]
    ran = subprocess.run(command, capture_output=True, timeout=PATIENCE, cwd="/")
    told = (warning.partition(" is not run: ") for warning in json.loads(ran.stdout)["warnings"])
    return {what: why for what, _, why in told}


@root_only
def test_what_a_user_cannot_claim_is_explained_and_what_root_gives_him_runs(theirs):
    pending = Path(theirs.folder("pending"))
    cases = {
        "own.json": (0o600, NOBODY),
        "own read-only.json": (0o400, NOBODY),
        "own unreadable.json": (0o000, NOBODY),
        "own write-only.json": (0o200, NOBODY),
        "root's secret.json": (0o600, 0),
        "root's readable.json": (0o644, 0),
        "another's.json": (0o644, 12345),
    }
    for name, (mode, owner) in cases.items():
        make_file(pending / name, b'{"command": "id -u"}', mode, owner)
    before = {name: look(pending / name) for name in cases}
    runs = ("own", "own read-only")
    with pool(theirs, 1, within=as_nobody()):
        for id in runs:
            comes_to(theirs, id, "done")
            assert Path(theirs.log_path(id, 1, "out")).read_text() == f"{NOBODY}\n"
        assert {name: look(pending / name) for name in os.listdir(pending)} == {
            name: before[name] for name in cases if name[:-5] not in runs
        }
        assert told_to_nobody(theirs) == {
            "pending/own unreadable.json": "no right to read it",
            "pending/own write-only.json": "no right to read it",
            "pending/root's secret.json": "no right to read it",
            "pending/root's readable.json": "no right to write it, which a claim needs",
            "pending/another's.json": "it belongs to user 12345, whom this worker doesn't serve",
        }
        assert set(warnings(theirs)) == {"pending/another's.json"}  # root, who only looks, knows nothing of his rights
        os.chmod(pending / "own unreadable.json", 0o600)
        os.chown(pending / "root's readable.json", NOBODY, NOBODY)
        for id in ("own unreadable", "root's readable"):
            comes_to(theirs, id, "done")
    with pool(theirs, 1, "--drain", within=as_nobody()) as supervisor:
        assert supervisor.wait(30) == 0


@root_only
def test_a_file_that_nobody_may_change_is_left_where_it_is_and_told(spool):
    """chattr +i: it can't be claimed, and what is no job can't be moved to dead/; the others go on."""
    if shutil.which("chattr") is None:
        pytest.skip("there is no chattr here")
    fixed = [
        drop(spool, "job", {"command": "true"}),
        drop(spool, "junk", b"{"),
        drop(spool, "due", {"command": "true"}, "failed"),
    ]
    fixed.append(drop(spool, "lost", b"{", "processing"))
    if subprocess.run(["chattr", "+i", *fixed], capture_output=True).returncode:
        pytest.skip("this file system has no files that can't be changed")
    before = [look(path) for path in fixed]
    try:
        with pool(spool) as supervisor:
            fence(spool)
            until(lambda: supervisor.log.read_text().count("trouble") >= 4, "word of them")
            fence(spool)
            assert {"pending/job.json", "pending/junk.json", "failed/due.json", "processing/lost.json"} <= set(warnings(spool))
        with pool(spool, 1, "--drain") as drained:
            assert drained.wait(30) == 0
        assert [look(path) for path in fixed] == before
    finally:
        subprocess.run(["chattr", "-i", *fixed], check=True)
    assert supervisor.returncode == 0
