"""What Prometheus is told of a spool: METRICS, as a text of OpenMetrics or of the older format, and a server for it.

Counters are the ledger's, so they go on where they were, whoever ends or starts. Labels have few values, whatever jobs are
called. While a supervisor runs no directory of jobs is read: the journal knows what lies there, and the supervisor says since
when it waits. With nobody there the directories are walked through, which takes its time with a million files.
"""

from __future__ import annotations

import heapq
import os
import re
from collections import namedtuple
from functools import partial

from jobspool import __version__, admission, audit, ledger, roster, size, vital
from jobspool.errors import NotInstalled, WrongValue
from jobspool.job import id_of
from jobspool.spool import PAUSED
from jobspool.states import FAILED, PENDING, STATES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from wsgiref.simple_server import WSGIServer

    from prometheus_client import Metric as Family

    from jobspool.job import Job
    from jobspool.spool import Spool

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
OLDER = "text/plain; version=0.0.4; charset=utf-8"
NO_LABELS: dict[str, str] = {}
UNITS = ("seconds", "bytes")
MOST_READ = 1000  # pending jobs, for the oldest that may run
PATIENCE = 5.0  # seconds that the server waits for what a client has to say

# name, kind and labels as Prometheus has them; means: one sentence.
Metric = namedtuple("Metric", "name kind labels means")
METRICS = tuple(
    Metric(f"queuectl_{name}", kind, tuple(labels.split()), means)
    for name, kind, labels, means in (
        ("jobs", "gauge", "state", "Jobs in each state."),
        (
            "oldest_pending_seconds",
            "gauge",
            "",
            "How long the pending job that has waited longest might have run; 0 if none waits.",
        ),
        ("next_due_seconds", "gauge", "", "Until the next failed job is due again; 0 if it is overdue, none if none has failed."),
        ("enqueued_total", "counter", "", "Jobs that came into the spool."),
        ("attempts_total", "counter", "verdict reason", "Attempts that ended, by what became of the job, and why."),
        ("recovered_total", "counter", "", "Jobs that a crash had left and that were put right."),
        ("rejected_total", "counter", "", "Files that were no whole jobs and went to dead/."),
        ("job_duration_seconds", "histogram", "", "How long attempts ran."),
        ("queue_wait_seconds", "histogram", "", "How long jobs waited from when they might run until they were claimed."),
        ("commit_seconds", "histogram", "", "From the end of an attempt's process until its outcome was on the disk."),
        ("workers", "gauge", "state", "Workers that run, by whether they run a job."),
        ("supervisors", "gauge", "", "Supervisors that run."),
        ("paused", "gauge", "", "1 while the spool is paused."),
        ("spool_bytes", "gauge", "", "What the spool takes on the disk with its logs, when that was last measured."),
        ("spool_measured_timestamp_seconds", "gauge", "", "When that was, in seconds since 1970."),
        ("disk_free_bytes", "gauge", "", "What is free for users on the spool's disk."),
        ("disk_size_bytes", "gauge", "", "How large the spool's disk is."),
        ("disk_free_inodes", "gauge", "", "How many more files the spool's disk can hold."),
        ("disk_inodes", "gauge", "", "How many files the spool's disk can hold."),
        ("build", "info", "version", "The version that told all this."),
    )
)

# oldest: since when the pending job waits that has waited longest. next_due: when the next failed one is due. None for none.
Waits = namedtuple("Waits", "oldest next_due")

# book: the ledger. waits: None where nobody knows. busy, idle: workers. size: what size.read() returns. disk: os.statvfs_result.
Seen = namedtuple("Seen", "book waits busy idle supervisors paused size disk now")


def text(spool: Spool, openmetrics: bool = True, labels: dict[str, str] = NO_LABELS) -> bytes:
    """Return all metrics as a text of OpenMetrics, else of the older format, which node_exporter reads; `labels` go to each.

    Raises NotInstalled without prometheus_client, OSError where the spool can't be read.
    """
    try:
        from prometheus_client import CollectorRegistry, exposition
        from prometheus_client.openmetrics import exposition as exposition_of_openmetrics
    except ImportError:
        raise NotInstalled("metrics need prometheus_client", "metrics", "prometheus-client") from None
    registry = CollectorRegistry()
    registry.register(Collector(spool, labels))
    return (exposition_of_openmetrics if openmetrics else exposition).generate_latest(registry)


class Collector:
    """Tells a registry of prometheus_client of the spool, also a program's own: REGISTRY.register(Collector(spool))."""

    def __init__(self, spool: Spool, labels: dict[str, str] = NO_LABELS) -> None:
        self.spool = spool
        self.labels = labels

    def describe(self) -> Iterable[Family]:
        """Return nothing: to be registered need cost no look at the spool."""
        return ()

    def collect(self) -> Iterator[Family]:
        """Yield the families as things are now. Raises OSError."""
        return families(look(self.spool), self.labels)


def look(spool: Spool) -> Seen:
    """Return what there is to be told. Raises OSError."""
    book, alive, now = audit.current(spool), roster.living(spool), spool.now()
    busy = [bool(entry.job) for entry in alive if entry.role == roster.WORKER]
    supervised = len(alive) > len(busy)
    return Seen(
        book=book,
        waits=what_waits(spool, alive, supervised, now),
        busy=sum(busy),
        idle=len(busy) - sum(busy),
        supervisors=len(alive) - len(busy),
        paused=os.path.lexists(f"{spool.root}/{PAUSED}"),
        size=size.read(spool) if supervised else size.measured(spool),
        disk=os.statvfs(spool.root),
        now=now,
    )


def what_waits(spool: Spool, alive: list[roster.Entry], supervised: bool, now: float) -> Waits | None:
    """Return what a supervisor says of that, None where it hasn't said so yet; where none runs it is found by a walk."""
    if said := vital.read(alive):
        return Waits(said["oldest"], said["next_due"])
    return None if supervised else look_through(spool, now)


def look_through(spool: Spool, now: float) -> Waits:
    """Find by a walk what waits. No more than MOST_READ jobs are read for whether they are held, or wait for others."""
    first = heapq.nsmallest(MOST_READ, (place for place in _times(spool, PENDING) if place[0] <= now))
    next_due = min((mtime for mtime, _ in _times(spool, FAILED)), default=None)
    return Waits(vital.oldest(spool, first, partial(_may_run, spool)), next_due)


def _times(spool: Spool, state: str) -> Iterator[tuple[float, str]]:
    """Yield the mtime and the id of each job in that state."""
    with os.scandir(spool.folder(state)) as entries:
        for entry in entries:
            if (id := id_of(entry.name)) is None:
                continue
            try:
                yield entry.stat(follow_symlinks=False).st_mtime, id
            except FileNotFoundError:
                pass  # RACE: it has moved on


def _may_run(spool: Spool, job: Job) -> bool:
    """Tell whether nothing in the pending job's own file keeps it from running."""
    if job.problem or "hold" in job.record:
        return False
    return not admission.waits_for(job.record, spool.state_of)


def families(seen: Seen, labels: dict[str, str] = NO_LABELS) -> Iterator[Family]:
    """Yield a family of prometheus_client for each of METRICS, with what was seen; `labels` come before its own."""
    told = _told(seen)
    for metric in METRICS:
        family = _family(metric, (*labels, *metric.labels) if metric.kind != "info" else (*labels,))
        for values, value in told[metric.name].items():
            _add(family, metric, [*labels.values(), *values], value)
        yield family


def _told(seen: Seen) -> dict[str, dict[tuple, object]]:
    """Return the values of each metric, by those of its labels; none of what isn't known."""
    book, disk = seen.book, seen.disk
    told = {
        "jobs": {(state,): book.counts.get(state, 0) for state in STATES},
        **_told_of_waits(seen),
        "attempts_total": book.attempts,
        **{f"{name}_total": {(): book.totals.get(name, 0)} for name in ("enqueued", "recovered", "rejected")},
        "job_duration_seconds": {(): book.durations},
        "queue_wait_seconds": {(): book.waits},
        "commit_seconds": {(): book.commits},
        "workers": {("busy",): seen.busy, ("idle",): seen.idle},
        "supervisors": {(): seen.supervisors},
        "paused": {(): int(seen.paused)},
        "spool_bytes": {(): seen.size.bytes} if seen.size else {},
        "spool_measured_timestamp_seconds": {(): seen.size.at} if seen.size else {},
        "disk_free_bytes": {(): disk.f_bavail * disk.f_frsize},
        "disk_size_bytes": {(): disk.f_blocks * disk.f_frsize},
        "disk_free_inodes": {(): disk.f_favail} if disk.f_files else {},  # btrfs makes them as it goes
        "disk_inodes": {(): disk.f_files} if disk.f_files else {},
        "build": {(__version__,): 1},
    }
    return {f"queuectl_{name}": values for name, values in told.items()}


def _told_of_waits(seen: Seen) -> dict[str, dict[tuple, float]]:
    oldest, next_due = seen.waits or Waits(None, None)
    waited = 0.0 if oldest is None else max(0.0, seen.now - oldest)
    return {
        "oldest_pending_seconds": {(): waited} if seen.waits else {},
        "next_due_seconds": {(): max(0.0, next_due - seen.now)} if next_due is not None and seen.book.counts[FAILED] else {},
    }


def _family(metric: Metric, labels: tuple[str, ...]) -> Family:
    from prometheus_client import core

    kind = getattr(core, f"{metric.kind.capitalize()}MetricFamily")
    unit = metric.name.rpartition("_")[2]
    more = {"unit": unit} if unit in UNITS else {}
    return kind(metric.name, metric.means, labels=labels, **more)


def _add(family: Family, metric: Metric, values: list[str], value: object) -> None:
    if metric.kind == "info":
        family.add_metric(values[:-1], {metric.labels[-1]: values[-1]})
    elif metric.kind == "histogram":
        family.add_metric(values, buckets=_cumulated(value), sum_value=value.sum)
    else:
        family.add_metric(values, value)


def _cumulated(histogram: ledger.Histogram) -> list[tuple[str, int]]:
    """Return each upper bound, as Prometheus writes it, with how many are not above it."""
    from prometheus_client.utils import floatToGoString

    count, buckets = 0, []
    for bound, more in zip((*histogram.bounds, float("inf")), histogram.counts, strict=True):
        count += more
        buckets.append((floatToGoString(bound), count))
    return buckets


def checked_labels(pairs: Iterable[str]) -> dict[str, str]:
    """Return the labels that these NAME=VALUE say. Raises WrongValue."""
    own = {label for metric in METRICS for label in metric.labels} | {"le"}
    labels: dict[str, str] = {}
    for name, equals, value in (pair.partition("=") for pair in pairs):
        if not equals or not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name) or name.startswith("__"):
            raise WrongValue(f"a label is NAME=VALUE, with a name such as spool, not {name + equals + value!r}")
        if name in own or name in labels:
            raise WrongValue(f"the label {name} is there already: give it another name")
        labels[name] = value
    return labels


# ---- serving it


def server(spool: Spool, host: str, port: int, labels: dict[str, str] = NO_LABELS) -> WSGIServer:
    """Return a server at that address, which serves /metrics by its serve_forever(). Raises OSError."""
    import socket
    import threading
    from socketserver import ThreadingMixIn
    from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

    class Handler(WSGIRequestHandler):
        timeout = PATIENCE

        def log_message(self, *_: object) -> None:
            """Say nothing: who scrapes does so every few seconds."""

    class Server(ThreadingMixIn, WSGIServer):
        address_family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        daemon_threads = True

    turn = threading.Lock()  # one looks at a time, however many ask

    def answered(environ: dict, start: object) -> list[bytes]:
        with turn:
            return _answered(spool, labels, environ, start)

    found = Server((host, port), Handler)
    found.set_app(answered)
    return found


def _answered(spool: Spool, labels: dict[str, str], environ: dict, start: object) -> list[bytes]:
    """Answer a request, as WSGI has it: in OpenMetrics where that is accepted; 503 and why where the spool can't be read."""
    if environ["PATH_INFO"] != "/metrics" or environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
        return _answer(start, "404 Not Found", "text/plain", b"GET /metrics\n")
    openmetrics = "application/openmetrics-text" in environ.get("HTTP_ACCEPT", "")
    try:
        body = text(spool, openmetrics, labels)
    except OSError as error:
        return _answer(start, "503 Service Unavailable", "text/plain", f"{error}\n".encode(errors="replace"))
    return _answer(start, "200 OK", OPENMETRICS if openmetrics else OLDER, body)


def _answer(start: object, status: str, kind: str, body: bytes) -> list[bytes]:
    start(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [body]
