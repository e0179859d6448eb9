import os
import shutil
import subprocess

import pytest
from kit import TOP
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as parse_older

from jobspool import metrics


def told(spool, openmetrics=True, **labels):
    """What the text tells, by the official parser: {(sample, its labels' values in the order of their names): value}."""
    return samples(metrics.text(spool, openmetrics, labels).decode(), openmetrics)


def samples(text, openmetrics=True):
    parse = text_string_to_metric_families if openmetrics else parse_older
    found = [sample for family in parse(text) for sample in family.samples]
    return {
        (each.name.removeprefix("queuectl_"), *(value for _, value in sorted(each.labels.items()))): each.value for each in found
    }


@pytest.fixture
def promtool():
    """Runs promtool, and returns its exit status with what it said."""
    tool = shutil.which("promtool", path=f"{os.environ['PATH']}:{TOP}/.tools")
    if tool is None:
        pytest.skip("promtool is missing: make test-deps")

    def run(*words, stdin=""):
        done = subprocess.run([tool, *words], input=stdin, capture_output=True, text=True, timeout=60, cwd=TOP)
        return done.returncode, done.stdout + done.stderr

    return run
