"""Images per second, latency and memory of every network, engine and batch size.

Each figure comes from a process of its own, so that a batch that does not fit ends that process
only, and that memory is what this one batch needs.
"""

import multiprocessing
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from benchmarks.subjects import CLASSES, Subject, subjects
from benchmarks.timing import repeat, summary
from deployments.batch_sizes import load_batch_sizes
from deployments.config import packaged_configs
from deployments.inference.calibration_images import calibration_images, mask_iou
from deployments.inference.engines.openvino_engine import fast_precisions
from deployments.inference.loader import load_model
from deployments.inference.memory.classify import Kind, classify
from deployments.inference.memory.process import read_process_memory, reset_process_peak

Row = dict[str, object]
T = TypeVar("T")

_MIB = 2**20
_CALIBRATED = 2


def sweep(
    models: Sequence[str], variants: Sequence[str], seconds: float, most: int | None
) -> list[Row]:
    """Measure some networks.

    Args:
        models: Their names.
        variants: ``compact``, ``full``.
        seconds: Time to spend on each figure.
        most: Largest batch; None goes up to max_safe_batch_size of batch_sizes.json.
    """
    sizes = load_batch_sizes(packaged_configs() / "batch_sizes.json", list(CLASSES))
    rows = []
    for variant in variants:
        for subject in subjects(models, variant, half=bool(fast_precisions())):
            safe = sizes.batch_configurations[subject.model].max_safe_batch_size
            # The original ran one image at a time, in torch.
            largest = 1 if subject.engine == "torch" else min(safe, most or safe)
            row = _measure_batches(subject, largest, seconds)
            if row["stopped"] is None and subject.engine != "torch" and largest < safe:
                row["stopped"] = f"larger ones than {largest} were not asked for"
            rows.append(row)
    return rows


def _measure_batches(subject: Subject, largest: int, seconds: float) -> Row:
    figures: list[Row] = []
    stopped = None
    batch = 1
    while batch <= largest:
        figure = _in_child(subject, batch, seconds)
        if isinstance(figure, str):
            stopped = f"batch {batch}: {figure}"
            break
        print(subject.model, subject.variant, subject.engine, subject.precision, figure, flush=True)
        figures.append(figure)
        batch *= 2
    row: Row = {
        "model": subject.model,
        "variant": subject.variant,
        "side": subject.side,
        "engine": subject.engine,
        "precision": subject.precision,
        "batches": figures,
        "stopped": stopped,
    }
    if subject.precision != "float32":
        row["mask_iou"] = run_child(agreement, subject)
    return row


def _in_child(subject: Subject, batch: int, seconds: float) -> Row | str:
    try:
        return run_child(measure, subject, batch, seconds)
    except BrokenProcessPool:
        return "the process was killed"
    except (RuntimeError, MemoryError) as error:
        problem = classify(error)
        if problem.kind is not Kind.OOM:
            raise
        return str(problem)


def run_child(function: Callable[..., T], *arguments: object) -> T:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def measure(subject: Subject, batch: int, seconds: float) -> Row:
    """One figure; runs in the child process."""
    engine = load_model(subject.spec(), subject.tunables(batch), "cpu").engine
    images = calibration_images(subject.side, batch)
    reset_process_peak()
    times = repeat(lambda: engine.run(images), seconds, least=2)
    figure = summary(times.wall)
    return {
        "batch": batch,
        "images_per_second": round(batch * 1000 / figure["p50_ms"], 3),
        **figure,
        "cpu_s_per_image": round(statistics.median(times.cpu) / batch, 4),
        "peak_mb": round(read_process_memory().peak_bytes / _MIB),
    }


def agreement(subject: Subject) -> float:
    """Lowest mask IoU of half precision against float32 on the same engine."""
    images = calibration_images(subject.side, _CALIBRATED)
    exact = Subject(subject.model, subject.variant, subject.engine, "float32", subject.side)
    maps = [
        load_model(one.spec(), one.tunables(), "cpu").engine.run(images) for one in (exact, subject)
    ]
    return round(mask_iou(*maps), 4)
