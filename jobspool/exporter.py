"""The exporter: it makes spans of what workers tell through a pipe, and delivers them by OTLP, as the variables OTEL_* say.

A process of low priority beside the pool, which waits for it only at its end: see tracer.py. It ends behind the last process that
could tell it anything. What it can't deliver is dropped, as OpenTelemetry's batch processor does, and told in the workers' log.
"""

from __future__ import annotations

import json
import logging
import os
import select
import sys
import threading

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from jobspool import telling

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

MOST_RUNNING = 10_000  # attempts of which the end is waited for
LOOK_EVERY = 10.0  # seconds between looks whether what was kept back is to be told
PATIENCE = 3.0  # seconds that a collector gets for the last spans, when the pool has ended
FAILURES = ("failed", "dead", "lost")
SCOPE = InstrumentationScope("queuectl")
ATTRIBUTES = {  # by what a worker tells
    "id": "queuectl.job",
    "number": "queuectl.attempt",
    "verdict": "queuectl.verdict",
    "reason": "queuectl.reason",
    "exit": "process.exit.code",
    "signal": "queuectl.signal",
    "waited": "queuectl.wait",
    "worker": "queuectl.worker",
}


def serve() -> None:
    """Deliver the spans of the attempts that are told of on stdin, to its end. The last word of the command says of what pool."""
    words = json.loads(sys.argv[-1])
    tell = telling.teller(words["target"], words["form"], words["level"], words["encoding"])
    delivery = Delivery()
    processor = BatchSpanProcessor(delivery)
    troubles = Troubles(tell, delivery)
    logging.getLogger().addHandler(troubles)
    spans = Spans(processor.on_end, resource(words["spool"], words["version"]), troubles.lost)
    for line in lines(0, troubles.look):
        spans.take(json.loads(line))
    delivery.end()
    processor.shutdown()
    troubles.look()


class Delivery(OTLPSpanExporter):
    """Delivers spans by OTLP. `well`: whether nothing has failed since the collector took some."""

    well = True
    ending = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Deliver the spans."""
        result = super().export(spans)
        self.well = result is SpanExportResult.SUCCESS
        return result

    def fails(self) -> None:
        """It was tried in vain; to be tried again, unless this is the end."""
        self.well = False
        if self.ending:
            self.give_up()

    def end(self) -> None:
        """Try each only once from now on, and not at all where the collector doesn't answer."""
        self.ending = True
        if not self.well:
            self.give_up()
        timer = threading.Timer(PATIENCE, self.give_up)
        timer.daemon = True
        timer.start()

    def give_up(self) -> None:
        """Wait for no other try, and say no more."""
        logging.disable()
        self.shutdown()


def lines(descriptor: int, idle: Callable[[], None]) -> Iterator[bytes]:
    """Yield each line that comes, to the end; `idle` is called now and then."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    rest = b""
    while True:
        if not poll.poll(LOOK_EVERY * 1000):
            idle()
            continue
        if not (piece := os.read(descriptor, 1 << 16)):
            return
        *whole, rest = (rest + piece).split(b"\n")
        yield from whole


def resource(spool: str, version: str) -> Resource:
    """Return what all spans have in common; what OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say goes before."""
    own = {"service.name": "queuectl", "service.version": version, "host.name": os.uname().nodename, "queuectl.spool": spool}
    return Resource.create(own).merge(OTELResourceDetector().detect())


class Troubles(logging.Handler):
    """Lets the workers' log tell what OpenTelemetry complains of: each cause once in a while."""

    def __init__(self, tell: Callable[[list[dict]], None], delivery: Delivery) -> None:
        super().__init__(logging.WARNING)
        self._tell = tell
        self._delivery = delivery

    def emit(self, record: logging.LogRecord) -> None:
        """Tell of the record, one at a time: handle() has the lock."""
        about = f"spans: {record.msg}"
        self._tell([{"event": "trouble", "why": f"spans are not delivered: {record.getMessage()}", "about": about}])
        self._delivery.fails()

    def lost(self, count: int) -> None:
        """Tell that so many lines never came."""
        self.handle(logging.makeLogRecord({"msg": "%d lines of the pipe are lost, as it was full", "args": (count,)}))

    def look(self) -> None:
        """Tell of what was kept back, where it is time to."""
        with self.lock:
            self._tell([])


class Spans:
    """Makes a span of what is told of an attempt when it begins and when it ends, and hands it to `deliver`."""

    def __init__(self, deliver: Callable[[ReadableSpan], None], common: Resource, lost: Callable[[int], None]) -> None:
        self._deliver = deliver
        self._common = common
        self._lost = lost
        self._running: dict[str, dict] = {}  # by the job's id: there is one attempt of it at a time

    def take(self, said: dict) -> None:
        """Take what a worker, or the supervisor, says."""
        if count := said.pop("lost", 0):
            self._lost(count)
        kind, id = said.pop("kind"), said["id"]
        began = self._running.pop(id, None)
        if kind == "began":
            self._running[id] = said
            if len(self._running) > MOST_RUNNING:
                del self._running[next(iter(self._running))]
        elif began is not None and kind != "dropped":
            self._deliver(made(began, {"verdict": "lost", **said}, self._common))


def made(began: dict, ended: dict, common: Resource) -> ReadableSpan:
    """Return the span."""
    trace, own, sampled = began["span"]
    known = {**began, **ended}
    duration = ended["duration"] if "duration" in ended else max(0.0, ended["ended"] - began["started"])
    start = round(began["started"] * 1e6) * 1000
    failed = known["verdict"] in FAILURES
    return ReadableSpan(
        began["name"],
        context=_context(trace, own, sampled, began["state"]),
        parent=began["parent"] and _context(trace, began["parent"], sampled, began["state"], remote=True),
        resource=common,
        attributes={name: known[word] for word, name in ATTRIBUTES.items() if known.get(word) not in (None, "")},
        links=[Link(_context(*began["before"], "", remote=True))] if began["before"] else [],
        kind=SpanKind.CONSUMER,
        status=Status(StatusCode.ERROR, known.get("reason")) if failed else Status(StatusCode.UNSET),
        start_time=start,
        end_time=start + round(duration * 1e6) * 1000,
        instrumentation_scope=SCOPE,
    )


def _context(trace: str, span: str, sampled: bool, state: str, remote: bool = False) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
    return SpanContext(int(trace, 16), int(span, 16), remote, flags, TraceState.from_header([state]) if state else None)
