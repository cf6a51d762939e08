"""Whether a network finds the same masks in half precision, measured for its own weights."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from deployments.inference import checkpoints
from deployments.inference.calibration_images import calibration_images, mask_iou
from deployments.inference.checkpoints import WeightsMetadata
from deployments.inference.engines.graph import SegmentationGraph
from deployments.inference.images.transforms import Preset, get_preset
from deployments.inference.networks.registry import get_network

# Not float16: CPUs emulate it, which takes hours at full width, and whoever has fast float16 has
# bfloat16 too, but for GPUs before Ampere. Those stay with float32 unless models.yaml names it.
_DTYPES = {"bfloat16": torch.bfloat16}


def measure(network: nn.Module, preset: Preset, side: int) -> dict[str, float]:
    """Compare half precision with float32, in torch on the CPU.

    Every machine can compute this, whether or not it has fast half precision; how rounding
    spreads depends on the weights far more than on the engine.

    Args:
        network: The network with its weights loaded.
        preset: Its normalisation.
        side: Side S in pixels.

    Returns:
        Lowest mask IoU by precision.
    """
    graph = SegmentationGraph(network, preset)
    images = [torch.from_numpy(image[None]) for image in calibration_images(side)]
    with torch.inference_mode():
        expected = torch.cat([graph(image) for image in images]).numpy()
        agreement = {}
        for name, dtype in _DTYPES.items():
            with torch.autocast("cpu", dtype):
                found = torch.cat([graph(image) for image in images]).numpy()
            agreement[name] = round(mask_iou(expected, found), 5)
    return agreement


def calibrate(path: Path) -> WeightsMetadata:
    """Measure the weights of a file and record the result in its metadata.

    Tensors and digest stay as they are.

    Raises:
        ConfigurationError: The metadata name no network of ours.
        WeightsError: The file is no weight file.
    """
    metadata = checkpoints.read_metadata(path)
    with torch.device("meta"):
        network = get_network(metadata.network).build(metadata.widths)
    checkpoints.load(path, network)
    measured = measure(network, get_preset(metadata.preset), metadata.input_size)
    stored = load_file(path)
    dtype = next(iter(stored.values())).dtype
    return checkpoints.save(
        path, stored, metadata.model_copy(update={"calibration": measured}), dtype
    )
