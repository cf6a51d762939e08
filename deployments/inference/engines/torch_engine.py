"""The reference engine: PyTorch in eager mode."""

import gc
import platform

import numpy as np
import torch
from torch import nn

from deployments.inference.engines.graph import SegmentationGraph
from deployments.inference.engines.precision import Precision
from deployments.inference.images.transforms import Preset
from deployments.inference.types import UInt8Array


class TorchEngine:
    """Runs a network on the CPU in float32; what every other engine is compared with.

    Args:
        network: The network with its weights loaded; it maps normalised float32 (N, 3, S, S)
            to logits (N, 1, S, S).
        preset: Its normalisation.
        threads: CPU threads of one call. Ray sets OMP_NUM_THREADS=1 in replicas, so torch is
            told here.
    """

    name = "torch"
    device = "cpu"
    precision: Precision = "float32"

    def __init__(self, network: nn.Module, preset: Preset, threads: int) -> None:
        torch.set_num_threads(threads)
        self.device_name = platform.processor() or platform.machine()
        self._graph = SegmentationGraph(network, preset)

    @torch.inference_mode()
    def run(self, batch: UInt8Array) -> UInt8Array:
        """Make one device call; see ``Engine.run``."""
        maps: UInt8Array = self._graph(torch.from_numpy(np.ascontiguousarray(batch))).numpy()
        return maps

    def release(self) -> None:
        """Collect tensors that only reference cycles hold."""
        gc.collect()
