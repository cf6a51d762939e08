"""The network as plain PyTorch runs it: what the engines are compared with."""

from contextlib import AbstractContextManager, nullcontext

import torch

from benchmarks.subjects import Subject
from deployments.inference.building import build_network
from deployments.inference.engines.graph import SegmentationGraph
from deployments.inference.engines.processors import usable_cpus
from deployments.inference.images.transforms import get_preset
from deployments.inference.types import UInt8Array

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class PlainTorch:
    """Eager mode as the original ran it (``torch``), or compiled by torch (``compile``).

    TF32 stays as PyTorch sets it: on a GPU that has it, convolutions use it.

    Args:
        subject: The network, its engine, precision and device.
    """

    def __init__(self, subject: Subject) -> None:
        torch.set_num_threads(usable_cpus())
        spec, path = subject.spec(), subject.tunables().weights_path
        network = build_network(spec.implementation, spec.input_size, path, {})
        self._device = torch.device(subject.device)
        self._dtype = _DTYPES.get(subject.precision)
        graph = SegmentationGraph(network, get_preset(spec.preset)).to(self._device)
        self._graph = (
            torch.compile(graph, mode="max-autotune") if subject.engine == "compile" else graph
        )

    @torch.inference_mode()
    def run(self, batch: UInt8Array) -> UInt8Array:
        """Make one device call; see ``Engine.run``."""
        pixels = torch.from_numpy(batch).to(self._device)
        with self._precision():
            maps: UInt8Array = self._graph(pixels).cpu().numpy()
        return maps

    def _precision(self) -> AbstractContextManager[object]:
        if self._dtype is None:
            return nullcontext()
        return torch.autocast(self._device.type, self._dtype)
