"""`spheroserve segment` against a real HTTP server with a fake service behind it."""

import json
from pathlib import Path

import cv2
import pytest
from click.testing import CliRunner

from serve_app.api_keys import digest_of, new_key
from serve_app.cli.segment import find_images, output_names, segment
from serve_app.settings import Settings
from tests.scenes import encoded, spheroid
from tests.serve_app.conftest import serving
from tests.serve_app.fakes import FakeService


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = tmp_path / "images"
    images.mkdir()
    (images / "a.png").write_bytes(encoded(spheroid(1)[0]))
    (images / "b.TIF").write_bytes(encoded(spheroid(2)[0], "TIFF"))
    (images / "notes.txt").write_text("not an image")
    return images


def test_every_image_gets_json_and_overlay(url: str, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = CliRunner().invoke(segment, [str(folder), "--url", url, "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in out.iterdir()) == ["a.json", "a.png", "b.json", "b.png"]
    assert json.loads((out / "a.json").read_text())["model_used"] == "hrnet"
    assert cv2.imread(str(out / "b.png")).shape == (450, 600, 3)
    assert "2 of 2 images" in result.output


def test_an_unknown_model_fails_with_a_list(url: str, folder: Path, tmp_path: Path) -> None:
    arguments = [str(folder), "--url", url, "--out", str(tmp_path / "o"), "--model", "segformer"]
    result = CliRunner().invoke(segment, arguments)
    assert result.exit_code == 1
    assert "a.png: status 400" in result.output
    assert "b.TIF: status 400" in result.output
    assert "0 of 2 images" in result.output


def test_a_service_with_keys_takes_one(
    service: FakeService, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, file = new_key(), tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [{"name": "lab", "sha256": digest_of(key)}]}))
    with serving(service, Settings(api_keys_file=file)) as url:
        arguments = [str(folder), "--url", url, "--out", str(tmp_path / "out")]
        refused = CliRunner().invoke(segment, arguments)
        assert refused.exit_code == 1
        assert "a.png: status 401" in refused.output
        named = CliRunner().invoke(segment, [*arguments, "--api-key", key])
        assert named.exit_code == 0, named.output
        monkeypatch.setenv("SPHEROSERVE_API_KEY", key)
        assert CliRunner().invoke(segment, arguments).exit_code == 0


def test_a_service_that_is_not_there_is_told(folder: Path, tmp_path: Path) -> None:
    arguments = [str(folder), "--url", "http://127.0.0.1:9", "--out", str(tmp_path / "o")]
    result = CliRunner().invoke(segment, arguments)
    assert result.exit_code == 1
    assert "no answer from http://127.0.0.1:9" in result.output


def test_equal_names_from_two_folders_do_not_overwrite_each_other(tmp_path: Path) -> None:
    paths = [tmp_path / folder / "x.png" for folder in ("one", "two")]
    assert output_names([*paths, tmp_path / "y.png"]) == ["x-1", "x-2", "y"]


def test_files_named_outright_are_taken_whatever_their_suffix(folder: Path) -> None:
    assert list(find_images([folder / "notes.txt"])) == [folder / "notes.txt"]
    assert [path.name for path in find_images([folder])] == ["a.png", "b.TIF"]
