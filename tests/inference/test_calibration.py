"""Half precision is measured for the weights of a file, and written beside them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from deployments.inference import checkpoints
from deployments.inference.calibration import Rounded, calibrate, measure
from deployments.inference.calibration_images import IMAGES, calibration_images, mask_iou
from deployments.inference.images.transforms import get_preset
from deployments.inference.networks.registry import get_network

pytestmark = pytest.mark.usefixtures("one_thread")

PRESET = get_preset("spheroseg-2025-08")
SMALL_WIDTHS: dict[str, dict[str, object]] = {
    "hrnet": {"base": 2, "stem": 2, "planes": 2},
    "resunet_small": {"features": [8, 16]},
    "resunet_advanced": {"features": [2, 4, 4, 4]},
}


def test_images_are_equal_everywhere_and_show_dark_bodies_on_light() -> None:
    images = calibration_images(128)
    assert images.shape == (IMAGES, 128, 128, 3)
    assert np.array_equal(images[:2], calibration_images(128, 2))
    for image in images:
        dark = float((image < 110).mean())
        assert 0.01 < dark < 0.6


def test_iou_is_that_of_the_worst_image() -> None:
    full = np.full((2, 4, 4), 255, np.uint8)
    found = full.copy()
    found[1, :, :2] = 127
    assert mask_iou(full, full) == 1.0
    assert mask_iou(full, found) == 0.5
    assert mask_iou(np.zeros_like(full), np.zeros_like(full)) == 1.0


class Cancelling(nn.Module):
    """Subtracts two large products: exact in float32, noise in half precision."""

    def __init__(self, size: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)
        with torch.no_grad():
            weight = torch.tensor([[size + 1.0, 0, 0], [size, 0, 0]])
            self.conv.weight.copy_(weight.reshape(2, 3, 1, 1))
            self.conv.bias.zero_()  # type: ignore[union-attr]

    def forward(self, images: Tensor) -> Tensor:
        a, b = self.conv(images).split(1, dim=1)
        logits: Tensor = 20 * (0.4 - (a - b))
        return logits


def test_robust_weights_agree_and_fragile_ones_do_not() -> None:
    robust, fragile = measure(Cancelling(0), PRESET, 64), measure(Cancelling(500), PRESET, 64)
    assert robust.keys() == fragile.keys() == {"bfloat16", "float16"}
    assert min(robust.values()) > 0.9
    assert fragile["bfloat16"] < 0.8
    # float16 has three more bits, but ends at 65504.
    assert measure(Cancelling(30), PRESET, 64)["float16"] > 0.9
    assert measure(Cancelling(1e6), PRESET, 64)["float16"] < 0.8


@pytest.mark.parametrize("name", ["hrnet", "resunet_small", "resunet_advanced"])
def test_rounding_is_that_of_real_half_precision(name: str) -> None:
    """Against torch's own bfloat16: the error of both has the same size."""
    torch.manual_seed(1)
    spec = get_network(name)
    network = spec.build(SMALL_WIDTHS[name]).eval().requires_grad_(False)
    images = torch.rand(1, 3, 64, 64)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    with torch.no_grad():
        exact = network(images)
        with torch.autocast("cpu", torch.bfloat16):
            real = network(images).float()
        with Rounded(torch.bfloat16):
            rounded = network(images)
    off, expected_off = ((found - exact).abs().mean() for found in (rounded, real))
    assert 0.5 * expected_off < off < 2 * expected_off
    assert all(torch.equal(network.state_dict()[key], kept) for key, kept in before.items())


def test_products_take_rounded_operands_and_parameters_stay() -> None:
    linear = nn.Linear(2, 1, bias=False)
    linear.weight.data = torch.tensor([[1 + 2**-9, -1.0]])
    with torch.no_grad(), Rounded(torch.bfloat16):
        found = linear(torch.full((1, 2), 1024.0))
    # 2 with the weight as it is; rounding the result would not change that.
    assert found.item() == 0
    assert linear.weight[0, 0].item() == 1 + 2**-9


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_file_is_calibrated_without_touching_its_weights(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    path = tmp_path / "small.safetensors"
    widths: dict[str, int | list[int]] = {"features": [2, 2]}
    torch.manual_seed(0)
    state = get_network("resunet_small").build(widths).state_dict()
    metadata = checkpoints.WeightsMetadata(
        network="resunet_small", widths=widths, preset=PRESET.name, input_size=32, notes="kept"
    )
    saved = checkpoints.save(path, state, metadata, dtype)
    tensors = load_file(path)
    calibrated = calibrate(path)
    assert calibrated.calibration.keys() == {"bfloat16", "float16"}
    assert all(0 <= iou <= 1 for iou in calibrated.calibration.values())
    assert calibrated == checkpoints.read_metadata(path)
    assert calibrated.model_copy(update={"calibration": {}}) == saved
    after = load_file(path)
    assert all(torch.equal(after[key], tensor) for key, tensor in tensors.items())
