"""What the shell offers."""

import shutil
import subprocess
import sys

import pytest
from kit import TOP, drop, queuectl


def offered(spool, *words):
    return [line.split("\t")[0] for line in queuectl("__complete", *words, spool=spool, check=True).stdout.splitlines()]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["ca"], ["cancel"]),
        (["list", "--st"], ["--state"]),
        (["list", "--state", "p"], ["pending", "processing"]),
        (["config", "set", "max_r"], ["max_retries"]),
        (["config", "se"], ["set"]),
        (["dlq", ""], ["list", "retry", "show", "purge"]),
        (["kill", "--signal", "US"], ["USR1", "USR2"]),
        (["completion", "f"], ["fish"]),
        (["cancel", ""], ["wait"]),
        (["retry", ""], ["bad"]),
        (["show", "@"], ["@last", "@failed"]),
        (["enqueue", ""], []),
        (["nonsense", ""], []),
    ],
)
def test_words_are_offered(spool, words, wanted):
    drop(spool, "wait", {"command": "true"})
    drop(spool, "bad", {"command": "false"}, "dead")
    assert offered(spool, *words) == wanted


def test_jobs_come_with_their_commands(spool):
    drop(spool, "x", {"command": "make all"})
    assert queuectl("__complete", "show", "", spool=spool).stdout == "x\tpending: make all\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_takes_its_script(shell):
    script = queuectl("completion", shell, check=True).stdout
    if not shutil.which(shell):
        pytest.skip(f"{shell} is missing: make test-deps")
    assert subprocess.run([shell, "-n"], input=script, text=True, capture_output=True, check=False).stderr == ""


def test_bash_completes(spool, tmp_path):
    drop(spool, "some-job", {"command": "true"})
    (tmp_path / "queuectl").write_text(f'#!/bin/sh\nexec {sys.executable} {TOP}/tests/run_queuectl.py "$@"\n')
    (tmp_path / "queuectl").chmod(0o755)
    script = """
        source <(queuectl completion bash)
        COMP_WORDS=(queuectl cancel so); COMP_CWORD=2; _queuectl; echo "${COMPREPLY[@]}"
    """
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "QUEUECTL_SPOOL": spool.root}
    assert subprocess.run(["bash", "-c", script], env=env, text=True, capture_output=True, check=True).stdout == "some-job\n"
