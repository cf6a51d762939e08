"""Batch sizes of one device, in the schema of batch_sizes.json, from its own measurements."""

import json
from typing import Any

from benchmarks.results import Result, on_gpu
from benchmarks.subjects import CLASSES
from benchmarks.tables import seconds
from deployments.config import load_profile, packaged_configs
from deployments.inference.engines.precision import MINIMUM_IOU

RESERVE_PERCENT = 15

# Figures that differ by less are the same.
_SAME = 1.02

Row = dict[str, Any]


def profile(result: Result) -> str | None:
    """Return the file ``configs/profiles/<device>.json``, None without every network's figures.

    The largest safe batch is the largest that was measured and whose peak memory leaves the
    reserve free: of the machine's memory, or of a model's share of a GPU.

    Args:
        result: A result file with a sweep of the networks that such a device serves: the compact
            ones on a CPU, full width on a GPU.
    """
    rows = served(result, "full" if on_gpu(result) else "compact")
    limits = {model: _limits(result, row) for model, row in rows.items()}
    if rows.keys() != CLASSES.keys() or not all(limits.values()):
        return None
    contents = {
        "device": result["machine"]["device"],
        "measured": f"benchmarks/results/{result['file']}",
        "batch_configurations": limits,
        "dynamic_batching": {"enabled": True, "max_queue_delay_ms": 5},
        "memory_reserve_percent": RESERVE_PERCENT,
    }
    return json.dumps(contents, indent=2) + "\n"


def served(result: Result, variant: str) -> dict[str, Row]:
    """The rows that ``engine: auto`` and ``precision: auto`` take, by model.

    Args:
        result: A result file with a sweep.
        variant: ``compact`` or ``full``.
    """
    engine = "cuda" if on_gpu(result) else "openvino"
    rows: dict[str, Row] = {}
    for row in result["sweep"]:
        if (row["variant"], row["engine"]) != (variant, engine) or not row["batches"]:
            continue
        # float32 comes first, and the first precision that agrees takes its place.
        best = row["model"] not in rows or rows[row["model"]]["precision"] == "float32"
        if best and row.get("mask_iou", 1) >= MINIMUM_IOU:
            rows[row["model"]] = row
    return rows


def _limits(result: Result, row: Row) -> dict[str, object] | None:
    """None where not even one image leaves the reserve free."""
    room = _room_mb(result, row["model"])
    safe = [figure for figure in row["batches"] if figure["peak_mb"] <= room]
    if not safe:
        return None
    chosen = _smallest_fast(safe) if on_gpu(result) else _shortest_wait(safe)
    return {
        "optimal_batch_size": chosen["batch"],
        "max_safe_batch_size": max(figure["batch"] for figure in safe),
        "expected_throughput": round(chosen["images_per_second"], 2),
        "p95_latency_ms": chosen["p95_ms"],
    }


def _room_mb(result: Result, model: str) -> float:
    share = 1.0
    if on_gpu(result):
        share = load_profile(packaged_configs(), "gpu").models[model].num_gpus
    return float(result["machine"]["memory_gb"]) * 1024 * share * (1 - RESERVE_PERCENT / 100)


def _smallest_fast(figures: list[Row]) -> Row:
    """On a GPU: the smallest batch with the most images per second."""
    fastest = min(map(seconds, figures))
    return next(figure for figure in figures if seconds(figure) <= fastest * _SAME)


def _shortest_wait(figures: list[Row]) -> Row:
    """On a CPU: the largest batch with the shortest 95th percentile."""
    shortest = min(figure["p95_ms"] for figure in figures)
    return [figure for figure in figures if figure["p95_ms"] <= shortest * _SAME][-1]
