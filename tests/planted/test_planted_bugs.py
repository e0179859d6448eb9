"""Each bug of bugs.py, planted into a copy of the code, is found by the test that the table names: so that test can fail."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from kit import TOP
from planted.bugs import BUGS

PATIENCE = "4"  # seconds: what a bug keeps from coming is not waited for as long as elsewhere
SPARED = ["-p", "no:hypothesispytest", "-p", "no:xdist", "--assert=plain"]  # two thirds of the time in which pytest starts
COPIED = ("jobspool", "tests", "queuectl.py", "setup.cfg", "man", "README.md")


def copy_to(folder):
    """Make a copy of this checkout, to be broken."""
    for name in COPIED:
        source = TOP / name
        if source.is_dir():
            shutil.copytree(source, folder / name)  # with what was compiled, which serves where nothing is changed
        else:
            shutil.copy(source, folder / name)


def plant(bug, folder):
    for module, old, new in bug.changes:
        path = folder / "jobspool" / f"{module}.py"
        text = path.read_text()
        assert text.count(old) == 1, f"{module}.py has {text.count(old)} times what is to be changed:\n{old}"
        path.write_text(text.replace(old, new))
        compile(path.read_text(), path, "exec")


def look_for(bug):
    """Plant the bug in a copy, run its test there, and return the ended process."""
    with tempfile.TemporaryDirectory() as folder:
        copy_to(Path(folder))
        plant(bug, Path(folder))
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "INTERLEAVING"))}
        command = [sys.executable, "-B", "-m", "pytest", bug.test, "-x", "-q", "--tb=line", *SPARED, f"--basetemp={folder}/base"]
        environment["PATIENCE"] = PATIENCE
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_found(bug):
    found = look_for(bug)
    assert found.returncode == 1, f"{bug.test} did not find it:\n{found.stdout[-2000:]}{found.stderr[-2000:]}"
    assert re.search(r"^[0-9]+ failed", found.stdout, re.M), found.stdout


def test_each_promise_has_its_bugs():
    page = (TOP / "man" / "queuectl-spool.5").read_text()
    promises = page.split(".Sh GUARANTEES")[1].split(".Sh ")[0].count("\n.It\n")
    assert {bug.promise for bug in BUGS} == set(range(1, promises + 1))


def test_each_bug_has_its_own_name():
    assert len({bug.name for bug in BUGS}) == len(BUGS)


def test_the_tests_of_the_table_are_there():
    for bug in BUGS:
        file, _, test = bug.test.partition("::")
        assert not test or f"def {test.partition('[')[0]}(" in Path(TOP, file).read_text()
