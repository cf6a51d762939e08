from pathlib import Path

import pytest

from deployments.config import Profile, load_profile, packaged_configs
from deployments.errors import ConfigurationError, WeightsError
from deployments.inference.memory.limits import check_gpu_shares
from serve_app.preflight import check_devices, check_profile, gpu_shares


def local(**changes: object) -> Profile:
    """The local profile with hrnet changed."""
    profile = load_profile(packaged_configs(), "local")
    hrnet = profile.models["hrnet"].model_copy(update=changes)
    return profile.model_copy(update={"models": {**profile.models, "hrnet": hrnet}})


def test_the_local_profile_is_good() -> None:
    lines = check_profile(local())
    assert len(lines) == 3
    assert "1,837,265 parameters, input 512 x 512, cpu, hrnet_compact.safetensors" in lines[0]


def test_another_node_is_checked_by_its_own_gpus() -> None:
    gpu = load_profile(packaged_configs(), "gpu")
    check_devices(gpu, 1)
    with pytest.raises(ConfigurationError, match="needs a GPU"):
        check_devices(gpu, 0)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"input_size": 510}, "multiple of 4"),
        ({"preset": "hamming"}, "hamming"),
        ({"implementation": "deployments.inference.models:SegNet"}, "SegNet"),
        ({"weights": None, "widths": {"breadth": 3}}, "breadth"),
        ({"weights": "package:nowhere.safetensors"}, "nowhere.safetensors"),
    ],
)
def test_what_cannot_work_is_named_with_its_model(changes: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^hrnet: .*{named}"):
        check_profile(local(**changes))


def test_weights_of_another_network_are_named(tmp_path: Path) -> None:
    from deployments.inference.building import build_network

    weights = load_profile(packaged_configs(), "local").models["hrnet"].weights_and_widths()
    with pytest.raises(WeightsError, match="holds weights of hrnet"):
        build_network("deployments.inference.models:ResUNetSmall", 512, weights.weights_path, {})


def test_three_shares_of_a_gpu_fit_and_four_do_not() -> None:
    shares = gpu_shares(load_profile(packaged_configs(), "gpu"))
    check_gpu_shares(shares, 1)
    with pytest.raises(ConfigurationError, match=r"by 0\.20"):
        check_gpu_shares({**shares, "fourth": 0.3}, 1)
