"""A collector of OpenTelemetry's, which takes spans by OTLP over HTTP."""

import gzip
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Collector:
    """Listens on a port of its own; `spans` are those that came, as dictionaries."""

    def __init__(self, slow=0.0):
        self.spans, self.resources, self.headers = [], [], []
        self.asked = 0
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                content = self.rfile.read(int(self.headers["Content-Length"]))
                collector.asked += 1
                time.sleep(slow)
                collector.take(self, content)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": self.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "50"}

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def take(self, request, content):
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        assert request.path == "/v1/traces"
        content = gzip.decompress(content) if request.headers["Content-Encoding"] == "gzip" else content
        self.headers.append(dict(request.headers))
        for group in ExportTraceServiceRequest.FromString(content).resource_spans:
            self.resources.append(values(group.resource.attributes))
            self.spans += [as_dict(span) for scope in group.scope_spans for span in scope.spans]

    def of(self, job, attempt=1):
        """The span of that attempt, None while it has not come."""
        found = [span for span in self.spans if (span["queuectl.job"], span["queuectl.attempt"]) == (job, attempt)]
        assert len(found) <= 1, "it came twice"
        return found[0] if found else None


def as_dict(span):
    return {
        "trace": span.trace_id.hex(),
        "span": span.span_id.hex(),
        "parent": span.parent_span_id.hex(),
        "state": span.trace_state,
        "name": span.name,
        "kind": span.kind,
        "start": span.start_time_unix_nano / 1e9,
        "end": span.end_time_unix_nano / 1e9,
        "status": (span.status.code, span.status.message),
        "links": [(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
        **values(span.attributes),
    }


def values(attributes):
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}
