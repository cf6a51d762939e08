"""Images per second, latency and memory of every network, engine and batch size.

Each figure comes from a process of its own, so that a batch that does not fit ends that process
only, and that memory is what this one batch needs.
"""

import multiprocessing
import statistics
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from benchmarks.subjects import CLASSES, Subject, subjects
from benchmarks.timing import repeat, summary
from deployments.batch_sizes import load_batch_sizes
from deployments.config import packaged_configs
from deployments.inference.calibration_images import calibration_images, mask_iou
from deployments.inference.engines import openvino_engine
from deployments.inference.engines.base import Engine
from deployments.inference.engines.precision import Precision
from deployments.inference.loader import load_model
from deployments.inference.memory.classify import Kind, classify
from deployments.inference.memory.process import read_process_memory, reset_process_peak

if TYPE_CHECKING:
    from benchmarks.plain_torch import PlainTorch

Row = dict[str, object]
T = TypeVar("T")

_MIB = 2**20
_CALIBRATED = 2


def sweep(
    models: Sequence[str],
    variants: Sequence[str],
    seconds: float,
    most: int | None,
    device: str = "cpu",
) -> Iterator[list[Row]]:
    """Measure some networks; yields the rows of one after the other.

    Args:
        models: Their names.
        variants: ``compact``, ``full``.
        seconds: Time to spend on each figure.
        most: Largest batch; None goes up to max_safe_batch_size of batch_sizes.json.
        device: ``cpu`` or ``cuda:N``.
    """
    sizes = load_batch_sizes(packaged_configs() / "batch_sizes.json", list(CLASSES))
    fast = run_child(_fast_precisions, device)
    for variant in variants:
        for model in models:
            safe = sizes.batch_configurations[model].max_safe_batch_size
            compared = subjects(model, variant, fast, device)
            yield [_measure_batches(subject, safe, most or safe, seconds) for subject in compared]


def _fast_precisions(device: str) -> tuple[Precision, ...]:
    """In a child process, since whoever asks a GPU keeps some of its memory."""
    if device == "cpu":
        return openvino_engine.fast_precisions()
    from deployments.inference.engines import cuda_engine

    return cuda_engine.fast_precisions(device)


def batches(largest: int) -> Iterator[int]:
    """Powers of two, and the largest."""
    batch = 1
    while batch < largest:
        yield batch
        batch *= 2
    yield largest


def _measure_batches(subject: Subject, safe: int, most: int, seconds: float) -> Row:
    # The original ran one image at a time; what it is compared with answers one, too.
    largest = 1 if subject.plain else min(safe, most)
    figures: list[Row] = []
    stopped = None
    for batch in batches(largest):
        figure = _in_child(subject, batch, seconds)
        if isinstance(figure, str):
            stopped = f"batch {batch}: {figure}"
            break
        print(subject.model, subject.variant, subject.engine, subject.precision, figure, flush=True)
        figures.append(figure)
    if stopped is None and not subject.plain and largest < safe:
        stopped = f"larger ones than {largest} were not asked for"
    row: Row = {
        "model": subject.model,
        "variant": subject.variant,
        "side": subject.side,
        "engine": subject.engine,
        "precision": subject.precision,
        "batches": figures,
        "stopped": stopped,
    }
    if subject.precision != "float32" and figures:
        row["mask_iou"] = run_child(agreement, subject)
    return row


def _in_child(subject: Subject, batch: int, seconds: float) -> Row | str:
    try:
        return run_child(measure, subject, batch, seconds)
    except BrokenProcessPool:
        return "the process was killed"
    except (RuntimeError, MemoryError) as error:
        problem = classify(error)
        # torch's compiler needs others, for C++ and for Triton, that may be missing.
        if problem.kind is not Kind.OOM and subject.engine != "compile":
            raise
        return str(problem)


def run_child(function: Callable[..., T], *arguments: object) -> T:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def measure(subject: Subject, batch: int, seconds: float) -> Row:
    """One figure; runs in the child process."""
    engine = _engine(subject, batch)
    images = calibration_images(subject.side, batch)
    reset_process_peak()
    times = repeat(lambda: engine.run(images), seconds, least=2)
    figure = summary(times.wall)
    return {
        "batch": batch,
        "images_per_second": round(batch * 1000 / figure["p50_ms"], 3),
        **figure,
        "cpu_s_per_image": round(statistics.median(times.cpu) / batch, 4),
        "peak_mb": round(_peak_bytes(subject.device) / _MIB),
    }


def agreement(subject: Subject) -> float:
    """Lowest mask IoU of half precision against float32: on the same engine, or in eager mode."""
    images = calibration_images(subject.side, _CALIBRATED)
    reference = "torch" if subject.plain else subject.engine
    exact = replace(subject, precision="float32", engine=reference)
    engines = [_engine(one) for one in (exact, subject)]
    maps = [np.concatenate([engine.run(image[None]) for image in images]) for engine in engines]
    return round(mask_iou(*maps), 4)


def _engine(subject: Subject, batch: int = 1) -> "Engine | PlainTorch":
    if subject.plain:
        # Imported here: OpenVINO's figures are without the memory of torch.
        from benchmarks.plain_torch import PlainTorch

        return PlainTorch(subject)
    return load_model(subject.spec(), subject.tunables(batch), subject.device).engine


def _peak_bytes(device: str) -> int:
    """Of the process on a CPU; on a GPU what torch has reserved there."""
    if device == "cpu":
        return read_process_memory().peak_bytes
    import torch

    return torch.cuda.max_memory_reserved(device)
