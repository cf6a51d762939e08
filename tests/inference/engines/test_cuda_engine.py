"""The GPU engine agrees with the reference."""

import numpy as np
import pytest
import torch

from deployments.inference.building import build_network
from deployments.inference.engines.cuda_engine import CudaEngine, fast_precisions
from deployments.inference.engines.precision import Precision
from deployments.inference.engines.torch_engine import TorchEngine
from deployments.inference.images.transforms import get_preset
from deployments.inference.types import UInt8Array
from tests.inference.engines.conftest import SIDE, Converted

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def engines(converted: Converted, precision: Precision) -> tuple[TorchEngine, CudaEngine]:
    source, preset = converted.source, get_preset(converted.source.preset)

    def network() -> torch.nn.Module:
        return build_network(source.implementation, SIDE, source.weights, source.widths)

    return TorchEngine(network(), preset, 1), CudaEngine(network(), preset, "cuda:0", precision)


def test_float32_agrees_with_the_reference(converted: Converted, batch: UInt8Array) -> None:
    reference, engine = engines(converted, "float32")
    for count in (1, 3, 7, 3):
        difference = engine.run(batch[:count]).astype(int) - reference.run(batch[:count])
        assert np.abs(difference).max() <= 2


def test_answers_after_release(converted: Converted, batch: UInt8Array) -> None:
    for precision in ("float32", *fast_precisions("cuda:0")):
        _, engine = engines(converted, precision)
        before = engine.run(batch)
        engine.release()
        assert np.array_equal(engine.run(batch), before)
