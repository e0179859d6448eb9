import re
import shutil
import subprocess
from pathlib import Path

import pytest
from transcript import TOP, differences

import queuectl
from jobspool import states
from jobspool.config import SETTINGS
from jobspool.job import WORDS

PAGES = {path.name: path.read_text() for path in Path(TOP, "man").iterdir()}


@pytest.mark.skipif(not shutil.which("mandoc"), reason="mandoc is missing: make test-deps")
@pytest.mark.parametrize("page", sorted(PAGES))
def test_a_page_is_clean(page):
    lint = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", TOP / "man" / page], capture_output=True, text=True)
    assert (lint.stdout, lint.returncode) == ("", 0)


def test_the_drawing_of_the_moves_is_the_table_of_the_code():
    assert states.drawing() in PAGES["queuectl-spool.5"]


def test_each_setting_stands_in_the_manual_with_its_default():
    missing = []
    for setting in SETTINGS.values():
        default = "none" if setting.default is None else setting.default
        if f".It Cm {setting.name} No ({default})" not in PAGES["queuectl.conf.5"]:
            missing.append(setting.name)
    assert missing == []


def test_each_key_of_a_job_file_stands_in_the_manual():
    assert [word for word in WORDS if f".It Cm {word}" not in PAGES["queuectl-spool.5"]] == []


def test_each_key_of_an_attempt_stands_in_the_manual(spool):
    from kit import comes_to, pool

    with pool(spool):
        spool.add("exit 3", id="x", max_retries=1)
        attempt = comes_to(spool, "x", "failed").attempts[0]
    page = PAGES["queuectl-spool.5"]
    words = {word for line in re.findall(r"^\.It Cm (.*)", page, re.M) for word in line.split(" , ")}
    assert set(attempt) - words == set()


def test_each_promise_names_tests_that_there_are():
    section = PAGES["queuectl-spool.5"].split(".Sh GUARANTEES")[1].split("\n.El\n")[0]
    promises = section.split("\n.It\n")[1:]
    named = [re.findall(r"tests/[\w/.]+", promise) for promise in promises]
    assert [len(paths) > 0 for paths in named] == [True] * 8
    assert [path for paths in named for path in paths if not Path(TOP, path).exists()] == []


def test_each_kind_of_finding_stands_in_the_page():
    from jobspool import doctor

    assert [kind for kind in doctor.MEANS if f".Cm {kind}" not in PAGES["queuectl.1"]] == []


def options_in(text):
    return set(re.findall(r"(?<![\w-])--([a-z][a-z-]+)", text))


def options_of_the_page():
    return set(re.findall(r"(?:Fl|,) -([a-z][a-z-]+)", PAGES["queuectl.1"])) | {"help", "version"}


def test_usage_and_page_have_the_same_options():
    usage = {name for text, _ in queuectl.COMMANDS.values() for name in options_in(text)} | {"version", "color"}
    assert usage ^ options_of_the_page() == set()


def test_each_command_stands_in_the_page():
    page = PAGES["queuectl.1"]
    assert [name for name in queuectl.COMMANDS if not re.search(rf"\.It Nm Cm {name}\b", page)] == []


def test_each_exit_status_stands_in_the_page():
    statuses = {value for name, value in vars(queuectl).items() if name.startswith("EXIT_")}
    assert [status for status in sorted(statuses) if f".It {status}\n" not in PAGES["queuectl.1"]] == []


def test_the_examples_of_the_page_run(tmp_path):
    examples = PAGES["queuectl.1"].split(".Sh EXAMPLES")[1].split(".Bd -literal\n")[1].split(".Ed")[0].replace("\\e", "\\")
    assert list(differences(examples, tmp_path, compare=False)) == []


@pytest.mark.parametrize("command", sorted(queuectl.COMMANDS))
def test_the_examples_in_a_usage_text_fit_the_usage(command):
    import shlex

    usage = queuectl.COMMANDS[command][0]
    for line in re.findall(r"^  (?:.*\| )?queuectl (.*)$", usage.split("Examples:")[-1] if "Examples:" in usage else "", re.M):
        words = shlex.split(line.split(" | jq")[0])
        assert queuectl._parsed(usage, words)[command]


@pytest.mark.parametrize("command", sorted(queuectl.COMMANDS))
def test_no_line_of_a_usage_text_looks_like_an_option_twice(command):
    from docopt import parse_options

    names = [option.longer for option in parse_options(queuectl.COMMANDS[command][0])]
    assert sorted(names) == sorted(set(names))


def plain(page):
    """The page's words as somebody reads them, without its macros."""
    return re.sub(r"\s+", " ", re.sub(r"^\.[A-Z][a-z] ", "", PAGES[page], flags=re.M))


def test_nothing_is_said_twice_of_a_metric():
    items = PAGES["queuectl-metrics.7"].split("\n.It Cm ")
    told = [re.findall(r"not there (?:where|if)", item, re.I) for item in items]
    assert [each for each in told if len(each) > 1] == []
    assert "whose time has not come" in plain("queuectl-metrics.7")


def test_the_manual_tells_how_start_exits_that_has_not_what_otel_needs():
    assert "it exits 1 without the extra, and 2 where OTEL_EXPORTER_OTLP_PROTOCOL or" in plain("queuectl-trace.7")
