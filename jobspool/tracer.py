"""Spans of attempts, as the pool makes them: a worker gives each attempt a span of its own, and tells of it when it has ended.

    worker --- one line a span ---> pipe ---> the exporter, a process beside: see exporter.py

Nobody waits for the exporter, and nothing of OpenTelemetry is imported here. A pipe that is full loses spans, and counts them.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time

from jobspool import process, traceparent
from jobspool.errors import NotInstalled
from jobspool.job import command_line
from jobspool.traceparent import Context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jobspool.claim import Claim

EXTRA = ("opentelemetry.sdk.trace.export", "opentelemetry.exporter.otlp.proto.http.trace_exporter")
PACKAGES = ("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
NICE = 10  # jobs go first, also when it is imported
EXPORT = f"import os; os.nice({NICE}); from jobspool import exporter; exporter.serve()"
ROOM = 1 << 20  # bytes of the pipe, where the kernel gives as many
ATOMIC = 4096  # bytes of a line: PIPE_BUF, so that those of many workers don't mix
LONGEST_NAME = 100  # characters
FIRST_REST, LONGEST_REST = 5.0, 300.0  # seconds until an exporter that ended is replaced: twice as many each time
LAST_WORDS = 6.0  # seconds that it gets at the end
LONGEST_REASON = 200
KEPT = ("duration", "verdict", "reason", "exit", "signal", "worker")  # of an attempt


def unfit() -> str | None:
    """Return why no spans can be delivered as the variables ask for, None where they can. Raises NotInstalled."""
    from importlib.util import find_spec

    try:
        there = all(map(find_spec, EXTRA))
    except ModuleNotFoundError:
        there = False
    if not there:
        raise NotInstalled("--otel needs OpenTelemetry", "otel", " ".join(PACKAGES))
    for variable in PROTOCOLS:
        if (protocol := os.environ.get(variable) or "http/protobuf") != "http/protobuf":
            return f"spans are sent by http/protobuf only, and {variable} is {protocol!r}"
    if (name := os.environ.get("OTEL_TRACES_EXPORTER") or "otlp") != "otlp":
        return f"spans are sent by otlp only, and OTEL_TRACES_EXPORTER is {name!r}"
    return None


class Span:
    """The span of an attempt that runs: `context` is its own, `parent` whose it is a part of, None for nobody's."""

    def __init__(self, record: dict) -> None:
        env, attempts = record.get("env", {}), record.get("attempts", ())
        self.parent = traceparent.read(env.get(traceparent.PARENT))
        self.state = env.get(traceparent.STATE, "") if self.parent else ""
        last = attempts[-1] if attempts else {}
        self.before = traceparent.read(f"00-{last.get('trace')}-{last.get('span')}-01")  # the attempt before
        known = self.parent or self.before
        trace = known.trace if known else os.urandom(16).hex()
        self.context = Context(trace, os.urandom(8).hex(), self.parent.sampled if self.parent else True)

    @property
    def environment(self) -> dict[str, str]:
        """What the attempt is told: whatever it does is a part of its span."""
        return {traceparent.PARENT: traceparent.written(self.context)}

    @property
    def entry(self) -> dict[str, str]:
        """What the job's file says of it, in the attempt."""
        return {"trace": self.context.trace, "span": self.context.span}


class Tracer:
    """The pipe to the exporter, and the exporter. A supervisor has one, and its workers have it from their fork on.

    `words` are for exporter.serve(): where its own troubles are told.
    """

    def __init__(self, words: dict) -> None:
        self._words = words
        self._ear, self._mouth = os.pipe()
        os.set_blocking(self._mouth, False)
        try:
            fcntl.fcntl(self._mouth, fcntl.F_SETPIPE_SZ, ROOM)
        except OSError:
            pass  # the user has many such pipes: a small one does, too
        self._lost = 0
        self._pid: int | None = None
        self._born = self._at = 0.0  # monotonic: when the exporter was started, and when the next one may be
        self._rest = FIRST_REST

    # ---- in a worker

    def begin(self, claim: Claim, began: float) -> None:
        """Give the attempt of the claim, which begins then, in seconds since 1970, a span, and let the exporter know."""
        span = claim.span = Span(claim.record)
        words = claim.record.get("argv") or claim.record["command"].split() or ("?",)
        self._tell(
            "began",
            id=claim.id,
            name=(claim.record.get("name") or os.path.basename(words[0]) or command_line(claim.record))[:LONGEST_NAME],
            span=span.context,
            parent=span.parent and span.parent.span,
            state=span.state,
            before=span.before,
            number=claim.number,
            started=began,
            waited=claim.waited(began),
        )

    def drop(self, claim: Claim) -> None:
        """Let the exporter know that nothing has run."""
        self._tell("dropped", id=claim.id)

    def end(self, claim: Claim, entry: dict | None) -> None:
        """Let the exporter know how it ended; None: hands moved the job away, and no record says how."""
        said = {word: entry[word] for word in KEPT if word in entry} if entry else {"verdict": "moved"}
        said["reason"] = said.get("reason", "")[:LONGEST_REASON]
        self._tell("ended", id=claim.id, **said, ended=claim.spool.now())

    def _tell(self, kind: str, **what: object) -> None:
        said = {"kind": kind, **({"lost": self._lost} if self._lost else {}), **what}
        line = json.dumps(said).encode() + b"\n"
        if len(line) > ATOMIC:  # odd characters take six bytes each
            line = json.dumps({**said, "id": "", "reason": "", "name": "?"}).encode() + b"\n"
        try:
            os.write(self._mouth, line)
            self._lost = 0
        except OSError:
            self._lost += 1

    # ---- in the supervisor

    def lose(self, id: str, why: str) -> None:
        """Let the exporter know that the job's worker was lost, and with it how the attempt ended."""
        self._tell("lost", id=id, reason=why[:LONGEST_REASON], ended=time.time())

    def keep(self) -> str | None:
        """Have an exporter, as soon as there may be another; return what is to be told of one that ended. Raises OSError."""
        clock, status = time.monotonic(), self._ended()
        if self._pid is None and clock >= self._at:
            self._rest = min(2 * self._rest, LONGEST_REST) if clock - self._born < LONGEST_REST else FIRST_REST
            self._born, self._at = clock, clock + self._rest
            self._pid = self._start()
        return None if status is None else f"the exporter of spans ended ({status}): another takes its place"

    def _ended(self) -> int | None:
        """Bury the exporter if it has ended, and return its status then."""
        if self._pid is None:
            return None
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        if not pid:
            return None
        self._pid = None
        return os.waitstatus_to_exitcode(status)

    def _start(self) -> int:
        """Start the exporter: in a process group of its own, that a terminal's Ctrl-C doesn't reach. It ends behind all of us."""
        path = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (path, os.environ.get("PYTHONPATH"))))}
        words = [sys.executable, "-P", "-c", EXPORT, json.dumps(self._words)]
        files = [(os.POSIX_SPAWN_DUP2, self._ear, 0)]
        return os.posix_spawn(sys.executable, words, environment, file_actions=files, setpgroup=0, setsigmask=[])

    def finish(self) -> None:
        """The pool ends: let the exporter deliver what it has, for as long as it takes a collector that is there."""
        os.close(self._mouth)
        os.close(self._ear)
        if self._pid is not None and not process.wait_for(self._pid, LAST_WORDS):
            process.end_group(self._pid, 9)
        if self._pid is not None:
            os.waitpid(self._pid, 0)
