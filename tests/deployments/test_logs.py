"""Our log lines reach Serve's handlers, at Serve's level, with the ids of the request."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import TracerProvider
from ray._common.formatters import JSONFormatter

from deployments.logs import join_serve_logs


@pytest.fixture
def serve_log() -> Iterator[io.StringIO]:
    """What Serve's logger writes as JSON, ours joined to it."""
    serve, ours = logging.getLogger("ray.serve"), logging.getLogger("deployments")
    parents = {name: logging.getLogger(name).parent for name in ("deployments", "serve_app")}
    before = serve.handlers[:], serve.level, logging.getLogRecordFactory()
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(JSONFormatter())
    join_serve_logs()
    # Serve changes its handlers and its level in place, also afterwards.
    serve.handlers[:] = [handler]
    serve.setLevel(logging.INFO)
    assert ours.getEffectiveLevel() == logging.INFO
    yield written
    serve.handlers[:], level, factory = before
    serve.setLevel(level)
    logging.setLogRecordFactory(factory)
    for name, parent in parents.items():
        logging.getLogger(name).parent = parent


def test_our_lines_are_serves(serve_log: io.StringIO) -> None:
    logging.getLogger("deployments.anything").info("loaded in %d s", 3)
    logging.getLogger("deployments.anything").debug("not asked for")
    [line] = serve_log.getvalue().splitlines()
    assert json.loads(line)["message"] == "loaded in 3 s"
    assert "trace_id" not in json.loads(line)


def test_a_line_in_a_span_has_its_ids(serve_log: io.StringIO) -> None:
    tracer = TracerProvider().get_tracer("test")
    join_serve_logs()
    with tracer.start_as_current_span("request") as span:
        logging.getLogger("serve_app.anything").warning("slow")
    line = json.loads(serve_log.getvalue())
    context = span.get_span_context()
    assert line["trace_id"] == f"{context.trace_id:032x}"
    assert line["span_id"] == f"{context.span_id:016x}"
