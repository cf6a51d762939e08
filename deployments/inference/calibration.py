"""Whether a network finds the same masks in half precision, measured for its own weights."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from deployments.inference import checkpoints
from deployments.inference.calibration_images import calibration_images, mask_iou
from deployments.inference.checkpoints import WeightsMetadata
from deployments.inference.engines.graph import SegmentationGraph
from deployments.inference.images.transforms import Preset, get_preset
from deployments.inference.networks.registry import get_network

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}

_aten = torch.ops.aten
# What autocast casts the operands of, in these networks.
_PRODUCTS = {
    _aten.convolution.default,
    _aten.addmm.default,
    _aten.mm.default,
    _aten.bmm.default,
}


class Rounded(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Computes float32 as hardware with half precision does.

    Operands of products and every result are rounded to the half precision, sums are kept in
    float32, as in the matrix units of GPUs and in AMX. So it costs what float32 costs, where a
    CPU without half precision would emulate every multiplication of it.

    Args:
        dtype: ``torch.bfloat16`` or ``torch.float16``. What float16 cannot hold is infinite.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._dtype = dtype

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func in _PRODUCTS:
            args = tree_map_only(Tensor, self._round, args)
        result = func(*args, **(kwargs or {}))
        # What a view shows is rounded already, or a parameter, which must not change.
        if func.is_view:
            return result
        # In place, since the result may be an argument that was changed in place.
        return tree_map_only(Tensor, lambda one: one.copy_(self._round(one)), result)

    def _round(self, tensor: Tensor) -> Tensor:
        return tensor.to(self._dtype).float() if tensor.dtype is torch.float32 else tensor


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
    # Not inference_mode, in which products would not arrive as the operations named above.
    with torch.no_grad():
        expected = torch.cat([graph(image) for image in images]).numpy()
        agreement = {}
        for name, dtype in _DTYPES.items():
            with Rounded(dtype):
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
