"""Command lines as people really type them: where docopt is weak, and where one expects what other commands do."""

import json

import pytest
from kit import drop, queuectl

import queuectl as command

CASES = [
    # words, and what of the parsed words is to be so
    (["enqueue", "ls", "--max-retries", "3", "--timeout", "30"], {"<word>": ["ls"], "--max-retries": "3", "--timeout": "30"}),
    (["enqueue", "--max-retries=3", "ls"], {"<word>": ["ls"], "--max-retries": "3"}),
    (["enqueue", "--env", "A=1", "ls", "--env=B=2"], {"--env": ["A=1", "B=2"]}),
    (["enqueue", "--env", "A=1", "--tag", "x", "--tag", "y", "ls"], {"--env": ["A=1"], "--tag": ["x", "y"]}),
    (["enqueue", "ls"], {"--env": [], "--tag": [], "--wait": False, "--timeout": None, "--help": False}),
    (["enqueue", "--", "ls", "-l", "--color"], {"<word>": ["ls", "-l", "--color"], "--": True}),
    (["enqueue", "-q", "--", "sh", "-c", "exit 3"], {"<word>": ["sh", "-c", "exit 3"], "--quiet": True}),
    (["enqueue", "--timeout", "-5", "ls"], {"--timeout": "-5"}),
    (["enqueue", "--each", "-", "--", "lame", "{}"], {"--each": "-", "<word>": ["lame", "{}"]}),
    (["list", "--jso"], {"--json": True}),
    (["list", "--sta", "dead"], {"--state": "dead"}),
    (["list", "--state=dead", "-q"], {"--state": "dead", "--quiet": True}),
    (["list", "--name", "night*", "--tag=x", "--since", "1h"], {"--name": "night*", "--tag": "x", "--since": "1h"}),
    (["logs", "-f", "x"], {"--follow": True, "<job>": ["x"]}),
    (["logs", "x", "-f"], {"--follow": True, "<job>": ["x"]}),
    (["logs", "--tail", "0", "x", "y"], {"--tail": "0", "<job>": ["x", "y"]}),
    (["logs", "--", "-x"], {"<job>": ["-x"]}),
    (["retry", "-"], {"<job>": ["-"]}),
    (["cancel", "x", "--reason", "so"], {"<job>": ["x"], "--reason": "so"}),
    (["kill", "-HUP", "x"], {"--signal": "HUP", "<job>": ["x"]}),
    (["kill", "-9", "x"], {"--signal": "9", "<job>": ["x"]}),
    (["kill", "x", "-s", "HUP"], None),
    (["dlq", "retry", "x"], {"retry": True, "<job>": ["x"], "--all": False}),
    (["dlq", "retry", "--all"], {"--all": True, "<job>": []}),
    (["dlq", "purge", "--all", "--older-than", "7d"], {"purge": True, "--older-than": "7d"}),
    (["dlq", "list", "--limit=5", "--json"], {"list": True, "--limit": "5", "--json": True}),
    (["config", "--key", "max_retries", "--value", "5"], {"--key": "max_retries", "--value": "5"}),
    (["config", "--key=backoff_base", "--value=3"], {"--key": "backoff_base", "--value": "3"}),
    (["config", "set", "max_retries", "5"], {"set": True, "<key>": "max_retries", "<value>": "5"}),
    (["config"], {"list": False, "--json": False}),
    (["start", "--count=3", "--drain", "-q"], {"--count": "3", "--drain": True, "--quiet": True}),
    (["start", "--co", "3"], {"--count": "3"}),
    (["stop", "--now", "--timeout=30"], {"--now": True, "--timeout": "30"}),
    (["wait", "--any", "x", "y"], {"--any": True, "<job>": ["x", "y"]}),
    (["scale", "3"], {"<n>": "3"}),
]


@pytest.mark.parametrize(("words", "wanted"), CASES, ids=[" ".join(words) for words, _ in CASES])
def test_words_mean_what_a_person_expects(words, wanted):
    if wanted is None:
        with pytest.raises(command.Wrong):
            command._parsed(command.COMMANDS[words[0]][0], words)
        return
    parsed = command._parsed(command.COMMANDS[words[0]][0], words)
    assert {word: parsed[word] for word in wanted} == wanted


@pytest.mark.parametrize("name", command.COMMANDS)
def test_no_command_dumps_its_usage_for_a_mistyped_option(spool, name, capsys, monkeypatch):
    monkeypatch.setenv("QUEUECTL_SPOOL", spool.root)
    status = command.main([name, "--no-such-thing"])
    out, err = capsys.readouterr()
    assert (status, out) == (2, "")
    assert err.startswith("queuectl: unknown option --no-such-thing")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    "words",
    [["list", "--limit", "3", "--limit", "4"], ["wait", "--timeout", "1", "--timeo=2"], ["rm", "--yes", "--yes", "x"]],
    ids=" ".join,
)
def test_an_option_twice_is_named(spool, words):
    ran = queuectl(*words, spool=spool)
    assert (ran.returncode, f"{words[1]} is given twice" in ran.stderr) == (2, True)


@pytest.mark.parametrize("locale", ["C", "C.UTF-8", "POSIX", "no_SUCH"])
def test_any_locale_shows_any_job(spool, locale):
    drop(spool, "größer", {"command": "echo ätsch 🐟"})
    env = {"LC_ALL": locale, "LANG": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    ran = queuectl("list", spool=spool, env=env)
    assert (ran.returncode, ran.stderr) == (0, "")
    [row] = ran.stdout.splitlines()[1:]
    assert "echo " in row
    [job] = queuectl("list", "--json", spool=spool, env=env).stdout.splitlines()
    assert json.loads(job)["command"] == "echo ätsch 🐟"
    assert queuectl("rm", row.split()[0], spool=spool, env=env).returncode == 0


def test_times_for_people_are_theirs_and_times_for_machines_utc(spool):
    env = {"TZ": "Asia/Kathmandu"}
    id = queuectl("enqueue", "true", spool=spool, env=env, check=True).stdout.strip()
    shown = json.loads(queuectl("show", "--json", id, spool=spool, env=env).stdout)
    assert shown["mtime"][:16].replace("-", "").replace(":", "") == id[:13]
    started = queuectl("start", "--drain", spool=spool, env={"TZ": "XXX+5:17"}, check=True).stdout.split()[0]
    utc = id[9:15]
    minutes = [int(text[:2]) * 60 + int(text[-5:-3] if ":" in text else text[2:4]) for text in (started, utc)]
    assert (minutes[1] - minutes[0]) % 1440 in (316, 317, 318)


def test_the_spool_and_units_lie_where_xdg_says(tmp_path):
    env = {"XDG_STATE_HOME": str(tmp_path / "state"), "XDG_CONFIG_HOME": str(tmp_path / "config"), "QUEUECTL_SPOOL": ""}
    queuectl("enqueue", "true", cwd=tmp_path, env=env, check=True)
    assert len(list((tmp_path / "state/queuectl/spool/pending").glob("*.json"))) == 1
    path = queuectl("install-service", "--user", cwd=tmp_path, env=env, check=True).stdout.strip()
    assert path.startswith(str(tmp_path / "config/systemd/user/"))
