import os
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
from kit import TOP

from bench.run import PLOTTER

pytestmark = pytest.mark.skipif(not os.path.exists(PLOTTER), reason="matplotlib is missing: make bench gets it into bench/.peers")


def drawn(report, folder):
    """Draw it and return the paths that the command printed."""
    words = [PLOTTER, "-m", "bench.plot", report.save(str(folder))]
    return subprocess.run(words, cwd=TOP, check=True, capture_output=True, text=True).stdout.split()


def texts(path):
    return ["".join(node.itertext()) for node in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text")]


def test_the_plots_are_drawn_with_text_as_text(report, tmp_path):
    paths = drawn(report, tmp_path)
    assert paths == [f"{tmp_path}/{name}.svg" for name in ("drains", "reaction", "size")]
    drains, reaction, size = map(texts, paths)
    assert {"queuectl, 2 workers", "nq", "1.25", "0.20"} <= set(drains)
    assert {"idle: p50 0.40, p99 0.50, most 0.50 ms", "bound of p50: 1.2 ms"} <= set(reaction)
    assert {"claim and run a job", "status", "1,000"} <= set(size)


def test_only_what_there_are_rows_for_is_drawn(report, tmp_path):
    report.rows = [row for row in report.rows if row.key.startswith("size-")]
    assert drawn(report, tmp_path) == [f"{tmp_path}/size.svg"]


def test_the_same_figures_make_the_same_picture(report, tmp_path):
    first = [Path(path).read_text() for path in drawn(report, tmp_path)]
    assert [Path(path).read_text() for path in drawn(report, tmp_path)] == first
