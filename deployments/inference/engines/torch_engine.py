"""The reference engine: PyTorch in eager mode."""

import gc
import platform
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import nn

from deployments.inference.engines.buckets import run_in_parts
from deployments.inference.engines.graph import SegmentationGraph
from deployments.inference.engines.precision import Precision
from deployments.inference.images.transforms import Preset
from deployments.inference.types import UInt8Array

# What oneDNN says when it could not write machine code for a layer, and Python where a thread that
# was to replace such a one could not start.
_STUCK = ("could not create a primitive", "can't start new thread")


class TorchEngine:
    """Runs a network on the CPU in float32; what every other engine is compared with.

    oneDNN keeps the machine code that it writes for each batch size: 13 MiB for the packaged HRNet.
    So batches run in powers of two, as in every engine; a dozen sizes would use up a limit.

    Calls run in a thread of their own. A thread in which oneDNN once found no memory for machine
    code fails at every new layer ever after, however much there is by then: the assembler in it
    (Xbyak) keeps its last error per thread. Such a thread is replaced.

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
        self.device_name = platform.processor() or platform.machine()
        self._graph = SegmentationGraph(network, preset)
        self._thread = ThreadPoolExecutor(1, "torch")
        # Starts the thread, before there is a limit that leaves no room for its stack.
        self._thread.submit(torch.set_num_threads, threads).result()

    def run(self, batch: UInt8Array) -> UInt8Array:
        """Make one device call; see ``Engine.run``."""
        try:
            return run_in_parts(np.ascontiguousarray(batch), self._run_part)
        except RuntimeError as error:
            if any(text in str(error) for text in _STUCK):
                self._thread.shutdown()
                self._thread = ThreadPoolExecutor(1, "torch")
            raise

    def release(self) -> None:
        """Collect tensors that only reference cycles hold."""
        gc.collect()

    def _run_part(self, batch: UInt8Array) -> UInt8Array:
        return self._thread.submit(self._call, batch).result()

    @torch.inference_mode()
    def _call(self, batch: UInt8Array) -> UInt8Array:
        maps: UInt8Array = self._graph(torch.from_numpy(batch)).numpy()
        return maps
