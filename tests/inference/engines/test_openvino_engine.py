"""OpenVINO answers as torch does, and gives back what it compiled."""

import numpy as np
import pytest
import torch

from deployments.inference.building import build_network
from deployments.inference.engines.openvino_engine import OpenVinoEngine
from deployments.inference.engines.torch_engine import TorchEngine
from deployments.inference.images.transforms import get_preset
from deployments.inference.types import UInt8Array
from tests.inference.engines.conftest import SIDE, Converted

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def engine(converted: Converted) -> OpenVinoEngine:
    return OpenVinoEngine(converted.graph, "float32", 1, converted.cache / "compiled")


@pytest.fixture(scope="module")
def expected(converted: Converted, batch: UInt8Array) -> UInt8Array:
    source = converted.source
    network = build_network(source.implementation, SIDE, source.weights, source.widths)
    return TorchEngine(network, get_preset(source.preset), 1).run(batch)


def differences(a: UInt8Array, b: UInt8Array) -> UInt8Array:
    return np.abs(a.astype(int) - b.astype(int)).astype(np.uint8)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_agrees_with_torch_at_every_batch_size(
    engine: OpenVinoEngine, batch: UInt8Array, expected: UInt8Array, count: int
) -> None:
    maps = engine.run(batch[:count])
    assert maps.shape == (count, SIDE, SIDE)
    assert maps.dtype == np.uint8
    assert expected.std() > 5, "a flat map would agree with anything"
    assert differences(maps, expected[:count]).max() <= 1


def test_answers_stay_as_they_are_when_the_next_call_comes(
    engine: OpenVinoEngine, batch: UInt8Array
) -> None:
    first = engine.run(batch[:1])
    kept = first.copy()
    engine.run(batch[1:2])
    assert np.array_equal(first, kept)


def test_takes_arrays_that_are_not_contiguous(
    engine: OpenVinoEngine, batch: UInt8Array, expected: UInt8Array
) -> None:
    mirrored = engine.run(batch[:1, :, ::-1])
    assert np.array_equal(mirrored, engine.run(batch[:1, :, ::-1].copy()))
    assert not np.array_equal(mirrored, expected[:1])


def test_a_shape_is_compiled_once_and_dropped_on_release_but_for_single_images(
    engine: OpenVinoEngine, batch: UInt8Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[int] = []
    compile_shape = OpenVinoEngine._compile

    def counted(self: OpenVinoEngine, shape: tuple[int, ...]) -> object:
        compiled.append(shape[0])
        return compile_shape(self, shape)

    monkeypatch.setattr(OpenVinoEngine, "_compile", counted)
    engine.run(batch[:3])
    before = engine.run(batch[:3])
    assert compiled == [2]
    engine.release()
    assert np.array_equal(engine.run(batch[:3]), before)
    assert compiled == [2, 2]


def test_compiled_shapes_are_kept_on_disk(converted: Converted, batch: UInt8Array) -> None:
    folder = converted.cache / "compiled-once"
    OpenVinoEngine(converted.graph, "float32", 1, folder).run(batch[:1])
    blobs = {path: path.stat().st_mtime_ns for path in folder.rglob("*.blob")}
    assert len(blobs) == 1
    OpenVinoEngine(converted.graph, "float32", 1, folder).run(batch[:1])
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.blob")} == blobs


def test_the_reference_is_the_formula(converted: Converted, batch: UInt8Array) -> None:
    source = converted.source
    preset = get_preset(source.preset)
    network = build_network(source.implementation, SIDE, source.weights, source.widths).eval()
    pixels = batch[:2].astype(np.float32) / 255
    normalised = (pixels - np.float32(preset.mean)) / np.float32(preset.std)
    with torch.inference_mode():
        logits = network(torch.from_numpy(normalised.transpose(0, 3, 1, 2).copy()))
    wanted = np.round(255 / (1 + np.exp(-logits[:, 0].numpy()))).astype(np.uint8)
    assert differences(TorchEngine(network, preset, 1).run(batch[:2]), wanted).max() <= 1
