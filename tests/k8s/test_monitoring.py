"""Rules and dashboard ask for metrics that exist, and every alert has its page in the guide."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import ray

from tests.k8s.rendered import ROOT, Manifest, of_kind, ray_groups

MONITORING = ROOT / "k8s" / "components" / "monitoring"
# What Prometheus makes of a histogram and a counter.
SUFFIXES = r"(_bucket|_sum|_count)?"


def rules(green: list[Manifest]) -> list[dict[str, Any]]:
    (rule,) = of_kind(green, "PrometheusRule")
    (group,) = rule["spec"]["groups"]
    return list(group["rules"])


def metrics(prefix: str) -> list[str]:
    """Names in rules and dashboard that begin so, without what Ray and Prometheus add."""
    files = ("prometheusrule.yaml", "spheroserve.json")
    text = "".join((MONITORING / name).read_text(encoding="utf-8") for name in files)
    found = re.findall(rf"\bray_({prefix}_\w+?){SUFFIXES}\b(?=[\[{{) ])", text)
    return sorted({name for name, _ in found})


@cache
def quoted_names(folder: Path) -> set[str]:
    """Every string literal of the Python files of a folder that may be the name of a metric."""
    return {
        name
        for path in folder.rglob("*.py")
        for name in re.findall(r'"([a-z][a-z0-9_]+)"', path.read_text(encoding="utf-8"))
    }


@pytest.mark.parametrize("name", metrics("spheroserve"))
def test_our_metric_exists(name: str) -> None:
    assert name in quoted_names(ROOT / "deployments") | quoted_names(ROOT / "serve_app")


@pytest.mark.parametrize("name", metrics("serve") + metrics("node"))
def test_rays_metric_exists(name: str) -> None:
    package = Path(ray.__file__).parent
    reporter = package / "dashboard" / "modules" / "reporter"
    assert name in quoted_names(package / "serve" / "_private") | quoted_names(reporter)


def test_the_names_are_seen() -> None:
    assert "spheroserve_request_seconds" in metrics("spheroserve")
    assert "serve_deployment_replica_healthy" in metrics("serve")
    assert "serve_deployment_status" in metrics("serve")
    assert "node_disk_utilization_percentage" in metrics("node")


def test_every_alert_has_its_page(green: list[Manifest]) -> None:
    guide = (ROOT / "docs" / "deploy-kuberay.md").read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (SpheroServe\w+)$", guide, re.MULTILINE)
    alerts = [rule["alert"] for rule in rules(green)]
    assert headings == alerts
    for rule in rules(green):
        anchor = rule["annotations"]["runbook"]
        assert anchor == f"docs/deploy-kuberay.md#{rule['alert'].lower()}"


def test_what_must_be_watched_is_watched(green: list[Manifest]) -> None:
    expressions = " ".join(rule["expr"] for rule in rules(green))
    for name in (
        "replica_healthy",
        "request_seconds",
        "oom_total",
        "single_image_fallbacks",
        "configuration_refused",
        "oldest_unsent",
        'mails{state="dead"}',
        "disk_utilization",
    ):
        assert name in expressions


def test_prometheus_finds_the_ports(green: list[Manifest]) -> None:
    (monitor,) = of_kind(green, "PodMonitor")
    selector = monitor["spec"]["selector"]["matchLabels"].items()
    ports: dict[str, int] = {}
    for group in ray_groups(green).values():
        assert selector <= group["template"]["metadata"]["labels"].items()
        for port in group["template"]["spec"]["containers"][0]["ports"]:
            ports[port["name"]] = port["containerPort"]
    scraped = [ports[end["port"]] for end in monitor["spec"]["podMetricsEndpoints"]]
    assert scraped == [8080, 44217, 44227]


def test_the_dashboard_reaches_grafana(green: list[Manifest]) -> None:
    (dashboard,) = (
        config
        for config in of_kind(green, "ConfigMap")
        if config["metadata"].get("labels", {}).get("grafana_dashboard") == "1"
    )
    panels = json.loads(dashboard["data"]["spheroserve.json"])["panels"]
    assert all(target["expr"] for panel in panels for target in panel["targets"])
    assert len({panel["title"] for panel in panels}) == len(panels) > 10
