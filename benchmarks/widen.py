"""Full-width networks that segment: the compact ones, widened without changing what they compute.

Every channel is repeated k times and every weight that reads repeated channels is divided by k
(Net2WiderNet, Chen et al. 2016, arXiv:1511.05641). Instance normalisation, ReLU, means and maxima
over channels treat equal channels equally, so in exact arithmetic the output is the same; the
work is that of the wide network. Speed and rounding can then be measured on weights that mean
something. ``python -m benchmarks.widen`` measures the difference that float32 makes and writes
``benchmarks/results/widened.json``.
"""

import json
import math
from pathlib import Path

import torch
from torch import Tensor, nn

from deployments.config import PACKAGE_WEIGHTS
from deployments.errors import ConfigurationError
from deployments.inference import checkpoints
from deployments.inference.calibration_images import calibration_images
from deployments.inference.images.transforms import get_preset
from deployments.inference.networks.registry import get_network
from deployments.inference.networks.resunet_advanced import SelfAttention

RESULT = Path(__file__).parent / "results" / "widened.json"

# The reference widths, but for ResUNet Small, whose deepest level has 512 there: 576 is the same
# multiple of the compact width as all other levels, which keeps means over channels as they are.
FULL_WIDTHS: dict[str, dict[str, int | list[int]]] = {
    "hrnet": {"base": 48, "stem": 64, "planes": 64},
    "resunet_small": {"features": [48, 96, 192, 384, 576]},
    "resunet_advanced": {"features": [64, 128, 256, 512]},
}


def widen(network: str, source: nn.Module, target: nn.Module) -> dict[str, Tensor]:
    """Return weights for ``target`` that make it compute what ``source`` computes.

    Args:
        network: Name of the network, for error messages.
        source: The narrow network.
        target: The wide one; only its shapes are used.

    Raises:
        ConfigurationError: A width of the target is no multiple of the source's.
    """
    narrow = source.state_dict()
    transposed = {
        f"{name}.weight"
        for name, module in source.named_modules()
        if isinstance(module, nn.ConvTranspose2d)
    }
    wide = {
        key: _widen(f"{network}: {key}", narrow[key], tensor.shape, key in transposed)
        for key, tensor in target.state_dict().items()
    }
    for name, module in source.named_modules():
        if isinstance(module, SelfAttention):
            key = f"{name}.qkv.1.weight"
            _keep_attention(wide[key], wide[key].shape[1] // narrow[key].shape[1])
    return wide


def _widen(key: str, tensor: Tensor, shape: torch.Size, transposed: bool) -> Tensor:
    for axis, (old, new) in enumerate(zip(tensor.shape, shape, strict=True)):
        if new % old and ".se.fc." in key:
            # Hidden units of squeeze-and-excitation see no norm: further ones may be silent.
            missing = list(tensor.shape)
            missing[axis] = new - old
            tensor = torch.cat((tensor, tensor.new_zeros(missing)), dim=axis)
            continue
        if new % old:
            raise ConfigurationError(f"{key}: {new} is no multiple of {old}")
        tensor = tensor.repeat_interleave(new // old, dim=axis)
        reads = axis == (0 if transposed else 1)
        if reads and tensor.ndim > 1:
            tensor = tensor / (new // old)
    return tensor.contiguous()


def _keep_attention(qkv: Tensor, times: int) -> None:
    """Undo what repeated channels do to attention scores.

    A product of query and key sums ``times`` equal terms and is divided by the root of the
    wider head: sqrt(times) too much.
    """
    qkv[: len(qkv) // 3] /= math.sqrt(times)


def widen_file(source: Path, target: Path, input_size: int) -> None:
    """Write the widened weights of a packaged compact network.

    Args:
        source: A compact weight file.
        target: The file to write.
        input_size: Side of the input that the wide network is meant for, in pixels.
    """
    metadata = checkpoints.read_metadata(source)
    spec = get_network(metadata.network)
    widths = FULL_WIDTHS[metadata.network]
    with torch.device("meta"):
        narrow, wide = spec.build(metadata.widths), spec.build(widths)
    checkpoints.load(source, narrow)
    update = {
        "widths": widths,
        "input_size": input_size,
        "notes": f"{source.name}, widened by benchmarks/widen.py; computes the same function.",
        "calibration": {},
    }
    weights = widen(metadata.network, narrow, wide)
    checkpoints.save(target, weights, metadata.model_copy(update=update))


def difference(network: str) -> dict[str, float]:
    """What widening the packaged weights changes in float32, on one calibration image.

    Returns:
        The largest difference of a logit, and the largest logit.
    """
    path = PACKAGE_WEIGHTS / f"{network}_compact.safetensors"
    metadata = checkpoints.read_metadata(path)
    spec = get_network(network)
    narrow, wide = spec.build(metadata.widths), spec.build(FULL_WIDTHS[network])
    checkpoints.load(path, narrow)
    wide.load_state_dict(widen(network, narrow, wide))
    pixels = torch.from_numpy(calibration_images(metadata.input_size, 1))
    preset = get_preset(metadata.preset)
    mean, std = torch.tensor(preset.mean), torch.tensor(preset.std)
    images = ((pixels / 255 - mean) / std).permute(0, 3, 1, 2)
    with torch.inference_mode():
        before, after = narrow.eval()(images), wide.eval()(images)
    return {
        "largest_difference": float((after - before).abs().max()),
        "largest_logit": float(before.abs().max()),
    }


def main() -> None:
    """Compare every network, and write the result."""
    result = {network: difference(network) for network in FULL_WIDTHS}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(RESULT.read_text())


if __name__ == "__main__":
    main()
