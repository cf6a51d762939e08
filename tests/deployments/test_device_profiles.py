"""Sizes that were measured on the device at hand are found by its name."""

import json
import logging
from pathlib import Path

import pytest

from deployments import device_profiles
from deployments.config import Profile, load_profile, packaged_configs
from deployments.device_profiles import cpu_name, slug, with_measured_sizes

NAMED = """
processor\t: 0
cpu family\t: 6
model\t\t: 207
model name\t: INTEL(R) XEON(R) PLATINUM 8581C CPU @ 2.30GHz
"""
HIDDEN = "cpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n"


def test_a_processor_is_known_by_name_and_generation() -> None:
    assert cpu_name(NAMED) == "INTEL XEON PLATINUM 8581C family 6 model 207"
    assert slug(cpu_name(HIDDEN)) == "amd-epyc-family-25-model-17"
    assert slug("NVIDIA H100 80GB HBM3") == "nvidia-h100-80gb-hbm3"


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    folder = tmp_path / "profiles"
    folder.mkdir()
    sizes = {"hrnet": {"optimal_batch_size": 7, "max_safe_batch_size": 9}}
    for name in (device_profiles.cpu_name(Path("/proc/cpuinfo").read_text()), "Some GPU"):
        content = json.dumps({"device": name, "batch_configurations": sizes})
        (folder / f"{slug(name)}.json").write_text(content)
    return tmp_path


def batch(profile: Profile) -> int:
    return profile.batch_sizes.of("hrnet").optimal_batch_size


def test_a_cpu_uses_them_only_when_told_to(measured: Path) -> None:
    profile = load_profile(packaged_configs(), "local")
    assert batch(with_measured_sizes(profile, measured, tuned=False)) == 12
    assert batch(with_measured_sizes(profile, measured, tuned=True)) == 7


def test_a_gpu_uses_its_own(measured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_profiles, "gpu_name", lambda: "Some GPU")
    profile = load_profile(packaged_configs(), "gpu")
    assert batch(with_measured_sizes(profile, measured, tuned=False)) == 7


def test_a_gpu_that_nobody_measured_keeps_the_users_sizes_and_says_so(
    measured: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(device_profiles, "gpu_name", lambda: "Other GPU")
    profile = load_profile(packaged_configs(), "gpu")
    with caplog.at_level(logging.WARNING):
        assert batch(with_measured_sizes(profile, measured, tuned=False)) == 12
    assert "Other GPU has not been measured" in caplog.text
