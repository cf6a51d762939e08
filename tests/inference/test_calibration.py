"""Half precision is measured for the weights of a file, and written beside them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from deployments.inference import checkpoints
from deployments.inference.calibration import calibrate, measure
from deployments.inference.calibration_images import IMAGES, calibration_images, mask_iou
from deployments.inference.images.transforms import get_preset
from deployments.inference.networks.registry import get_network

pytestmark = pytest.mark.usefixtures("one_thread")

PRESET = get_preset("spheroseg-2025-08")


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
    assert robust.keys() == fragile.keys() == {"bfloat16"}
    assert min(robust.values()) > 0.9
    assert fragile["bfloat16"] < 0.8


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
    assert calibrated.calibration.keys() == {"bfloat16"}
    assert all(0 <= iou <= 1 for iou in calibrated.calibration.values())
    assert calibrated == checkpoints.read_metadata(path)
    assert calibrated.model_copy(update={"calibration": {}}) == saved
    after = load_file(path)
    assert all(torch.equal(after[key], tensor) for key, tensor in tensors.items())
