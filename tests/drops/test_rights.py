"""A job gets no right and no descriptor that a plain shell, started in the same place as its pool, would not have had."""

import json
import os
import subprocess
import sys

import pytest
from kit import PATIENCE, QUEUECTL, comes_to, drop, log, pool, queuectl

# What a process is, as it sees itself.
LOOK = """
import json, os, resource
def read(name):
    try:
        with open("/proc/self/" + name, "rb") as file:
            return file.read().decode("utf-8", "surrogateescape")
    except OSError as error:
        return error.strerror
fds = {}
for n in os.listdir("/proc/self/fd"):
    try:
        fds[n] = os.readlink("/proc/self/fd/" + n)
    except OSError:
        pass
status = dict(line.split(":", 1) for line in read("status").splitlines())
print(json.dumps(dict(
    fds=fds,
    status={word: " ".join(value.split()) for word, value in status.items()},
    kept={name: read(name) for name in (
        "limits", "oom_score_adj", "cgroup", "attr/current", "loginuid", "personality", "coredump_filter", "timerslack_ns", "uid_map")},
    spaces={name: os.readlink("/proc/self/ns/" + name) for name in sorted(os.listdir("/proc/self/ns"))},
    root=os.readlink("/proc/self/root"),
    sched=[os.sched_getscheduler(0), os.sched_getparam(0).sched_priority, os.getpriority(os.PRIO_PROCESS, 0), sorted(os.sched_getaffinity(0))],
    environ=read("environ"),
    ids=[os.getpid(), os.getpgid(0), os.getsid(0)],
)))
"""

# A place that is unlike others: it leaves descriptors open, signals blocked and ignored, limits low, rights dropped.
PLACE = """
import ctypes, os, resource, signal, sys
libc = ctypes.CDLL(None)
PR_CAPBSET_DROP, PR_SET_TIMERSLACK, PR_SET_NO_NEW_PRIVS, CAP_SYS_TIME = 24, 29, 38, 25
if os.geteuid() == 0:
    libc.prctl(PR_CAPBSET_DROP, CAP_SYS_TIME, 0, 0, 0)
libc.prctl(PR_SET_TIMERSLACK, 77_777, 0, 0, 0)
libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
os.umask(0o027)
os.nice(3)
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
for limit, value in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_NOFILE, 333), (resource.RLIMIT_FSIZE, 1 << 30), (resource.RLIMIT_STACK, 4 << 20)):
    resource.setrlimit(limit, (value, value))
with open("/proc/self/oom_score_adj", "w") as file:
    file.write("123")
for path in ("/etc/passwd", "/etc", "/dev/null"):
    os.set_inheritable(os.open(path, os.O_RDONLY), True)
for end in os.pipe():
    os.set_inheritable(end, True)
signal.signal(signal.SIGINT, signal.SIG_DFL)  # who runs the tests in the background ignores it, and Python heeds that
signal.signal(signal.SIGHUP, signal.SIG_IGN)
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGCHLD})
os.environ.pop("LC_CTYPE", None)  # which Python sets where no language is set
os.execvp(sys.argv[1], sys.argv[1:])
"""

KEPT = (
    "Uid Gid Groups CapInh CapPrm CapEff CapBnd CapAmb NoNewPrivs Seccomp Seccomp_filters Speculation_Store_Bypass "
    "SpeculationIndirectBranch Umask TracerPid Cpus_allowed Mems_allowed THP_enabled"
).split()
OF_PYTHON = 1 << 12 | 1 << 24  # PIPE and XFSZ, which it ignores itself
OF_THE_C_LIBRARY = 3 << 31  # signals 32 and 33, which no program can set
ENV = {"PATH": os.environ["PATH"], "HOME": "/", "ODD": "a=b\nc \udcff", "EMPTY": ""}  # and no language


@pytest.fixture(scope="module")
def shell():
    """What a plain shell's command is, in that place and in that environment."""
    command = [sys.executable, "-c", PLACE, "sh", "-c", 'exec "$@"', "sh", sys.executable, "-c", LOOK]
    ran = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=True, env=ENV, stdin=subprocess.DEVNULL)
    return json.loads(ran.stdout)


def variables(environ):
    return dict(line.partition("=")[::2] for line in environ.split("\0") if line)


def mask(status, word):
    return int(status[word], 16) & ~OF_THE_C_LIBRARY


def assert_no_more_than(shell, job, spool, id):
    """Compare the job with the shell: all that is kept is the same, and what a job is given is as the manual says."""
    assert {word: job["status"].get(word) for word in KEPT} == {word: shell["status"].get(word) for word in KEPT}
    for part in ("kept", "spaces", "root", "sched"):
        assert job[part] == shell[part]
    signals = {word: mask(job["status"], word) for word in ("SigBlk", "SigIgn", "SigCgt", "SigPnd", "ShdPnd")}
    assert signals == {"SigBlk": 0, "SigIgn": OF_PYTHON, "SigCgt": mask(shell["status"], "SigCgt"), "SigPnd": 0, "ShdPnd": 0}
    logs = f"{spool.root}/logs/{job['fds']['1'].rpartition('/')[2].removesuffix('.out')}"  # its worker's, or its own by now
    assert job["fds"] == {"0": "/dev/null", "1": f"{logs}.out", "2": f"{logs}.err", "100": spool.path("processing", id)}
    given = {"QUEUECTL_JOB_ID": id, "QUEUECTL_ATTEMPT": "1", "QUEUECTL_SPOOL": spool.root, "PWD": os.path.dirname(spool.root)}
    given["QUEUECTL_RESULT"] = spool.log_path(id, 1, "result")
    assert variables(job["environ"]) == {**variables(shell["environ"]), **given}
    assert job["ids"][0] == job["ids"][1]


def jobs(spool):
    """Two jobs that look at themselves: as the worker executes a program, and as a shell does that it executes."""
    drop(spool, "direct", {"argv": [sys.executable, "-c", LOOK]})
    drop(spool, "by-shell", {"command": f'exec {sys.executable} -c "$LOOK" && true', "env": {"LOOK": LOOK}})
    return "direct", "by-shell"


def check(shell, spool, ids):
    for id in ids:
        seen = json.loads(log(spool, id))
        seen["environ"] = seen["environ"].replace(f"LOOK={LOOK}", "")
        assert_no_more_than(shell, seen, spool, id)


def test_a_job_of_a_pool_in_the_foreground_has_what_a_shell_there_has(spool, shell):
    ids = jobs(spool)
    with pool(spool, 1, within=["env", "-i", *(f"{name}={value}" for name, value in ENV.items()), sys.executable, "-c", PLACE]):
        for id in ids:
            comes_to(spool, id, "done")
    check(shell, spool, ids)


def test_a_job_of_a_pool_in_the_background_has_what_a_shell_there_has(spool, shell):
    ids = jobs(spool)
    command = [sys.executable, "-c", PLACE, *QUEUECTL, "--spool", spool.root, "start", "--detach"]
    try:
        subprocess.run(command, env=ENV, timeout=PATIENCE, check=True, stdin=subprocess.DEVNULL, capture_output=True)
        for id in ids:
            comes_to(spool, id, "done")
    finally:
        queuectl("stop", "--now", spool=spool)
    check(shell, spool, ids)
    assert {json.loads(log(spool, id))["ids"][2] for id in ids} != {os.getsid(0)}


def test_a_job_whose_file_is_setuid_runs_as_the_worker(spool):
    """The rights of the file are not the job's."""
    path = drop(spool, "x", {"argv": [sys.executable, "-c", LOOK], "priority": 1})
    path.chmod(0o6755)
    with pool(spool):
        comes_to(spool, "x", "done")
    seen = json.loads(log(spool, "x"))
    assert seen["status"]["Uid"].split() == [str(os.getuid())] * 4
    assert seen["status"]["Gid"].split() == [str(os.getgid())] * 4


def test_a_second_job_gets_nothing_of_the_first(spool):
    """Neither its environment, nor its directory, nor its descriptors: a worker is as new for each."""
    first = {"command": "umask 0; ulimit -n 50; cd /; exec 9>/dev/null; exit 0", "env": {"SECRET": "x"}, "cwd": "/usr"}
    drop(spool, "first", first)
    with pool(spool, 1):
        comes_to(spool, "first", "done")
        drop(spool, "second", {"argv": [sys.executable, "-c", LOOK]})
        comes_to(spool, "second", "done")
    seen = json.loads(log(spool, "second"))
    assert set(seen["fds"]) == {"0", "1", "2", "100"}
    assert ("SECRET" in seen["environ"], variables(seen["environ"])["PWD"]) == (False, os.path.dirname(spool.root))
