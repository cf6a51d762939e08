"""``spheroserve k8s render``."""

import shutil
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from deployments.config import packaged_configs
from deployments.errors import ConfigurationError
from serve_app.cli import cli
from serve_app.k8s import PATCHES, render_patches
from tests.k8s.rendered import ROOT


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["k8s", "render", *arguments])


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "k8s", tmp_path / "k8s")
    return tmp_path / "k8s"


def timeout(patch: str) -> float:
    config = yaml.safe_load(yaml.safe_load(patch)["spec"]["serveConfigV2"])
    return float(config["http_options"]["request_timeout_s"])


def test_the_committed_patches_are_those_of_the_configuration() -> None:
    result = run("--manifests", str(ROOT / "k8s"), "--check")
    assert result.exit_code == 0, result.exception


def test_check_refuses_a_change_by_hand(manifests: Path) -> None:
    path = manifests / PATCHES["gpu"]
    path.write_text(path.read_text().replace("max_batch_size: 12", "max_batch_size: 16"))
    result = run("--manifests", str(manifests), "--check")
    assert isinstance(result.exception, ConfigurationError)
    assert "serve-config.yaml differs" in str(result.exception)
    assert "max_batch_size: 16" in path.read_text()


def test_it_writes_what_check_accepts(manifests: Path) -> None:
    for path in PATCHES.values():
        (manifests / path).unlink()
    assert run("--manifests", str(manifests)).exit_code == 0
    assert run("--manifests", str(manifests), "--check").exit_code == 0


def test_the_environment_of_the_caller_plays_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    before = render_patches(packaged_configs())
    monkeypatch.setenv("SPHEROSERVE_WEIGHTS_DIR", "/home/me/weights")
    monkeypatch.setenv("SPHEROSERVE_JOB_TRANSFER_SECONDS", "9000")
    monkeypatch.setenv("SPHEROSERVE_MAX_QUEUED_REQUESTS", "7")
    assert render_patches(packaged_configs()) == before
    assert "/weights/hrnet.safetensors" in before[PATCHES["gpu"]]


def test_the_settings_of_the_pods_decide(tmp_path: Path) -> None:
    path = tmp_path / ".env.green"
    path.write_text("SPHEROSERVE_REQUEST_TIMEOUT_SECONDS=7200\nSMTP_HOST=mail.example.org\n")
    patch = render_patches(packaged_configs(), path)[PATCHES["gpu"]]
    assert timeout(patch) == 7215


def test_the_example_changes_nothing() -> None:
    example = ROOT / ".env.green.example"
    assert render_patches(packaged_configs(), example) == render_patches(packaged_configs())


def test_a_bad_value_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / ".env.green"
    path.write_text("SPHEROSERVE_REQUEST_TIMEOUT_SECONDS=soon\n")
    with pytest.raises(ConfigurationError, match="SPHEROSERVE_REQUEST_TIMEOUT_SECONDS"):
        render_patches(packaged_configs(), path)
