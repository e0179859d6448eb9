"""What the manual types at the API works as it stands there."""

import ast
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from kit import TOP, drop, until
from web.page import page

from jobspool.web import api, problems

EXAMPLES = [line[2:] for line in Path(TOP, "man", "queuectl-web.7").read_text().splitlines() if line.startswith("$ api ")]
ID = "20261130T101530.123456-k7m3q9"
ATTEMPT = {"number": 1, "ended": "2026-11-30T10:15:31Z", "verdict": "dead", "reason": "exit 1"}


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is missing: make test-deps")
def test_the_examples_of_the_api_run(web, spool):
    drop(spool, ID, {"command": "true", "attempts": [ATTEMPT]}, "dead")
    Path(spool.log_path(ID, 1, "out")).write_bytes(b'"hallo"\n')
    drop(spool, "other", {"command": "true", "attempts": [ATTEMPT]}, "dead")
    until(lambda: web.get("/status").json["counts"]["dead"] == 2, "the look")
    setup = f'TOKEN={web.token}; URL=http://127.0.0.1:{web.port}/api/v1; api() {{ curl -s -H "Authorization: Bearer $TOKEN" "$@"; }}\n'
    assert len(EXAMPLES) > 8
    for example in EXAMPLES:
        timed = re.sub(r"^api -N", 'timeout 1 curl -sN -H "Authorization: Bearer $TOKEN"', example)
        done = subprocess.run(["bash", "-c", setup + timed], capture_output=True, text=True, check=False, timeout=30)
        if timed == example:
            assert "urn:queuectl:problem" not in done.stdout and json.loads(done.stdout) is not None, (example, done.stdout)
            assert "/dead/retry" not in example or json.loads(done.stdout)["done"] == 1, done.stdout
        else:
            assert done.stdout.startswith("retry: ")


def test_the_manual_names_each_route():
    manual = Path(TOP, "man", "queuectl-web.7").read_text()
    parts = {re.sub(r"/\{\w+\}", "", route.path).split("/")[1] for route in api.ROUTES}
    assert [part for part in parts if f"/{part}" not in manual] == []


def problem_words():
    """The words that tell kinds of problems, as the code has them."""
    found = {name for _, _, name, _ in problems.KINDS}
    for path in Path(TOP, "jobspool", "web").glob("*.py"):
        tree = ast.parse(path.read_text())
        named = {node.targets[0].id: node.value for node in tree.body if is_named_tuple(node)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Problem" and len(node.args) > 1:
                word = node.args[1]
                word = named[word.value.id].elts[0] if isinstance(word, ast.Starred) else word
                found |= {word.value} if isinstance(word, ast.Constant) else set()
    return found


def is_named_tuple(node):
    return isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Tuple)


def test_the_manual_names_each_problem_and_none_that_there_is_not():
    manual = Path(TOP, "man", "queuectl-web.7").read_text()
    told = re.sub(r"\([^)]*\)", "", manual.partition("ends in a word for programs:")[2].partition(".\n.Pp")[0])
    assert {"if-match", "wrong-method", "changed", "no-such-log"} <= problem_words()
    assert sorted(re.findall(r"[a-z-]+", told)) == sorted(problem_words())


def test_a_spool_that_is_gone_is_told_of_as_the_manual_says(spool, tmp_path):
    for token_file, answer in ((None, 401), (tmp_path / "token", 200)):
        with page(spool, token_file=token_file) as web:
            cookie = web.login()
            os.rename(spool.root, f"{spool.root}.away")
            try:
                until(lambda web=web, answer=answer: web.get("/status").status == answer and told(web, answer), "the loss")
            finally:
                os.rename(f"{spool.root}.away", spool.root)
            until(lambda web=web: web.get("/status").status == 200 and not web.get("/status").json["trouble"], "the spool")
            assert (token_file, web.get("/status", auth=cookie).status)[1] == 200


def told(web, answer):
    found = web.get("/status")
    return found.problem == (401, "who-are-you") if answer == 401 else "is gone: put it back" in (found.json["trouble"] or "")
