"""Spans of attempts, by real pools, as a real collector gets them."""

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from kit import QUEUECTL, TOP, children, comes_to, drop, gone, log, mv, pool, queuectl, until, workers
from log.collector import Collector

from jobspool import claim as claims
from jobspool import job, process, tracer

for package in ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http"):
    pytest.importorskip(package, reason="OpenTelemetry is missing: make test-deps")

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"
ERROR = 2  # of StatusCode


@contextmanager
def traced(spool, collector, count=1, *options, **env):
    """A pool that delivers its spans to the collector."""
    env = {**collector.environment, **env}
    words = [f"{name}={value}" for name, value in env.items()]
    with pool(spool, count, "--otel", *options, within=["env", *words]) as supervisor:
        yield supervisor


def exporter_of(supervisor):
    """The id of the exporter's process, None while there is none."""
    found = [pid for pid in children(supervisor.pid) if "exporter.serve" in process.words_of(pid)]
    return found[0] if found else None


def span_of(collector, id, attempt=1):
    return until(lambda: collector.of(id, attempt), f"the span of {id}")


def test_an_attempt_is_a_span_of_its_enqueuers_trace_and_its_job_adds_others_to_it(spool):
    """enqueuer -> attempt -> a job that it adds -> that one's attempt."""
    nested = " ".join(QUEUECTL)
    environment = {"TRACEPARENT": PARENT, "TRACESTATE": "vendor=some,other=1"}
    with Collector() as collector, traced(spool, collector):
        words = ("enqueue", "--id", "outer", f"echo $TRACEPARENT $TRACESTATE; {nested} enqueue --id inner true")
        queuectl(*words, spool=spool, env=environment, check=True)
        outer, inner = span_of(collector, "outer"), span_of(collector, "inner")
    told, state = log(spool, "outer").decode().split()[:2]
    assert (told, state) == (f"00-{TRACE}-{outer['span']}-01", "vendor=some,other=1")
    assert (outer["trace"], outer["parent"], outer["state"]) == (TRACE, SPAN, "vendor=some,other=1")
    assert (inner["trace"], inner["parent"], inner["state"]) == (TRACE, outer["span"], "vendor=some,other=1")
    attempt = spool.read("done", "outer").attempts[0]
    assert (attempt["trace"], attempt["span"]) == (TRACE, outer["span"])


def test_a_span_says_what_the_record_says(spool):
    with Collector() as collector, traced(spool, collector):
        drop(spool, "x", {"command": "exit 3", "name": "nightly", "max_retries": 0})
        span = span_of(collector, "x")
    attempt = spool.read("dead", "x").attempts[0]
    assert (span["name"], span["status"], span["parent"], span["links"]) == ("nightly", (ERROR, "exit 3"), "", [])
    assert (span["queuectl.verdict"], span["queuectl.reason"], span["process.exit.code"]) == ("dead", "exit 3", 3)
    assert (span["queuectl.worker"], span["queuectl.wait"] >= 0) == (attempt["worker"], True)
    assert abs(span["start"] - job.seconds(attempt["started"])) < 1e-5
    assert abs(span["end"] - span["start"] - attempt["duration"]) < 1e-5
    [resource, *_] = collector.resources
    assert (resource["service.name"], resource["queuectl.spool"]) == ("queuectl", spool.root)


def test_the_name_is_the_first_word_of_the_command_where_the_job_has_none(spool):
    with Collector() as collector, traced(spool, collector):
        drop(spool, "x", {"command": "true and more"})
        drop(spool, "y", {"argv": ["/bin/true", "more"]})
        assert [span_of(collector, id)["name"] for id in "xy"] == ["true", "true"]
        assert span_of(collector, "x")["status"] == (0, "")


def test_tries_of_a_job_that_nobody_traced_are_one_trace_and_linked(spool):
    with Collector() as collector, traced(spool, collector):
        drop(spool, "x", {"command": "test $QUEUECTL_ATTEMPT = 2", "backoff_base": 1e-9})
        first, second = span_of(collector, "x", 1), span_of(collector, "x", 2)
    assert (first["trace"], first["span"]) != (second["trace"], second["span"])
    assert (second["trace"], second["parent"], second["links"]) == (first["trace"], "", [(first["trace"], first["span"])])
    assert (first["status"], second["status"]) == ((ERROR, "exit 1"), (0, ""))


def test_a_trace_that_is_not_sampled_is_passed_on_and_not_delivered(spool):
    with Collector() as collector, traced(spool, collector):
        spool.add("echo $TRACEPARENT", id="x", env={"TRACEPARENT": f"00-{TRACE}-{SPAN}-00"})
        spool.add("true", id="y")
        span_of(collector, "y")
    assert re.fullmatch(f"00-{TRACE}-(?!{SPAN})[0-9a-f]{{16}}-00\n", log(spool, "x").decode())
    assert collector.of("x") is None


def test_the_variables_of_opentelemetry_are_heeded(spool):
    own = {
        "OTEL_SERVICE_NAME": "builds",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
        "OTEL_EXPORTER_OTLP_HEADERS": "x-token=secret",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
    }
    with Collector() as collector, traced(spool, collector, **own):
        drop(spool, "x", {"command": "true"})
        span_of(collector, "x")
    assert collector.resources[0]["service.name"] == "builds"
    assert collector.resources[0]["deployment.environment.name"] == "test"
    assert collector.headers[0]["x-token"] == "secret"


def test_a_drain_delivers_all_before_it_ends(spool):
    for number in range(50):
        drop(spool, f"{number}", {"command": "true"})
    with Collector() as collector:
        env = {**collector.environment, "OTEL_BSP_SCHEDULE_DELAY": "60000"}
        queuectl("start", "--drain", "--count", 2, "--otel", spool=spool, env=env, check=True)
        assert sorted(span["queuectl.job"] for span in collector.spans) == sorted(map(str, range(50)))


def test_the_span_of_a_lost_worker_ends_as_lost(spool):
    with Collector() as collector, traced(spool, collector):
        drop(spool, "x", {"command": "kill -9 $PPID; sleep 0.1", "max_retries": 0})
        span = until(lambda: collector.of("x"), "the span")
    assert (span["queuectl.verdict"], span["status"][0]) == ("lost", ERROR)


def test_the_span_of_a_job_that_hands_took_away_ends(spool):
    with Collector() as collector, traced(spool, collector):
        drop(spool, "x", {"command": "exec sleep 1000"})
        comes_to(spool, "x", "processing")
        until(lambda: workers(spool) and any(Path(spool.root, "logs").glob("x.1.*")), "it to run")
        mv(spool, "x", "processing", "dead")
        span = span_of(collector, "x")
    assert (span["queuectl.verdict"], span["status"]) == ("moved", (0, ""))


def test_an_exporter_that_is_killed_is_started_anew_and_no_job_waits(spool):
    with Collector() as collector, traced(spool, collector) as supervisor:
        first = until(lambda: exporter_of(supervisor), "the exporter")
        drop(spool, "x", {"command": "true"})
        span_of(collector, "x")
        os.kill(first, signal.SIGKILL)
        drop(spool, "y", {"command": "true"})
        comes_to(spool, "y", "done")
        second = until(lambda: (pid := exporter_of(supervisor)) not in (None, first) and pid, "another")
        span_of(collector, "y")
        assert second != first
        assert b"the exporter of spans ended (-9): another takes its place" in supervisor.log.read_bytes()
    assert gone(second)


def test_an_exporter_ends_with_a_supervisor_that_is_killed(spool):
    with Collector() as collector, traced(spool, collector) as supervisor:
        exporter = until(lambda: exporter_of(supervisor), "the exporter")
        drop(spool, "x", {"command": "sleep 0.5"})
        comes_to(spool, "x", "processing")
        supervisor.kill()
        supervisor.wait()
        comes_to(spool, "x", "done")
        span_of(collector, "x")  # its worker has finished what it ran
        until(lambda: gone(exporter), "its end")


def test_a_collector_that_is_not_there_holds_nobody_up_and_is_told_of_once(spool):
    nobody = Collector()
    nobody.server.server_close()
    with traced(spool, nobody, 2, OTEL_BSP_MAX_QUEUE_SIZE="64", OTEL_BSP_MAX_EXPORT_BATCH_SIZE="16") as supervisor:
        jobs = [spool.add("true") for _ in range(300)]
        for each in jobs:
            comes_to(spool, each.id, "done")
        until(lambda: b"spans are not delivered" in supervisor.log.read_bytes(), "word of it", 60)
    told = [line for line in supervisor.log.read_text().splitlines() if "not delivered" in line]
    assert (supervisor.returncode, len(told) < 12, "Traceback" in supervisor.log.read_text()) == (0, True, False)


def test_an_exporter_that_is_stopped_holds_nobody_up_and_tells_all_later(spool):
    with Collector() as collector, traced(spool, collector) as supervisor:
        exporter = until(lambda: exporter_of(supervisor), "the exporter")
        os.kill(exporter, signal.SIGSTOP)
        jobs = spool.add_many([{"command": "true"}] * 100)
        comes_to(spool, jobs[-1].id, "done")
        assert collector.asked == 0
        os.kill(exporter, signal.SIGCONT)
        for each in jobs:
            span_of(collector, each.id)


def test_a_pipe_that_is_full_is_not_waited_for_and_what_it_lost_is_counted(spool):
    job = spool.add("true", id="x")
    claim = claims.take(spool, job.id, spool.settings())
    pipe = tracer.Tracer({})
    for _ in range(ENOUGH := tracer.ROOM // 100):
        pipe.begin(claim, 1.0)
    first = os.read(pipe._ear, 1 << 16)
    pipe.end(claim, None)
    os.set_blocking(pipe._ear, False)
    told = b"".join([first, *iter(lambda: read(pipe._ear), b"")]).splitlines()
    last = json.loads(told[-1])
    assert (last["kind"], last["lost"], last["lost"] > 0) == ("ended", ENOUGH - len(told) + 1, True)
    claim.release()


def read(descriptor):
    try:
        return os.read(descriptor, 1 << 20)
    except BlockingIOError:
        return b""


def test_however_odd_a_job_is_a_line_is_written_at_one_go(spool):
    odd = "\U0001f600" * 48
    spool.add("true", id=odd, name=odd * 10, env={"TRACEPARENT": PARENT, "TRACESTATE": "a=" + "x" * 250})
    claim = claims.take(spool, odd, spool.settings())
    pipe = tracer.Tracer({})
    pipe.begin(claim, 1.0)
    pipe.end(claim, {"verdict": "dead", "reason": odd * 10, "worker": "w" * 300, "signal": "SIGKILL"})
    lines = os.read(pipe._ear, 1 << 16).splitlines(keepends=True)
    assert [json.loads(line)["id"] for line in lines] == [odd, odd]
    assert max(map(len, lines)) <= tracer.ATOMIC
    claim.release()


def test_start_says_what_it_lacks(spool, tmp_path):
    ran = queuectl("start", "--drain", "--otel", spool=spool, env={"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == "queuectl: --otel: spans are sent by http/protobuf only, and OTEL_EXPORTER_OTLP_PROTOCOL is 'grpc'\n"
    for name in ("docopt", "watchdog"):  # an installation without the extra
        found = subprocess.run([sys.executable, "-c", f"import {name}; print({name}.__file__)"], capture_output=True, text=True)
        os.symlink(os.path.dirname(found.stdout.strip()), tmp_path / name)
    code = f"import sys; sys.path[:0] = [{str(TOP)!r}, {str(tmp_path)!r}]; import queuectl; sys.exit(queuectl.main(sys.argv[1:]))"
    words = [sys.executable, "-S", "-E", "-c", code, "--spool", spool.root, "start", "--drain", "--otel"]
    ran = subprocess.run(words, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith("queuectl: --otel needs OpenTelemetry: pip install 'queuectl[otel]', or where pipx ")


def test_nothing_is_traced_without_the_option_but_the_enqueuers_trace_reaches_the_job(spool):
    with (
        Collector() as collector,
        pool(spool, 1, within=["env", *(f"{a}={b}" for a, b in collector.environment.items())]) as supervisor,
    ):
        queuectl("enqueue", "--id", "x", "echo $TRACEPARENT", spool=spool, env={"TRACEPARENT": PARENT}, check=True)
        ended = comes_to(spool, "x", "done")
        assert (log(spool, "x"), exporter_of(supervisor), collector.asked) == (f"{PARENT}\n".encode(), None, 0)
        assert {"trace", "span"} & set(ended.attempts[0]) == set()


def test_the_trace_of_whoever_starts_a_pool_is_not_its_jobs(spool):
    drop(spool, "x", {"command": "echo -$TRACEPARENT-"})
    queuectl("start", "--drain", spool=spool, env={"TRACEPARENT": PARENT, "TRACESTATE": "a=b"}, check=True)
    assert log(spool, "x") == b"--\n"


def test_restart_and_the_unit_keep_it(spool):
    assert " start --otel\n" in queuectl("install-service", "--user", "--print", "--otel", spool=spool, check=True).stdout
    with Collector() as collector:
        queuectl("start", "--count", 1, "--detach", "--otel", spool=spool, env=collector.environment, check=True)
        try:
            queuectl("restart", spool=spool, env=collector.environment, check=True)
            drop(spool, "x", {"command": "true"})
            span_of(collector, "x")
        finally:
            queuectl("stop", "--now", spool=spool, check=True)


def test_the_pool_imports_nothing_of_opentelemetry(spool):
    with Collector() as collector, traced(spool, collector) as supervisor:
        exporter = until(lambda: exporter_of(supervisor), "the exporter")
        until(lambda: "_upb" in Path(f"/proc/{exporter}/maps").read_text(), "its imports")
        for pid in (supervisor.pid, *workers(spool)):
            assert "_upb" not in Path(f"/proc/{pid}/maps").read_text()
        assert os.getpriority(os.PRIO_PROCESS, exporter) >= os.getpriority(os.PRIO_PROCESS, supervisor.pid) + 10
