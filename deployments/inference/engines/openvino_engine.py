"""OpenVINO on the CPU: static shapes, compiled once and kept on disk."""

from pathlib import Path
from typing import Any

import numpy as np
import openvino

from deployments.inference.engines.buckets import run_in_parts
from deployments.inference.engines.precision import Precision
from deployments.inference.types import UInt8Array

_HINTS: dict[Precision, str] = {"float32": "f32", "bfloat16": "bf16"}


def fast_precisions() -> tuple[Precision, ...]:
    """``bfloat16`` where this CPU computes in it (AMX or AVX512-BF16), otherwise nothing."""
    capabilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return ("bfloat16",) if "BF16" in capabilities else ()


class OpenVinoEngine:
    """Runs a converted network.

    Single images are compiled for here, larger batches when they are first needed. What is
    compiled holds weights in a layout of its own and all buffers of a call; for larger batches
    that memory counts against the replica's limit, and is given back when memory runs out.
    Compiling starts OpenVINO's threads too: started later, under a limit that leaves no room for
    their stacks, they make it wait for ever.

    Args:
        graph: OpenVINO model of a ``SegmentationGraph`` with an open batch dimension, as
            ``convert.py`` writes it.
        precision: ``float32`` or ``bfloat16``.
        threads: CPU threads of one call.
        cache: Folder in which compiled shapes are kept.
    """

    name = "openvino"
    device = "cpu"

    def __init__(self, graph: Path, precision: Precision, threads: int, cache: Path) -> None:
        self.precision = precision
        self._core = openvino.Core()
        self.device_name = str(self._core.get_property("CPU", "FULL_DEVICE_NAME"))
        self._graph = graph
        self._options = {
            # Stated always: OpenVINO's own default is bf16 wherever the CPU has it.
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            "CACHE_DIR": str(cache),
        }
        _, *image = self._core.read_model(graph).input().get_partial_shape()
        self._single = (1, *(side.get_length() for side in image))
        self._compiled = {self._single: self._compile(self._single)}

    def run(self, batch: UInt8Array) -> UInt8Array:
        """Make one device call; see ``Engine.run``.

        Raises:
            RuntimeError: Memory ran out while compiling or computing (``memory/classify.py``
                knows the texts), or the network failed.
        """
        try:
            return run_in_parts(np.ascontiguousarray(batch), self._run_part)
        except RuntimeError as error:
            raise RuntimeError(_reason(error)) from None

    def release(self) -> None:
        """Drop every compiled shape but that of single images."""
        self._compiled = {self._single: self._compiled[self._single]}

    def _run_part(self, batch: UInt8Array) -> UInt8Array:
        if batch.shape not in self._compiled:
            self._compiled[batch.shape] = self._compile(batch.shape)
        request = self._compiled[batch.shape]
        request.infer({0: openvino.Tensor(batch, shared_memory=True)})
        # Copied: the next call overwrites the tensor.
        maps: UInt8Array = np.array(request.get_output_tensor(0).data)
        return maps

    def _compile(self, shape: tuple[int, ...]) -> Any:
        model = self._core.read_model(self._graph)
        model.reshape(list(shape))
        return self._core.compile_model(model, "CPU", self._options).create_infer_request()


def _reason(error: RuntimeError) -> str:
    """What happened, without the places in OpenVINO's sources that it passed through."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return " ".join(line for line in lines if not line.startswith("Exception from")) or lines[0]
