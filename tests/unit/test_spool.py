"""The spool: where it is, how a job gets in, how it is found, moved and waited for."""

import errno
import json
import os
import random
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from kit import drop, mv, new_spool, where

from jobspool import Spool, durable
from jobspool.errors import AmbiguousJob, JobExists, NoSuchJob, NotAJob, NotASpool, TryAgain, UnsafeSpool, WrongValue
from jobspool.spool import find_root, ignored, is_unfinished, why_ignored
from jobspool.states import STATES
from jobspool.watch import Watch

FOLDERS = ("tmp", "logs", "workers")


def mode(path):
    return os.stat(path).st_mode & 0o7777


def left_in_tmp(spool):
    return os.listdir(f"{spool.root}/tmp")


class Luck(random.Random):
    """Luck that is told: ids end in these, one after the other; names in tmp/ stay random."""

    def __init__(self, *ends):
        super().__init__()
        self.ends = list(ends)

    def getrandbits(self, bits):
        return self.ends.pop(0) if bits == 30 else super().getrandbits(bits)


# ---- which spool


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """A user with a home and no spool, in a directory of its own."""
    here = tmp_path / "src" / "deep"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    monkeypatch.delenv("QUEUECTL_SPOOL", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def test_the_environment_names_the_spool_first(nowhere, monkeypatch):
    new_spool(nowhere / "src")
    monkeypatch.setenv("QUEUECTL_SPOOL", "/elsewhere")
    assert find_root() == ("/elsewhere", False)


def test_the_nearest_spool_above_is_meant(nowhere):
    new_spool(nowhere)
    near = new_spool(nowhere / "src")
    assert find_root() == (near.root, False)


def test_a_directory_that_only_has_the_name_is_passed_over(nowhere):
    (nowhere / "src" / "spool" / "mail").mkdir(parents=True)
    far = new_spool(nowhere)
    assert find_root() == (far.root, False)


def test_a_spool_above_that_lacks_a_state_is_not_passed_over_in_silence(nowhere):
    near = new_spool(nowhere / "src")
    os.rmdir(near.folder("dead"))
    with pytest.raises(NotASpool) as missing:
        Spool.open()
    assert str(missing.value) == f"{near.root}/dead is missing: `queuectl init {near.root}` makes what a spool needs"


def test_the_users_own_spool_is_made_on_first_use(nowhere):
    spool = Spool.open()
    assert (spool.root, spool.made) == (f"{nowhere}/state/queuectl/spool", True)
    assert Spool.open().made is False


def test_without_xdg_state_home_the_users_own_spool_is_below_home(nowhere, monkeypatch):
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(nowhere))
    assert find_root() == (f"{nowhere}/.local/state/queuectl/spool", True)


def test_a_spool_that_is_named_and_not_there_is_not_made(tmp_path):
    with pytest.raises(NotASpool):
        Spool.open(tmp_path / "gone")
    assert os.listdir(tmp_path) == []


def test_a_relative_spool_stays_the_same_when_the_working_directory_changes(spool, monkeypatch):
    monkeypatch.chdir(Path(spool.root).parent)
    found = Spool.open("spool")
    monkeypatch.chdir("/")
    assert found.root == spool.root


# ---- making one


def test_a_new_spool_is_for_its_user_alone(tmp_path):
    mask = os.umask(0)
    try:
        spool = new_spool(tmp_path)
        spool.add("x", id="x")
    finally:
        os.umask(mask)
    assert {mode(folder) for folder in (spool.root, *(f"{spool.root}/{name}" for name in (*STATES, *FOLDERS)))} == {0o700}
    assert {mode(f"{spool.root}/config.json"), mode(spool.path("pending", "x"))} == {0o600}


def test_a_spool_with_a_group_is_for_its_members_too(tmp_path):
    group = groups()[-1]
    mask = os.umask(0o077)
    try:
        spool = Spool.init(tmp_path / "spool", group.gr_name)
        spool.add("x", id="x")
    finally:
        os.umask(mask)
    folders = [spool.root, *(f"{spool.root}/{name}" for name in (*STATES, *FOLDERS))]
    assert {(mode(folder), os.stat(folder).st_gid) for folder in folders} == {(0o2770, group.gr_gid)}
    job = os.stat(spool.path("pending", "x"))
    assert (job.st_mode & 0o777, job.st_gid, spool.settings().group) == (0o660, group.gr_gid, group.gr_name)


def groups():
    """The groups that this user may give files to."""
    import grp

    every = grp.getgrall()
    return [group for group in every if os.geteuid() == 0 or group.gr_gid in (os.getegid(), *os.getgroups())]


def test_a_group_that_isnt_there_is_refused_before_anything_is_made(tmp_path):
    with pytest.raises(WrongValue, match="there is no group 'no-such-group': `getent group` lists them"):
        Spool.init(tmp_path / "spool", "no-such-group")
    assert os.listdir(tmp_path) == []


def test_making_a_spool_again_keeps_what_is_there(spool):
    spool.add("x", id="x")
    os.rmdir(spool.folder("dead"))
    Path(spool.root, "config.json").write_text('{"workers": 7}')
    again = Spool.init(spool.root)
    assert (again.settings().workers, where(again, "x"), os.listdir(again.folder("dead"))) == (7, ["pending"], [])


def test_a_spool_can_be_made_in_directories_that_are_not_there_yet(tmp_path):
    assert os.path.isdir(Spool.init(tmp_path / "a" / "b" / "spool").folder("pending"))


def test_where_no_spool_can_be_made_the_place_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotASpool, match=f"can't make a spool at {tmp_path}/file/spool: "):
        Spool.init(tmp_path / "file" / "spool")


# ---- whole and safe


@pytest.mark.parametrize("state", STATES)
def test_a_spool_that_lacks_a_state_says_what_to_type(spool, state):
    os.rmdir(spool.folder(state))
    with pytest.raises(NotASpool, match=f"{spool.root}/{state} is missing: `queuectl init {spool.root}`"):
        Spool.open(spool.root)


def test_a_state_that_is_a_link_elsewhere_is_no_state(spool, tmp_path):
    os.rmdir(spool.folder("dead"))
    os.symlink(tmp_path, spool.folder("dead"))
    with pytest.raises(NotASpool, match=f"{spool.root}/dead is not a directory"):
        Spool.open(spool.root)


@pytest.mark.parametrize("name", ["", *STATES])
def test_where_anyone_could_put_jobs_nothing_is_served(spool, name):
    folder = f"{spool.root}/{name}".rstrip("/")
    os.chmod(folder, 0o777)
    with pytest.raises(UnsafeSpool) as unsafe:
        Spool.open(spool.root)
    assert str(unsafe.value).endswith(f"chmod o-w {folder}")


def test_what_git_doesnt_keep_is_made_when_it_is_needed(spool):
    for name in FOLDERS:
        os.rmdir(f"{spool.root}/{name}")
    Spool.open(spool.root).add("x", id="x")
    assert where(spool, "x") == ["pending"]
    assert all(os.path.isdir(f"{spool.root}/{name}") for name in FOLDERS)


# ---- adding


def test_an_added_job_is_a_file_that_says_what_was_asked_for(spool):
    job = spool.add("make all", timeout=600, meta={"who": "me"})
    said = json.loads(Path(spool.path("pending", job.id)).read_text())
    assert said == {"command": "make all", "timeout": 600, "meta": {"who": "me"}}
    assert (job.state, job.record) == ("pending", said)
    assert left_in_tmp(spool) == []


def test_a_job_may_be_added_as_a_list_of_words(spool):
    assert spool.add(argv=["printf", "%s", "a b"]).record == {"argv": ["printf", "%s", "a b"]}


def test_a_job_may_be_given_its_id(spool):
    assert spool.add("x", id="nightly").id == "nightly"


@pytest.mark.parametrize("state", STATES)
def test_an_id_that_a_job_has_in_any_state_is_refused(spool, state):
    older = drop(spool, "nightly", {"command": "older"}, state)
    with pytest.raises(JobExists, match=f"{older} is there already"):
        spool.add("newer", id="nightly")
    assert (where(spool, "nightly"), json.loads(older.read_text())) == ([state], {"command": "older"})


@pytest.mark.parametrize("id", ["", ".x", "a/b", "x" * 201])
def test_an_id_that_is_no_name_is_refused(spool, id):
    with pytest.raises(NotAJob):
        spool.add("x", id=id)
    assert os.listdir(spool.folder("pending")) == []


@pytest.mark.parametrize("words", [{"timeout": 0}, {"comand": "x"}, {"meta": {1, 2}}, {"meta": float("nan")}, {"name": "\ud800"}])
def test_words_that_make_no_job_are_refused(spool, words):
    with pytest.raises(NotAJob):
        spool.add("x", **words)
    assert os.listdir(spool.folder("pending")) == []


def test_what_is_nested_too_deep_is_refused(spool):
    deep = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(NotAJob):
        spool.add("x", meta=deep)


def test_a_job_that_no_worker_would_read_is_refused(spool):
    with pytest.raises(NotAJob, match="larger than max_job_bytes"):
        spool.add("x" * 1_048_576)


def test_many_jobs_are_added_in_their_order(spool):
    jobs = spool.add_many([{"command": f"job {number}"} for number in range(20)])
    assert [job.record["command"] for job in jobs] == [f"job {number}" for number in range(20)]
    assert sorted(spool.names("pending")) == sorted(job.id for job in jobs)


@pytest.mark.parametrize(
    ("last", "error"),
    [({"command": ""}, NotAJob), (("a", {"command": "x"}), JobExists), (("there", {"command": "x"}), JobExists)],
)
def test_of_many_jobs_all_or_none_are_added(spool, last, error):
    drop(spool, "there", {"command": "older"}, "done")
    with pytest.raises(error):
        spool.add_many([{"command": "x"}, ("a", {"command": "x"}), last])
    assert os.listdir(spool.folder("pending")) == []


def test_adding_no_jobs_adds_none(spool):
    assert spool.add_many([]) == []


def test_what_couldnt_be_added_leaves_nothing_in_tmp(spool, monkeypatch):
    free = spool._all_free
    monkeypatch.setattr(spool, "_all_free", lambda ids: (free(ids), drop(spool, "b", {"command": "quicker"})))
    with pytest.raises(JobExists):
        spool.add_many([("a", {"command": "x"}), ("b", {"command": "x"}), ("c", {"command": "x"})])
    assert (left_in_tmp(spool), sorted(spool.names("pending"))) == ([], ["b"])
    assert spool.read("pending", "b").command == "quicker"


def failing_sync(spool, monkeypatch, first=lambda: None):
    """Let the disk fail when the jobs lie in pending/ and are to be synced."""

    def fail(path):
        first()
        raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    monkeypatch.setattr(durable, "sync_directory", fail)


def test_of_jobs_that_could_not_be_synced_none_is_added(spool, monkeypatch):
    failing_sync(spool, monkeypatch)
    with pytest.raises(OSError, match="Input/output error"):
        spool.add_many([{"command": "x"}, {"command": "y"}])
    assert (left_in_tmp(spool), spool.names("pending")) == ([], [])


def test_of_jobs_that_could_not_be_synced_those_that_run_already_are_named(spool, monkeypatch):
    failing_sync(spool, monkeypatch, lambda: mv(spool, "a", "pending", "processing"))
    with pytest.raises(TryAgain, match="of 2 jobs, only these were added: a$"):
        spool.add_many([("a", {"command": "x"}), ("b", {"command": "y"})])
    assert (spool.names("pending"), spool.names("processing")) == ([], ["a"])


@pytest.mark.parametrize("state", STATES)
def test_an_id_that_was_made_before_is_made_anew(tmp_path, state):
    spool = Spool(new_spool(tmp_path).root, now=lambda: 1795515330.0, luck=Luck(1, 1, 2))
    first = spool.add("first")
    mv_or_stay(spool, first.id, state)
    second = spool.add("second")
    assert (first.id, second.id) == ("20261124T101530.000000-100000", "20261124T101530.000000-200000")
    assert where(spool, first.id) == [state]


def mv_or_stay(spool, id, state):
    if state != "pending":
        mv(spool, id, "pending", state)


def test_threads_may_share_a_spool(spool):
    added = []
    threads = [threading.Thread(target=lambda: added.extend(spool.add("x").id for _ in range(20))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(spool.names("pending")) == sorted(added)
    assert len(set(added)) == 160


def test_forked_children_may_share_a_spool(spool, in_child):
    spool = Spool(spool.root, now=lambda: 1795515330.0)  # so that only luck tells the ids apart

    def add_some():
        return len([spool.add("x") for _ in range(20)])

    assert [in_child(add_some) for _ in range(4)] == [20] * 4
    assert len(spool.names("pending")) == 80


# ---- looking


def test_only_json_files_without_a_dot_are_jobs(spool):
    spool.add("x", id="x")
    for name in (".gitkeep", ".x.json", "x.json~", "notes.txt"):
        Path(spool.folder("pending"), name).write_text("")
    assert spool.names("pending") == ["x"]
    assert ignored(os.listdir(spool.folder("pending"))) == [".x.json", "notes.txt", "x.json~"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (".x.json", "its name begins with a dot"),
        ("x.json~", "its name ends in ~"),
        ("x.part", "its name ends in .part"),
        ("notes.txt", "its name doesn't end in .json"),
    ],
)
def test_why_a_name_is_no_jobs(name, why):
    assert why_ignored(name) == why


def test_a_job_is_read_as_it_lies(spool):
    path = drop(spool, "x", {"command": "make"}, "failed")
    os.utime(path, (5, 1795515330))
    job = spool.read("failed", "x")
    assert (job.id, job.state, job.record, job.mtime, job.problem) == ("x", "failed", {"command": "make"}, 1795515330.0, None)
    assert job.ctime == os.stat(path).st_ctime_ns / 1e9


def test_what_isnt_there_is_none(spool):
    assert spool.read("pending", "x") is None


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda path: Path(path).write_text("{"), "not JSON: "),
        (lambda path: Path(path).write_text(""), "empty"),
        (lambda path: Path(path).write_bytes(b"{" + b"x" * 2**21), "larger than max_job_bytes (1048576 bytes)"),
        (lambda path: os.symlink("/nowhere", path), "a symbolic link, not a regular file"),
        (os.mkdir, "a directory, not a regular file"),
        (os.mkfifo, "a FIFO, not a regular file"),
        (lambda path: socket.socket(socket.AF_UNIX).bind(path), "a socket, not a regular file"),
    ],
)
def test_what_is_no_job_is_shown_with_its_problem(spool, monkeypatch, make, problem):
    monkeypatch.chdir(spool.folder("pending"))
    make("x.json")
    job = spool.read("pending", "x")
    assert (job.record, job.problem.startswith(problem)) == ({}, True)


def test_all_jobs_of_a_state_or_of_every_state_are_seen(spool):
    for state in STATES:
        drop(spool, state[0:2], {"command": "x"}, state)
    assert [job.id for job in spool.jobs("dead")] == ["de"]
    assert sorted((job.state, job.id) for job in spool.jobs()) == sorted((state, state[0:2]) for state in STATES)
    assert spool.count("dead") == 1


# ---- finding


def test_a_path_means_that_file_and_no_other_of_its_name(spool, tmp_path, monkeypatch):
    for state in ("pending", "dead"):
        drop(spool, "x", {"command": state}, state)
    monkeypatch.chdir(tmp_path / "..")
    for path in (f"{spool.root}/dead/x.json", "dead/x.json", "spool/dead/x"):
        assert spool.find(path).state == "dead"
    assert (spool.find("x").state, spool.find("x", "dead").state) == ("pending", "dead")
    monkeypatch.chdir(spool.folder("dead"))
    assert spool.find("./x.json").state == "dead"
    for path in ("/nowhere/dead/x.json", f"{spool.root}/done/x.json", f"{spool.root}/logs/x.json", f"{tmp_path}/x.json"):
        with pytest.raises(NoSuchJob):
            spool.find(path)


def test_an_id_that_is_given_twice_at_once_is_one_job(spool):
    names = [f"x{i}" for i in range(20)]

    def add(_):
        added = 0
        for id in names:
            try:
                spool.add("true", id=id)
                added += 1
            except JobExists:
                pass
        return added

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(add, range(4))) == len(names)


@pytest.mark.parametrize("handle", ["20261124T101530.123456-k7m3q9", "k7m3q9", "7m3", "20261124T101530.123456-k7m3q9.json",
                                    "spool/failed/20261124T101530.123456-k7m3q9.json"])  # fmt: skip
def test_a_job_is_found_by_its_id_a_part_its_file_or_its_path(spool, handle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    drop(spool, "20261124T101530.123456-k7m3q9", {"command": "x"}, "failed")
    drop(spool, "other", {"command": "x"}, "done")
    found = spool.find(handle)
    assert (found.state, found.id) == ("failed", "20261124T101530.123456-k7m3q9")


def test_the_whole_id_is_meant_before_a_part_of_another(spool):
    drop(spool, "build", {"command": "x"}, "done")
    drop(spool, "build-2", {"command": "x"})
    assert spool.find("build").id == "build"


def test_a_part_that_fits_several_names_them(spool):
    drop(spool, "build-1", {"command": "x"}, "done")
    drop(spool, "build-2", {"command": "x"})
    with pytest.raises(AmbiguousJob) as ambiguous:
        spool.find("build")
    assert ambiguous.value.candidates == [("done", "build-1"), ("pending", "build-2")]


@pytest.mark.parametrize("handle", ["nightly", "night"])
def test_of_two_jobs_of_one_name_the_one_that_still_lives_is_meant(spool, handle):
    for state in ("done", "pending"):
        drop(spool, "nightly", {"command": "x"}, state)
    assert spool.find(handle).state == "pending"


@pytest.mark.parametrize("handle", ["x", "", "/", ".json", "x" * 300, "\0", "../config"])
def test_what_fits_no_job_says_so(spool, handle):
    drop(spool, "nightly", {"command": "make"})
    with pytest.raises(NoSuchJob):
        spool.find(handle)


def test_a_job_that_is_no_job_is_found_too(spool):
    drop(spool, "broken", b"{")
    assert spool.find("broken").problem.startswith("not JSON")


# ---- moving


@pytest.mark.parametrize("target", ["pending", "done", "dead"])
def test_a_moved_job_lies_where_it_was_put(spool, target):
    drop(spool, "x", {"command": "make"}, "failed")
    moved = spool.move(spool.find("x"), target)
    assert (moved.id, moved.state, moved.record, where(spool, "x")) == ("x", target, {"command": "make"}, [target])


@pytest.mark.parametrize("target", ["done", "dead"])
def test_a_job_moved_to_its_end_says_when_it_got_there(tmp_path, target):
    spool = Spool(new_spool(tmp_path).root, now=lambda: 1795515330.0)
    drop(spool, "x", {"command": "make"})
    assert spool.move(spool.find("x"), target).mtime == 1795515330.0


def test_a_job_moved_to_pending_keeps_its_time(spool):
    os.utime(drop(spool, "x", {"command": "make"}, "failed"), (1795515330, 1795515330))
    assert spool.move(spool.find("x"), "pending").mtime == 1795515330


@pytest.mark.parametrize("target", ["processing", "tmp", ""])
def test_only_a_claim_moves_a_job_to_processing(spool, target):
    drop(spool, "x", {"command": "make"})
    with pytest.raises(WrongValue):
        spool.move(spool.find("x"), target)
    assert where(spool, "x") == ["pending"]


def test_a_job_that_has_moved_meanwhile_is_not_moved(spool):
    drop(spool, "x", {"command": "make"})
    seen = spool.find("x")
    mv(spool, "x", "pending", "done")
    with pytest.raises(NoSuchJob, match="x is no longer in pending/: somebody was quicker"):
        spool.move(seen, "dead")
    assert where(spool, "x") == ["done"]


@pytest.mark.parametrize("target", ["done", "dead"])
def test_an_older_record_is_set_aside_not_replaced(spool, target):
    drop(spool, "x", {"command": "older"}, target)
    drop(spool, "x", {"command": "newer"})
    spool.move(spool.read("pending", "x"), target)
    assert {job.id: job.command for job in spool.jobs(target)} == {"x": "newer", "x~1": "older"}


@pytest.mark.parametrize("target", ["pending", "failed"])
def test_a_job_is_not_moved_over_one_that_is_to_run(spool, target):
    drop(spool, "x", {"command": "waits"}, target)
    drop(spool, "x", {"command": "comes"}, "dead")
    with pytest.raises(JobExists, match=f"{spool.path(target, 'x')} is there already"):
        spool.move(spool.read("dead", "x"), target)
    assert spool.read(target, "x").command == "waits"


@pytest.mark.parametrize("state", ["pending", "done", "dead", "failed"])
def test_a_job_moved_to_where_it_is_stays_there(spool, state):
    drop(spool, "x", {"command": "x"}, state)
    with pytest.raises(JobExists):
        spool.move(spool.find("x"), state)
    assert os.listdir(spool.folder(state)) == ["x.json"]


# ---- waiting


@pytest.mark.parametrize("end", ["done", "dead"])
def test_waiting_ends_with_the_job(spool, end, monkeypatch):
    until_woken = Watch.wait
    monkeypatch.setattr(Watch, "wait", lambda watch, _: until_woken(watch, 30) or pytest.fail("nothing woke us"))
    job = spool.add("x", id="x")
    timer = threading.Timer(0.2, mv, (spool, "x", "pending", end))
    timer.start()
    assert spool.wait(job, timeout=20).state == end
    timer.join()


def test_a_job_that_has_ended_is_not_waited_for(spool):
    drop(spool, "x", {"command": "x"}, "done")
    assert spool.wait("x", timeout=0).state == "done"


def test_waiting_gives_up_after_its_timeout(spool):
    job = spool.add("x", id="x")
    with pytest.raises(TimeoutError, match=r"x is still pending after 0\.05 s"):
        spool.wait(job, timeout=0.05)


def test_waiting_for_a_job_that_is_removed_ends(spool):
    job = spool.add("x", id="x")
    timer = threading.Timer(0.1, os.unlink, (spool.path("pending", "x"),))
    timer.start()
    with pytest.raises(NoSuchJob):
        spool.wait(job, timeout=20)
    timer.join()


@pytest.mark.parametrize("behind", ["pending", "processing", "failed"])
@pytest.mark.parametrize("move", [("pending", "processing"), ("processing", "failed"), ("failed", "pending")], ids="-".join)
def test_a_job_that_moves_while_all_is_looked_at_is_not_missed(spool, monkeypatch, move, behind):
    drop(spool, "x", {"command": "true"}, move[0])
    moves, names = [move], spool.names

    def moving(state):
        found = names(state)
        if state == behind and moves:
            mv(spool, "x", *moves.pop())
        return found

    monkeypatch.setattr(spool, "names", moving)
    assert is_unfinished(spool, spool.settings())


def test_a_spool_may_be_a_link_to_its_directory(tmp_path):
    os.symlink(Spool.init(tmp_path / "elsewhere").root, tmp_path / "spool")
    spool = Spool.init(tmp_path / "spool")
    assert spool.read("pending", spool.add("true").id).command == "true"
