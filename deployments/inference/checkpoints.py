"""Weight files: safetensors with metadata, read strictly, and the way to them from .pth.

A file that does not fit is refused by name and number of what differs; nothing is ever loaded
in part.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from deployments.errors import WeightsError
from deployments.inference.images.transforms import get_preset
from deployments.inference.networks.registry import (
    check_input_size,
    get_network,
    identify_network,
    infer_widths,
)
from deployments.inference.torch_files import read_state_dict
from deployments.inference.weights_metadata import (
    METADATA_KEY,
    WeightsMetadata,
    opened,
    parse_metadata,
    read_metadata,
)

__all__ = ["WeightsMetadata", "check_shapes", "convert", "digest", "load", "read_metadata", "save"]

_STORED_DTYPES = {"F32", "F16"}
_SHOWN = 3

Shapes = Mapping[str, Sequence[int]]


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of names, dtypes, shapes and values, in the order of the names."""
    sha256 = hashlib.sha256()
    for key in sorted(tensors):
        tensor = tensors[key].contiguous()
        sha256.update(f"{key}|{tensor.dtype}|{list(tensor.shape)}\n".encode())
        # As flat bytes, because NumPy does not export the buffer of a scalar's shape.
        sha256.update(tensor.flatten().numpy().data)
    return sha256.hexdigest()


def save(
    path: Path,
    state_dict: Mapping[str, Tensor],
    metadata: WeightsMetadata,
    dtype: torch.dtype = torch.float32,
) -> WeightsMetadata:
    """Write a weight file; a file of that name is replaced in one step.

    Args:
        path: Where to, ending in ``.safetensors``.
        state_dict: The tensors.
        metadata: What to write beside them.
        dtype: ``torch.float32``, or ``torch.float16`` for half the size.

    Returns:
        The metadata with the digest.

    Raises:
        WeightsError: A value is not finite, or not in ``dtype`` any more.
    """
    # Copied, because safetensors refuses tensors that share memory.
    stored = {
        key: tensor.detach().to("cpu", dtype, copy=True).contiguous()
        for key, tensor in state_dict.items()
    }
    for key, tensor in stored.items():
        if not tensor.isfinite().all():
            raise WeightsError(f"{key} holds values that are not finite as {dtype}")
    metadata = metadata.model_copy(update={"sha256": digest(stored)})
    partial = path.with_name(path.name + ".part")
    save_file(stored, partial, {METADATA_KEY: metadata.model_dump_json()})
    # The library makes files that only their owner can read.
    partial.chmod(0o644)
    partial.replace(path)
    return metadata


def load(path: Path, network: nn.Module) -> WeightsMetadata:
    """Give a network the weights of a file, as float32 on the CPU.

    The tensors are copied out of the file, so that a file that is overwritten later does not
    change a network that runs.

    Args:
        path: The weight file.
        network: A network built under ``torch.device("meta")``. Its mode (train or eval)
            stays as it is.

    Returns:
        The metadata of the file.

    Raises:
        WeightsError: The file is no weight file, is not the one that was written, or its keys
            or shapes are not those of the network.
    """
    expected = {key: tensor.shape for key, tensor in network.state_dict().items()}
    with opened(path, "pt") as file:
        metadata = parse_metadata(path, file)
        slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118
        found = {key: part.get_shape() for key, part in slices.items()}
        check_shapes(f"{path.name} ({metadata.network})", expected, found)
        if not {part.get_dtype() for part in slices.values()} <= _STORED_DTYPES:
            raise WeightsError(f"{path.name} holds tensors that are neither float32 nor float16")
        stored = {key: file.get_tensor(key) for key in slices}
        if digest(stored) != metadata.sha256:
            raise WeightsError(f"{path.name} is damaged: its tensors do not have its sha256")
        tensors = {key: tensor.to(torch.float32, copy=True) for key, tensor in stored.items()}
    network.load_state_dict(tensors, strict=True, assign=True)
    return metadata


def convert(
    source: Path,
    target: Path,
    *,
    preset: str,
    input_size: int,
    network: str | None = None,
    notes: str = "",
) -> WeightsMetadata:
    """Turn a PyTorch checkpoint of one of our networks into a weight file.

    Args:
        source: A file of ``torch.save``: a state dict, or a dict that has one under
            ``model_state_dict`` or ``state_dict``.
        target: The weight file to write.
        preset: Name of the preprocessing that the weights were trained with.
        input_size: Side of the input that they are meant for, in pixels.
        network: Name of the network; None tells it by the keys.
        notes: Free text for the metadata.

    Raises:
        ConfigurationError: Network, preset or input size do not exist or do not go together.
        WeightsError: The checkpoint cannot be read or is not of that network.
    """
    get_preset(preset)
    state_dict = read_state_dict(source)
    name = network or identify_network(state_dict)
    widths = infer_widths(name, state_dict)
    check_input_size(name, input_size, widths)
    with torch.device("meta"):
        expected = get_network(name).build(widths).state_dict()
    check_shapes(
        f"{source.name} ({name})",
        {key: tensor.shape for key, tensor in expected.items()},
        {key: tensor.shape for key, tensor in state_dict.items()},
    )
    metadata = WeightsMetadata(
        network=name, widths=widths, preset=preset, input_size=input_size, notes=notes
    )
    return save(target, state_dict, metadata)


def check_shapes(source: str, expected: Shapes, found: Shapes) -> None:
    """Compare the keys and shapes of a file with those of a network.

    Raises:
        WeightsError: They differ. The sentence names the first of each kind.
    """
    shared = [key for key in expected if key in found]
    differences = {
        "missing": [key for key in expected if key not in found],
        "unexpected": [key for key in found if key not in expected],
        "wrong shape": [
            f"{key} is {list(found[key])} instead of {list(expected[key])}"
            for key in shared
            if list(found[key]) != list(expected[key])
        ],
    }
    told = "; ".join(f"{kind}: {_first(items)}" for kind, items in differences.items() if items)
    if told:
        raise WeightsError(f"{source} does not fit the network; {told}")


def _first(items: Sequence[str]) -> str:
    more = len(items) - _SHOWN
    return ", ".join(items[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
