"""What a job gets from its worker, and what becomes of what it prints."""

import json
import os
import re
import stat
import subprocess
import sys

from kit import QUEUECTL, comes_to, log, pool, until

from jobspool import config


def ran(spool, command, **options):
    """Run the command as a job and return what it printed."""
    with pool(spool):
        job = comes_to(spool, spool.add(command, **options).id, "done")
    return log(spool, job.id).decode()


LOOK = """
import json, os
fds = {}
for n in os.listdir("/proc/self/fd"):
    if os.path.lexists("/proc/self/fd/" + n):
        fds[n] = os.readlink("/proc/self/fd/" + n)
print(json.dumps(dict(fds=fds, pid=os.getpid(), group=os.getpgid(0), cwd=os.getcwd(), env=dict(os.environ))))
"""


def own_or_named(path):
    """The path, one for a log: that has its worker's name, and the attempt's once it has taken its time."""
    return re.sub(r"/(worker-\d+\.0|x\.1)\.", "/its.", path)


def test_a_job_gets_four_descriptors_and_no_more(spool):
    """Also where the supervisor was started with others."""
    spool.add(argv=[sys.executable, "-c", LOOK], id="x", env={"MINE": "1"}, cwd="/usr")
    readers, writers = zip(*(os.pipe() for _ in range(3)), strict=True)
    for descriptor in writers:
        os.set_inheritable(descriptor, True)
    command = [*QUEUECTL, "--spool", spool.root, "start", "--drain", "-q"]
    subprocess.run(command, pass_fds=writers, timeout=60, stderr=subprocess.DEVNULL, check=True)
    for descriptor in (*readers, *writers):
        os.close(descriptor)
    seen = json.loads(log(spool, "x"))
    assert {n: own_or_named(path.removesuffix(" (deleted)")) for n, path in seen["fds"].items()} == {
        "0": "/dev/null",
        "1": f"{spool.root}/logs/its.out",
        "2": f"{spool.root}/logs/its.err",
        "100": spool.path("processing", "x"),
    }
    assert seen["group"] == seen["pid"]
    assert (seen["cwd"], seen["env"]["MINE"]) == ("/usr", "1")
    assert {name: seen["env"][name] for name in ("QUEUECTL_JOB_ID", "QUEUECTL_ATTEMPT", "QUEUECTL_SPOOL")} == {
        "QUEUECTL_JOB_ID": "x",
        "QUEUECTL_ATTEMPT": "1",
        "QUEUECTL_SPOOL": spool.root,
    }


def test_a_job_has_default_signals(spool):
    printed = ran(spool, "grep -E '^Sig(Blk|Ign)' /proc/self/status")
    of_the_c_library = 3 << 31  # signals 32 and 33, which no program can set: whoever started us may have left them ignored
    assert {int(line.split()[1], 16) & ~of_the_c_library for line in printed.splitlines()} == {0}


def test_output_is_bytes_and_out_and_err_are_apart(spool):
    with pool(spool):
        spool.add(r"printf '\377\000\n'; echo problem >&2", id="x")
        comes_to(spool, "x", "done")
    assert (log(spool, "x"), log(spool, "x", stream="err")) == (b"\xff\0\n", b"problem\n")


def test_output_can_be_read_while_the_job_runs(spool, tmp_path):
    go = tmp_path / "go"
    with pool(spool):
        spool.add(f"echo first; until test -e {go}; do sleep 0.01; done", id="x")
        until(lambda: log(spool, "x") == b"first\n", "the first line")
        assert spool.read("processing", "x")
        go.touch()
        comes_to(spool, "x", "done")


def test_a_job_that_prints_nothing_leaves_no_logs(spool):
    with pool(spool):
        comes_to(spool, spool.add("true").id, "done")
        until(lambda: [name for name in os.listdir(f"{spool.root}/logs") if not name.startswith("worker-")] == [])
    assert os.listdir(f"{spool.root}/logs") == []  # its worker's own two files are gone with it


def test_files_are_for_their_owner_alone(spool):
    with pool(spool):
        spool.add("echo", id="x")
        comes_to(spool, "x", "done")
    paths = (spool.path("done", "x"), spool.log_path("x", 1, "out"), f"{spool.root}/config.json")
    assert {stat.S_IMODE(os.stat(path).st_mode) for path in paths} == {0o600}


def test_a_log_without_end_keeps_its_beginning_and_end_and_little_of_the_disk(spool, tmp_path):
    config.change(spool.root, "log_max_bytes", 100_000, spool.spare(), 0o600)
    go = tmp_path / "go"
    with pool(spool):
        spool.add(f"echo begin; yes | head -c 3000000; until test -e {go}; do sleep 0.01; done; echo end", id="x")
        path = spool.log_path("x", 1, "out")
        until(lambda: os.path.exists(path) and os.stat(path).st_size > 3_000_000, "the output")
        until(lambda: os.stat(path).st_blocks * 512 < 300_000, "the disk to be given back")
        go.touch()
        comes_to(spool, "x", "done")
    kept = log(spool, "x")
    assert (kept[:6], kept[-4:], len(kept) < 101_000) == (b"begin\n", b"end\n", True)
    assert b"[queuectl: 2900010 bytes were cut out here]" in kept
