"""A widened network computes what the narrow one computes."""

import pytest
import torch
from torch import nn

from benchmarks.widen import FULL_WIDTHS, widen
from deployments.errors import ConfigurationError
from deployments.inference.networks.registry import get_network

pytestmark = pytest.mark.usefixtures("one_thread")

CASES = [
    ("hrnet", {"base": 2, "stem": 2, "planes": 2}, {"base": 4, "stem": 8, "planes": 4}, 64),
    ("resunet_small", {"features": [16, 24]}, {"features": [48, 72]}, 32),
    ("resunet_small", {"features": [64, 128]}, {"features": [96, 192]}, 32),
    ("resunet_advanced", {"features": [2, 4, 4, 4]}, {"features": [4, 8, 8, 8]}, 32),
]


def trained_like(network: nn.Module) -> nn.Module:
    """Norms away from 1 and 0, so that a mistake in them shows."""
    torch.manual_seed(3)
    for parameter in network.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, 0.8, 0.3)
    return network.eval().requires_grad_(False)


@pytest.mark.parametrize(("name", "narrow", "wide", "side"), CASES[:2] + CASES[3:])
def test_same_function(
    name: str, narrow: dict[str, object], wide: dict[str, object], side: int
) -> None:
    source, target = trained_like(get_network(name).build(narrow)), get_network(name).build(wide)
    target.load_state_dict(widen(name, source, target))
    images = torch.rand(2, 3, side, side)
    with torch.inference_mode():
        expected, found = source(images), target.eval()(images)
    assert expected.std() > 0.01
    assert torch.allclose(found, expected, atol=1e-4, rtol=1e-4)


def test_widths_that_are_no_multiple_are_refused() -> None:
    name, narrow, wide, _ = CASES[2]
    spec = get_network(name)
    with pytest.raises(ConfigurationError, match="no multiple of 64"):
        widen(name, spec.build(narrow), spec.build(wide))


@pytest.mark.parametrize("name", FULL_WIDTHS)
def test_full_widths_are_those_of_the_reference_but_for_one_level(name: str) -> None:
    spec = get_network(name)
    reference = spec.parse_widths({}).model_dump(mode="json")
    wanted: dict[str, object] = dict(FULL_WIDTHS[name])
    if name == "resunet_small":
        assert wanted["features"] == [48, 96, 192, 384, 576]
        wanted["features"] = reference["features"]
    assert spec.parse_widths(wanted).model_dump(mode="json") == reference
