"""The wheel in an environment of its own."""

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)]
    subprocess.run([*command, str(ROOT)], check=True, capture_output=True)
    (path,) = out.glob("spheroserve-*.whl")
    return path


def test_it_holds_our_two_packages_and_nothing_that_is_not_ours(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"serve_app", "deployments"}
    assert "deployments/configs/models.yaml" in names
    assert "deployments/inference/weights/hrnet_compact.safetensors" in names


def test_it_shadows_no_other_distribution() -> None:
    site = Path(sysconfig.get_path("purelib"))
    ours = {"serve_app", "deployments"}
    assert ours & {path.name for path in site.iterdir()} == set()


def test_check_config_runs_from_it(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "env"
    venv.create(environment, with_pip=False)
    (site,) = (environment / "lib").glob("python*/site-packages")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", str(site), str(wheel)], check=True)
    # Dependencies come from the environment that runs the test; our checkout does not.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    result = subprocess.run(
        [environment / "bin" / "python", "-I", "-m", "serve_app", "check-config"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "hrnet_compact.safetensors" in result.stdout
    assert "configuration is good" in result.stdout
