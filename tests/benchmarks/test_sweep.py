"""What the sweep compares, and with which batches."""

import numpy as np
import pytest
import torch

from benchmarks.machine import describe_machine
from benchmarks.plain_torch import PlainTorch
from benchmarks.subjects import Subject, subjects
from benchmarks.sweep import batches, measure, run_child
from deployments.inference.calibration_images import calibration_images
from deployments.inference.loader import load_model

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    ("largest", "sizes"), [(1, [1]), (3, [1, 2, 3]), (8, [1, 2, 4, 8]), (12, [1, 2, 4, 8, 12])]
)
def test_batches_go_to_the_largest(largest: int, sizes: list[int]) -> None:
    assert list(batches(largest)) == sizes


def test_every_engine_and_precision_of_a_device_is_compared() -> None:
    def runs(fast: list[str], device: str) -> list[tuple[str, str]]:
        found = subjects("hrnet", "compact", fast, device)  # type: ignore[arg-type]
        assert {subject.device for subject in found} == {device}
        return [(subject.engine, subject.precision) for subject in found]

    assert runs([], "cpu") == [("torch", "float32"), ("openvino", "float32")]
    assert runs(["bfloat16", "float16"], "cuda:0") == [
        ("torch", "float32"),
        ("cuda", "float32"),
        ("cuda", "bfloat16"),
        ("cuda", "float16"),
        ("compile", "bfloat16"),
    ]


def test_the_originals_way_finds_what_the_service_finds() -> None:
    original = Subject("hrnet", "compact", "torch", "float32", 512)
    ours = Subject("hrnet", "compact", "openvino", "float32", 512)
    images = calibration_images(512, 2)[1:]
    expected = load_model(ours.spec(), ours.tunables(), ours.device).engine.run(images)
    found = PlainTorch(original).run(images)
    assert (found > 127).any()
    assert np.abs(found.astype(int) - expected).max() <= 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("engine", ["torch", "cuda"])
def test_a_gpu_is_measured(engine: str) -> None:
    subject = Subject("hrnet", "compact", engine, "float32", 512, "cuda:0")
    figure = run_child(measure, subject, 1, 0.1)
    assert float(str(figure["images_per_second"])) > 0
    assert 0 < int(str(figure["peak_mb"])) < 4000
    machine = describe_machine("cuda:0")
    assert machine["device"] == torch.cuda.get_device_name("cuda:0") != machine["processor"]
