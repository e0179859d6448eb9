"""The words of the command, as people and scripts type them."""

import json
import os
import re
import stat

import pytest
from kit import comes_to, drop, mv, pool, queuectl, where

import queuectl as program
from jobspool import Spool

ID = re.compile(r"\d{8}T\d{6}\.\d{6}-[0-9a-z]{6}\n")


def record(spool, id):
    """The one pending job that `enqueue` printed."""
    with open(spool.path("pending", id.strip())) as file:
        return json.load(file)


def lines_of(*words, spool):
    return [json.loads(line) for line in queuectl(*words, "--json", spool=spool, check=True).stdout.splitlines()]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["echo 'Hello World'"], {"command": "echo 'Hello World'"}),
        (["sleep 5", "--max-retries", "3"], {"command": "sleep 5", "max_retries": 3}),
        (["python script.py", "--timeout", "30"], {"command": "python script.py", "timeout": 30}),
        (["--", "convert", "in file.png", "out.jpg"], {"argv": ["convert", "in file.png", "out.jpg"]}),
        (["--timeout=1.5", "--", "ls", "--max-retries", "-l"], {"argv": ["ls", "--max-retries", "-l"], "timeout": 1.5}),
        (['{"command": "make", "priority": 5}'], {"command": "make", "priority": 5}),
        (["make", "--priority", "-5", "--backoff-base", "1.5"], {"command": "make", "priority": -5, "backoff_base": 1.5}),
        (
            ["make", "--env", "A=1", "--env", "B=x=y", "--name", "ä b"],
            {"command": "make", "env": {"A": "1", "B": "x=y"}, "name": "ä b"},
        ),
        (["make", "--max-ret", "2"], {"command": "make", "max_retries": 2}),
    ],
)
def test_enqueue_writes_what_was_said_and_prints_the_id_alone(spool, tmp_path, words, wanted):
    ran = queuectl("enqueue", *words, spool=spool, cwd=tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ID.fullmatch(ran.stdout)
    assert record(spool, ran.stdout) == {**wanted, "cwd": str(tmp_path)}


def test_enqueue_takes_a_cwd_and_an_id(spool, tmp_path):
    (tmp_path / "sub").mkdir()
    ran = queuectl("enqueue", "--id", "my job", "--cwd", "sub", "make", spool=spool, cwd=tmp_path)
    assert (ran.stdout, record(spool, "my job")["cwd"]) == ("my job\n", str(tmp_path / "sub"))


def test_enqueue_from_a_file_adds_a_job_a_line(spool, tmp_path):
    (tmp_path / "jobs").write_text('make a\n\n{"argv": ["make", "b"], "timeout": 9}\n')
    printed = queuectl("enqueue", "--from", "jobs", "--timeout", "5", spool=spool, cwd=tmp_path).stdout.split()
    assert [(r.get("command", r.get("argv")), r["timeout"]) for r in (record(spool, id) for id in printed)] == [
        ("make a", 5),
        (["make", "b"], 9),
    ]


def test_json_may_name_its_job_and_comments_are_no_jobs(spool):
    lines = '# a comment\n{"command": "true", "id": "named"}\n  # another\ntrue # not one\n'
    printed = queuectl("enqueue", "--from", "-", spool=spool, stdin=lines).stdout.split()
    assert (printed[0], len(printed)) == ("named", 2)
    assert "id" not in record(spool, "named")


def test_one_bad_line_on_stdin_and_nothing_is_added(spool):
    ran = queuectl("enqueue", "--from", "-", spool=spool, stdin='make a\n{"comand": "x"}\n')
    assert (ran.returncode, ran.stdout, spool.count("pending")) == (2, "", 0)
    assert "- line 2: unknown key 'comand', did you mean 'command'?" in ran.stderr


def test_ten_thousand_lines_are_ten_thousand_jobs(spool):
    ran = queuectl("enqueue", "--from", "-", spool=spool, stdin="true\n" * 10_000)
    assert len(set(ran.stdout.split())) == spool.count("pending") == 10_000


@pytest.mark.parametrize("command", sorted(program.COMMANDS))
def test_each_command_has_help(command):
    for words in ([command, "--help"], [command, "-h"], ["help", command]):
        ran = queuectl(*words)
        assert (ran.returncode, ran.stderr) == (0, "")
        assert f"queuectl {command}" in ran.stdout


def test_version_and_overview():
    assert re.fullmatch(r"queuectl \d+\.\d+\.\d+\n", queuectl("--version").stdout)
    assert queuectl().stdout == queuectl("--help").stdout == program.OVERVIEW


def test_the_spool_may_be_named_before_and_behind_the_command(tmp_path):
    spool = Spool.init(tmp_path / "other")
    for words in (
        ["--spool", spool.root, "enqueue", "true"],
        [f"--spool={spool.root}", "enqueue", "true"],
        ["enqueue", "true", "--spool", spool.root],
    ):
        assert queuectl(*words, cwd=tmp_path).returncode == 0
    assert spool.count("pending") == 3


def test_the_users_own_spool_is_made_on_first_use_and_that_is_said(tmp_path):
    ran = queuectl("enqueue", "true", cwd=tmp_path, env={"XDG_STATE_HOME": str(tmp_path / "state"), "QUEUECTL_SPOOL": ""})
    root = tmp_path / "state/queuectl/spool"
    assert ran.stderr == f"queuectl: made a spool for you at {root}\n"
    assert (stat.S_IMODE(root.stat().st_mode), len(list(root.glob("pending/*.json")))) == (0o700, 1)


def test_list_shows_the_newest_last_and_no_more_than_asked(spool):
    for i in range(5):
        os.utime(drop(spool, f"job{i}", {"command": f"echo {i}"}), (i, i))
    assert [job["id"] for job in lines_of("list", "--limit", 2, spool=spool)] == ["job3", "job4"]
    printed = queuectl("list", "--limit", "1", spool=spool).stdout.splitlines()
    assert printed[0].split() == ["job", "state", "tries", "when", "exit", "command"]
    assert re.fullmatch(r"job4  pending  0/4 +waiting \d+ d +-  +echo 4", printed[1])


def test_completed_is_done(spool):
    drop(spool, "x", {"command": "true"}, "done")
    assert [job["state"] for job in lines_of("list", "--state", "completed", spool=spool)] == ["done"]


def test_abbreviated_options_work(spool):
    drop(spool, "x", {"command": "true"})
    assert json.loads(queuectl("list", "--jso", spool=spool).stdout)["id"] == "x"


def test_status_tells_a_script_all(spool):
    drop(spool, "x", {"command": "true"})
    (open(f"{spool.root}/pending/x.part", "w")).close()
    ran = queuectl("status", "--json", spool=spool)
    seen = json.loads(ran.stdout)
    assert (ran.returncode, seen["states"]["pending"], seen["workers"], seen["paused"]) == (3, 1, [], False)
    assert seen["warnings"] == [
        "1 job waiting and no worker is running: queuectl start",
        "pending/x.part is ignored: its name ends in .part",
    ]
    with pool(spool, 2):
        comes_to(spool, "x", "done")
        ran = queuectl("status", "--json", spool=spool)
        assert (ran.returncode, len(json.loads(ran.stdout)["workers"])) == (0, 2)


def test_status_and_list_go_on_with_a_broken_config(spool):
    drop(spool, "x", {"command": "true"})
    with open(f"{spool.root}/config.json", "w") as file:
        file.write("{")
    assert "config.json is not JSON" in queuectl("status", spool=spool).stdout
    assert queuectl("list", spool=spool).stdout.splitlines()[1].startswith("x ")
    assert "next" in queuectl("top", "--once", spool=spool, check=True).stdout


def test_show_tells_all_about_one_job(spool):
    with pool(spool):
        queuectl("enqueue", "echo out; exit 3", "--max-retries", "0", "--id", "x", "--name", "a name", spool=spool)
        comes_to(spool, "x", "dead")
    printed = queuectl("show", "x", spool=spool).stdout
    for part in (
        "state       dead for",
        ": exit 3",
        "name        a name",
        f"file        {spool.path('dead', 'x')}",
        "x.1.out (4 bytes)",
    ):
        assert part in printed
    seen = json.loads(queuectl("show", "x", "--json", spool=spool).stdout)
    assert (seen["state"], seen["attempts"][0]["exit"]) == ("dead", 3)


def test_logs_are_the_bytes_of_the_attempt_that_is_asked_for(spool):
    with pool(spool):
        queuectl(
            "enqueue", "echo $QUEUECTL_ATTEMPT; echo no >&2; exit 1", "--max-retries=1", "--backoff-base=0", "--id=x", spool=spool
        )
        comes_to(spool, "x", "dead")
    ask = lambda *words: queuectl("logs", "x", *words, spool=spool).stdout  # noqa: E731 - three questions in a row
    assert (ask(), ask("--attempt", "1"), ask("--stderr")) == ("2\n", "1\n", "no\n")


def test_the_dead_letter_queue_is_listed_and_retried(spool):
    drop(spool, "junk", b"[", "dead")
    with pool(spool):
        for id in ("a", "b"):
            queuectl("enqueue", "exit 4", "--max-retries=0", "--id", id, spool=spool)
            comes_to(spool, id, "dead")
    printed = queuectl("dlq", "list", spool=spool).stdout
    assert "exit 4" in printed
    assert "not a job: not JSON" in printed
    assert queuectl("dlq", "retry", "a", spool=spool).stdout == "a\n"
    assert where(spool, "a") == ["pending"]
    retried = queuectl("dlq", "retry", "--all", spool=spool)
    assert retried.stdout == "b\n"
    assert "1 file in" in retried.stderr
    assert [job["id"] for job in lines_of("dlq", "list", spool=spool)] == ["junk"]


def test_dlq_retry_means_the_dead_job_where_a_part_fits_several(spool):
    drop(spool, "job-1", {"command": "true"}, "dead")
    drop(spool, "job-2", {"command": "true"}, "done")
    assert queuectl("dlq", "retry", "job", spool=spool).stdout == "job-1\n"


def test_dlq_retry_gives_a_job_that_hands_put_there_its_tries_again(spool):
    with pool(spool):
        queuectl("enqueue", "exit 1", "--max-retries=1", "--backoff-base=900", "--id=x", spool=spool)
        comes_to(spool, "x", "failed")
    mv(spool, "x", "failed", "dead")
    assert queuectl("dlq", "retry", "x", spool=spool).returncode == 0
    with pool(spool):
        comes_to(spool, "x", "failed")


def test_settings_are_shown_and_changed_in_each_spelling(spool):
    value = lambda key: queuectl("config", "get", key, spool=spool).stdout.strip()  # noqa: E731 - asked again and again
    assert queuectl("config", "--key", "max_retries", spool=spool).stdout == "3\n"
    for words, key, wanted in (
        (["--key", "max_retries", "--value", "5"], "max_retries", "5"),
        (["--key", "backoff_base", "--value", "3"], "backoff_base", "3"),
        (["set", "max-retries", "7"], "max_retries", "7"),
        (["set", "timeout", "30"], "timeout", "30"),
        (["set", "timeout", "none"], "timeout", "none"),
        (["unset", "max_retries"], "max_retries", "3"),
        (["set", "fsync", "NEVER"], "fsync", "never"),
    ):
        assert queuectl("config", *words, spool=spool).returncode == 0
        assert value(key) == wanted
    rows = lines_of("config", spool=spool)
    assert {row["key"]: row["value"] for row in rows}["fsync"] == "never"
    assert set(rows[0]) == {"key", "value", "default", "unit", "meaning"}
    assert queuectl("config", "list", spool=spool).stdout == queuectl("config", spool=spool).stdout


def test_worker_start_and_worker_stop_are_start_and_stop(spool):
    ran = queuectl("worker", "start", "--count", "2", "--detach", spool=spool)
    assert re.match(r"2 workers started in the background, supervisor \d+; log: ", ran.stdout)
    assert queuectl("worker", "stop", spool=spool).stderr == "queuectl: stopped: 2 workers gone\n"


def test_start_takes_the_number_of_workers_from_the_settings(spool):
    queuectl("config", "set", "workers", "3", spool=spool)
    try:
        assert queuectl("start", "--detach", spool=spool).stdout.startswith("3 workers started")
    finally:
        assert queuectl("stop", spool=spool).returncode == 0
    with open(f"{spool.root}/logs/supervisor.log") as file:
        assert "started     3 workers" in file.read()


def test_init_makes_a_spool_here_or_there_and_mends_one(tmp_path):
    assert queuectl("init", cwd=tmp_path).stdout == f"{tmp_path}/spool\n"
    (tmp_path / "spool/dead").rmdir()
    assert queuectl("status", cwd=tmp_path).returncode == 1
    assert queuectl("init", "spool", cwd=tmp_path).returncode == 0
    assert queuectl("status", cwd=tmp_path).returncode == 3


def test_status_and_list_never_fail_nor_disturb_while_files_move_under_their_feet(spool):
    ids = [job.id for job in spool.add_many([{"command": "true"}] * 300)]
    with pool(spool, 2, "--drain") as supervisor:
        while supervisor.poll() is None:
            for words in (["status", "--json"], ["list", "--json"], ["dlq", "list"]):
                ran = queuectl(*words, spool=spool)
                assert (ran.returncode in (0, 3), ran.stderr) == (True, "")
    assert {len(spool.read("done", id).attempts) for id in ids} == {1}


def test_a_retry_of_all_dead_jobs_does_what_can_be_done(spool):
    for id in "abc":
        drop(spool, id, {"command": "true"}, "dead")
    drop(spool, "a", {"command": "true"})
    done = queuectl("dlq", "retry", "--all", spool=spool)
    assert (done.returncode, sorted(done.stdout.split())) == (1, ["b", "c"])
    assert "pending/a.json is there already" in done.stderr
