"""Jobs: form fields in, JSON out."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Literal

import orjson
from pydantic import BaseModel, Field, field_validator

from deployments.jobs.records import Image, Job
from deployments.jobs.states import ImageState

Output = Literal["json", "masks", "metrics"]
OUTPUTS: tuple[Output, ...] = ("json", "masks", "metrics")

# Words of the API where they differ from those of the store.
_IMAGE_STATES: Mapping[ImageState, str] = {ImageState.LEASED: "running"}


class JobForm(BaseModel):
    """The fields of ``POST /api/v1/jobs`` beside the files."""

    model: str = "hrnet"
    threshold: float = Field(default=0.5, ge=0.1, le=0.9, allow_inf_nan=False)
    detect_holes: bool = True
    outputs: tuple[Output, ...] = OUTPUTS
    notify: tuple[str, ...] = ()
    locale: Annotated[str, Field(pattern=r"^[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8})*$")] = "en"

    @field_validator("outputs", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        """Take a repeated field, and commas within one."""
        if isinstance(value, list):
            names = [name.strip() for text in value for name in str(text).split(",")]
            return tuple(dict.fromkeys(name for name in names if name))
        return value


class Page(BaseModel):
    """Query of a page of jobs."""

    limit: int = Field(default=50, ge=1, le=200)
    after: str | None = None


class ImagePage(BaseModel):
    """Query of a page of images."""

    limit: int = Field(default=100, ge=0, le=1000)
    after: int = Field(default=-1, ge=-1)


def job_answer(job: Job, base: str) -> dict[str, object]:
    """Return a job without its images.

    Args:
        job: The job.
        base: Path of the jobs, ``/api/v1/jobs`` behind the prefix of the application.
    """
    counts = job.counts
    return {
        "id": job.id,
        "state": job.state,
        "model": job.model,
        "threshold": job.threshold,
        "detect_holes": job.detect_holes,
        "outputs": job.outputs,
        "notify": job.notify,
        "locale": job.locale,
        "progress": {"done": counts.total - counts.pending, "total": counts.total},
        "counts": {
            "queued": counts.queued,
            "running": counts.leased,
            "succeeded": counts.succeeded,
            "failed": counts.failed,
            "cancelled": counts.cancelled,
            "dead": counts.dead,
        },
        "error": job.error,
        "created_at": _time(job.created_at),
        "started_at": _time(job.started_at),
        "finished_at": _time(job.finished_at),
        "cancel_requested_at": _time(job.cancel_requested_at),
        "timings": {
            "queued_seconds": _seconds(job.created_at, job.started_at),
            "running_seconds": _seconds(job.started_at, job.finished_at),
        },
        "links": {
            "self": f"{base}/{job.id}",
            "events": f"{base}/{job.id}/events",
            "results": f"{base}/{job.id}/results",
        },
    }


def image_answer(image: Image) -> dict[str, object]:
    """Return the state of one image."""
    return {
        "position": image.position,
        "name": image.name,
        "state": _IMAGE_STATES.get(image.state, image.state),
        "attempts": image.attempts,
        "error": image.error,
        "timings": image.timings,
    }


def images_page(images: Sequence[Image], limit: int) -> dict[str, object]:
    """Return a page of images and the ``after`` of the next page, None on the last."""
    following = images[-1].position if images and len(images) == limit else None
    return {"images": [image_answer(image) for image in images], "next": following}


def result_answer(image: Image, result: bytes | None) -> dict[str, object]:
    """Return one image with its result, None where it has none."""
    found = None if result is None else orjson.Fragment(result)
    return {**image_answer(image), "result": found}


def event_text(event_id: int, kind: str, data: Mapping[str, object]) -> bytes:
    """Return one Server-Sent Event."""
    return f"id: {event_id}\nevent: {kind}\ndata: {json.dumps(data)}\n\n".encode()


def _time(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat()


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    return None if start is None or end is None else (end - start).total_seconds()
