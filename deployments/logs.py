"""Lets what our modules log go where Ray Serve logs, with the ids of the request.

Serve writes a file per replica, as text or JSON, at the level of the rendered
``logging_config``, and adds the request id. It sets up its own logger only: what
``deployments`` and ``serve_app`` log would be lost below WARNING, and have no request id.
"""

import logging
from typing import Any

from opentelemetry import trace

_PACKAGES = ("deployments", "serve_app")
_SERVE = "ray.serve"


def join_serve_logs() -> None:
    """Make Serve's logger the parent of ours; replicas call it first in their constructor.

    So its handlers and its level hold for ours, also after they have changed.
    """
    for name in _PACKAGES:
        logging.getLogger(name).parent = logging.getLogger(_SERVE)
    factory = logging.getLogRecordFactory()
    if not isinstance(factory, TracedRecords):
        logging.setLogRecordFactory(TracedRecords(factory))


class TracedRecords:
    """Creates log records that have ``trace_id`` and ``span_id`` where a span is recorded.

    Serve's JSON formatter writes every attribute that is not one of the standard ones.

    Args:
        inner: Creates the record.
    """

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        """Create a record; called by ``logging``."""
        record: logging.LogRecord = self._inner(*args, **kwargs)
        span = trace.get_current_span().get_span_context()
        if span.trace_flags.sampled:
            record.trace_id = trace.format_trace_id(span.trace_id)
            record.span_id = trace.format_span_id(span.span_id)
        return record
