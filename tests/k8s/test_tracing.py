"""The component that an overlay adds to send traces."""

import pytest
from ray._common.utils import import_attr

from deployments import tracing
from tests.k8s.rendered import Manifest, of_kind, ray_groups, with_component, worker


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> list[Manifest]:
    return with_component(tmp_path_factory.mktemp("traced"), "tracing")


def environment(group: Manifest) -> dict[str, str]:
    [container] = group["template"]["spec"]["containers"]
    return {entry["name"]: entry.get("value", "") for entry in container["env"]}


def test_workers_trace_as_a_local_service_would(traced: list[Manifest]) -> None:
    asked = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318",
        "OTEL_TRACES_SAMPLER": "traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0.05",
    }
    variables = tracing.serve_variables(asked)
    assert variables.items() <= environment(worker(traced)).items()
    function = import_attr(variables["RAY_SERVE_TRACING_EXPORTER_IMPORT_PATH"])
    assert function is tracing.span_processors


def test_the_head_does_not(traced: list[Manifest]) -> None:
    head = environment(ray_groups(traced)["head"])
    assert not [name for name in head if "TRACING" in name]


def test_the_collector_can_be_reached(traced: list[Manifest]) -> None:
    [policy] = (
        each
        for each in of_kind(traced, "NetworkPolicy")
        if each["metadata"]["name"] == "spheroserve-tracing"
    )
    [rule] = policy["spec"]["egress"]
    assert [port["port"] for port in rule["ports"]] == [4318]
    labels = worker(traced)["template"]["metadata"]["labels"]
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
