"""The component that an overlay adds to send traces."""

from pathlib import Path

import pytest
import yaml
from ray._common.utils import import_attr

from deployments import tracing
from tests.k8s.rendered import Manifest, kustomize, make_site, of_kind, ray_groups, worker


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> list[Manifest]:
    folder: Path = make_site(tmp_path_factory.mktemp("traced")) / "overlays" / "green"
    file = folder / "kustomization.yaml"
    kustomization = yaml.safe_load(file.read_text(encoding="utf-8"))
    kustomization["components"].append("../../components/tracing")
    file.write_text(yaml.safe_dump(kustomization), encoding="utf-8")
    return kustomize(folder)


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
