import json
import logging
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.batch_sizes import load_batch_sizes
from deployments.config import load_profile, packaged_configs
from deployments.errors import ConfigurationError

SPHEROSEG_2025_08 = {
    "optimization_timestamp": "2025-08-27 16:39:25",
    "gpu_info": {"device_name": "NVIDIA RTX A5000", "total_memory_gb": 23.55780029296875},
    "batch_configurations": {
        "hrnet": {
            "optimal_batch_size": 12,
            "max_safe_batch_size": 16,
            "expected_throughput": 17.79,
            "memory_limit_mb": 6362,
        }
    },
}


def folder(tmp_path: Path, change: dict[str, Any] | None = None) -> Path:
    """A copy of the packaged configuration with some of models.yaml replaced."""
    models = yaml.safe_load((packaged_configs() / "models.yaml").read_text())
    models["profiles"]["local"]["models"]["hrnet"].update(change or {})
    (tmp_path / "models.yaml").write_text(yaml.safe_dump(models))
    sizes = (packaged_configs() / "batch_sizes.json").read_bytes()
    (tmp_path / "batch_sizes.json").write_bytes(sizes)
    return tmp_path


@pytest.mark.parametrize("name", ["local", "gpu"])
def test_packaged_profiles_have_the_three_models_and_their_batch_sizes(name: str) -> None:
    profile = load_profile(packaged_configs(), name)
    sizes = {model: profile.batch_sizes.of(model) for model in profile.models}
    assert {model: size.optimal_batch_size for model, size in sizes.items()} == {
        "hrnet": 12,
        "resunet_small": 3,
        "resunet_advanced": 1,
    }
    assert [size.max_safe_batch_size for size in sizes.values()] == [16, 8, 4]


def test_gpu_profile_fits_one_gpu() -> None:
    models = load_profile(packaged_configs(), "gpu").models.values()
    assert sum(model.num_gpus for model in models) <= 1


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"treshold": 0.5}, "treshold"),
        ({"threshold": 0.95}, "threshold"),
        ({"implementation": "no-colon"}, "implementation"),
        ({"input_size": 16}, "input_size"),
        ({"autoscaling": {"min_replicas": 3, "max_replicas": 2}}, "min_replicas"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        load_profile(folder(tmp_path, change), "local")


def test_an_unknown_profile_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="gpu, local"):
        load_profile(folder(tmp_path), "tpu")


def test_paths_may_name_environment_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPHEROSERVE_WEIGHTS_DIR", "/data/weights")
    profile = load_profile(folder(tmp_path), "gpu")
    assert profile.models["hrnet"].weights == "/data/weights/hrnet.safetensors"


def test_a_file_of_spheroseg_loads_as_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "batch_sizes.json"
    more = {**SPHEROSEG_2025_08["batch_configurations"], "segformer": {"optimal_batch_size": 1}}  # type: ignore[dict-item]
    path.write_text(json.dumps({**SPHEROSEG_2025_08, "batch_configurations": more}))
    with caplog.at_level(logging.WARNING):
        sizes = load_batch_sizes(path, ["hrnet", "resunet_small"])
    assert sizes.of("hrnet").optimal_batch_size == 12
    assert sizes.of("hrnet").memory_limit_mb == 6362
    assert sizes.of("resunet_small").optimal_batch_size == 1
    assert "segformer" in caplog.text
    assert "resunet_small" in caplog.text


def test_a_batch_size_out_of_range_is_named(tmp_path: Path) -> None:
    path = tmp_path / "batch_sizes.json"
    path.write_text('{"batch_configurations": {"hrnet": {"optimal_batch_size": 0}}}')
    with pytest.raises(ConfigurationError, match=r"hrnet\.optimal_batch_size"):
        load_batch_sizes(path, ["hrnet"])


def test_batching_can_be_switched_off(tmp_path: Path) -> None:
    path = tmp_path / "batch_sizes.json"
    path.write_text(json.dumps({**SPHEROSEG_2025_08, "dynamic_batching": {"enabled": False}}))
    assert load_batch_sizes(path, ["hrnet"]).of("hrnet").optimal_batch_size == 1
