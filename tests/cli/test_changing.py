"""The commands by which a person changes what becomes of jobs, with real workers."""

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from kit import QUEUECTL, comes_to, drop, gone, pool, queuectl, until, watches, where, workers

from jobspool import roster, say


def cat(spool, state, id):
    return json.loads(Path(spool.path(state, id)).read_text())


def ids(ran):
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.split()


def test_what_waits_is_cancelled_with_the_reason_and_tried_again_without(spool):
    drop(spool, "x", {"command": "true"})
    assert ids(queuectl("cancel", "x", "--reason", "not today", spool=spool)) == ["x"]
    said = cat(spool, "dead", "x")["cancelled"]
    assert (where(spool, "x"), said.startswith("by "), said.endswith(": not today")) == (["dead"], True, True)
    assert "not today" in queuectl("dlq", "list", spool=spool).stdout
    assert ids(queuectl("retry", "x", spool=spool)) == ["x"]
    assert cat(spool, "pending", "x") == {"command": "true"}


def test_what_runs_is_ended_with_all_that_it_started_when_cancel_returns(spool, tmp_path):
    """Also what has left its process group, and what ignores TERM."""
    pids = tmp_path / "pids"
    script = f"trap '' TERM; sleep 1001 & setsid sleep 1002 & echo $$ $! > {pids}; sleep 1003; sleep 1004"
    with pool(spool):
        queuectl("config", "set", "grace", "0.3", spool=spool, check=True)
        drop(spool, "x", {"command": script})
        until(lambda: pids.exists() and len(pids.read_text().split()) == 2, "the job")
        left = [int(pid) for pid in pids.read_text().split()]
        assert ids(queuectl("cancel", "x", spool=spool)) == ["x"]
        assert [pid for pid in left if not gone(pid)] == []
        assert (where(spool, "x"), cat(spool, "dead", "x")["cancelled"][:3]) == (["dead"], "by ")
        assert queuectl("wait", "x", spool=spool).returncode == 1


def test_what_a_dead_worker_left_running_is_ended_by_cancel_itself(spool, tmp_path):
    """No supervisor is there to do it."""
    ready = tmp_path / "ready"
    with pool(spool) as supervisor:
        queuectl("config", "set", "grace", "0.2", spool=spool, check=True)
        drop(spool, "x", {"command": f"echo $$ > {ready}; sleep 1005; true"})
        pid = int(until(lambda: ready.exists() and ready.read_text(), "the job"))
        worker = json.loads(next(Path(spool.root, "workers").glob("worker-*")).read_text())["pid"]
        os.kill(supervisor.pid, signal.SIGKILL)
        supervisor.wait()
        os.kill(worker, signal.SIGKILL)
        until(lambda: gone(worker), "its death")
        assert not gone(pid)
        assert ids(queuectl("cancel", "x", spool=spool)) == ["x"]
        assert gone(pid)


def test_what_has_ended_is_not_cancelled_and_the_others_are(spool):
    drop(spool, "x", {"command": "true"}, "done")
    drop(spool, "y", {"command": "true"})
    ran = queuectl("cancel", "x", "y", spool=spool)
    assert (ran.returncode, ran.stdout, ran.stderr) == (1, "y\n", "queuectl: x is done: it can't be cancelled\n")


def test_a_signal_is_sent_to_what_runs_and_is_judged_as_ever(spool, tmp_path):
    heard = tmp_path / "heard"
    with pool(spool):
        drop(spool, "x", {"command": f"trap 'echo usr1 > {heard}; exit 0' USR1; touch {heard}; while :; do sleep 0.01; done"})
        until(heard.exists, "the job")
        assert ids(queuectl("kill", "-USR1", "x", spool=spool)) == ["x"]
        comes_to(spool, "x", "done")
        assert heard.read_text() == "usr1\n"
        ran = queuectl("kill", "-10", "x", spool=spool)
        assert (ran.returncode, ran.stderr) == (1, "queuectl: x is done: no process of it runs\n")
        ran = queuectl("kill", "--signal", "HUPP", "x", spool=spool)
        assert (ran.returncode, ran.stderr) == (
            2,
            "queuectl: there is no signal 'HUPP', did you mean 'HUP'? `kill -l` lists them\n",
        )


FAILED = {
    "command": "false",
    "attempts": [{"number": 1, "ended": "2026-01-01T00:00:00Z", "verdict": "failed", "due": "2027-01-01T00:00:00Z"}],
}


def test_a_failed_job_is_tried_again_with_what_is_left_of_its_tries_or_all(spool):
    for id in "xy":
        drop(spool, id, FAILED, "failed")
        os.utime(spool.path("failed", id), (time.time() + 1000,) * 2)
    assert ids(queuectl("retry", "x", spool=spool)) == ["x"]
    assert cat(spool, "pending", "x")["attempts"][0]["verdict"] == "failed"
    assert ids(queuectl("retry", "y", "--reset", spool=spool)) == ["y"]
    assert cat(spool, "pending", "y")["attempts"][0]["verdict"] == "dead"
    with pool(spool, 1):
        comes_to(spool, "x", "failed")
        assert [len(comes_to(spool, id, "failed").attempts) for id in "xy"] == [2, 2]


def test_choices_stand_for_jobs_and_ids_may_come_through_a_pipe(spool):
    for id, state in (("a", "failed"), ("b", "failed"), ("c", "dead"), ("d", "pending")):
        drop(spool, id, {"command": "true", "name": f"night {id}"}, state)
        os.utime(spool.path(state, id), (time.time() + 1000 * (state == "failed"),) * 2)
    listed = queuectl("list", "--state", "failed", "-q", spool=spool)
    assert sorted(ids(listed)) == ["a", "b"]
    assert sorted(ids(queuectl("retry", "-", spool=spool, stdin=listed.stdout))) == ["a", "b"]
    assert ids(queuectl("retry", "--all", "--name", "night *", spool=spool)) == ["c"]
    assert ids(queuectl("list", "-q", "--name", "*d", "--grep", "tru", "--since", "1h", spool=spool)) == ["d"]
    assert ids(queuectl("list", "-q", "--grep", "false", spool=spool)) == []
    ran = queuectl("cancel", spool=spool)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "which job?" in ran.stderr
    drop(spool, "my job", {"command": "true"})
    assert queuectl("cancel", "-", spool=spool, stdin="my job\n\n").stdout == "my job\n"


def test_a_held_job_waits_in_its_place_until_it_is_released(spool):
    drop(spool, "x", {"command": "echo ran"})
    os.utime(spool.path("pending", "x"), (1000, 1000))
    assert ids(queuectl("hold", "x", "--reason", "for Bob", spool=spool)) == ["x"]
    assert (cat(spool, "pending", "x")["hold"], os.stat(spool.path("pending", "x")).st_mtime) == ("for Bob", 1000)
    assert queuectl("why", "x", spool=spool).stdout == "it is held (for Bob): queuectl release x\n"
    with pool(spool):
        drop(spool, "y", {"command": "true"})
        comes_to(spool, "y", "done")
        assert where(spool, "x") == ["pending"]
        assert ids(queuectl("release", "x", spool=spool)) == ["x"]
        assert "hold" not in comes_to(spool, "x", "done").record


def test_a_drain_does_not_wait_for_what_is_held(spool):
    drop(spool, "x", {"command": "true", "hold": "by hand"})
    drop(spool, "y", {"command": "true"})
    assert queuectl("start", "--drain", "--quiet", spool=spool).returncode == 0
    assert (where(spool, "x"), where(spool, "y")) == (["pending"], ["done"])


def test_what_runs_is_not_held(spool, tmp_path):
    with pool(spool):
        drop(spool, "x", {"command": f"touch {tmp_path}/runs; sleep 1006"})
        until((tmp_path / "runs").exists, "the job")
        ran = queuectl("hold", "x", spool=spool)
        assert (ran.returncode, ran.stderr) == (1, "queuectl: x is processing: it can't be held: it does not wait\n")
        queuectl("cancel", "x", spool=spool, check=True)


def test_a_spool_is_paused_with_the_reason_and_goes_on(spool):
    drop(spool, "x", {"command": "true"})
    queuectl("pause", "--reason", "backup", spool=spool, check=True)
    assert "the spool is paused (backup)" in queuectl("why", "x", spool=spool).stdout
    with pool(spool):
        assert "(backup)" in queuectl("status", spool=spool).stdout
        queuectl("resume", spool=spool, check=True)
        comes_to(spool, "x", "done")
    assert not Path(spool.root, "paused").exists()


def test_jobs_are_removed_with_their_logs_but_none_that_runs(spool, tmp_path):
    with pool(spool):
        drop(spool, "x", {"command": "echo out"})
        drop(spool, "y", {"command": f"touch {tmp_path}/runs; sleep 1007"})
        comes_to(spool, "x", "done")
        until((tmp_path / "runs").exists, "the job")
        assert Path(spool.log_path("x", 1, "out")).exists()
        ran = queuectl("rm", "x", "y", spool=spool)
        assert (ran.returncode, ran.stdout, ran.stderr) == (1, "x\n", "queuectl: y is processing: it can't be removed\n")
        assert (where(spool, "x"), Path(spool.log_path("x", 1, "out")).exists()) == ([], False)
        queuectl("cancel", "y", spool=spool, check=True)


def test_a_copy_is_a_new_job(spool):
    drop(spool, "x", {**FAILED, "priority": 3, "cancelled": "by me"}, "dead")
    [id] = ids(queuectl("again", "x", spool=spool))
    assert (cat(spool, "pending", id), where(spool, "x")) == ({"command": "false", "priority": 3}, ["dead"])


@pytest.mark.parametrize(
    ("handle", "wanted"), [("@last", "b"), ("@failed", "a"), ("@first", None)], ids=["the last", "the one that failed", "none"]
)
def test_handles_that_stand_for_a_job(spool, handle, wanted):
    drop(spool, "a", FAILED, "dead")
    until(
        lambda: (
            drop(spool, "b", {"command": "true"})
            and os.stat(spool.path("pending", "b")).st_mtime > os.stat(spool.path("dead", "a")).st_mtime
        )
    )
    ran = queuectl("show", handle, "--json", spool=spool)
    assert ran.returncode == (0 if wanted else 2)
    assert not wanted or json.loads(ran.stdout)["id"] == wanted


@pytest.mark.parametrize(
    ("state", "job", "later", "said"),
    [
        ("pending", {}, 0, "no worker is running: queuectl start"),
        ("pending", {}, 500, "it may not run before its time, in 8 min; no worker is running: queuectl start"),
        ("done", {}, 0, "it is done, 0.0"),
        ("dead", {}, 0, "moved there by hand, or not whole in time): queuectl retry x"),
        ("failed", FAILED, 500, "it waits for its 1st retry, due in 8 min: queuectl retry x"),
        ("pending", {"nonsense": 1}, 0, "it is never run: unknown key 'nonsense'"),
    ],
)
def test_why_says_it_in_a_sentence(spool, state, job, later, said):
    drop(spool, "x", {"command": "true", **job}, state)
    os.utime(spool.path(state, "x"), (time.time() + later,) * 2)
    ran = queuectl("why", "x", spool=spool)
    assert ran.returncode == 0
    assert said.rstrip("0.") in ran.stdout
    assert ran.stdout.count("\n") == 1


def test_why_counts_what_is_before_it(spool):
    for place, id in enumerate("abc"):
        drop(spool, id, {"command": "true", "priority": 9 * (id == "c")})
        os.utime(spool.path("pending", id), (1000 + place,) * 2)
    assert queuectl("why", "b", spool=spool).stdout == "2 before it; no worker is running: queuectl start\n"
    assert json.loads(queuectl("why", "--json", "c", spool=spool).stdout)["cure"] == "queuectl start"


def test_the_dead_letter_queue_is_purged_of_what_is_old(spool):
    for id, age in (("old", 1000), ("new", 1)):
        drop(spool, id, {"command": "true"}, "dead")
        os.utime(spool.path("dead", id), (time.time() - age,) * 2)
    drop(spool, "other", {"command": "true"})
    assert ids(queuectl("dlq", "purge", "--all", "--older-than", "10m", spool=spool)) == ["old"]
    assert json.loads(queuectl("dlq", "show", "new", "--json", spool=spool).stdout)["id"] == "new"
    ran = queuectl("dlq", "purge", "other", spool=spool)
    assert (ran.returncode, ran.stderr) == (1, "queuectl: other is pending, not dead: `queuectl rm` removes any\n")


def test_clean_keeps_what_is_young_or_among_the_newest(spool):
    for number in range(5):
        drop(spool, f"x{number}", {"command": "true"}, "done")
        os.utime(spool.path("done", f"x{number}"), (time.time() - 1000 * number,) * 2)
    assert ids(queuectl("clean", "--older-than", "1500s", "--dry-run", spool=spool)) == ["x4", "x3", "x2"]
    assert ids(queuectl("clean", "--older-than", "1500s", "--keep", "3", spool=spool)) == ["x4", "x3"]
    assert ids(queuectl("clean", spool=spool)) == ["x2", "x1", "x0"]


def test_more_and_fewer_workers_run_as_the_person_says(spool, tmp_path):
    with pool(spool, 1):
        queuectl("scale", 3, spool=spool, check=True)
        until(lambda: len(workers(spool)) == 3, "three")
        for id in "abc":
            drop(spool, id, {"command": f"touch {tmp_path}/{id}; sleep 1012"})
        until(lambda: {path.name for path in tmp_path.iterdir()} >= set("abc"), "three jobs")
        queuectl("scale", 1, spool=spool, check=True)
        queuectl("cancel", "a", "b", spool=spool, check=True)
        until(lambda: len(workers(spool)) == 1, "one")
        assert where(spool, "c") == ["processing"]
        drop(spool, "d", {"command": "true"})
        queuectl("cancel", "c", spool=spool, check=True)
        comes_to(spool, "d", "done")
    ran = queuectl("scale", 2000, spool=spool)
    assert (ran.returncode, "a whole number from 1 to 1024" in ran.stderr) == (2, True)


def test_restart_starts_as_many_anew_and_loses_nothing(spool):
    queuectl("start", "--count", 2, "--detach", spool=spool, check=True)
    before = workers(spool)
    try:
        drop(spool, "x", {"command": "sleep 0.2"})
        until(lambda: where(spool, "x") == ["processing"], "the job")
        queuectl("restart", spool=spool, check=True)
        assert (where(spool, "x"), len(workers(spool)), set(workers(spool)) & set(before)) == (["done"], 2, set())
    finally:
        queuectl("stop", "--now", spool=spool)


def test_a_job_that_is_near_is_named_and_a_bad_file_is_shown_with_the_place(spool):
    drop(spool, "nightly", {"command": "true"})
    assert "did you mean 'nightly'?" in queuectl("show", "nigthly", spool=spool).stderr
    drop(spool, "bad", b'{"command": oops}', "dead")
    assert '\n  {"command": oops}\n              ^\n' in queuectl("show", "bad", spool=spool).stdout
    ran = queuectl("enqueue", '{"command": }', spool=spool)
    assert ran.stderr.endswith('\n  {"command": }\n              ^\n')


def test_the_unit_of_a_service_is_one_that_systemd_takes(spool):
    unit = queuectl("install-service", "--user", "--print", "--count", 3, spool=spool, check=True).stdout
    assert f"--spool {spool.root} start --count 3\n" in unit
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is missing: make test-deps")
    path = Path(spool.root).parent / "queuectl.service"
    path.write_text(unit)
    checked = subprocess.run(["systemd-analyze", "verify", "--user", path], capture_output=True, text=True, check=False)
    assert "queuectl" not in checked.stderr


def test_a_service_is_ready_when_its_workers_are(spool, tmp_path):
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(30)
        started = subprocess.Popen(
            [*QUEUECTL, "--spool", spool.root, "start", "--quiet"], env={**os.environ, "NOTIFY_SOCKET": path}
        )
        try:
            assert manager.recv(100) == b"READY=1"
            spool.add('echo "[$NOTIFY_SOCKET]"', id="x")
            comes_to(spool, "x", "done")
            assert Path(spool.log_path("x", 1, "out")).read_text() == "[]\n"
        finally:
            started.terminate()
            started.wait()


def test_events_are_told_as_json(spool):
    drop(spool, "x", {"command": "true"})
    ran = queuectl("start", "--drain", "--log-format", "json", spool=spool, check=True)
    events = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [event["event"] for event in events] == ["started", "ended", "drained", "stopping", "stopped"]
    assert events[1]["attempt"]["verdict"] == "done"


def test_what_was_done_is_told_as_json(spool):
    for id in "xyz":
        drop(spool, id, {"command": "true"})

    def said(*words):
        ran = queuectl(*words, "--json", spool=spool, check=True)
        return [(job["id"], job["state"]) for job in map(json.loads, ran.stdout.splitlines())]

    assert said("cancel", "x", "y") == [("x", "dead"), ("y", "dead")]
    assert said("retry", "x") == [("x", "pending")]
    assert said("hold", "z") == [("z", "pending")]
    assert said("rm", "y") == [("y", None)]
    [(copy, state)] = said("again", "x")
    assert (where(spool, copy), state) == (["pending"], "pending")
    assert queuectl("clean", "--state", "pending", "--dry-run", "--json", spool=spool).stdout.count('"state": "pending"') == 3


def test_what_an_earlier_try_has_left_running_goes_on_when_a_waiting_job_is_cancelled(spool, tmp_path):
    with pool(spool):
        drop(spool, "x", {"command": f"setsid sleep 1013 & echo $! > {tmp_path}/pid; exit 1", "backoff_base": 1000})
        comes_to(spool, "x", "failed")
        pid = int((tmp_path / "pid").read_text())
        try:
            assert ids(queuectl("cancel", "x", spool=spool)) == ["x"]
            assert not gone(pid)
        finally:
            os.kill(pid, signal.SIGKILL)


def test_what_is_never_run_is_not_held(spool, tmp_path):
    path = drop(spool, "x", {"command": "true"})
    os.link(path, tmp_path / "other")
    ran = queuectl("hold", "x", spool=spool)
    assert (ran.returncode, ran.stderr.startswith("queuectl: x is never run: ")) == (1, True)


def test_starts_are_told_of_to_who_wants_them(spool):
    drop(spool, "x", {"command": "echo '\033[31m'"})
    told = queuectl("start", "--drain", "--verbose", spool=spool, check=True).stdout
    assert [line.split()[1:3] for line in told.splitlines()[1:3]] == [["began", "x"], ["done", "x"]]
    assert "attempt 1: echo '\\x1b[31m'" in told
    drop(spool, "y", {"argv": ["true"]})
    lines = queuectl("start", "--drain", "--verbose", "--log-format", "json", spool=spool, check=True).stdout.splitlines()
    [began] = [event for event in map(json.loads, lines) if event["event"] == "began"]
    assert (began["id"], began["number"], began["command"]) == ("y", 1, "true")
    drop(spool, "z", {"command": "true"})
    assert "began" not in queuectl("start", "--drain", spool=spool, check=True).stdout


def test_status_counts_what_is_held(spool):
    for id in "abc":
        drop(spool, id, {"command": "true", **({"hold": "so"} if id != "a" else {})})
    assert json.loads(queuectl("status", "--json", spool=spool).stdout)["held"] == 2
    assert ", 2 held" in queuectl("status", spool=spool).stdout


@pytest.mark.parametrize(("limits", "said"), [((2, 100), "more than 2 before it"), ((9, 3), "at least 3 before it")])
def test_why_counts_no_more_than_a_person_wants_to_know(spool, monkeypatch, limits, said):
    for i in range(6):
        os.utime(drop(spool, f"x{i}", {"command": "true"}), (1_000_000_000 + i,) * 2)
    for name, value in zip(("MOST_BEFORE", "MOST_READ"), limits, strict=True):
        monkeypatch.setattr(say, name, value)
    assert said in say.why(spool, spool.find("x5"), spool.settings())[0]


def test_what_the_whole_spool_does_is_told_as_json(spool):
    def told(*words):
        return json.loads(queuectl(*words, spool=spool, check=True).stdout)

    assert told("pause", "--reason", "lunch", "--json") == {"spool": spool.root, "paused": True, "pause_reason": "lunch"}
    assert told("resume", "--json") == {"spool": spool.root, "paused": False, "pause_reason": None}
    assert told("scale", "2", "--json") == {"spool": spool.root, "workers": 2, "supervisors": 0}
    added = told("enqueue", "true", "--json")
    assert (added["state"], added["command"]) == ("pending", "true")
    edited = queuectl("edit", added["id"], "--json", spool=spool, env={"EDITOR": "sed -i s/true/false/", "VISUAL": ""})
    assert (json.loads(edited.stdout)["id"], json.loads(edited.stdout)["command"]) == (added["id"], "false")


def test_a_second_stop_interrupts_nothing(spool, tmp_path):
    with pool(spool):
        drop(spool, "x", {"command": f"touch {tmp_path}/runs; until test -e {tmp_path}/end; do sleep 0.01; done"})
        until((tmp_path / "runs").exists, "the job")
        for _ in range(2):
            assert queuectl("stop", "--timeout", "0.1", spool=spool).returncode == 75
        (tmp_path / "end").touch()
        assert len(comes_to(spool, "x", "done").attempts) == 1


def test_a_wait_for_all_tells_of_the_dead(spool, tmp_path):
    drop(spool, "old", {"command": "false"}, "dead")
    drop(spool, "x", {"command": "true"})
    with pool(spool):
        assert queuectl("wait", spool=spool).returncode == 0
        drop(spool, "y", {"command": f"until test -e {tmp_path}/end; do sleep 0.01; done; exit 3", "max_retries": 0})
        until(lambda: spool.names("processing"), "the job")
        wait = subprocess.Popen([*QUEUECTL, "wait", "--spool", spool.root])
        until(lambda: watches(wait.pid), "its watch")
        (tmp_path / "end").touch()
        assert wait.wait(30) == 1


def test_a_wait_does_not_wait_for_what_never_runs(spool):
    for i in range(1100):
        drop(spool, f"x{i}", {"command": "true", "hold": "so"})
    os.mkfifo(spool.path("failed", "fifo"))
    os.symlink("/nowhere", spool.path("processing", "link"))
    assert queuectl("wait", "--timeout", "20", spool=spool).returncode == 0


def test_a_cancelled_attempt_is_on_record(spool, tmp_path):
    with pool(spool):
        drop(spool, "x", {"command": f"touch {tmp_path}/runs; sleep 1034"})
        until((tmp_path / "runs").exists, "the job")
        queuectl("cancel", "x", "--reason", "enough", spool=spool, check=True)
    [attempt] = spool.find("x").attempts
    assert (attempt["number"], attempt["verdict"], attempt["reason"].endswith("enough")) == (1, "dead", True)
    assert attempt["started"] <= attempt["ended"]
    assert queuectl("doctor", spool=spool).returncode == 0


def test_a_cancel_that_was_cut_short_is_given_again(spool, tmp_path):
    with pool(spool):
        stubborn = f"touch {tmp_path}/runs; trap '' TERM; sleep 1035"
        drop(spool, "x", {"command": f"setsid sh -c {shlex.quote(stubborn)} & sleep 1036", "grace": 0.1})
        until((tmp_path / "runs").exists, "the job")
        [child] = [each.pid for each in roster.processes(spool) if each.job == "x" and b"1035" in cmdline(each.pid)][:1]
        os.rename(spool.path("processing", "x"), spool.path("dead", "x"))  # as a cancel does that is killed then
        queuectl("cancel", "x", spool=spool, check=True)
        assert gone(child)
        assert "cancelled" in spool.find("x").record


def cmdline(pid):
    return Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.mark.parametrize("redirect", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(
    "words", ["enqueue true", "enqueue --from -", "list", "--help", "cancel -", "hold x --reason y", "start --drain", "top"]
)
def test_a_command_that_is_started_without_a_stream_does_what_it_can(spool, words, redirect):
    drop(spool, "x", {"command": "true", "hold": "so"})
    line = f"{shlex.join(QUEUECTL)} {words} {redirect}"
    ran = subprocess.run(["sh", "-c", line], env={**os.environ, "QUEUECTL_SPOOL": spool.root}, capture_output=True, timeout=60)
    assert b"Traceback" not in ran.stderr
    assert ran.returncode in ((0, 2) if words == "cancel -" else (0,))


def test_a_drained_pool_without_streams_has_run_all(spool):
    drop(spool, "x", {"command": "echo here; cat"})
    line = f"{shlex.join(QUEUECTL)} start --drain <&- >&- 2>&-"
    subprocess.run(["sh", "-c", line], env={**os.environ, "QUEUECTL_SPOOL": spool.root}, check=True, timeout=60)
    assert where(spool, "x") == ["done"]


def test_a_hold_that_comes_during_an_edit_stays(spool, tmp_path):
    drop(spool, "x", {"command": "true"})
    editor = f"sh -c 'touch {tmp_path}/open; until test -e {tmp_path}/go; do sleep 0.01; done; sed -i s/true/false/ $0'"
    edit = subprocess.Popen([*QUEUECTL, "edit", "x", "--spool", spool.root], env={**os.environ, "EDITOR": editor, "VISUAL": ""})
    until((tmp_path / "open").exists, "the editor")
    second = queuectl("edit", "x", spool=spool, env={"EDITOR": "true"})
    assert (second.returncode, "is just being edited by" in second.stderr) == (1, True)
    queuectl("hold", "x", "--reason", "keep me", spool=spool, check=True)
    (tmp_path / "go").touch()
    assert edit.wait(30) == 0
    assert (spool.find("x").record["hold"], spool.find("x").record["command"]) == ("keep me", "false")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_an_edit_that_is_ended_leaves_the_job_as_it_was(spool, tmp_path, number):
    drop(spool, "x", {"command": "true"})
    editor = f"sh -c 'touch {tmp_path}/open; exec sleep 1037'"
    edit = subprocess.Popen(
        [*QUEUECTL, "edit", "x", "--spool", spool.root],
        env={**os.environ, "EDITOR": editor, "VISUAL": ""},
        start_new_session=True,
    )
    until((tmp_path / "open").exists, "the editor")
    os.killpg(edit.pid, number)
    assert edit.wait(30) == 128 + number
    assert ("hold" in spool.find("x").record, os.listdir(f"{spool.root}/tmp")) == (False, [])


def test_an_edit_of_a_killed_editor_is_taken_over(spool):
    drop(spool, "x", {"command": "true", "hold": "edited by root, process 999999999"})
    queuectl("edit", "x", spool=spool, env={"EDITOR": "sed -i s/true/false/", "VISUAL": ""}, check=True)
    assert spool.find("x").record == {"command": "false"}


@pytest.mark.parametrize("editor", [" ", 'vi "'])
def test_an_editor_that_is_none_is_told_of(spool, editor):
    drop(spool, "x", {"command": "true"})
    ran = queuectl("edit", "x", spool=spool, env={"EDITOR": editor, "VISUAL": "", "PATH": "/nowhere"})
    assert (ran.returncode, "Traceback" in ran.stderr, "hold" in spool.find("x").record) == (1, False, False)


def test_no_odd_file_is_edited(spool, tmp_path):
    (tmp_path / "theirs").write_text("{")
    os.symlink(tmp_path / "theirs", spool.path("dead", "link"))
    os.mkfifo(spool.path("dead", "fifo"))
    for id in ("link", "fifo"):
        ran = queuectl("edit", id, spool=spool, env={"EDITOR": "sed -i s/./x/", "VISUAL": ""})
        assert (ran.returncode, "is not edited" in ran.stderr) == (1, True)
    assert (os.path.islink(spool.path("dead", "link")), (tmp_path / "theirs").read_text()) == (True, "{")


def test_what_is_refused_keeps_nobody_from_the_others(spool):
    for id in ("a", "b"):
        drop(spool, id, {"command": "true"}, "done")
    ran = queuectl("again", "a", "nothing", "b", spool=spool)
    assert (ran.returncode, spool.count("pending")) == (1, 2)
    assert "no job fits 'nothing'" in ran.stderr
    assert queuectl("rm", "--yes", "a", "nothing", "b", spool=spool).returncode == 1
    assert spool.count("done") == 0


@pytest.mark.parametrize("words", [["retry"], ["again"], ["cancel"], ["wait"], ["logs"], ["logs", "-f"]], ids=" ".join)
def test_a_word_beside_others_that_names_no_job_is_told_of(spool, words):
    drop(spool, "a", {"command": "true"}, "dead")
    ran = queuectl(*words, "a", "nothing", spool=spool)
    assert (ran.returncode, "no job fits 'nothing'" in ran.stderr) == (1, True)


def test_several_states_are_chosen_with_commas(spool):
    for state in ("failed", "dead", "done"):
        drop(spool, state, {"command": "true"}, state)
    assert sorted(ids(queuectl("list", "-q", "--state", "failed,dead", spool=spool))) == ["dead", "failed"]


def test_a_job_is_added_held(spool):
    id = queuectl("enqueue", "true", "--hold", "for later", spool=spool, check=True).stdout.strip()
    queuectl("start", "--drain", "--quiet", spool=spool, check=True)
    assert where(spool, id) == ["pending"]
    assert json.loads(queuectl("status", "--json", spool=spool).stdout)["warnings"] == []
    assert f"queuectl release {id}" in queuectl("retry", id, spool=spool).stderr


def test_lines_of_other_systems_are_jobs(spool, tmp_path):
    (tmp_path / "jobs").write_bytes(b'\xef\xbb\xbf{"command": "true"}\r\ntrue\r\n')
    queuectl("enqueue", "--from", tmp_path / "jobs", spool=spool, check=True)
    queuectl("start", "--drain", "--quiet", spool=spool, check=True)
    assert spool.count("done") == 2


def test_a_directory_that_is_gone_is_named(spool, tmp_path):
    line = f"mkdir {tmp_path}/d; cd {tmp_path}/d; rmdir {tmp_path}/d; {shlex.join(QUEUECTL)} enqueue true"
    for env in ({"QUEUECTL_SPOOL": spool.root}, {}):
        ran = subprocess.run(["sh", "-c", line], env={**os.environ, **env}, capture_output=True, text=True, timeout=60)
        assert (ran.returncode in (1, 2), "the current directory is gone" in ran.stderr) == (True, True)
