"""The manual's longer examples do what their headings say: run as they stand, by a clock that goes faster.

What they run is stood in for by small scripts; a minute is a second, and the five of quiet are half of one.
"""

import json
import os
import re
import subprocess
import time

import pytest
from kit import TOP
from transcript import install, steps

PAGE = (TOP / "man/queuectl.1").read_text().split(".Sh EXAMPLES")[1].split(".Sh SEE ALSO")[0]
EXAMPLES = dict(re.findall(r"^\.Ss (.*)\n\.Bd -literal\n((?:.*\n)*?)\.Ed", PAGE, re.M))
FASTER = (("10/m", "10/1s"), ("--delay 5s", "--delay 0.5s"), ("10s,1m,10m", "0.1s,1s"))
SCRIPTS = {
    "fetch": "date +%s.%N >> fetched",
    "make": 'echo "$1 begins" >> made; sleep 0.05; echo "$1 ends" >> made',
    "train": "mkdir gpu-$CUDA_VISIBLE_DEVICES || exit 1; sleep 0.1; rmdir gpu-$CUDA_VISIBLE_DEVICES; echo $1 >> trained",
    "rebuild": "echo >> rebuilt",
}


@pytest.fixture
def played(tmp_path):
    """Plays the example of that heading, and returns the directory in which it was played."""
    environment = install(tmp_path)
    for name, text in SCRIPTS.items():
        (tmp_path / ".bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / ".bin" / name).chmod(0o755)
    (tmp_path / "home").mkdir()
    (tmp_path / "urls").write_text("".join(f"https://example.org/{i}\n" for i in range(14)))
    environment = {name: value for name, value in {**os.environ, **environment}.items() if name != "QUEUECTL_SPOOL"}
    subprocess.run(["queuectl", "init"], cwd=tmp_path, env=environment, check=True, capture_output=True)

    def play(heading):
        text = EXAMPLES[heading].replace("\\e\n    ", "").replace("\\e", "\\")
        for slow, fast in FASTER:
            text = text.replace(slow, fast)
        for command, _, _ in steps(text):
            subprocess.run(command, shell=True, cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=60)
        return tmp_path

    return play


def test_each_example_has_its_test():
    assert set(EXAMPLES) == {
        *("A nightly backup", "A crawler with a limited rate", "A build with dependencies", "A pool of GPUs"),
        "A site that is rebuilt once there is quiet",
    }


def test_a_nightly_backup(played):
    folder = played("A nightly backup")
    assert (folder / "home.tgz").stat().st_size > 0
    [job] = (folder / "spool/done").glob("backup-*.json")
    assert json.loads(job.read_text())["keep"] == "30d"
    assert json.loads((folder / "spool/schedules/backup.json").read_text())["cron"] == "30 2 * * *"


def test_a_crawler_with_a_limited_rate(played):
    begun = sorted(map(float, (played("A crawler with a limited rate") / "fetched").read_text().split()))
    assert len(begun) == 14
    assert begun[13] - begun[0] > 0.29


def test_a_build_with_dependencies(played):
    made = (played("A build with dependencies") / "made").read_text().splitlines()
    assert (made[0], made[1], made[-2:]) == ("all begins", "all ends", ["ship begins", "ship ends"])
    assert made.index("ship begins") > max(made.index("unit ends"), made.index("lint ends"))


def test_a_pool_of_gpus(played):
    folder = played("A pool of GPUs")
    assert sorted((folder / "trained").read_text().split()) == list("1234")
    assert list((folder / "spool/failed").glob("*.json")) + list((folder / "spool/dead").glob("*.json")) == []


def test_a_site_that_is_rebuilt_once_there_is_quiet(played):
    begun = time.time()
    assert (played("A site that is rebuilt once there is quiet") / "rebuilt").read_text() == "\n"
    assert time.time() - begun > 0.5
