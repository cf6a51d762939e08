"""A network is converted once, in another process, and kept by everything it depends on."""

import dataclasses
import os
import sys
from pathlib import Path

import pytest

from deployments.errors import ConfigurationError, WeightsError
from deployments.inference.engines import graph_cache
from deployments.inference.engines.graph_cache import Source, cache_directory, cached_graph
from tests.inference.engines.conftest import Converted


def refuse(*_: object) -> None:
    raise AssertionError("converted again")


def test_a_graph_that_is_there_is_not_made_again(
    converted: Converted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph_cache, "_in_child", refuse)
    assert cached_graph(converted.source, converted.cache) == converted.graph
    assert converted.graph.with_suffix(".bin").exists()


@pytest.mark.parametrize(
    "change",
    [{"sha256": "0" * 64}, {"input_size": 96}, {"preset": "spheroseg-2025-08"}],
    ids=["weights", "size", "preset"],
)
def test_another_network_has_a_graph_of_its_own(
    converted: Converted, monkeypatch: pytest.MonkeyPatch, change: dict[str, object]
) -> None:
    monkeypatch.setattr(graph_cache, "_in_child", refuse)
    other = dataclasses.replace(converted.source, **change)  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match="converted again"):
        cached_graph(other, converted.cache)


def test_other_code_has_a_graph_of_its_own(
    converted: Converted, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    changed = tmp_path / "graph.py"
    changed.write_text("# other arithmetic")
    monkeypatch.setattr(graph_cache, "_in_child", refuse)
    monkeypatch.setattr(graph_cache, "_code", lambda _: [changed])
    with pytest.raises(AssertionError, match="converted again"):
        cached_graph(converted.source, converted.cache)


def test_two_replicas_at_once_end_with_one_graph(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(_: Source, target: Path) -> None:
        target.write_text("mine")
        target.with_suffix(".bin").write_text("mine")
        rival = tmp_path / "graphs" / graph_cache._key(source)
        rival.mkdir()
        (rival / "graph.xml").write_text("the rival's")

    monkeypatch.setattr(graph_cache, "_in_child", make)
    graph = cached_graph(source, tmp_path)
    assert graph.read_text() == "the rival's"
    assert [path.name for path in graph.parents[1].iterdir()] == [graph.parent.name]


def test_a_failed_conversion_leaves_nothing_and_says_why(source: Source, tmp_path: Path) -> None:
    missing = dataclasses.replace(source, weights=tmp_path / "absent.safetensors", sha256="1")
    with pytest.raises(WeightsError, match=r"absent\.safetensors"):
        cached_graph(missing, tmp_path)
    assert list((tmp_path / "graphs").iterdir()) == []


def test_what_a_killed_conversion_left_is_deleted(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(_: Source, target: Path) -> None:
        target.write_text("made")

    old, young = (tmp_path / "graphs" / f"unfinished-{age}" for age in ("old", "young"))
    for folder in (old, young):
        (folder / "made").mkdir(parents=True)
    os.utime(old, (0, 0))
    monkeypatch.setattr(graph_cache, "_in_child", make)
    graph = cached_graph(source, tmp_path)
    assert {path.name for path in graph.parents[1].iterdir()} == {graph.parent.name, young.name}


def test_a_cache_that_cannot_be_written_is_named(source: Source, tmp_path: Path) -> None:
    (tmp_path / "graphs").write_text("a file where the folder should be")
    with pytest.raises(ConfigurationError, match=r"graphs cannot be written.*SPHEROSERVE_CACHE"):
        cached_graph(source, tmp_path)


def test_a_conversion_that_breaks_is_one_sentence(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interpreter = tmp_path / "python"
    interpreter.write_text("#!/bin/sh\ncat > /dev/null\nkill -9 $$\n")
    interpreter.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(interpreter))
    with pytest.raises(ConfigurationError, match=r"cannot be converted .*exit code -9"):
        cached_graph(source, tmp_path)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"SPHEROSERVE_CACHE_DIR": "/a"}, "/a"),
        ({"XDG_CACHE_HOME": "/b"}, "/b/spheroserve"),
        ({"HOME": "/c"}, "/c/.cache/spheroserve"),
        ({"HOME": "/c", "SPHEROSERVE_CACHE_DIR": ""}, "/c/.cache/spheroserve"),
    ],
)
def test_where_the_cache_is(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: str
) -> None:
    for name in ("SPHEROSERVE_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cache_directory() == Path(expected)
