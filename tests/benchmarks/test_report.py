"""Documentation says what the result files say, and nothing else."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks import report, tables
from benchmarks.plot import Panel, line_plot, time_plot
from benchmarks.profiles import profile
from benchmarks.results import latest, record
from benchmarks.subjects import CLASSES
from benchmarks.targets import targets_table
from deployments.batch_sizes import load_batch_sizes


def figure(batch: int, speed: float, p95: float, peak: int = 500) -> dict[str, Any]:
    return {
        "batch": batch,
        "images_per_second": speed,
        "p50_ms": 1000 * batch / speed,
        "p95_ms": p95,
        "repeats": 9,
        "cpu_s_per_image": 1.5 / speed,
        "peak_mb": peak,
    }


def row(engine: str, precision: str, *figures: dict[str, Any], **more: Any) -> dict[str, Any]:
    same = {"model": "hrnet", "variant": "compact", "side": 512}
    when = {"date": "2026-01-01", "load_average": 0.4}
    return {
        **same,
        **when,
        "engine": engine,
        "precision": precision,
        "batches": list(figures),
        **more,
    }


SWEEP = [
    row("torch", "float32", figure(1, 2.0, 510)),
    row(
        "openvino",
        "float32",
        figure(1, 5.0, 210),
        figure(2, 5.2, 400),
        figure(4, 5.1, 800, peak=3600),
    ),
    row("openvino", "bfloat16", figure(1, 10.0, 110), mask_iou=0.9951),
]
RESULT: dict[str, Any] = {
    "file": "some-cpu/2026-01-01.json",
    "machine": {
        "device": "Some CPU",
        "cpus": 2,
        "memory_gb": 4.0,
        "instructions": ["avx2"],
        "python": "3.11.7",
        "versions": {"torch": "2.13.0"},
    },
    "sweep": SWEEP,
}


def cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]


def test_speed_up_is_against_the_originals_way_at_the_best_batch() -> None:
    _, _, exact, half = cells(tables.speed_table(RESULT))
    assert exact[2:] == [
        "openvino float32",
        "0.5",
        "0.192",
        "2.60 ×",
        "2.60 ×",
        "2",
        "float32",
    ]
    assert half[2:] == ["openvino bfloat16", "0.5", "0.1", "5.00 ×", "5.00 ×", "1", "IoU 0.9951"]


def test_every_batch_is_listed() -> None:
    assert len(cells(tables.batch_table(RESULT))) == 2 + 5


def test_a_profile_takes_the_shortest_wait_and_leaves_the_reserve(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    alike = [{**row, "model": model} for model in CLASSES for row in SWEEP]
    path.write_text(profile({**RESULT, "sweep": alike[:-1]}) or "")
    sizes = load_batch_sizes(path, list(CLASSES))
    # Half precision is what that CPU serves, where it was measured.
    assert (sizes.of("hrnet").expected_throughput, sizes.of("hrnet").p95_latency_ms) == (10, 110)
    limits = sizes.of("resunet_advanced")
    assert limits.optimal_batch_size == 1
    # 3600 MB are more than 85 % of 4 GiB.
    assert limits.max_safe_batch_size == 2
    assert (limits.expected_throughput, limits.p95_latency_ms) == (5.0, 210)


@pytest.mark.parametrize("mask_iou", [0.9899, 0.99])
def test_a_profile_takes_half_precision_only_where_the_masks_agree(mask_iou: float) -> None:
    half = row("openvino", "bfloat16", figure(1, 10.0, 110), mask_iou=mask_iou)
    alike = [{**each, "model": model} for model in CLASSES for each in (*SWEEP[:2], half)]
    limits = json.loads(profile({**RESULT, "sweep": alike}) or "")["batch_configurations"]
    assert limits["hrnet"]["expected_throughput"] == (10 if mask_iou >= 0.99 else 5)


def test_without_every_network_there_is_no_profile() -> None:
    assert profile(RESULT) is None


def on_a_gpu(peak: int = 8000, mask_iou: float = 0.999) -> dict[str, Any]:
    """Every network at full width on an NVIDIA H200 with 100 GiB."""

    def full(engine: str, precision: str, *figures: dict[str, Any], **more: Any) -> dict[str, Any]:
        return {**row(engine, precision, *figures, **more), "variant": "full", "side": 1024}

    rows = [
        full("torch", "float32", figure(1, 10.0, 101)),
        full("cuda", "float32", figure(1, 15.0, 70)),
        full(
            "cuda",
            "bfloat16",
            figure(1, 20.0, 55, peak=peak),
            figure(2, 39.5, 55, peak=2 * peak),
            figure(4, 40.0, 110, peak=4 * peak),
            mask_iou=mask_iou,
        ),
        full("cuda", "float16", figure(1, 80.0, 12), mask_iou=0.9999),
    ]
    machine = {**RESULT["machine"], "device": "NVIDIA H200", "memory_gb": 100.0, "cuda": "12.6"}
    sweep = [{**each, "model": model} for model in CLASSES for each in rows]
    return {**RESULT, "machine": machine, "sweep": sweep}


@pytest.mark.parametrize(
    ("peak", "mask_iou", "sizes"),
    [
        # 39.5 images/s are within 2 % of the most.
        (5000, 0.999, (2, 4)),
        # 0.3 of 100 GiB less the reserve are 26112 MiB: four images do not fit.
        (8000, 0.999, (2, 2)),
        (20000, 0.999, (1, 1)),
        # bfloat16 finds other masks, so float16 is served.
        (5000, 0.98, (1, 1)),
    ],
)
def test_a_gpu_takes_the_smallest_batch_with_the_most_images(
    peak: int, mask_iou: float, sizes: tuple[int, int]
) -> None:
    limits = json.loads(profile(on_a_gpu(peak, mask_iou)) or "")["batch_configurations"]["hrnet"]
    assert (limits["optimal_batch_size"], limits["max_safe_batch_size"]) == sizes
    assert limits["expected_throughput"] == {2: 39.5, 1: 20 if mask_iou > 0.99 else 80}[sizes[0]]


def test_a_gpu_whose_share_holds_no_image_has_no_profile() -> None:
    assert profile(on_a_gpu(30000)) is None


def test_a_gpu_is_compared_with_its_arithmetic() -> None:
    _, _, exact, half, *_ = cells(tables.speed_table(on_a_gpu()))
    assert exact[2:6] == ["cuda float32", "0.1", "0.0667", "1.50 ×"]
    # 746 GFLOP at 989 TFLOP/s take 0.754 ms; an image takes 25 ms.
    assert half[5:7] == ["4.00 ×", "33.14 ×"]
    _, _, *aims = cells(targets_table(on_a_gpu()))
    assert aims[0][1:] == ["≥ 3 ×", "4", "yes"]
    assert aims[1][1:] == ["≤ 8 ×", "33.1", "no"]
    assert len(aims) == 2 * len(CLASSES)


def test_aims_are_compared_with_what_was_found() -> None:
    served = {
        "model": "hrnet",
        "variant": "compact",
        "proxy": "default",
        "bare": [{"images_per_second": 10.0}],
        "closed_loop": [{"clients": 16, "images_per_second": 8.0}],
        "one_request_ms": {"queue": 1.0, "batch_wait": 0.5, "overhead": 30.5},
    }
    started = {"model": "hrnet", "variant": "full", "warm_s": 9.5}
    result = {**RESULT, "serve": [served], "cold_start": [started]}
    _, _, *rows = cells(targets_table(result))
    assert [row[1:] for row in rows] == [
        ["≥ 10", "5.2", "no"],
        ["≥ 10", "10", "yes"],
        ["≥ 0.85", "0.8", "no"],
        ["≤ 2 ms", "1.5", "yes"],
        ["≤ 30 ms", "30.5", "no"],
        ["≤ 10 s", "9.5", "yes"],
    ]


def test_the_users_figures_stay_as_they_reported_them() -> None:
    _, _, *rows = cells(tables.reference_table())
    assert rows == [
        ["HRNet", "3.1 s", "0.064 s", "48.4 ×", "12"],
        ["ResUNet Small", "6.9 s", "0.088 s", "78.4 ×", "3"],
        ["ResUNet Advanced", "18.1 s", "0.43 s", "42.1 ×", "1"],
    ]


def test_sections_of_one_day_are_kept_together(tmp_path: Path) -> None:
    compact = {"variant": "compact", "model": "hrnet", "n": 1}
    full = {"variant": "full", "model": "hrnet", "n": 2}
    again = {**compact, "n": 3}
    first = record("sweep", [compact, full], tmp_path)
    record("sweep", [again], tmp_path)
    assert record("serve", [full], tmp_path) == first
    (result,) = latest(tmp_path)
    assert [row["n"] for row in (*result["sweep"], *result["serve"])] == [3, 2, 2]
    assert all({"date", "load_average"} <= row.keys() for row in result["sweep"])
    assert result["file"] == f"{first.parent.name}/{first.name}"
    older = first.with_name("2000-01-01.json")
    older.write_text(json.dumps({"sweep": "old"}))
    assert next(latest(tmp_path))["sweep"] == result["sweep"]


def test_a_file_begins_with_what_the_days_before_measured(tmp_path: Path) -> None:
    compact = {"variant": "compact", "model": "hrnet", "n": 1}
    full = {"variant": "full", "model": "hrnet", "n": 2}
    today = record("sweep", [compact, full], tmp_path)
    yesterday = today.rename(today.with_name("2000-01-01.json"))
    record("sweep", [{**compact, "n": 3}], tmp_path)
    assert [row["n"] for row in next(latest(tmp_path))["sweep"]] == [3, 2]
    assert [row["n"] for row in json.loads(yesterday.read_text())["sweep"]] == [1, 2]


def test_a_plot_shows_every_point() -> None:
    series = {"a & b": [(1, 1.0), (2, 1.5), (4, 2.0)], "c": [(1, 4.0)]}
    drawing = ElementTree.fromstring(line_plot("title", "images per second", series))
    circles = [item for item in drawing if item.tag.endswith("circle")]
    assert len(circles) == 4
    heights = [float(circle.attrib["cy"]) for circle in circles]
    assert heights[0] > heights[1] > heights[2] > heights[3]


def test_panels_over_time_lie_below_one_another() -> None:
    panels = [
        Panel("clients", {"a": [(0, 0.0), (100, 30.0)]}),
        Panel("seconds", {"b": [(0, 0.4), (50, 0.0), (100, 0.2)]}),
    ]
    drawing = ElementTree.fromstring(time_plot("title", panels))
    lines = [item.attrib["points"].split() for item in drawing if item.tag.endswith("polyline")]
    (first, last), below = [[tuple(map(float, at.split(","))) for at in line] for line in lines]
    assert first[0] < last[0]
    assert first[1] > last[1]
    assert [x for x, _ in below] == [first[0], (first[0] + last[0]) / 2, last[0]]
    assert all(y > first[1] for _, y in below)
    labels = {item.text for item in drawing if item.tag.endswith("text")}
    assert {"0", "20", "40", "60", "80", "100", "10", "30", "0.2", "0.4"} <= labels


def test_check_names_what_differs_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "ROOT", tmp_path)
    whole = [{**each, "model": model} for model in CLASSES for each in SWEEP]
    monkeypatch.setattr(report, "latest", lambda: [{**RESULT, "sweep": whole}])
    (tmp_path / "docs").mkdir()
    for path, names in {
        "README.md": ["speed"],
        "docs/batch-optimization-results.md": ["reference", "speed", "targets", "batches"],
        "docs/GPU-CONFIGURATION.md": ["reference", "serve", "cold-start"],
        "docs/autoscaling.md": ["autoscale", "scale-to-zero"],
        "docs/deploy-kuberay.md": ["several nodes"],
    }.items():
        blocks = [f"<!-- begin: {name} -->\n<!-- end: {name} -->\n" for name in names]
        (tmp_path / path).write_text("text\n" + "".join(blocks))
    stale = report.write(check=True)
    assert "configs/profiles/some-cpu.json" in stale
    assert not (tmp_path / "configs").exists()
    assert sorted(report.write(check=False)) == sorted(stale)
    assert report.write(check=True) == []
    readme = tmp_path / "README.md"
    readme.write_text(readme.read_text().replace("2.60 ×", "9.99 ×"))
    orphan = tmp_path / "configs" / "profiles" / "another-gpu.json"
    orphan.write_text("{}")
    assert report.write(check=True) == ["configs/profiles/another-gpu.json", "README.md"]
    report.write(check=False)
    assert not orphan.exists()
    assert report.write(check=True) == []
