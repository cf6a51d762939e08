"""Names, shapes and numbers of the networks against those of SpheroSeg's own code.

The weights follow from the key names alone, so the numbers hold any implementation to the same
arithmetic. In float64 every arrangement of it agrees to 1e-9; in float32 rounding shows.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from deployments.inference.networks.registry import get_network

TESTS = Path(__file__).parents[1]
SHARED = TESTS.parents[1] / "shared" / "networks"

pytestmark = pytest.mark.usefixtures("one_thread")


@dataclass(frozen=True)
class Variant:
    """A network in given widths, and what the original gives in float64 for 96 × 128.

    ``numbers`` are mean, standard deviation, minimum and maximum of the logits, and the logits
    at (0, 0) and (40, 77).
    """

    network: str
    widths: Mapping[str, object]
    tensors: int
    parameters: int
    keys: str
    numbers: tuple[float, ...]

    def __str__(self) -> str:
        return f"{self.network}-{'-'.join(map(str, self.widths.values()))}"


VARIANTS = [
    Variant("hrnet", {"base": 8}, 921, 2202721, "7e270db4ebe8dbc7",
            (0.116281827, 0.981030227, -3.003775122, 2.814730722, -1.132853765, 0.849918553)),
    Variant("hrnet", {"base": 8, "stem": 16, "planes": 8}, 921, 1837265, "b5ee700e7bc24533",
            (0.096036963, 0.883020520, -2.065144648, 2.289557146, -1.742740202, 2.073647306)),
    # Stage 1 already has the channels of the finest branch: no transition1.0.
    Variant("hrnet", {"base": 32, "stem": 16, "planes": 8}, 918, 29017969, "f40dc2092f36251e",
            (-0.399736931, 0.805236472, -2.718208307, 2.102513088, 1.503504038, -1.136896182)),
    # The stem already has the channels of stage 1: no downsample.
    Variant("hrnet", {"base": 8, "stem": 32, "planes": 8}, 918, 1844225, "b69acd87772474b6",
            (0.060003714, 0.691620388, -2.233106824, 1.859660358, 1.337757481, 0.960563967)),
    Variant("resunet_small", {"features": [8, 16, 32, 64, 96]}, 186, 1972585, "59270db47f732fc6",
            (0.022752675, 0.679594960, -5.212086711, 4.551167429, 0.147076180, 0.703166662)),
    Variant("resunet_small", {"features": [6, 10, 14]}, 122, 47496, "4e8db6dbdea3b95d",
            (0.131269256, 0.699512443, -3.361316585, 5.156170547, -1.919553696, 0.006917937)),
    Variant("resunet_advanced", {"features": [8, 16, 32, 64]}, 337, 1233901, "979ec26685d38373",
            (-0.227819100, 0.634178349, -3.408044700, 3.283153248, -0.295114275, -0.077806089)),
    Variant("resunet_advanced", {"features": [6, 10, 14, 20]}, 337, 148377, "50b426656237714d",
            (-0.052766744, 0.693632868, -2.922872405, 6.572702496, -0.269038269, 1.056386989)),
]  # fmt: skip


@dataclass(frozen=True)
class Reference:
    """A network at reference width.

    ``bias`` is the one element that is set after the fill; ``tolerance`` is what rounding in
    float32 may move a logit by, as measured on the original.
    """

    network: str
    tensors: int
    parameters: int
    keys: str
    bias: tuple[str, float]
    tolerance: float

    def __str__(self) -> str:
        return self.network


REFERENCES = [
    Reference("hrnet", 921, 65846401,
              "9d0b9480df4d48bb30c25944b103435faa4f84c0116d2981943c8b82a97b3e35",
              ("last_layer.3.bias", 0.16), 2e-3),
    Reference("resunet_small", 186, 58060957,
              "060190ea9cfda660ef3b35dea767d4ab89794859eb7fb4496a8b5fce7ec45bf3",
              ("final_conv.4.bias", 0.49), 5e-3),
    Reference("resunet_advanced", 337, 78210661,
              "95eb2ef1d436d0a9a6595e8495caf77e647ab094c9313e4f21abb64904dcd333",
              ("final_conv.3.bias", -1.39), 1e-2),
]  # fmt: skip


def meta_network(name: str, widths: Mapping[str, object]) -> nn.Module:
    with torch.device("meta"):
        return get_network(name).build(widths)


def keys_digest(network: nn.Module) -> str:
    lines = (f"{k}|{','.join(map(str, t.shape))}\n" for k, t in network.state_dict().items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def filled(key: str, shape: torch.Size) -> Tensor:
    """Weights that follow from the name of the tensor."""
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little")
    values = np.random.Generator(np.random.PCG64(seed)).standard_normal(prod(shape))
    if key.endswith("relative_position_bias_table"):
        values *= 0.02
    elif len(shape) >= 2:
        values *= np.sqrt(2 / prod(shape[1:]))
    else:
        values = 0.1 * values + (1.0 if key.endswith(".weight") else 0.0)
    return torch.from_numpy(values.astype(np.float32)).reshape(shape)


def filled_network(name: str, widths: Mapping[str, object]) -> nn.Module:
    network = meta_network(name, widths)
    state = {key: filled(key, tensor.shape) for key, tensor in network.state_dict().items()}
    network.load_state_dict(state, assign=True)
    return network.eval()


def golden_input(height: int, width: int) -> Tensor:
    c = np.arange(3)[:, None, None]
    u = ((np.arange(height) + 0.5) / height)[:, None]
    v = (np.arange(width) + 0.5) / width
    turn = 2 * np.pi
    image = (
        0.45
        + 0.15 * np.sin(turn * (3 * u + 2 * v) + 0.7 * c)
        + 0.10 * np.sin(turn * (7 * u - 5 * v) + 1.3 * c)
        + 0.05 * np.sin(turn * 31 * u) * np.sin(turn * 29 * v + 0.5 * c)
        + 0.30 * np.exp(-((u - 0.45 - 0.05 * c) ** 2 + (v - 0.55) ** 2) / (2 * 0.12**2))
    )
    return torch.from_numpy(image.clip(0, 1).astype(np.float32))[None]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_narrow_variants_agree_with_the_original(variant: Variant) -> None:
    network = filled_network(variant.network, variant.widths)
    assert len(network.state_dict()) == variant.tensors
    assert sum(p.numel() for p in network.parameters()) == variant.parameters
    assert keys_digest(network).startswith(variant.keys)

    with torch.inference_mode():
        y = network.double()(golden_input(96, 128).double())
    assert y.shape == (1, 1, 96, 128)
    numbers = (y.mean(), y.std(), y.min(), y.max(), y[0, 0, 0, 0], y[0, 0, 40, 77])
    assert [float(n) for n in numbers] == pytest.approx(variant.numbers, abs=2e-9)


@pytest.fixture(scope="module", params=REFERENCES, ids=str)
def reference(request: pytest.FixtureRequest) -> tuple[Reference, Tensor]:
    """A network at reference width and its logits for 256 × 256, in float32."""
    expected: Reference = request.param
    network = filled_network(expected.network, {})
    key, bias = expected.bias
    network.state_dict()[key].fill_(bias)
    with torch.inference_mode():
        return expected, network(golden_input(256, 256))


def test_reference_width_agrees_with_samples_of_the_original(
    reference: tuple[Reference, Tensor],
) -> None:
    expected, y = reference
    golden = json.loads((TESTS / "golden" / "networks.json").read_text())[expected.network]
    difference = (y[0, 0, ::32, ::32] - torch.tensor(golden)).abs()
    assert difference.max() < expected.tolerance
    assert difference.mean() < 1e-3


@pytest.mark.skipif(not SHARED.is_dir(), reason="the full golden vectors are not here")
def test_reference_width_agrees_with_the_whole_output_of_the_original(
    reference: tuple[Reference, Tensor],
) -> None:
    expected, y = reference
    with np.load(SHARED / "golden" / f"{expected.network}.npz") as file:
        golden = torch.from_numpy(file["y_1x3x256x256"])
    difference = (y - golden).abs()
    assert difference.max() < expected.tolerance
    assert difference.mean() < 1e-3


@pytest.mark.parametrize("expected", REFERENCES, ids=str)
def test_reference_width_is_the_default(expected: Reference) -> None:
    network = meta_network(expected.network, {})
    assert all(parameter.is_meta for parameter in network.parameters())
    assert len(network.state_dict()) == expected.tensors
    assert sum(p.numel() for p in network.parameters()) == expected.parameters
    assert keys_digest(network) == expected.keys
