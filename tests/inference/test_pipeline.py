"""The two functions that run in children, and the models that they call."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import orjson
import pytest
from PIL import Image

from deployments.errors import ConfigurationError, InvalidImage
from deployments.inference.images.limits import ImageLimits
from deployments.inference.models import resolve_model
from deployments.inference.pipeline import finish, prepare

MODEL = "deployments.inference.models:HRNet"
CLASSES = ("HRNet", "ResUNetSmall", "ResUNetAdvanced")


def test_prepare_decodes_turns_and_resizes() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.new("RGB", (40, 20), (10, 20, 30)).save(file, "PNG", exif=exif)
    prepared = prepare(file.getvalue(), MODEL, 64, "imagenet", ImageLimits())
    assert (prepared.width, prepared.height) == (20, 40)
    assert prepared.pixels.shape == (64, 64, 3)
    assert (prepared.pixels == (10, 20, 30)).all()


def test_prepare_refuses_what_is_no_image() -> None:
    with pytest.raises(InvalidImage):
        prepare(b"GIF89a", MODEL, 64, "imagenet", ImageLimits())


def test_finish_answers_in_original_pixels() -> None:
    probability = np.zeros((64, 64), np.uint8)
    probability[16:48, 16:48] = 255
    polygons = finish(probability, MODEL, 640, 320, 0.5, True)
    (polygon,) = orjson.loads(polygons.json)
    xs = [point["x"] for point in polygon["points"]]
    ys = [point["y"] for point in polygon["points"]]
    assert (min(xs), max(xs)) == pytest.approx((160, 479), abs=1)
    assert (min(ys), max(ys)) == pytest.approx((80, 239), abs=1)


@pytest.mark.parametrize(
    "implementation",
    ["", "deployments.inference.models", "nowhere:Model", f"{MODEL}2", "io:FileIO"],
)
def test_a_model_that_cannot_be_loaded_is_named(implementation: str) -> None:
    with pytest.raises(ConfigurationError, match=f"'{implementation}'"):
        resolve_model(implementation)


@pytest.mark.parametrize("name", CLASSES)
def test_models_build_their_network_and_check_its_input_size(name: str) -> None:
    torch = pytest.importorskip("torch")
    model = resolve_model(f"deployments.inference.models:{name}")
    with torch.device("meta"):
        assert model.build({}, 512).parameters()
        with pytest.raises(ConfigurationError):
            model.build({}, 1)
        with pytest.raises(ConfigurationError):
            model.build({"no such width": 1}, 512)


def test_children_import_neither_torch_nor_ray() -> None:
    program = "import sys, deployments.inference.pipeline; print('torch' in sys.modules, end=' ');"
    program += "print('ray' in sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert answer.stdout == "False False\n"
