"""How editors and tools save a file, and how careless writers drop one: it runs once, as what was meant, and never by halves."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from drops.scene import fence, on_terminal, times_run, touches, warnings
from kit import PATIENCE, comes_to, drop, let_pass, mv, pool, until, where

SETTLE = 2.0  # seconds, as the manual says
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL
OVER = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


# ---- what tools do, system call by system call: each generator stops between two


def put(path, flags, content, pieces=1):
    """Open the file, write the content in so many pieces, and close it."""
    descriptor = os.open(path, flags, 0o600)
    yield
    size = max(1, -(-len(content) // pieces))
    for start in range(0, len(content), size):
        os.write(descriptor, content[start : start + size])
        yield
    os.close(descriptor)
    yield


def vim(folder, name, content):
    yield from put(folder / f".{name}.swp", NEW, b"b0VIM 9.0\0")
    os.close(os.open(folder / "4913", NEW | os.O_NOFOLLOW, 0o600))  # may files be made here?
    yield
    os.unlink(folder / "4913")
    yield
    os.rename(folder / name, folder / f"{name}~")
    yield
    yield from put(folder / name, OVER, content, 2)
    with contextlib.suppress(FileNotFoundError):  # it runs already, and vim doesn't mind
        os.chmod(folder / name, 0o600)
    yield
    os.unlink(folder / f"{name}~")
    yield
    os.unlink(folder / f".{name}.swp")
    yield


def vim_that_copies(folder, name, content):
    """With backupcopy=yes, and on links."""
    yield from put(folder / f"{name}~", NEW, (folder / name).read_bytes())
    yield from put(folder / name, OVER, content, 2)
    os.unlink(folder / f"{name}~")
    yield


def emacs(folder, name, content):
    os.symlink("ann@host.4711:1795515330", folder / f".#{name}")
    yield
    yield from put(folder / f"#{name}#", NEW, content[:20])  # it saves by itself while one types
    os.rename(folder / name, folder / f"{name}~")
    yield
    yield from put(folder / name, OVER, content, 2)
    os.unlink(folder / f"#{name}#")
    yield
    os.unlink(folder / f".#{name}")
    yield


def nano(folder, name, content):
    yield from put(folder / f".{name}.swp", NEW, b"b0nano")
    yield from put(folder / name, OVER, content, 3)
    os.unlink(folder / f".{name}.swp")
    yield


def gedit(folder, name, content):
    yield from put(folder / ".goutputstream-K3XQ12", NEW, content, 2)
    os.rename(folder / ".goutputstream-K3XQ12", folder / name)
    yield


def sed(folder, name, content):
    yield from put(folder / "sedKx91Qz", NEW, content, 2)
    os.rename(folder / "sedKx91Qz", folder / name)
    yield


def perl(folder, name, content):
    os.unlink(folder / name)
    yield
    yield from put(folder / name, NEW, content, 2)


def rsync(folder, name, content):
    yield from put(folder / f".{name}.AbC123", os.O_RDWR | os.O_CREAT | os.O_EXCL, content, 2)
    os.utime(folder / f".{name}.AbC123", (1_000_000_000,) * 2)
    yield
    os.rename(folder / f".{name}.AbC123", folder / name)
    yield


def rsync_in_place(folder, name, content):
    descriptor = os.open(folder / name, os.O_RDWR)
    os.write(descriptor, content)
    yield
    os.ftruncate(descriptor, len(content))
    yield
    os.close(descriptor)
    yield


def copy(folder, name, content):
    yield from put(folder / name, OVER, content)


def maildir(folder, name, content):
    """Deliver by a link, and take the first name away."""
    spare = folder.parent / "tmp" / "1795515330.P4711.host"
    yield from put(spare, NEW, content, 2)
    os.unlink(folder / name)
    yield
    os.link(spare, folder / name)
    yield
    with contextlib.suppress(FileNotFoundError):  # a worker took it away, to have one name
        os.unlink(spare)
    yield


SAVES = (vim, vim_that_copies, emacs, nano, gedit, sed, perl, rsync, rsync_in_place, copy, maildir)
LEFT = {emacs: ["x.json~"]}  # the backup that it keeps


def later(spool, id, **words):
    """Put a job into pending/ that is not to run before tomorrow."""
    path = Path(spool.root, "tmp", "later")
    path.write_text(json.dumps(words))
    os.utime(path, (time.time() + 86_400,) * 2)
    os.rename(path, spool.path("pending", id))
    return Path(spool.path("pending", id))


@pytest.mark.parametrize("save", SAVES, ids=lambda save: save.__name__)
def test_a_save_over_a_waiting_job_runs_the_new_one_once(spool, tmp_path, save):
    out = tmp_path / "out"
    pending = Path(spool.folder("pending"))
    later(spool, "x", command=f"echo old >> {out}")
    new = json.dumps({"command": f"echo new >> {out}; # much longer than what stood there before"}).encode()
    with pool(spool, 2):
        fence(spool)
        for _ in save(pending, "x.json", new):
            fence(spool)
        comes_to(spool, "x", "done")
        assert sorted(os.listdir(pending)) == LEFT.get(save, [])
        assert sorted(warnings(spool)) == [f"pending/{name}" for name in LEFT.get(save, [])]
    assert out.read_text() == "new\n"
    assert (where(spool, "x"), os.listdir(f"{spool.root}/tmp")) == (["done"], [])


@pytest.mark.parametrize("save", [vim, nano, sed, copy], ids=lambda save: save.__name__)
def test_a_dead_job_that_is_edited_where_it_lies_is_what_comes_back(spool, tmp_path, save):
    out = tmp_path / "out"
    with pool(spool):
        spool.add("exit 3", id="x", max_retries=0)
        job = comes_to(spool, "x", "dead")
        new = json.dumps({**job.record, "command": f"echo new >> {out}"}).encode()
        for _ in save(Path(spool.folder("dead")), "x.json", new):
            pass
        fence(spool)
        assert where(spool, "x") == ["dead"]
        mv(spool, "x", "dead", "pending")
        job = comes_to(spool, "x", "done")
    assert [attempt["verdict"] for attempt in job.attempts] == ["dead", "done"]
    assert out.read_text() == "new\n"


# ---- the real tools

VIM = "vim -es -u NONE -i NONE -c %s/old/new/ -c wq"
TOOLS = {
    "sed": "sed -i s/old/new/ {path}",
    "sed with a backup": "sed -i.bak s/old/new/ {path}",
    "perl": "perl -pi -e s/old/new/ {path}",
    "vim": VIM + " {path}",
    "vim that renames": VIM.replace("-c %s", "-c 'set backup backupcopy=no writebackup' -c %s") + " {path}",
    "vim that copies": VIM.replace("-c %s", "-c 'set backupcopy=yes writebackup' -c %s") + " {path}",
    "ed": "printf '%s\\n' s/old/new/ w q | ed -s {path}",
    "emacs": 'emacs -Q --batch {path} --eval \'(progn (replace-string "old" "new") (save-buffer))\'',
    "rsync": "rsync {new} {path}",
    "rsync in place": "rsync --inplace {new} {path}",
    "cp": "cp {new} {path}",
    "mv": "mv {new} {path}",
    "install": "install -m 600 {new} {path}",
    "tee": "tee {path} < {new}",
    "dd": "dd if={new} of={path} bs=7",
}


@pytest.mark.parametrize("tool", TOOLS)
def test_the_real_tools_save_what_then_runs_once(spool, tmp_path, tool):
    program = re.findall(r"(?:^|\| )(\w+)", TOOLS[tool])[-1]
    if shutil.which(program) is None:
        pytest.skip(f"there is no {program} here")
    out = tmp_path / "out"
    path = later(spool, "x", command=f"echo old >> {out}")
    new = tmp_path / "new.json"
    new.write_bytes(path.read_bytes().replace(b"old", b"new"))
    with pool(spool):
        command = TOOLS[tool].format(path=path, new=new)
        subprocess.run(command, shell=True, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        comes_to(spool, "x", "done")
    assert out.read_text() == "new\n"


@pytest.mark.skipif(shutil.which("nano") is None, reason="there is no nano here")
def test_what_nano_saves_runs_once(spool, tmp_path):
    """It wants a terminal, and somebody who types: replace all, write out, leave."""
    out = tmp_path / "out"
    path = later(spool, "x", command=f"echo old >> {out}")
    with pool(spool), on_terminal(["nano", "-I", path], {**os.environ, "TERM": "xterm"}) as (nano, read, type_in):
        read(lambda shown: b"{" in shown)  # it draws the file, so it reads the terminal by keys
        type_in(b"\x1cold\rnew\ra\x0f\r\x18")
        read(lambda shown: False)
        assert nano.wait(PATIENCE) == 0
        comes_to(spool, "x", "done")
    assert out.read_text() == "new\n"


# ---- halves


def test_a_half_of_any_length_is_never_run_and_what_is_completed_in_time_runs_once(spool, tmp_path):
    ran, canary = tmp_path / "ran", tmp_path / "canary"
    whole, half = (json.dumps(touches(path, name="é€")).encode() for path in (ran, canary))
    with pool(spool, 2):
        for length in range(len(half)):
            drop(spool, f"left-{length}", half[:length])
        for length in range(len(whole)):
            path = drop(spool, f"completed-{length}", whole[:length])
            with open(path, "ab") as file:
                file.write(whole[length:])
        for length in range(len(whole)):
            comes_to(spool, f"completed-{length}", "done")
        for length in range(len(half)):
            job = comes_to(spool, f"left-{length}", "dead")
            assert job.problem
            assert Path(spool.path("dead", job.id)).read_bytes() == half[:length]
    assert (times_run(ran), times_run(canary)) == (len(whole), 0)


def test_a_writer_who_pauses_longer_than_files_need_to_settle_is_waited_for(spool, tmp_path):
    ran = tmp_path / "ran"
    content = json.dumps(touches(ran)).encode()
    with pool(spool) as supervisor:
        with open(spool.path("pending", "x"), "wb", buffering=0) as file:
            file.write(content[:9])
            drop(spool, "closed", content[:9])
            comes_to(spool, "closed", "dead")  # so much time has gone by
            let_pass(SETTLE)
            assert where(spool, "x") == ["pending"]
            file.write(content[9:])
        comes_to(spool, "x", "done")
        assert b"rejected    x" not in supervisor.log.read_bytes()
    assert times_run(ran) == 1


def test_a_writer_who_closes_and_comes_back_too_late_loses_nothing(spool, tmp_path):
    """Both halves are dead letters; put together they run."""
    ran = tmp_path / "ran"
    content = json.dumps(touches(ran)).encode()
    path = Path(spool.path("pending", "x"))
    with pool(spool):
        path.write_bytes(content[:9])
        comes_to(spool, "x", "dead")
        with open(path, "ab") as file:
            file.write(content[9:])
        until(lambda: where(spool, "x") == where(spool, "x~1") == ["dead"], "the second half")
        first, second = (Path(spool.path("dead", id)).read_bytes() for id in ("x~1", "x"))
        assert (first + second, times_run(ran)) == (content, 0)
        drop(spool, "x", content)
        comes_to(spool, "x", "done")
    assert times_run(ran) == 1


def test_a_file_that_was_made_as_long_as_it_will_be_and_filled_later_runs_once_it_is_whole(spool, tmp_path):
    """As downloads are, and fallocate: its end may come before its beginning."""
    ran = tmp_path / "ran"
    content = json.dumps(touches(ran)).encode()
    descriptor = os.open(spool.path("pending", "x"), NEW, 0o600)
    with pool(spool):
        os.ftruncate(descriptor, len(content))
        fence(spool)
        for start, end in ((40, len(content)), (0, 20), (20, 40)):
            os.pwrite(descriptor, content[start:end], start)
            fence(spool)
        os.close(descriptor)
        comes_to(spool, "x", "done")
    assert times_run(ran) == 1


# ---- over a job that waits, runs, or is through


def test_a_job_written_over_before_it_runs_is_what_runs(spool, tmp_path):
    out = tmp_path / "out"
    with pool(spool):
        later(spool, "x", command=f"echo old >> {out}")
        fence(spool)
        later(spool, "x", command=f"echo older >> {out}")
        fence(spool)
        drop(spool, "x", {"command": f"echo new >> {out}"})
        comes_to(spool, "x", "done")
    assert out.read_text() == "new\n"


def running(spool, tmp_path, command):
    """Let x run until `go` is there, then do `command`."""
    go = tmp_path / "go"
    spool.add(
        f"echo one >> {tmp_path}/out; until test -e {go}; do sleep 0.01; done; {command}", id="x", max_retries=1, backoff_base=0
    )
    until(lambda: (tmp_path / "out").exists() and (tmp_path / "out").read_text(), "the job to run")
    return go


def test_what_is_written_into_the_file_of_a_running_job_is_for_its_next_try(spool, tmp_path):
    with pool(spool):
        go = running(spool, tmp_path, "exit 1")
        record = spool.read("processing", "x").record
        drop(spool, "x", {**record, "command": f"echo two >> {tmp_path}/out"}, "processing")
        go.touch()
        job = comes_to(spool, "x", "done")
    assert [attempt["verdict"] for attempt in job.attempts] == ["failed", "done"]
    assert (tmp_path / "out").read_text() == "one\ntwo\n"


def test_half_of_a_change_to_the_file_of_a_running_job_changes_nothing(spool, tmp_path):
    with pool(spool):
        go = running(spool, tmp_path, "true")
        record = spool.read("processing", "x").record
        drop(spool, "x", b'{"command": "ech', "processing")
        go.touch()
        job = comes_to(spool, "x", "done")
    assert job.record == {**record, "attempts": job.attempts}


def test_a_file_renamed_over_that_of_a_running_job_ends_it_and_is_tried_in_its_place(spool, tmp_path):
    with pool(spool):
        running(spool, tmp_path, "echo never >> out")
        for _ in sed(Path(spool.folder("processing")), "x.json", json.dumps({"command": f"echo two >> {tmp_path}/out"}).encode()):
            pass
        job = comes_to(spool, "x", "done")
    assert [attempt["reason"] for attempt in job.attempts[:-1]] == ["worker lost"]
    assert (tmp_path / "out").read_text() == "one\ntwo\n"


def test_a_job_dropped_again_while_it_runs_and_once_more_when_it_is_through_keeps_each_record(spool, tmp_path):
    out = tmp_path / "out"
    with pool(spool, 2):
        go = running(spool, tmp_path, f"echo first >> {out}")
        drop(spool, "x", {"command": f"echo second >> {out}", "meta": 2})
        fence(spool)
        go.touch()
        until(lambda: where(spool, "x") == ["done"] and where(spool, "x~1") == ["done"], "both")
        drop(spool, "x", {"command": f"echo third >> {out}", "meta": 3})
        until(lambda: where(spool, "x") == ["done"] and where(spool, "x~2") == ["done"], "all three")
    assert out.read_text().split() == ["one", "first", "second", "third"]
    assert [spool.read("done", id).record.get("meta") for id in ("x~1", "x~2", "x")] == [None, 2, 3]


def test_one_name_in_all_states_at_once_loses_nothing(spool, tmp_path):
    tried = {"attempts": [{"ended": "2026-01-01T00:00:00Z", "verdict": "dead"}]}
    for state, more in (("pending", {}), ("failed", {}), ("dead", tried), ("done", {}), ("processing", {})):
        drop(spool, "x", touches(tmp_path / state, meta=state, max_retries=1, backoff_base=0, **more), state)
    with pool(spool, 2, "--drain") as supervisor:
        assert supervisor.wait(60) == 0
    found = {job.record["meta"]: job for job in spool.jobs()}
    assert {meta: job.state for meta, job in found.items()} == {
        "pending": "done", "failed": "done", "processing": "done", "done": "done", "dead": "dead"}  # fmt: skip
    assert {meta: times_run(tmp_path / meta) for meta in found} == {
        "pending": 1,
        "failed": 1,
        "processing": 1,
        "done": 0,
        "dead": 0,
    }
    assert len(list(spool.jobs())) == 5
