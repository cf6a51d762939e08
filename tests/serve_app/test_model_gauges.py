"""Every model is told as numbers, with replicas or without."""

from typing import Any

import pytest
from ray.util import metrics

from serve_app.model_gauges import GAUGES, ModelGauges, gauge_values


def replica(**changes: Any) -> dict[str, Any]:
    memory = {"ooms": 2, "peak_reserved_mb": changes.pop("peak", 512.0)}
    state = {"waiting": 3, "refused": None, "effective_batch_size": 12, "memory": memory}
    return {**state, **changes}


def test_replicas_are_summed_up_and_the_worst_is_told() -> None:
    second = replica(effective_batch_size=5, refused="weights are damaged", peak=None)
    assert gauge_values([replica(), second]) == {
        "spheroserve_replicas": 2,
        "spheroserve_images_waiting": 6,
        "spheroserve_batch_ceiling_images": 5,
        "spheroserve_replica_ooms": 4,
        "spheroserve_device_peak_bytes": 512 * 2**20,
        "spheroserve_configuration_refused": 1,
    }


def test_a_model_without_replicas_has_no_ceiling() -> None:
    values = gauge_values([])
    assert values["spheroserve_replicas"] == 0
    assert "spheroserve_batch_ceiling_images" not in values
    assert values.keys() < GAUGES.keys()


def test_each_value_is_set_for_its_model(monkeypatch: pytest.MonkeyPatch) -> None:
    exported: dict[str, tuple[float, dict[str, str]]] = {}

    def record(gauge: Any, value: float, tags: dict[str, str]) -> None:
        exported[gauge.info["name"]] = (value, tags)

    monkeypatch.setattr(metrics.Gauge, "set", record)
    ModelGauges().set("hrnet", [replica()])
    assert exported.keys() == GAUGES.keys()
    assert exported["spheroserve_images_waiting"] == (3, {"model": "hrnet"})
