"""What the manual types at the API works as it stands there."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from kit import TOP, drop, until

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


def test_the_manual_names_each_route_and_kind_of_problem():
    from jobspool.web import api, problems

    page = Path(TOP, "man", "queuectl-web.7").read_text()
    parts = {re.sub(r"/\{\w+\}", "", route.path).split("/")[1] for route in api.ROUTES}
    assert [part for part in parts if f"/{part}" not in page] == []
    assert [name for _, _, name, _ in problems.KINDS if name not in page and name not in ("no-spool", "no-metrics")] == []
