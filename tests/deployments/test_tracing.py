import time
from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, TraceFlags

from deployments import tracing
from deployments.errors import ConfigurationError

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "_tracer", provider.get_tracer("test"))
    yield exporter
    provider.shutdown()


def context(number: int, sampled: bool = True) -> SpanContext:
    return SpanContext(number, number, True, TraceFlags(TraceFlags.SAMPLED if sampled else 0))


def test_nothing_is_traced_without_an_endpoint() -> None:
    assert tracing.serve_variables({"OTEL_TRACES_SAMPLER": "always_on"}) == {}
    assert tracing.serve_variables({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}) == {}


def test_nothing_is_exported_without_an_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    assert tracing.span_processors() == []


@pytest.mark.parametrize(
    ("sampler", "argument", "ratio"),
    [
        (None, None, 1.0),
        ("always_on", None, 1.0),
        ("always_off", None, 0.0),
        ("parentbased_always_off", None, 0.0),
        ("traceidratio", None, 1.0),
        ("traceidratio", "0.25", 0.25),
        ("parentbased_traceidratio", "0.05", 0.05),
    ],
)
def test_the_sampler_becomes_serves_ratio(
    sampler: str | None, argument: str | None, ratio: float
) -> None:
    asked = {"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": argument}
    given = {name: value for name, value in asked.items() if value is not None}
    variables = tracing.serve_variables(ENDPOINT | given)
    assert float(variables["RAY_SERVE_TRACING_SAMPLING_RATIO"]) == ratio


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    ],
)
def test_what_cannot_be_done_is_refused(variable: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=variable):
        tracing.serve_variables(ENDPOINT | {variable: value})


@pytest.mark.parametrize("ratio", ["2", "-0.1", "often", "nan"])
def test_a_ratio_outside_its_range_is_refused(ratio: str) -> None:
    sampler = {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": ratio}
    with pytest.raises(ConfigurationError, match="OTEL_TRACES_SAMPLER_ARG"):
        tracing.serve_variables(ENDPOINT | sampler)


def test_a_batch_is_linked_to_every_sampled_request(exporter: InMemorySpanExporter) -> None:
    requests = [trace.INVALID_SPAN_CONTEXT, context(1, sampled=False), context(2), context(3)]
    with tracing.batch_span("batch", requests):
        pass
    [batch] = exporter.get_finished_spans()
    assert [link.context.trace_id for link in batch.links] == [2, 3]
    assert batch.context is not None
    assert batch.context.trace_id == 2


def test_the_questions_of_watchers_are_not_exported() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(tracing.WithoutWatchers(exporter))
    tracer = provider.get_tracer("test")
    for name in ("replica_handle_request hrnet describe", "replica_handle_request hrnet segment"):
        with tracer.start_as_current_span(name):
            tracer.start_span("replica_handle_request hrnet describe").end()
    provider.force_flush()
    provider.shutdown()
    [span] = exporter.get_finished_spans()
    assert span.name == "replica_handle_request hrnet segment"


def test_a_past_span_has_its_times_and_its_parent(exporter: InMemorySpanExporter) -> None:
    now, clock = time.monotonic(), time.time()
    with tracing.span("request"):
        tracing.past_span("queue", now - 3, now - 1)
    queue, request = exporter.get_finished_spans()
    assert queue.parent is not None
    assert request.context is not None
    assert queue.parent.span_id == request.context.span_id
    assert queue.start_time is not None
    assert queue.end_time is not None
    assert (queue.end_time - queue.start_time) / 1e9 == pytest.approx(2, abs=1e-3)
    assert queue.start_time / 1e9 == pytest.approx(clock - 3, abs=0.5)
