"""Every metric is in the table with its labels, and nothing else is."""

import re
from pathlib import Path

import pytest

from serve_app.request_metrics import STAGES

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| `(spheroserve_\w+)` \| ([^|]*)\|", TEXT, re.MULTILINE))


def source() -> str:
    return "".join(
        path.read_text(encoding="utf-8")
        for package in ("deployments", "serve_app")
        for path in sorted((ROOT / package).rglob("*.py"))
    )


def in_the_code() -> set[str]:
    named = set(re.findall(r'"(spheroserve_[a-z_]+)"', source()))
    # One line of serve_app/prometheus.py writes two names, which are Ray's as well.
    assert {"spheroserve_jobs", "spheroserve_mails"} <= named
    return named


def test_the_table_is_complete() -> None:
    assert set(ROWS) == in_the_code()


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_is_explained(stage: str) -> None:
    assert re.search(rf"^\| `{stage}` \| \w", TEXT, re.MULTILINE)


@pytest.mark.parametrize(
    ("metric", "labels"),
    [
        ("spheroserve_requests_total", "model, status"),
        ("spheroserve_request_seconds", "model, stage"),
        ("spheroserve_images_failed_total", "model, error"),
        ("spheroserve_mails", "state"),
        ("spheroserve_jobs_oldest_unfinished_seconds", ""),
    ],
)
def test_labels_are_told(metric: str, labels: str) -> None:
    assert ROWS[metric].strip() == labels
