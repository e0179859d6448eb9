"""What the text says: to the official parsers, and of a spool on which nobody works."""

import json
import os
import re
from collections import namedtuple

import pytest
from kit import TOP, Clock, drop, mv, queuectl
from metrics.conftest import samples, told
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from jobspool import Spool, hands, ledger, metrics, size

NOW = 1_800_000_000.0


@pytest.fixture
def spool(tmp_path):
    """A spool whose clock stands."""
    Spool.init(tmp_path / "spool")
    return Spool(str(tmp_path / "spool"), now=Clock(NOW))


def add(spool, id, mtime=NOW, **words):
    spool.add("true", id=id, **words)
    os.utime(spool.path("pending", id), (mtime, mtime))


def test_each_metric_is_there_as_the_kind_that_it_is_with_its_unit(spool):
    found = {family.name: family for family in text_string_to_metric_families(metrics.text(spool).decode())}
    kinds = {metric.name.removesuffix("_total"): metric.kind for metric in metrics.METRICS}
    assert {name: family.type for name, family in found.items()} == kinds
    units = {name: family.unit for name, family in found.items() if name.endswith(("_seconds", "_bytes"))}
    assert units == {name: name.rpartition("_")[2] for name in units}
    assert all(family.documentation.endswith(".") for family in found.values())


def test_both_texts_tell_the_same(spool):
    add(spool, "x", NOW - 7)
    newer, older = told(spool), told(spool, openmetrics=False)
    assert newer.keys() == older.keys()
    assert {key for key in newer if newer[key] != older[key] and not key[0].startswith("disk_free")} == set()


def test_promtool_finds_nothing_wrong_with_what_node_exporter_reads(spool, promtool):
    add(spool, "x")
    assert promtool("check", "metrics", stdin=metrics.text(spool, openmetrics=False).decode()) == (0, "")


def test_jobs_are_counted_by_state_also_those_that_hands_brought(spool):
    for id in "abc":
        add(spool, id)
    drop(spool, "by-hand", {"command": "true"}, "dead")
    mv(spool, "a", "pending", "done")
    found = told(spool)
    counts = {state: found["jobs", state] for state in ("pending", "processing", "done", "failed", "dead")}
    assert counts == {"pending": 2, "processing": 0, "done": 1, "failed": 0, "dead": 1}


def test_the_oldest_that_waits_is_the_oldest_that_may_run(spool):
    assert told(spool)["oldest_pending_seconds",] == 0
    add(spool, "held", NOW - 500, hold="not now")
    add(spool, "child", NOW - 400, after=["held"])
    drop(spool, "broken", b"{", "pending")
    os.utime(spool.path("pending", "broken"), (NOW - 300, NOW - 300))
    add(spool, "delayed", NOW + 60)
    assert told(spool)["oldest_pending_seconds",] == 0
    add(spool, "older", NOW - 200)
    add(spool, "younger", NOW - 100)
    assert told(spool)["oldest_pending_seconds",] == 200


def test_the_next_due_is_of_what_failed_and_0_when_it_is_overdue(spool):
    add(spool, "delayed", NOW + 10)
    assert ("next_due_seconds",) not in told(spool)
    for id, due in (("later", 60), ("overdue", -5)):
        add(spool, id, NOW + due)
        mv(spool, id, "pending", "failed")
        assert told(spool)["next_due_seconds",] == max(0, due)


def test_nothing_is_due_where_none_has_failed_whatever_a_supervisor_said_last(spool):
    seen = metrics.look(spool)._replace(waits=metrics.Waits(None, NOW - 0.17))
    assert metrics._told_of_waits(seen)["next_due_seconds"] == {}
    failed = seen._replace(book=book_of(counts={"failed": 1}))
    assert metrics._told_of_waits(failed)["next_due_seconds"] == {(): 0.0}


def test_a_supervisor_that_has_not_said_yet_what_waits_is_not_spoken_for(spool):
    told = metrics._told_of_waits(namedtuple("Seen", "waits now")(None, NOW))
    assert told == {"oldest_pending_seconds": {}, "next_due_seconds": {}}


def book_of(**what):
    return namedtuple("Book", "counts attempts totals durations waits commits")(
        {}, {}, {}, *[ledger.Histogram((0.1, 1.0)) for _ in range(3)]
    )._replace(**what)


def test_a_histogram_has_in_each_bucket_all_that_are_not_above_its_bound(spool):
    durations = ledger.Histogram((0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 3.0, 4.0):
        durations.take(value)
    seen = metrics.look(spool)._replace(book=book_of(durations=durations))
    family = next(each for each in metrics.families(seen) if each.name == "queuectl_job_duration_seconds")
    values = {(sample.name.rpartition("_")[2], *sample.labels.values()): sample.value for sample in family.samples}
    assert values.pop(("sum",)) == pytest.approx(7.65)
    assert values == {("bucket", "0.1"): 2, ("bucket", "1.0"): 3, ("bucket", "+Inf"): 5, ("count",): 5}


def test_labels_have_few_values_whatever_jobs_do(spool):
    spool.add("true")
    told(spool)  # begins the journal
    event = {"time": "2026-11-30T20:00:00.000000Z", "event": "ended", "job": "x", "from": "processing", "to": "failed"}
    lines = [{**event, "verdict": verdict, "reason": reason} for verdict, reason in odd_ends()]
    with open(f"{spool.root}/journal/00000001.jsonl", "a") as journal:
        journal.writelines(json.dumps(line) + "\n" for line in lines)
    found = {key[1:] for key in told(spool) if key[0] == "attempts_total"}
    assert len(found) <= (len(ledger.VERDICTS) + 1) * (len({word for _, word in ledger.REASONS}) + 3)
    page = (TOP / "man/queuectl-metrics.7").read_text()
    assert {word for labels in found for word in labels if not re.search(rf"\b{word}\b", page)} <= {"other"}


def odd_ends():
    for number in range(2000):
        yield ("failed", "dead", f"odd {number}")[number % 3], f"exit {number}" if number % 2 else f'"\\\n{number}\u2028'


def test_labels_that_are_given_come_to_each_and_may_be_anything(spool):
    odd = 'a "spool"\\\n\u2028é'
    text = metrics.text(spool, labels={"spool": odd}).decode()
    found = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    assert {sample.labels["spool"] for sample in found} == {odd}
    assert len(found) == len(told(spool))


@pytest.mark.parametrize("pairs", [["spool"], ["=x"], ["9=x"], ["a-b=x"], ["__name__=x"], ["state=x"], ["le=1"], ["a=1", "a=2"]])
def test_a_label_that_could_not_be_is_refused(pairs):
    with pytest.raises(metrics.WrongValue, match="label"):
        metrics.checked_labels(pairs)


def test_the_size_is_what_the_spool_takes_and_is_measured_again_when_that_is_old(spool):
    told(spool)
    before = told(spool)["spool_bytes",]
    drop(spool, "large", b" " * 100_000, "done")
    assert told(spool)["spool_bytes",] == before
    spool.now.time += size.EVERY + 1
    found = told(spool)
    assert (found["spool_bytes",] > before + 90_000, found["spool_measured_timestamp_seconds",]) == (True, spool.now.time)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"bytes": "x", "at": 3}', b'{"bytes": 1}', b"[" * 100_000])
def test_a_size_that_can_not_be_read_is_measured_anew(spool, content):
    (TOP.__class__(spool.root) / "journal").mkdir(exist_ok=True)
    (TOP.__class__(spool.root) / "journal/size.json").write_bytes(content)
    assert told(spool)["spool_bytes",] > 0


def test_a_disk_of_no_fixed_number_of_inodes_tells_of_none(spool):
    seen = metrics.look(spool)
    disk = namedtuple("Disk", "f_bavail f_frsize f_blocks f_files f_favail")(10, 4096, 20, 0, 0)
    names = {family.name for family in metrics.families(seen._replace(disk=disk)) if family.samples}
    assert {"queuectl_disk_free_bytes"} == {name for name in names if name.startswith("queuectl_disk_f")}
    assert "queuectl_disk_inodes" not in names


def test_a_spool_that_is_paused_says_so(spool):
    assert told(spool)["paused",] == 0
    hands.pause(spool, "for tea", spool.settings())
    assert told(spool)["paused",] == 1


def test_no_job_directory_is_needed_twice_where_nobody_may_write(spool, monkeypatch):
    """A spool that we may only read is measured and told of all the same."""
    monkeypatch.setattr(size.durable, "replace", refuse)
    add(spool, "x", NOW - 3)
    assert told(spool)["oldest_pending_seconds",] == 3
    assert told(spool)["spool_bytes",] > 0


def refuse(*_, **__):
    raise PermissionError(13, "Permission denied")


def test_a_programs_own_registry_takes_the_collector(spool):
    from prometheus_client import CollectorRegistry, Counter, generate_latest

    registry = CollectorRegistry()
    Counter("mine", "My own.", registry=registry).inc()
    registry.register(metrics.Collector(spool))
    found = samples(generate_latest(registry).decode(), openmetrics=False)
    assert (found["mine_total",], found["jobs", "pending"]) == (1, 0)


def test_without_prometheus_client_the_command_says_what_to_type(spool, tmp_path):
    (tmp_path / "prometheus_client.py").write_text("raise ImportError('not here')")
    done = queuectl("metrics", spool=spool, env={"PYTHONPATH": f"{tmp_path}:{TOP}"})
    assert (done.returncode, done.stdout) == (1, "")
    assert "pip install 'queuectl[metrics]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1
