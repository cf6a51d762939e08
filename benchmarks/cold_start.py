"""From the start of a process to its first answer, with and without the caches on disk."""

import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks.subjects import SIZES, Subject, weights
from deployments.inference.engines.graph_cache import CACHE_VARIABLE, cache_directory

Row = dict[str, object]


def cold_start(models: Sequence[str], variants: Sequence[str], repeats: int) -> list[Row]:
    """Measure some networks.

    Args:
        models: Their names.
        variants: ``compact``, ``full``.
        repeats: Starts with a warm cache; a start without one is measured once.
    """
    rows: list[Row] = []
    for variant in variants:
        for model in models:
            weights(model, variant)
            subject = Subject(model, variant, "auto", "auto", SIZES[variant])
            with tempfile.TemporaryDirectory() as empty:
                cold, _ = _start(subject, Path(empty))
            _start(subject, cache_directory())
            warm = [_start(subject, cache_directory()) for _ in range(repeats)]
            row: Row = {
                "model": model,
                "variant": variant,
                "cold_s": round(cold, 2),
                "warm_s": round(statistics.median(start for start, _ in warm), 2),
                "image_s": round(statistics.median(image for _, image in warm), 2),
            }
            print(row, flush=True)
            rows.append(row)
    return rows


def _start(subject: Subject, cache: Path) -> tuple[float, float]:
    """Seconds from the start of the process, and how many of them the first image took."""
    tunables = subject.tunables().model_dump()
    kept = os.environ.get(CACHE_VARIABLE)
    os.environ[CACHE_VARIABLE] = str(cache)
    try:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            started = time.perf_counter()
            arguments = (subject.spec().model_dump(), tunables)
            image = pool.submit(first_answer, *arguments).result()
            return time.perf_counter() - started, image
    finally:
        if kept is None:
            del os.environ[CACHE_VARIABLE]
        else:
            os.environ[CACHE_VARIABLE] = kept


def first_answer(spec_values: dict[str, object], tunable_values: dict[str, object]) -> float:
    """Load a model as a replica does; return the seconds of its warm-up, a batch of one.

    Runs in the child process.
    """
    from deployments.config import ModelSpec, Tunables
    from deployments.inference.loader import load_model
    from deployments.inference.start import start_runner

    spec, tunables = (
        ModelSpec.model_validate(spec_values),
        Tunables.model_validate(tunable_values),
    )
    loaded = load_model(spec, tunables, "cpu")
    began = time.perf_counter()
    start_runner("model", spec, loaded, tunables)
    return time.perf_counter() - began
