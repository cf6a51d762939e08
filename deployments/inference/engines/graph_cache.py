"""Converted networks on disk, one folder each, named by all that they depend on.

Conversion (``convert.py``) needs torch and several times the memory of the network; a child
process takes both away with it, so that a replica never imports torch.
"""

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from deployments.errors import ConfigurationError, ServiceError

CACHE_VARIABLE = "SPHEROSERVE_CACHE_DIR"
_GRAPH = "graph.xml"
_UNFINISHED = "unfinished-"
# A conversion takes less than a minute.
_ABANDONED_S = 3600.0
_PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Source:
    """What a graph is made from.

    Attributes:
        implementation: Import path of the model class.
        preset: Name of the normalisation.
        input_size: Side S in pixels.
        weights: The weight file; None for an untrained network.
        sha256: Digest of its tensors.
        widths: Widths of an untrained network.
    """

    implementation: str
    preset: str
    input_size: int
    weights: Path | None
    sha256: str | None
    widths: Mapping[str, object]


def cache_directory() -> Path:
    """The folder of converted and compiled networks: SPHEROSERVE_CACHE_DIR, or the user's cache."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spheroserve"


def cached_graph(source: Source, cache: Path) -> Path:
    """Return the graph of a network, converting it where the cache does not have it.

    Args:
        source: The network.
        cache: Folder of the cache. Several processes may use it at once.

    Raises:
        ConfigurationError: The cache cannot be written, the network cannot be built or
            converted, or the converted one does not agree with it.
        WeightsError: The weight file does not fit.
    """
    target = cache / "graphs" / _key(source)
    if not (target / _GRAPH).exists():
        with _workplace(target.parent) as folder:
            made = Path(folder) / "made"
            made.mkdir()
            _in_child(source, made / _GRAPH)
            _publish(made, target)
    return target / _GRAPH


def _workplace(parent: Path) -> "tempfile.TemporaryDirectory[str]":
    try:
        parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(parent)
        return tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=parent)
    except OSError as error:
        raise ConfigurationError(
            f"{parent} cannot be written ({error.strerror}); "
            f"let {CACHE_VARIABLE} name a folder that can"
        ) from error


def _remove_abandoned(parent: Path) -> None:
    """Delete what conversions left behind that were killed."""
    for folder in parent.glob(f"{_UNFINISHED}*"):
        # Another replica may be at it too.
        with contextlib.suppress(FileNotFoundError):
            if time.time() - folder.stat().st_mtime > _ABANDONED_S:
                shutil.rmtree(folder)


def _publish(made: Path, target: Path) -> None:
    try:
        made.rename(target)
    except OSError:
        # Another replica was faster; its graph is as good.
        if not (target / _GRAPH).exists():
            raise


def _in_child(source: Source, target: Path) -> None:
    """Run ``convert.py``; the child finds the same modules as this process."""
    error_file = target.with_suffix(".error")
    done = subprocess.run(
        [sys.executable, "-m", "deployments.inference.engines.convert", target, error_file],
        input=pickle.dumps(source),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    if error_file.exists():
        error: ServiceError = pickle.loads(error_file.read_bytes())
        raise error
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        reason = lines[-1] if lines else f"exit code {done.returncode}, perhaps for want of memory"
        raise ConfigurationError(
            f"{source.implementation} cannot be converted for OpenVINO ({reason}); "
            "set 'engine: torch'"
        )


def _key(source: Source) -> str:
    """A digest of everything that the graph depends on."""
    digest = hashlib.sha256()
    for part in (
        source.implementation,
        source.preset,
        source.input_size,
        source.sha256 or sorted(source.widths.items()),
        *(importlib.metadata.version(name) for name in ("openvino", "torch")),
    ):
        digest.update(f"{part}\n".encode())
    for path in _code(source.implementation):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:32]


def _code(implementation: str) -> Iterator[Path]:
    yield from sorted(_PACKAGE.glob("networks/*.py"))
    yield _PACKAGE / "engines" / "graph.py"
    yield _PACKAGE / "images" / "transforms.py"
    module = importlib.util.find_spec(implementation.partition(":")[0])
    if module is not None and module.origin is not None:
        yield Path(module.origin)
