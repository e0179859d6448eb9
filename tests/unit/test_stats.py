"""What is told of how jobs went: from records that say it."""

from jobspool.job import Job, iso, new_id
from jobspool.stats import percentile, summary

NOW = 1_795_694_400.0


def job(*attempts, added=None, **words):
    tried = [
        {"number": i, "started": iso(NOW - ago - took), "ended": iso(NOW - ago), "duration": took, "verdict": verdict}
        for i, (ago, took, verdict) in enumerate(attempts, 1)
    ]
    return Job(new_id(added or NOW - 10_000, 0), "done", {"command": "true", **words, "attempts": tried}, NOW, NOW)


def test_attempts_are_counted_by_how_they_ended_and_of_the_time_that_is_asked_for():
    jobs = [job((50, 2.0, "failed"), (10, 4.0, "done"), added=NOW - 60), job((5000, 1.0, "done")), job((20, 1.0, "interrupted"))]
    whole, *kinds = summary(jobs, NOW - 3600, NOW)
    assert (whole["attempts"], whole["done"], whole["failed"], whole["dead"]) == (2, 1, 1, 0)
    assert (whole["failure_share"], whole["per_hour"]) == (0.5, 2.0)
    assert (whole["duration_p50"], whole["duration_p99"], whole["wait_p50"]) == (2.0, 4.0, 8.0)
    assert [kind["name"] for kind in kinds] == ["true"]


def test_kinds_are_names_or_programs_or_groups():
    jobs = [
        job((1, 1.0, "done"), name="nightly"),
        job((1, 1.0, "done"), argv=["/bin/tar", "x"]),
        job((1, 1.0, "dead"), group="g"),
    ]
    jobs[1].record.pop("command")
    assert [row["name"] for row in summary(jobs, 0, NOW)] == ["(all)", "nightly", "tar", "true"]
    assert [row["name"] for row in summary(jobs, 0, NOW, "group")] == ["(all)", "-", "g"]


def test_nothing_is_no_error():
    [row] = summary([], NOW - 60, NOW)
    assert (row["attempts"], row["failure_share"], row["duration_p50"]) == (0, None, None)


def test_a_percentile_is_a_value_that_there_is():
    values = [float(i) for i in range(1, 101)]
    assert [percentile(values, share) for share in (0.5, 0.9, 0.99)] == [50.0, 90.0, 99.0]
    assert [percentile([7.0], share) for share in (0.5, 0.99)] == [7.0, 7.0]
    assert percentile([1.0, 2.0, 3.0], 0.5) == 2.0
