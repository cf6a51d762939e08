"""Full-width networks that segment: the compact ones, widened without changing what they compute.

Every channel is repeated k times and every weight that reads repeated channels is divided by k
(Net2WiderNet, Chen et al. 2016, arXiv:1511.05641). Instance normalisation, ReLU, means and maxima
over channels treat equal channels equally, so in exact arithmetic the output is the same; the
work is that of the wide network. Speed and rounding can then be measured on weights that mean
something.
"""

import math
from pathlib import Path

import torch
from torch import Tensor, nn

from deployments.errors import ConfigurationError
from deployments.inference import checkpoints
from deployments.inference.networks.registry import get_network
from deployments.inference.networks.resunet_advanced import SelfAttention

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
