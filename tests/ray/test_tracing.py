"""The spans of one request and of one job, as a collector receives them."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.ray.conftest import free_port
from tests.scenes import encoded, spheroid
from tests.smtp_sink import SmtpSink

pytestmark = pytest.mark.ray

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"
DEADLINE_S = 120.0
REQUEST = {
    "proxy_http_request ingress POST",
    "replica_handle_request hrnet segment",
    "segment",
    "decode",
    "polygons",
    "queue",
    "batch wait",
    "device",
    "batch hrnet",
    "device call",
}


class Collector(ThreadingHTTPServer):
    """An OTLP receiver over HTTP."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.spans: list[Span] = []
        self.arrived = threading.Condition()

    def wait_for(self, names: set[str], trace: str = "") -> dict[str, Span]:
        """Return spans by name once there is one of each.

        Args:
            names: The names.
            trace: Their trace id in hex, where it matters.
        """
        deadline = time.monotonic() + DEADLINE_S
        with self.arrived:
            while True:
                # Serve puts the path of the request behind the name.
                found = {
                    span.name.split(" /")[0]: span
                    for span in self.spans
                    if trace in ("", span.trace_id.hex())
                }
                missing = names - found.keys()
                if not missing:
                    return found
                left = deadline - time.monotonic()
                assert left > 0, f"missing {missing}, there are {sorted(found)}"
                self.arrived.wait(left)


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.path == "/v1/traces"
        request = ExportTraceServiceRequest.FromString(body)
        with self.server.arrived:
            for resource in request.resource_spans:
                for scope in resource.scope_spans:
                    self.server.spans += scope.spans
            self.server.arrived.notify_all()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def url(collector: Collector, tmp_path: Path) -> Iterator[str]:
    """A service of its own that exports to the collector."""
    port = free_port()
    with SmtpSink() as sink:
        environment = {
            **os.environ,
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}",
            "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            "SPHEROSERVE_DATA_DIR": str(tmp_path),
            "SMTP_HOST": "127.0.0.1",
            "SMTP_PORT": str(sink.port),
            "SMTP_IGNORE_TLS": "true",
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "serve_app", "up", "--port", str(port)],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        try:
            assert process.stdout is not None
            assert next(process.stdout).startswith("ready ")
            yield f"http://127.0.0.1:{port}"
        finally:
            # Ends its whole cluster, which a SIGKILL would leave behind.
            process.terminate()
            process.wait(timeout=60)


def test_a_request_and_a_job_can_be_followed(url: str, collector: Collector) -> None:
    image = ("image.png", encoded(spheroid()[0]))
    with httpx.Client(base_url=url, timeout=120) as client:
        answer = client.post(
            "/api/v1/segment",
            files={"file": image},
            headers={"traceparent": f"00-{TRACE}-{CALLER}-01"},
        )
        assert answer.status_code == 200
        job = client.post(
            "/api/v1/jobs",
            files={"files": image},
            data={"notify": "user@example.org"},
        )
        assert job.status_code == 202

    spans = collector.wait_for(REQUEST, TRACE)
    names = {span.span_id: name for name, span in spans.items()}

    def parent(name: str) -> str:
        return names[spans[name].parent_span_id]

    assert spans["proxy_http_request ingress POST"].parent_span_id.hex() == CALLER
    assert parent("decode") == parent("polygons") == "segment"
    assert (
        parent("queue")
        == parent("batch wait")
        == parent("device")
        == "replica_handle_request hrnet segment"
    )
    assert parent("device call") == "batch hrnet"
    linked = {names[link.span_id] for link in spans["batch hrnet"].links}
    assert linked == {"replica_handle_request hrnet segment"}
    everything = collector.wait_for({"job image", "mail"})
    assert TRACE not in {everything[name].trace_id.hex() for name in ("job image", "mail")}
    assert not [name for name in everything if "describe" in name]
