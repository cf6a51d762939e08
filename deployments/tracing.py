"""Traces by OpenTelemetry, exported by OTLP over HTTP.

Ray Serve owns the tracer provider of every replica and of the proxy, and continues an incoming
``traceparent`` from process to process. It is told where to export by two variables of its own,
which :func:`serve_variables` derives from the standard ones. Without an endpoint nothing is
traced, and the tracer below costs a function call.
"""

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, Span, SpanContext
from opentelemetry.util.types import AttributeValue

from deployments.errors import ConfigurationError

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL = "http/protobuf"

_tracer = trace.get_tracer("spheroserve")


def serve_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that make Ray Serve trace as the ``OTEL_*`` variables ask.

    Whoever starts Ray's processes puts them into their environment. Ray Serve always follows
    the decision of the caller where the request carries one, so ``always_on`` and
    ``parentbased_always_on`` mean the same here.

    Args:
        environment: Environment variables.

    Returns:
        Nothing without an endpoint.

    Raises:
        ConfigurationError: A protocol, sampler or ratio that cannot be used.
    """
    if not _has_endpoint(environment):
        return {}
    for name in _PROTOCOLS:
        if environment.get(name, _PROTOCOL) != _PROTOCOL:
            raise ConfigurationError(f"{name} must be {_PROTOCOL}")
    return {
        "RAY_SERVE_TRACING_EXPORTER_IMPORT_PATH": "deployments.tracing:span_processors",
        "RAY_SERVE_TRACING_SAMPLING_RATIO": str(_ratio(environment)),
    }


def _has_endpoint(environment: Mapping[str, str]) -> bool:
    return any(environment.get(name) for name in _ENDPOINTS)


def _ratio(environment: Mapping[str, str]) -> float:
    sampler = environment.get("OTEL_TRACES_SAMPLER") or "parentbased_always_on"
    match sampler.removeprefix("parentbased_"):
        case "always_on":
            return 1.0
        case "always_off":
            return 0.0
        case "traceidratio":
            return _number(environment.get("OTEL_TRACES_SAMPLER_ARG") or "1")
    raise ConfigurationError(f"OTEL_TRACES_SAMPLER is '{sampler}', which is not known here")


def _number(text: str) -> float:
    try:
        ratio = float(text)
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio <= 1:
        raise ConfigurationError(f"OTEL_TRACES_SAMPLER_ARG is '{text}', not from 0 to 1")
    return ratio


def span_processors() -> list[SpanProcessor]:
    """Called by Ray Serve in every process; the exporter reads the ``OTEL_*`` variables.

    Returns:
        Nothing without an endpoint; the exporter would look for one on this machine.
    """
    if not _has_endpoint(os.environ):
        return []
    # Takes a second to import, which only a service that traces should spend.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return [WithoutWatchers(OTLPSpanExporter())]


class WithoutWatchers(BatchSpanProcessor):
    """Exports all spans but those of the question what a replica is.

    Ingress, jobs and notifier ask it of every replica each second, and the jobs to have a model
    started. Serve makes a span of each, and they would bury those of requests.
    """

    def on_end(self, span: ReadableSpan) -> None:
        """Take a span that has ended."""
        if not span.name.endswith(" describe"):
            super().on_end(span)


def span(
    name: str, attributes: Mapping[str, AttributeValue] | None = None
) -> AbstractContextManager[Span]:
    """A span around a block, below the present one. An exception is recorded and raised."""
    return _tracer.start_as_current_span(name, attributes=attributes)


def current() -> SpanContext:
    """What identifies the present span; not valid where nothing is traced."""
    return trace.get_current_span().get_span_context()


def batch_span(name: str, requests: Sequence[SpanContext]) -> AbstractContextManager[Span]:
    """A span around work that serves several requests, linked to each of them.

    It lies in the trace of the first request that is sampled.

    Args:
        name: Name of the span.
        requests: Spans of the requests, valid or not.
    """
    sampled = [each for each in requests if each.trace_flags.sampled]
    parent = trace.set_span_in_context(trace.NonRecordingSpan(sampled[0])) if sampled else None
    return _tracer.start_as_current_span(
        name, context=parent, links=[Link(each) for each in sampled]
    )


def past_span(name: str, began: float, ended: float) -> None:
    """A span, below the present one, of what happened before it was known.

    Args:
        name: Name of the span.
        began: ``time.monotonic()`` of its beginning.
        ended: ``time.monotonic()`` of its end.
    """
    offset = time.time() - time.monotonic()
    past = _tracer.start_span(name, start_time=_nanoseconds(began + offset))
    past.end(_nanoseconds(ended + offset))


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
