"""PyTorch on a GPU: mixed precision, pinned buffers, one CUDA graph per batch shape."""

import gc
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from deployments.inference.engines.buckets import run_in_parts
from deployments.inference.engines.graph import SegmentationGraph
from deployments.inference.engines.precision import Precision
from deployments.inference.images.transforms import Preset
from deployments.inference.types import UInt8Array

# As PyTorch's own make_graphed_callables: cuDNN picks its kernels before the capture.
_WARM_UP_CALLS = 3

_DTYPES: dict[Precision, torch.dtype] = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def fast_precisions(device: str) -> tuple[Precision, ...]:
    """Precisions below float32 that tensor cores of this GPU have, best first."""
    major, _ = torch.cuda.get_device_capability(device)
    if major >= 8:  # Ampere
        return ("bfloat16", "float16")
    return ("float16",) if major >= 7 else ()


@dataclass(frozen=True)
class _Captured:
    """A recorded call: replaying it reads ``pixels`` and writes ``maps``, both on the device.

    The pinned tensors are their counterparts on the host, so that copies are asynchronous.
    """

    graph: torch.cuda.CUDAGraph
    pixels: Tensor
    maps: Tensor
    pinned_pixels: Tensor
    pinned_maps: Tensor


class CudaEngine:
    """Runs a network on one GPU.

    These networks are hundreds of small kernels; a graph launches them all at once. Graphs of
    all shapes share one pool of memory, since only one runs at a time.

    Args:
        network: The network with its weights loaded; see ``TorchEngine``.
        preset: Its normalisation.
        device: ``cuda:N`` as Ray assigned it.
        precision: Arithmetic of convolutions and matrix products, as autocast chooses them.
    """

    name = "torch"

    def __init__(
        self, network: nn.Module, preset: Preset, device: str, precision: Precision
    ) -> None:
        self.device = device
        self.device_name = torch.cuda.get_device_name(device)
        self.precision = precision
        graph = SegmentationGraph(network, preset).to(device)
        self._graph = graph.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool: Any = None
        self._captured: dict[torch.Size, _Captured] = {}

    @torch.inference_mode()
    def run(self, batch: UInt8Array) -> UInt8Array:
        """Make one device call; see ``Engine.run``."""
        return run_in_parts(batch, self._run_part)

    def release(self) -> None:
        """Drop the recorded calls and give cached memory back."""
        self._captured.clear()
        self._pool = None
        gc.collect()
        torch.cuda.empty_cache()

    def _run_part(self, batch: UInt8Array) -> UInt8Array:
        shape = torch.Size(batch.shape)
        if shape not in self._captured:
            self._captured[shape] = self._capture(shape)
        call = self._captured[shape]
        call.pinned_pixels.numpy()[:] = batch
        with torch.cuda.stream(self._stream):
            call.pixels.copy_(call.pinned_pixels, non_blocking=True)
            call.graph.replay()
            call.pinned_maps.copy_(call.maps, non_blocking=True)
        self._stream.synchronize()
        maps: UInt8Array = np.array(call.pinned_maps.numpy())
        return maps

    def _capture(self, shape: torch.Size) -> _Captured:
        pixels = torch.zeros(shape, dtype=torch.uint8, device=self.device)
        self._stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self._stream):
            for _ in range(_WARM_UP_CALLS):
                self._forward(pixels)
        self._stream.synchronize()
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        # Another thread may be loading new weights onto the device meanwhile.
        with torch.cuda.graph(
            graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
        ):
            maps = self._forward(pixels)
        return _Captured(
            graph=graph,
            pixels=pixels,
            maps=maps,
            pinned_pixels=torch.empty(shape, dtype=torch.uint8, pin_memory=True),
            pinned_maps=torch.empty(maps.shape, dtype=torch.uint8, pin_memory=True),
        )

    def _forward(self, pixels: Tensor) -> Tensor:
        dtype = _DTYPES.get(self.precision)
        # The cache of cast weights must not outlive a capture: its tensors lie in the pool.
        with torch.autocast("cuda", dtype=dtype, enabled=dtype is not None, cache_enabled=False):
            maps: Tensor = self._graph(pixels)
        return maps
