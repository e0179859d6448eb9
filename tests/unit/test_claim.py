"""A job is claimed by one, and its outcome stays; hands win over what was about to be recorded."""

import errno
import grp
import itertools
import json
import os
import pwd
import tempfile
import threading
from pathlib import Path

import pytest
from kit import drop, mv, new_spool, where

from jobspool import Spool, durable, roster
from jobspool import claim as claims
from jobspool.claim import Claim, Refused
from jobspool.job import iso, last_mark, same_time, seconds
from jobspool.retry import Outcome, Verdict
from jobspool.states import STATES

NOW = 4_000_000_000.0  # beyond the mtime of every file that is written meanwhile
EXIT_1 = Outcome(NOW, NOW + 3, 1, None, "exit 1")
VERDICTS = {
    "done": (Outcome(NOW, NOW + 3, 0), Verdict("done", "done", None)),
    "failed": (EXIT_1, Verdict("failed", "failed", NOW + 5)),
    "dead": (EXIT_1, Verdict("dead", "dead", None)),
    "interrupted": (Outcome(NOW, NOW + 3, signal="SIGTERM", reason="interrupted", interrupted=True), Verdict("interrupted", "pending", None)),
}  # fmt: skip


@pytest.fixture(params=["renameat2", "no flags"])
def spool(request, tmp_path, monkeypatch):
    """A spool whose clock stands at NOW; once with the kernel's flags for renames, once on a file system without."""
    if request.param == "no flags":
        monkeypatch.setattr(durable, "_renameat2", lambda *_: errno.ENOSYS)
    return Spool(new_spool(tmp_path).root, now=lambda: NOW)


def take(spool, id="x"):
    return claims.take(spool, id, spool.settings())


def write(claim, word):
    """The job with this outcome, written down and not yet in its place."""
    outcome, verdict = VERDICTS[word]
    return claim.write(claims.entry_for(claim, outcome, verdict, "here:1"), claim.spool.settings())


def record(claim, word):
    return write(claim, word).settle()


def mtime(spool, state, id="x"):
    return os.stat(spool.path(state, id)).st_mtime


def everything(spool):
    """What lies where: {state/id: command}; and nothing is left in tmp/."""
    assert os.listdir(f"{spool.root}/tmp") == []
    return {f"{job.state}/{job.id}": job.command for job in spool.jobs()}


def looks(path):
    """What the file is, and when it was last changed: its content, its time or its name."""
    found = os.lstat(path)
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def is_locked(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return not durable.lock(descriptor)
    finally:
        os.close(descriptor)


# ---- claiming


TRIED = {"attempts": [{"number": 1, "ended": "2026-01-01T00:00:00.000000Z", "verdict": "dead"}]}


def test_a_claimed_job_lies_in_processing_locked_with_its_mtime(spool):
    path = drop(spool, "x", {"command": "make", "meta": 1})
    os.utime(path, (NOW - 9, NOW - 9))
    claim = take(spool)
    assert (claim.id, claim.record, claim.number, claim.holds()) == ("x", {"command": "make", "meta": 1}, 1, True)
    assert (where(spool, "x"), mtime(spool, "processing")) == (["processing"], NOW - 9)
    assert is_locked(claim.place)
    claim.release()
    assert not is_locked(claim.place)


def test_of_many_who_want_a_job_one_gets_it(spool):
    for number in range(20):
        drop(spool, f"{number}", {"command": "x"})
    got = []
    start = threading.Barrier(8)

    def worker():
        start.wait()
        got.extend(claim for number in range(20) if isinstance(claim := take(spool, f"{number}"), Claim))

    threads = [threading.Thread(target=worker) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claim.id for claim in got) == sorted(f"{number}" for number in range(20))
    assert spool.count("processing") == 20


def test_a_job_that_has_gone_is_refused(spool):
    assert take(spool) == Refused("gone")


def test_a_job_whose_lock_is_held_is_refused(spool):
    drop(spool, "x", {"command": "x"})
    claim = take(spool)
    mv(spool, "x", "processing", "pending")
    assert take(spool) == Refused("held")
    claim.release()
    assert isinstance(take(spool), Claim)


def test_a_job_before_its_time_is_refused(spool):
    path = drop(spool, "x", {"command": "x"})
    os.utime(path, (NOW + 1, NOW + 1))
    assert (take(spool), mtime(spool, "pending")) == (Refused("early"), NOW + 1)


def test_a_job_whose_name_runs_is_refused_and_not_touched(spool):
    drop(spool, "x", {"command": "runs"}, "processing")
    path = drop(spool, "x", {"command": "waits"})
    before = looks(path)
    assert (take(spool), looks(path)) == (Refused("twin"), before)
    assert everything(spool) == {"processing/x": "runs", "pending/x": "waits"}


def test_a_job_that_was_tried_before_carries_the_time_of_its_claim(spool):
    drop(spool, "x", {"command": "make", **TRIED})
    take(spool)
    assert (where(spool, "x"), mtime(spool, "processing")) == (["processing"], NOW)


def test_a_job_whose_name_begins_to_run_in_this_instant_is_refused_with_its_time(spool, monkeypatch):
    path = drop(spool, "x", {"command": "waits", **TRIED})
    os.utime(path, (NOW - 9, NOW - 9))
    stamp = durable.stamp
    monkeypatch.setattr(durable, "stamp", lambda *what: (drop(spool, "x", {"command": "runs"}, "processing"), stamp(*what)))
    assert (take(spool), mtime(spool, "pending")) == (Refused("twin"), NOW - 9)
    assert everything(spool) == {"processing/x": "runs", "pending/x": "waits"}


@pytest.mark.parametrize("content", [b"", b'{"command": "mak', b'{"command": 1}', b"[" * 100_000])
def test_a_file_that_is_no_whole_job_is_refused_and_not_touched(spool, content):
    path = drop(spool, "x", content)
    before = looks(path)
    refused = take(spool)
    assert (refused.kind, bool(refused.why)) == ("unfit", True)
    assert (path.read_bytes(), looks(path)) == (content, before)


def test_a_file_whose_name_is_too_long_for_a_job_is_unfit(spool):
    drop(spool, "x" * 201, {"command": "x"})
    assert take(spool, "x" * 201) == Refused("unfit", "an id can't be longer than 200 bytes")


def link(path):
    path.rename(path.parent.parent / "elsewhere")
    os.symlink(path.parent.parent / "elsewhere", path)


def hard_link(path):
    os.link(path, path.parent.parent / "elsewhere")


def fifo(path):
    path.unlink()
    os.mkfifo(path)


def folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (link, "a symbolic link, not a regular file"),
        (hard_link, "it has 2 links: copy it instead of linking"),
        (fifo, "a FIFO, not a regular file"),
        (folder, "a directory, not a regular file"),
        (lambda path: path.chmod(0o666), "anyone may write it: chmod o-w"),
    ],
)
def test_a_file_that_others_could_have_made_is_never_run_nor_changed(spool, spoil, why):
    path = drop(spool, "x", {"command": "x"})
    spoil(path)
    before = looks(path)
    assert (take(spool), looks(path)) == (Refused("unsafe", why), before)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
class TestOfOthers:
    """Files of other users: 1234 is nobody here."""

    def test_a_strangers_job_is_not_run(self, spool):
        os.chown(drop(spool, "x", {"command": "x"}), 1234, -1)
        assert take(spool) == Refused("unsafe", "it belongs to user 1234, whom this worker doesn't serve")

    def test_a_group_counts_only_where_the_directory_is_its(self, spool):
        """Who may write there could name any group in config.json: only the owner can give it the directory."""
        member = next(
            user for user in pwd.getpwall() if user.pw_uid and user.pw_gid in {group.gr_gid for group in grp.getgrall()}
        )
        Path(spool.root, "config.json").write_text(json.dumps({"group": grp.getgrgid(member.pw_gid).gr_name}))
        os.chown(drop(spool, "x", {"command": "id"}), member.pw_uid, member.pw_gid)
        assert take(spool) == Refused("unsafe", f"it belongs to {member.pw_name}, whom this worker doesn't serve")
        os.chown(spool.root, -1, member.pw_gid)
        os.chmod(spool.root, 0o2770)
        assert isinstance(take(spool), Claim)

    def test_a_job_that_a_foreign_group_may_write_is_not_run(self, spool):
        path = drop(spool, "x", {"command": "x"})
        os.chown(path, -1, 1234)
        path.chmod(0o660)
        assert take(spool) == Refused("unsafe", "a foreign group, 1234, may write it: chmod g-w")

    def test_a_members_job_is_run_by_another_member_in_a_shared_spool(self, spool, in_child):

        member = next(
            user for user in pwd.getpwall() if user.pw_uid and user.pw_gid in {group.gr_gid for group in grp.getgrall()}
        )

        def claim_as_another_member():
            os.setgroups([member.pw_gid])
            os.setgid(member.pw_gid)
            os.setuid(4321)
            return int(isinstance(take(shared), Claim))

        with tempfile.TemporaryDirectory() as folder:  # where pytest's own is closed to others
            os.chmod(folder, 0o755)
            shared = Spool.init(f"{folder}/spool", grp.getgrgid(member.pw_gid).gr_name)
            shared.now = spool.now
            for id in ("x", "warm"):
                path = drop(shared, id, {"command": "make"})
                os.chown(path, member.pw_uid, member.pw_gid)
                path.chmod(0o660)
            take(shared, "warm").release()  # what is imported by need must be so before we are somebody else
            assert (in_child(claim_as_another_member), where(shared, "x")) == (1, ["processing"])


def quicker_hands(spool):
    """Hands move the job in processing/ to dead/, and drop another of its name, which is claimed."""
    mv(spool, "x", "processing", "dead")
    drop(spool, "x", {"command": "another"})
    return take(spool)


def stands(claim):
    """Tell whether the claim holds its job still; it lets go of its room in tmp/."""
    claim.give_up_room()
    return claim.holds()


def test_what_hands_put_under_the_name_in_this_instant_is_not_claimed(spool, monkeypatch):
    drop(spool, "x", {"command": "seen"})
    move = durable.move

    def quicker_hands(source, target):
        monkeypatch.setattr(durable, "move", move)
        mv(spool, "x", "pending", "dead")
        drop(spool, "x", {"command": "put"})
        move(source, target)

    monkeypatch.setattr(durable, "move", quicker_hands)
    assert take(spool) == Refused("gone")
    assert everything(spool) == {"dead/x": "seen", "pending/x": "put"}


def test_what_came_under_the_name_before_the_lock_is_not_touched(spool, monkeypatch):
    drop(spool, "x", {"command": "seen"})
    lock, before = durable.lock, []

    def late(descriptor):
        monkeypatch.setattr(durable, "lock", lock)
        mv(spool, "x", "pending", "done")
        before.append(looks(drop(spool, "x", {"command": "put"})))
        return lock(descriptor)

    monkeypatch.setattr(durable, "lock", late)
    assert take(spool) == Refused("gone")
    assert (looks(spool.path("pending", "x")), everything(spool)) == (before[0], {"done/x": "seen", "pending/x": "put"})


def test_what_another_worker_claimed_under_the_name_in_this_instant_is_not_put_back(spool, monkeypatch):
    drop(spool, "x", {"command": "seen"})
    move, others = durable.move, []

    def quick(source, target):
        move(source, target)
        monkeypatch.setattr(durable, "move", move)
        others.append(quicker_hands(spool))

    monkeypatch.setattr(durable, "move", quick)
    assert take(spool) == Refused("gone")
    assert (stands(others[0]), everything(spool)) == (True, {"dead/x": "seen", "processing/x": "another"})


# ---- giving back


def test_a_job_that_is_given_back_has_its_place_in_line(spool):
    path = drop(spool, "x", {"command": "make", "attempts": [tried("dead")]})
    os.utime(path, (NOW - 9, NOW - 9))
    claims.give_back(take(spool))
    assert (mtime(spool, "pending"), everything(spool), is_locked(path)) == (NOW - 9, {"pending/x": "make"}, False)


def test_a_job_that_is_given_back_sets_aside_what_has_come_meanwhile(spool):
    drop(spool, "x", {"command": "make"})
    claim = take(spool)
    drop(spool, "x", {"command": "another"})
    claims.give_back(claim)
    assert everything(spool) == {"pending/x": "make", "pending/x~1": "another"}


def test_a_job_that_is_given_back_in_spite_of_trouble_has_its_place_in_line(spool, monkeypatch):
    path = drop(spool, "x", {"command": "make", **TRIED})
    os.utime(path, (NOW - 9, NOW - 9))
    claim = take(spool)
    for deed in ("move", "stamp_now"):
        with monkeypatch.context() as patched, pytest.raises(OSError, match="Input/output"):
            patched.setattr(durable, deed, raising(errno.EIO))
            claims.give_back(claim)
    claims.give_back(claim)
    assert (mtime(spool, "pending"), everything(spool), is_locked(path)) == (NOW - 9, {"pending/x": "make"}, False)


def test_a_job_that_is_written_over_while_it_is_claimed_is_looked_at_again(spool, monkeypatch):
    path = drop(spool, "x", {"command": "old"})

    written = itertools.count(NOW - 5)  # at each of the two looks

    def write(*_, but):
        os.utime(drop(spool, "x", {"command": "new"}), (next(written),) * 2)
        return False

    os.utime(path, (NOW - 9, NOW - 9))
    with monkeypatch.context() as patched:
        patched.setattr(roster, "runs", write)
        assert take(spool) == Refused("early")
    assert (mtime(spool, "pending"), everything(spool), os.listdir(f"{spool.root}/tmp")) == (NOW - 4, {"pending/x": "new"}, [])
    assert take(spool).record["command"] == "new"


def drop_later(spool, id, job):
    """Write the file over until its times show it."""
    path = spool.path("pending", id)
    before = os.stat(path)
    while os.stat(path).st_ctime_ns == before.st_ctime_ns:
        Path(path).write_text(json.dumps(job))
        os.utime(path, ns=(before.st_mtime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("settled", [-1e9, 1e9], ids=["long ago", "just now"])
def test_what_was_prepared_is_looked_at_again_where_anything_was_done_to_it(spool, monkeypatch, settled):
    monkeypatch.setattr(claims, "COARSE", settled)
    drop(spool, "x", {"command": "old"})
    prepared = claims.prepare(spool, "x", spool.settings())
    assert (prepared.record["command"], spool.names("pending")) == ("old", ["x"])
    drop_later(spool, "x", {"command": "new"})
    claim = claims.take_prepared(prepared, spool.settings())
    assert (claim.record["command"], spool.names("processing")) == ("new", ["x"])
    prepared = drop(spool, "y", {"command": "old"}) and claims.prepare(spool, "y", spool.settings())
    drop_later(spool, "y", {})
    assert claims.take_prepared(prepared, spool.settings()).kind == "unfit"


def test_what_was_prepared_keeps_nobody_from_the_job(spool):
    drop(spool, "x", {"command": "x"})
    first, second = (claims.prepare(spool, "x", spool.settings()) for _ in range(2))
    claim = take(spool)
    assert isinstance(claim, Claim)
    assert claims.take_prepared(first, spool.settings()) == Refused("held")
    os.unlink(spool.path("processing", "x"))
    claim.release()
    assert claims.take_prepared(second, spool.settings()) == Refused("gone")
    assert os.listdir(f"{spool.root}/tmp") == []


@pytest.mark.parametrize("code", [errno.EPERM, errno.EACCES], ids=["this file", "the directory"])
def test_a_job_that_may_not_be_moved_keeps_its_place_in_line(spool, monkeypatch, code):
    """Of a sticky directory only the owner moves a file; and where a directory may not be written, it is no fault of the file."""
    os.utime(drop(spool, "x", {"command": "make"}), (NOW - 9, NOW - 9))
    monkeypatch.setattr(durable, "move", raising(code))
    if code == errno.EPERM:
        assert take(spool) == Refused("unsafe", "can't be claimed: Operation not permitted")
    else:
        with pytest.raises(PermissionError):
            take(spool)
    assert (mtime(spool, "pending"), os.listdir(f"{spool.root}/tmp")) == (NOW - 9, [])


def test_the_outcome_of_any_job_fits_the_room_that_its_claim_took(spool):
    nested = "[" * 60 + "1" + "]" * 60
    drop(spool, "x", ('{"command":"x","meta":[' + ",".join([nested] * 100) + "]}").encode())
    claim = take(spool)
    recorded = claim.write(
        claims.entry_for(claim, Outcome(1.0, 2.0, 0), Verdict("done", "done", None), "here:1"), spool.settings()
    )
    size = os.fstat(recorded.descriptor).st_size
    recorded.drop()
    assert size <= 2 * 12_300 + 1024


def test_an_interrupted_job_that_hands_brought_forward_need_not_wait_for_its_old_time(spool):
    drop(spool, "x", {"command": "x"})
    claim = take(spool)
    claim.mtime = NOW + 3600  # when it was due again; hands took it out of failed/
    entry = claims.entry_for(claim, Outcome(NOW, NOW + 1, 0, interrupted=True), Verdict("interrupted", "x", None), "here:1")
    assert seconds(entry["due"]) == NOW
    claim.release()


def test_a_job_that_hands_took_is_not_given_back(spool):
    drop(spool, "x", {"command": "make"})
    claim = take(spool)
    another = quicker_hands(spool)
    claims.give_back(claim)
    assert (stands(another), everything(spool)) == (True, {"dead/x": "make", "processing/x": "another"})


def test_a_claim_has_the_room_for_its_outcome(spool):
    drop(spool, "x", {"command": "x" * 5000})
    claim = take(spool)
    (name,) = os.listdir(f"{spool.root}/tmp")
    room = os.stat(f"{spool.root}/tmp/{name}")
    assert (room.st_size, room.st_blocks * 512 >= 10_000, is_locked(f"{spool.root}/tmp/{name}")) == (0, True, True)
    assert record(claim, "failed")
    assert (os.stat(spool.path("failed", "x")).st_ino, everything(spool)) == (room.st_ino, {"failed/x": "x" * 5000})


def test_without_room_for_its_outcome_a_job_is_not_claimed_nor_touched(spool, monkeypatch):
    for length in (1, 5000):
        path = drop(spool, "x", {"command": "x" * length})
        before = looks(path)
        with monkeypatch.context() as patched, pytest.raises(OSError, match="No space left"):
            patched.setattr(durable, "_give_blocks" if length > 4096 else "write_all", raising(errno.ENOSPC))
            take(spool)
        assert (looks(path), is_locked(path), everything(spool)) == (before, False, {"pending/x": "x" * length})


@pytest.mark.parametrize("state", ["done", "failed", "dead", "processing"])
def test_without_a_directory_that_it_may_go_to_a_job_is_not_claimed(spool, state):
    path = drop(spool, "x", {"command": "x"})
    os.utime(path, (NOW - 9, NOW - 9))
    os.rmdir(spool.folder(state))
    with pytest.raises(durable.DirectoryGone, match=f"{state}'$"):
        take(spool)
    assert (mtime(spool, "pending"), is_locked(path), os.listdir(f"{spool.root}/tmp")) == (NOW - 9, False, [])


def test_a_job_that_the_disk_does_not_let_be_claimed_keeps_its_place_in_line(spool, monkeypatch):
    path = drop(spool, "x", {"command": "x"})
    os.utime(path, (NOW - 9, NOW - 9))
    monkeypatch.setattr(durable, "move", raising(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        take(spool)
    assert (mtime(spool, "pending"), everything(spool)) == (NOW - 9, {"pending/x": "x"})


def test_a_file_where_the_disk_fails_is_refused_alone(spool, monkeypatch):
    drop(spool, "x", {"command": "x"})
    monkeypatch.setattr(claims, "read_open", raising(errno.EIO))
    assert take(spool) == Refused("unreadable", "Input/output error")


def test_a_job_whose_directory_is_gone_is_not_taken_for_moved_away(spool, tmp_path):
    drop(spool, "x", {"command": "x"})
    claim = take(spool)
    os.rename(spool.folder("processing"), tmp_path / "away")
    with pytest.raises(durable.DirectoryGone):
        claim.holds()
    os.rename(tmp_path / "away", spool.folder("processing"))
    assert claim.holds()


def raising(code):
    def fail(*_):
        raise OSError(code, os.strerror(code))

    return fail


# ---- recording


def test_an_outcome_is_recorded_though_hands_have_emptied_tmp(spool):
    drop(spool, "x", {"command": "x"})
    claim = take(spool)
    for name in os.listdir(f"{spool.root}/tmp"):
        os.unlink(f"{spool.root}/tmp/{name}")
    assert (record(claim, "done"), everything(spool)) == (True, {"done/x": "x"})


def test_where_hands_empty_tmp_in_this_instant_the_outcome_is_to_be_written_anew(spool):
    drop(spool, "x", {"command": "x"})
    claim = take(spool)
    recorded = write(claim, "done")
    os.unlink(recorded.path)
    with pytest.raises(FileNotFoundError):
        recorded.settle()
    assert (recorded.vanished(), recorded.abandon(), claim.holds()) == (True, True, True)
    assert (record(claim, "done"), everything(spool)) == (True, {"done/x": "x"})


def test_where_the_state_is_gone_an_outcome_stays_in_processing_and_may_be_moved_on_later(spool):
    drop(spool, "x", {"command": "x"})
    recorded = write(take(spool), "done")
    os.rmdir(spool.folder("done"))
    with pytest.raises(durable.DirectoryGone):
        recorded.settle()
    assert is_locked(spool.path("processing", "x"))
    os.mkdir(spool.folder("done"))
    assert (recorded.settle(), everything(spool)) == (True, {"done/x": "x"})


def test_a_recorded_job_says_all_about_its_attempt(spool):
    drop(spool, "x", {"command": "make", "meta": [1]})
    claim = take(spool)
    outcome = Outcome(NOW, NOW + 3.25, 1, None, "exit 1", 0.5, 4096)
    verdict = Verdict("failed", "failed", NOW + 5)
    assert claim.write(claims.entry_for(claim, outcome, verdict, "here:1"), spool.settings()).settle()
    assert json.loads(Path(spool.path("failed", "x")).read_text()) == {
        "command": "make",
        "meta": [1],
        "attempts": [
            {
                "number": 1,
                "started": "2096-10-02T07:06:40.000000Z",
                "ended": "2096-10-02T07:06:43.250000Z",
                "duration": 3.25,
                "worker": "here:1",
                "exit": 1,
                "reason": "exit 1",
                "verdict": "failed",
                "due": "2096-10-02T07:06:45.000000Z",
                "cpu": 0.5,
                "memory": 4096,
            }
        ],
    }


@pytest.mark.parametrize(
    ("word", "state", "time"), [("done", "done", NOW + 3), ("failed", "failed", NOW + 5), ("dead", "dead", NOW + 3)]
)
def test_each_verdict_has_its_state_and_its_time(spool, word, state, time):
    drop(spool, "x", {"command": "make"})
    assert record(take(spool), word)
    assert (everything(spool), mtime(spool, state)) == ({f"{state}/x": "make"}, time)
    assert not is_locked(spool.path(state, "x"))


def test_an_interrupted_job_is_pending_again_with_the_time_it_had(spool):
    os.utime(drop(spool, "x", {"command": "make"}), (NOW - 60, NOW - 60))
    assert record(take(spool), "interrupted")
    assert (everything(spool), mtime(spool, "pending")) == ({"pending/x": "make"}, NOW - 60)


def test_attempts_are_numbered_and_kept(spool):
    drop(spool, "x", {"command": "make"})
    for _ in range(2):
        record(take(spool), "interrupted")
    record(take(spool), "done")
    assert [(entry["number"], entry["verdict"]) for entry in spool.read("done", "x").attempts] == [
        (1, "interrupted"),
        (2, "interrupted"),
        (3, "done"),
    ]


def test_a_recorded_job_is_the_users_alone(spool):
    drop(spool, "x", {"command": "make"})
    record(take(spool), "done")
    assert os.stat(spool.path("done", "x")).st_mode & 0o777 == 0o600


def test_recording_lets_go_of_everything(spool):
    drop(spool, "x", {"command": "make"})
    before = len(os.listdir("/proc/self/fd"))
    record(take(spool), "done")
    drop(spool, "y", {"command": "make"})
    claim = take(spool, "y")
    mv(spool, "y", "processing", "dead")
    record(claim, "done")
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("word", VERDICTS)
@pytest.mark.parametrize("target", [state for state in STATES if state != "processing"])
def test_nothing_is_recorded_over_what_hands_moved_away(spool, word, target):
    drop(spool, "x", {"command": "make"})
    recorded = write(take(spool), word)
    mv(spool, "x", "processing", target)
    before = looks(spool.path(target, "x"))
    assert not recorded.settle()
    assert (everything(spool), looks(spool.path(target, "x"))) == ({f"{target}/x": "make"}, before)


def test_nothing_is_recorded_of_a_job_that_hands_removed(spool):
    drop(spool, "x", {"command": "make"})
    recorded = write(take(spool), "done")
    os.unlink(spool.path("processing", "x"))
    assert (recorded.settle(), everything(spool)) == (False, {})


def test_what_hands_put_in_the_place_of_the_claimed_job_stays(spool):
    drop(spool, "x", {"command": "claimed"})
    recorded = write(take(spool), "done")
    mv(spool, "x", "processing", "dead")
    drop(spool, "x", {"command": "put"}, "processing")
    assert not recorded.settle()
    assert everything(spool) == {"dead/x": "claimed", "processing/x": "put"}


def test_what_hands_put_there_in_this_instant_stays(spool, monkeypatch):
    if durable._renameat2("", "", 0) == errno.ENOSYS:
        pytest.skip("without the kernel's flag this instant is open: see durable.exchange")
    drop(spool, "x", {"command": "claimed"})
    recorded = write(take(spool), "done")
    exchange = durable.exchange

    def quicker_hands(newer, older):
        monkeypatch.setattr(durable, "exchange", exchange)
        mv(spool, "x", "processing", "dead")
        drop(spool, "x", {"command": "put"}, "processing")
        return exchange(newer, older)

    monkeypatch.setattr(durable, "exchange", quicker_hands)
    assert not recorded.settle()
    assert everything(spool) == {"dead/x": "claimed", "processing/x": "put"}


def test_what_hands_move_away_in_this_instant_is_not_there_twice(spool, monkeypatch):
    drop(spool, "x", {"command": "claimed"})
    recorded = write(take(spool), "done")
    exchange = durable.exchange

    def quicker_hands(newer, older):
        mv(spool, "x", "processing", "dead")
        return exchange(newer, older)

    monkeypatch.setattr(durable, "exchange", quicker_hands)
    assert (recorded.settle(), everything(spool)) == (False, {"dead/x": "claimed"})


def test_without_flags_what_hands_move_away_between_look_and_rename_is_not_there_twice(spool, monkeypatch):
    monkeypatch.setattr(durable, "_renameat2", lambda *_: errno.ENOSYS)
    drop(spool, "x", {"command": "claimed"})
    recorded = write(take(spool), "done")
    rename = os.rename

    def quicker_hands(newer, older):
        monkeypatch.setattr(os, "rename", rename)
        mv(spool, "x", "processing", "dead")
        rename(newer, older)

    monkeypatch.setattr(os, "rename", quicker_hands)
    assert (recorded.settle(), everything(spool)) == (False, {"dead/x": "claimed"})


def test_what_hands_take_away_behind_the_exchange_stays_where_they_put_it(spool, monkeypatch):
    drop(spool, "x", {"command": "claimed"})
    recorded = write(take(spool), "done")
    move = durable.move

    def quicker_hands(source, target):
        monkeypatch.setattr(durable, "move", move)
        mv(spool, "x", "processing", "failed")
        move(source, target)

    monkeypatch.setattr(durable, "move", quicker_hands)
    assert (recorded.settle(), everything(spool)) == (False, {"failed/x": "claimed"})


@pytest.mark.parametrize(
    ("word", "state"), [("done", "done"), ("failed", "failed"), ("dead", "dead"), ("interrupted", "pending")]
)
def test_what_lies_where_the_job_goes_is_set_aside_not_replaced(spool, word, state):
    drop(spool, "x", {"command": "runs"})
    claim = take(spool)
    drop(spool, "x", {"command": "lies there"}, state)
    assert record(claim, word)
    assert everything(spool) == {f"{state}/x": "runs", f"{state}/x~1": "lies there"}


def test_trouble_while_recording_is_gone_on_from_where_it_was(spool, monkeypatch):
    drop(spool, "x", {"command": "make"})
    recorded = write(take(spool), "done")
    move = durable.move

    def full(*_):
        monkeypatch.setattr(durable, "move", move)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(durable, "move", full)
    with pytest.raises(OSError, match="No space"):
        recorded.settle()
    assert is_locked(spool.path("processing", "x"))
    assert (recorded.settle(), everything(spool)) == (True, {"done/x": "make"})


# ---- a recorded outcome is told from a new claim


@pytest.mark.parametrize("word", VERDICTS)
def test_an_orphan_whose_outcome_was_recorded_is_finished(spool, word):
    drop(spool, "x", {"command": "make"})
    recorded = write(take(spool), word)
    recorded.change_places()
    recorded.drop()  # as kill -9 does
    orphan = claims.adopt(spool, "x", spool.settings())
    state = VERDICTS[word][1].state
    assert (claims.finish(orphan), everything(spool)) == (state, {f"{state}/x": "make"})


def test_what_hands_put_under_the_name_meanwhile_is_not_moved_as_the_record(spool):
    drop(spool, "x", {"command": "make"})
    recorded = write(take(spool), "done")
    assert recorded.enter()
    another = quicker_hands(spool)
    assert not recorded.move_on()
    assert (stands(another), everything(spool)) == (True, {"dead/x": "make", "processing/x": "another"})


def test_what_hands_put_under_the_name_meanwhile_is_not_finished_as_the_orphan(spool, monkeypatch):
    drop(spool, "x", {"command": "make"})
    recorded = write(take(spool), "done")
    recorded.change_places()
    recorded.drop()  # as kill -9 does
    orphan = claims.adopt(spool, "x", spool.settings())
    others = []
    monkeypatch.setattr(durable, "sync_directory", lambda folder: others.append(quicker_hands(spool)))
    with pytest.raises(FileNotFoundError):
        claims.finish(orphan)
    assert (stands(others[0]), everything(spool)) == (True, {"dead/x": "make", "processing/x": "another"})


@pytest.mark.parametrize("word", VERDICTS)
def test_an_orphan_that_was_claimed_again_has_no_outcome(spool, word):
    drop(spool, "x", {"command": "make"})
    record(take(spool), word)
    state = VERDICTS[word][1].state
    if state != "pending":
        mv(spool, "x", state, "pending")
    spool.now = lambda: NOW + 10
    take(spool).release()
    orphan = claims.adopt(spool, "x", spool.settings())
    assert (claims.finish(orphan), where(spool, "x")) == (None, ["processing"])


def test_a_claim_in_the_very_microsecond_of_its_mark_is_told_from_a_record(spool):
    drop(spool, "x", {"command": "x", "attempts": [{"verdict": "failed", "ended": iso(NOW - 9), "due": iso(NOW)}]})
    claim = take(spool)
    assert not same_time(mtime(spool, "processing"), last_mark(claim.record))


# ---- adopting


def test_a_job_that_runs_is_not_adopted(spool):
    drop(spool, "x", {"command": "x"})
    claim = take(spool)
    assert claims.adopt(spool, "x", spool.settings()) == Refused("held")
    claim.release()
    assert claims.adopt(spool, "x", spool.settings()).record == {"command": "x"}


def test_an_orphan_is_adopted_by_one(spool):
    drop(spool, "x", {"command": "x"}, "processing")
    claim = claims.adopt(spool, "x", spool.settings())
    assert claims.adopt(spool, "x", spool.settings()) == Refused("held")
    claim.release()


def test_an_orphan_that_hands_take_away_in_this_instant_is_not_adopted(spool, monkeypatch):
    drop(spool, "x", {"command": "x"}, "processing")
    lock = durable.lock

    def late(descriptor):
        mv(spool, "x", "processing", "dead")
        return lock(descriptor)

    monkeypatch.setattr(durable, "lock", late)
    assert claims.adopt(spool, "x", spool.settings()) == Refused("gone")
    assert where(spool, "x") == ["dead"]


def test_what_is_no_job_is_not_adopted(spool):
    drop(spool, "x", b"{", "processing")
    assert claims.adopt(spool, "x", spool.settings()).kind == "unfit"
    assert claims.adopt(spool, "y", spool.settings()) == Refused("gone")


# ---- due again, buried, noted


def tried(verdict, due=None):
    return {"number": 1, "verdict": verdict, "ended": iso(NOW - 9), **({"due": iso(due)} if due else {})}


def test_a_failed_job_whose_time_has_come_is_pending_and_may_run(spool):
    os.utime(drop(spool, "x", {"command": "x", "attempts": [tried("failed", NOW)]}, "failed"), (NOW, NOW))
    assert claims.due_again(spool, "x", NOW) is None
    assert (where(spool, "x"), isinstance(take(spool), Claim)) == (["pending"], True)


def test_a_failed_job_taken_out_by_hand_may_run_before_its_time(spool):
    os.utime(drop(spool, "x", {"command": "x", "attempts": [tried("failed", NOW + 60)]}, "failed"), (NOW + 60, NOW + 60))
    mv(spool, "x", "failed", "pending")
    assert isinstance(take(spool), Claim)


def test_a_failed_job_before_its_time_stays(spool):
    os.utime(drop(spool, "x", {"command": "x"}, "failed"), (NOW + 5, NOW + 5))
    assert (claims.due_again(spool, "x", NOW), where(spool, "x")) == (NOW + 5, ["failed"])


def test_a_failed_job_that_has_gone_is_not_looked_for_again(spool):
    assert claims.due_again(spool, "x", NOW) is None


def test_a_failed_job_lets_a_pending_one_of_its_name_go_first(spool):
    drop(spool, "x", {"command": "failed"}, "failed")
    drop(spool, "x", {"command": "pending"})
    assert claims.due_again(spool, "x", NOW) == NOW + 1
    assert everything(spool) == {"failed/x": "failed", "pending/x": "pending"}


def test_what_is_no_job_is_buried_with_its_content_untouched(spool):
    drop(spool, "x", b"not a job")
    drop(spool, "x", {"command": "older"}, "dead")
    assert claims.give_up(spool, "x", "pending")
    assert Path(spool.path("dead", "x")).read_bytes() == b"not a job"
    assert spool.read("dead", "x~1").command == "older"


def test_what_has_gone_is_not_buried(spool):
    assert not claims.give_up(spool, "x", "pending")


@pytest.mark.parametrize("verdict", ["failed", "interrupted"])
def test_a_job_that_hands_put_into_dead_is_noted_as_dead(spool, verdict):
    first = {"number": 1, "verdict": "failed", "ended": iso(NOW - 20), "due": iso(NOW - 10)}
    drop(spool, "x", {"command": "x", "meta": 1, "attempts": [first, tried(verdict, NOW)]}, "dead")
    assert claims.note_dead(spool, "x", spool.settings())
    assert json.loads(Path(spool.path("dead", "x")).read_text()) == {
        "command": "x",
        "meta": 1,
        "attempts": [first, {"number": 1, "verdict": "dead", "ended": iso(NOW - 9)}],
    }
    assert (mtime(spool, "dead"), everything(spool)) == (NOW, {"dead/x": "x"})


@pytest.mark.parametrize(
    "content",
    [b"no job", {"command": "x"}, {"command": "x", "attempts": [tried("dead")]}, {"command": "x", "attempts": [tried("done")]}],
)
def test_what_needs_no_note_gets_none(spool, content):
    path = drop(spool, "x", content, "dead")
    before = looks(path)
    assert not claims.note_dead(spool, "x", spool.settings())
    assert looks(path) == before


def test_a_job_that_somebody_is_at_is_not_noted(spool):
    path = drop(spool, "x", {"command": "x", "attempts": [tried("failed", NOW)]}, "dead")
    with open(path) as held:
        durable.lock(held.fileno())
        assert not claims.note_dead(spool, "x", spool.settings())
    assert claims.note_dead(spool, "x", spool.settings())


def test_a_job_taken_out_of_dead_while_it_is_noted_stays_where_hands_put_it(spool, monkeypatch):
    drop(spool, "x", {"command": "x", "attempts": [tried("failed", NOW)]}, "dead")
    sync = Spool.sync_content
    monkeypatch.setattr(Spool, "sync_content", lambda *record: (mv(spool, "x", "dead", "pending"), sync(*record)))
    assert not claims.note_dead(spool, "x", spool.settings())
    assert everything(spool) == {"pending/x": "x"}


def test_trouble_while_noting_lets_go_of_the_job(spool):
    path = drop(spool, "x", {"command": "x", "attempts": [tried("failed", NOW)]}, "dead")
    os.rmdir(f"{spool.root}/tmp")
    with pytest.raises(durable.DirectoryGone):
        claims.note_dead(spool, "x", spool.settings())
    assert not is_locked(path)
