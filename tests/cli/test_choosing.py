"""Which jobs, in which order, and what of them; and jobs that are waited for as they are added."""

import os

import pytest
from kit import comes_to, drop, pool, queuectl


def listed(spool, *words):
    ran = queuectl("list", *words, spool=spool)
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout


@pytest.fixture
def three(spool):
    for place, (id, priority, tags) in enumerate((("b", 5, ["x"]), ("a", 1, ["x", "y"]), ("c", 3, []))):
        drop(spool, id, {"command": f"echo {id}", "priority": priority, **({"tags": tags} if tags else {})})
        os.utime(spool.path("pending", id), (1000 + place,) * 2)
    return spool


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ([], "b a c"),
        (["--sort", "id"], "a b c"),
        (["--sort", "-priority"], "b c a"),
        (["--sort", "command"], "a b c"),
        (["--tag", "x"], "b a"),
        (["--tag", "y", "--sort", "id"], "a"),
        (["--tag", "z"], ""),
        (["--limit", "2"], "a c"),
    ],
)
def test_the_order_and_the_choice(three, words, wanted):
    assert listed(three, "-q", *words).split() == wanted.split()


def test_a_format_names_fields(three):
    assert listed(three, "--tag", "y", "--format", "{handle}\\t{state} {priority} {tags} {cwd}") == 'a\tpending 1 ["x", "y"] \n'
    assert listed(three, "--sort", "id", "--format", "{id}={command}") == "a=echo a\nb=echo b\nc=echo c\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--format", "{comand}"], "--format knows no field 'comand', did you mean 'command'?"),
        (["--sort", "tries_"], "--sort knows no field 'tries_', did you mean 'tries'?"),
        (["--since", "soon"], "--since takes a time such as 90s, 10m, 1h30m, 7d, not 'soon'"),
        (["--state", "pendign"], "there is no state 'pendign', did you mean 'pending'?"),
    ],
)
def test_a_wrong_choice_is_named_with_the_nearest_right_one(three, words, said):
    ran = queuectl("list", *words, spool=three)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert said in ran.stderr


def test_a_reason_chooses_what_died_of_exactly_that(spool):
    with pool(spool):
        spool.add("echo exit 1; exit 3", id="says-so", max_retries=0)
        spool.add("false", id="is-so", max_retries=0)
        spool.add("exit 11", id="longer", max_retries=0)
        for id in ("says-so", "is-so", "longer"):
            comes_to(spool, id, "dead")
    spool.add("true", id="waits")
    assert listed(spool, "--reason", "exit 1", "-q") == "is-so\n"
    assert listed(spool, "--state", "dead", "--reason", "exit 1", "--limit", "1", "-q") == "is-so\n"
    assert [listed(spool, *words, "-q") for words in (["--reason", ""], ["--state", "pending", "--reason", "exit 1"])] == ["", ""]


def test_escape_sequences_are_harmless_in_a_format(spool):
    drop(spool, "x", {"command": "echo \x1b[31m"})
    assert listed(spool, "--format", "{command}") == "echo \\x1b[31m\n"


def test_enqueue_waits_and_follows(spool):
    with pool(spool):
        ran = queuectl("enqueue", "--wait", "--max-retries", "0", "exit 3", spool=spool)
        assert (ran.returncode, ran.stdout.count("\n")) == (3, 1)
        ran = queuectl("enqueue", "--follow", "--id", "x", "echo out; echo err >&2", spool=spool)
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, "x\nout\n", "err\n")
        ran = queuectl("enqueue", "--wait", "--max-retries", "0", "--from", "-", spool=spool, stdin="true\nfalse\n")
        assert ran.returncode == 1
        ran = queuectl("enqueue", "--tag", "a", "--tag", "b", "--id", "y", "true", spool=spool)
        assert comes_to(spool, "y", "done").record["tags"] == ["a", "b"]


def test_show_tells_the_last_lines_and_when_it_is_tried_again(spool):
    with pool(spool):
        drop(spool, "x", {"command": "seq 100; echo oh >&2; exit 3", "backoff_base": 1000})
        comes_to(spool, "x", "failed")
    shown = queuectl("show", "x", spool=spool).stdout
    assert "state       failed: waits for its 1st retry, due in 1" in shown
    assert shown.endswith("stdout      96\nstdout      97\nstdout      98\nstdout      99\nstdout      100\nstderr      oh\n")


def test_a_job_for_each_line_has_it_in_its_place(spool):
    names = "a b.wav\n\n$HOME.wav\n"
    for words in (["--", "lame", "{}", "{}.mp3"], ["lame {} > {}.mp3"]):
        queuectl("enqueue", "--each", "-", *words, spool=spool, stdin=names, check=True)
    commands = listed(spool, "--sort", "added", "--format", "{command}").splitlines()
    assert commands == [
        "lame 'a b.wav' 'a b.wav.mp3'",
        "lame '$HOME.wav' '$HOME.wav.mp3'",
        "lame 'a b.wav' > 'a b.wav'.mp3",
        "lame '$HOME.wav' > '$HOME.wav'.mp3",
    ]
    ran = queuectl("enqueue", "--each", "-", "--", "lame", spool=spool, stdin=names)
    assert (ran.returncode, "with {} in it" in ran.stderr) == (2, True)


def test_the_last_is_the_one_that_was_added_last_whatever_their_times(spool):
    queuectl("enqueue", "true", "--id", "first", "--delay", "1h", spool=spool, check=True)
    queuectl("enqueue", "true", "--id", "then", spool=spool, check=True)
    assert queuectl("hold", "@last", spool=spool).stdout == "then\n"
    last = queuectl("enqueue", "true", spool=spool, check=True).stdout
    assert queuectl("list", "--limit", "1", "-q", spool=spool).stdout == last


def test_logs_of_those_that_are_chosen(spool):
    queuectl("enqueue", "echo $QUEUECTL_ARRAY_INDEX", "--array", "1-3", "--batch", "b", spool=spool, check=True)
    queuectl("start", "--drain", "--quiet", spool=spool, check=True)
    said = queuectl("logs", "--batch", "b", spool=spool, check=True).stdout
    assert sorted(line.split(" | ")[1] for line in said.splitlines()) == ["1", "2", "3"]
