"""`spheroserve weights`: files that are converted say how far half precision may be trusted."""

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from deployments.inference import checkpoints
from deployments.inference.networks.registry import get_network
from serve_app.cli.weights import weights

WIDTHS: dict[str, object] = {"features": [2, 2]}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "checkpoint.pth"
    torch.save(get_network("resunet_small").build(WIDTHS).state_dict(), path)
    return path


def run(*arguments: object) -> str:
    result = CliRunner().invoke(weights, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_conversion_calibrates(checkpoint: Path, tmp_path: Path) -> None:
    target = tmp_path / "weights.safetensors"
    output = run("convert", checkpoint, target, "--input-size", 32)
    calibration = checkpoints.read_metadata(target).calibration
    assert calibration.keys() == {"bfloat16", "float16"}
    for precision, iou in calibration.items():
        verdict = "agrees with" if iou >= 0.99 else "differs from"
        assert f"{precision} {verdict} float32: mask IoU {iou:.4f}" in output


def test_calibration_can_be_left_for_later(checkpoint: Path, tmp_path: Path) -> None:
    target = tmp_path / "weights.safetensors"
    run("convert", checkpoint, target, "--input-size", 32, "--no-calibrate")
    before = checkpoints.read_metadata(target)
    assert before.calibration == {}
    run("calibrate", target)
    after = checkpoints.read_metadata(target)
    assert after.calibration
    assert after.sha256 == before.sha256
