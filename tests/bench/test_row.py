import pytest

from bench.row import Failed, Row, alternate, tried


def row(ours, beside=(), **more):
    return Row("key", "what", "jobs/s", list(ours), "y", list(beside), **more)


def test_the_deeds_alternate():
    done = []
    found = alternate(3, lambda: done.append("ours") or 1.0, lambda: done.append("theirs") or 2.0)
    assert (done, found) == (["ours", "theirs", "theirs", "ours", "ours", "theirs"], [[1.0] * 3, [2.0] * 3])


def test_the_bound_is_about_the_median_of_the_ratios_of_what_was_measured_together():
    one = row([100, 300, 90], [100, 100, 100], at_least=1.0)
    assert (one.values, one.middle, one.holds) == ([1.0, 3.0, 0.9], 1.0, True)
    assert row([90, 300, 90], [100, 100, 100], at_least=1.0).holds is False


def test_a_figure_with_nothing_beside_it_is_held_against_the_bound_itself():
    assert row([1.0, 1.1, 9.0], at_least=1.2, more_is_better=False).holds is True
    assert row([1.0, 1.3, 9.0], at_least=1.2, more_is_better=False).holds is False
    assert row([1.0]).holds is None


def test_samples_that_are_not_as_many_are_no_ratio():
    with pytest.raises(ValueError):
        _ = row([1.0, 2.0], [1.0]).values


def test_what_fails_becomes_a_row_with_its_reason(capsys):
    import subprocess

    assert tried("x", lambda: 1 / 0) == Failed("x", "ZeroDivisionError: division by zero")
    assert "Traceback" in capsys.readouterr().err
    words = ["sh", "-c", "echo first >&2; echo the reason >&2; exit 3"]
    failed = tried("x", lambda: subprocess.run(words, check=True, capture_output=True, text=True))
    assert failed.reason.endswith("returned non-zero exit status 3. the reason")


def test_what_is_measured_is_the_row():
    assert tried("x", lambda: row([1.0])) == row([1.0])
