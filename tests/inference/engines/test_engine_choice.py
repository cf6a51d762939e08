"""models.yaml says which engine and precision; what it leaves open is decided by rule."""

import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from deployments.config import EngineName, ModelSpec, Tunables
from deployments.errors import ConfigurationError
from deployments.inference.engines import openvino_engine
from deployments.inference.loader import LoadedModel, choose_engine, load_model
from deployments.inference.models import ResUNetSmall
from tests.inference.engines.conftest import IMPLEMENTATION, SIDE, Converted

pytestmark = pytest.mark.usefixtures("one_thread")

FOREIGN = "tests.inference.engines.test_engine_choice:ForeignModel"


class ForeignModel(ResUNetSmall):
    """A model class that is not one of ours, though it builds on one."""


@pytest.mark.parametrize(
    ("requested", "implementation", "device", "chosen"),
    [
        ("auto", IMPLEMENTATION, "cpu", "openvino"),
        ("auto", IMPLEMENTATION, "cuda:0", "torch"),
        ("auto", FOREIGN, "cpu", "torch"),
        ("openvino", FOREIGN, "cpu", "openvino"),
        ("torch", IMPLEMENTATION, "cpu", "torch"),
    ],
)
def test_engine(
    requested: EngineName, implementation: str, device: str, chosen: EngineName
) -> None:
    assert choose_engine(requested, implementation, device) == chosen


def test_openvino_on_a_gpu_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="openvino runs on the CPU"):
        choose_engine("openvino", IMPLEMENTATION, "cuda:0")


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(ValidationError, match="engine"):
        ModelSpec.model_validate({"implementation": IMPLEMENTATION, "engine": "tensorrt"})


def load(converted: Converted, monkeypatch: pytest.MonkeyPatch, **spec: Any) -> LoadedModel:
    monkeypatch.setenv("SPHEROSERVE_CACHE_DIR", str(converted.cache))
    wanted = {"input_size": SIDE, "preset": "imagenet", "threads": 1, **spec}
    return load_model(
        ModelSpec.model_validate({"implementation": IMPLEMENTATION, **wanted}),
        Tunables(weights=str(converted.source.weights)),
        "cpu",
    )


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_a_model_says_what_runs_it(
    converted: Converted, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    described = load(converted, monkeypatch, engine=engine).describe()
    assert described["engine"] == engine
    assert described["precision"] == "float32"
    assert described["weights_sha256"] == converted.source.sha256


def test_weights_that_were_not_calibrated_run_in_float32_unless_told_otherwise(
    converted: Converted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino_engine, "fast_precisions", lambda: ("bfloat16",))
    assert load(converted, monkeypatch).engine.precision == "float32"
    assert load(converted, monkeypatch, precision="bfloat16").engine.precision == "bfloat16"


def test_half_precision_on_hardware_without_it_is_refused(
    converted: Converted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino_engine, "fast_precisions", lambda: ())
    with pytest.raises(ConfigurationError, match="bfloat16 does not exist"):
        load(converted, monkeypatch, precision="bfloat16")
    with pytest.raises(ConfigurationError, match="bfloat16 does not exist"):
        load(converted, monkeypatch, precision="bfloat16", engine="torch")


def test_a_replica_that_finds_its_graph_never_imports_torch(converted: Converted) -> None:
    program = f"""
import sys
import numpy as np
from deployments.config import ModelSpec, Tunables
from deployments.inference.start import load_runner
spec = ModelSpec(
    implementation={IMPLEMENTATION!r}, input_size={SIDE}, preset="imagenet", threads=1
)
tunables = Tunables(weights={str(converted.source.weights)!r}, max_batch_size=2)
runner = load_runner("small", spec, tunables, "cpu")
assert runner.batch_size() == 2
assert "torch" not in sys.modules
"""
    environment = {"SPHEROSERVE_CACHE_DIR": str(converted.cache), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
