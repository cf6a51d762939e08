"""Form fields in, JSON out, in the shapes of SpheroSeg's contract."""

from collections.abc import Sequence
from typing import TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deployments.errors import InvalidFields, ServiceError
from serve_app.error_handlers import describe_unexpected
from serve_app.multipart import Form, Upload
from serve_app.service import ModelInfo, Segmentation

_MAX_REPORTED_ERRORS = 20


class SegmentationForm(BaseModel):
    """Fields that both segmentation endpoints share."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    model: str = "hrnet"
    threshold: float = Field(default=0.5, ge=0.1, le=0.9, allow_inf_nan=False)
    detect_holes: bool = True


class SegmentForm(SegmentationForm):
    """``POST /api/v1/segment``."""

    file: Upload


class BatchForm(SegmentationForm):
    """``POST /api/v1/batch-segment``."""

    files: list[Upload]


FormT = TypeVar("FormT", bound=SegmentationForm)


def validate_form(schema: type[FormT], form: Form) -> FormT:
    """Check a form; of a field sent twice the last counts, an empty one is as good as none.

    Raises:
        InvalidFields: A field is missing or out of range.
    """
    values: dict[str, object] = {}
    for name, sent in form.items():
        if name == "files":
            values[name] = sent
        elif sent[-1] != "":
            values[name] = sent[-1]
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise invalid_fields(error, "body") from error


def invalid_fields(error: ValidationError, place: str) -> InvalidFields:
    """Turn a validation error into the list that SpheroSeg's clients know from FastAPI.

    Args:
        error: What pydantic found.
        place: Where the values came from, ``body`` or ``query``.
    """
    return InvalidFields(
        [
            {
                "type": found["type"],
                "loc": [place, *found["loc"]],
                "msg": found["msg"],
                "input": _scalar_or_none(found["input"]),
            }
            for found in error.errors(include_url=False)[:_MAX_REPORTED_ERRORS]
        ]
    )


def _scalar_or_none(value: object) -> object:
    """Keep whole forms, files and contours out of an error message."""
    return value if isinstance(value, str | int | float | bool) else None


def model_entry(info: ModelInfo) -> dict[str, object]:
    """Return one value of ``models`` in ``GET /api/v1/models``."""
    return {
        **info.state,
        "name": info.name,
        "description": info.description,
        "has_pretrained": info.has_pretrained,
        "has_finetuned": info.has_finetuned,
        "recommended_threshold": info.recommended_threshold,
        "optimal_batch_size": info.optimal_batch_size,
        "max_safe_batch_size": info.max_safe_batch_size,
        "expected_throughput": info.expected_throughput,
    }


def segment_answer(
    found: Segmentation, form: SegmentForm, processing_time: float
) -> dict[str, object]:
    """Return the answer of ``POST /api/v1/segment``.

    Args:
        found: What the service found.
        form: The request, which is echoed.
        processing_time: Seconds for the whole request.
    """
    answer = {
        "success": True,
        **_core(found, form),
        "processing_time": processing_time,
        "inference_time": found.stages["device"],
        "preprocessing_time": found.stages["decode"],
        "device": found.device,
        "gpu_enabled": found.gpu,
        "batch_size_used": found.batch_size,
    }
    if not found.polygons.confidences:
        answer["warning"] = "No polygons were found above the threshold."
    return answer


def batch_answer(
    form: BatchForm, results: Sequence[Segmentation | BaseException], processing_time: float
) -> dict[str, object]:
    """Return the answer of ``POST /api/v1/batch-segment``.

    Args:
        form: The request.
        results: What became of each file, in order.
        processing_time: Seconds for the whole request.
    """
    found = [result for result in results if isinstance(result, Segmentation)]
    return {
        "success": True,
        "batch_size": len(results),
        "successful_count": len(found),
        "failed_count": len(results) - len(found),
        "total_polygons": sum(len(each.polygons.confidences) for each in found),
        "model_used": form.model,
        "threshold_used": form.threshold,
        "processing_time": processing_time,
        "results": [
            {
                "filename": file.filename,
                "batch_index": index,
                **_batch_item(form, result),
            }
            for index, (file, result) in enumerate(zip(form.files, results, strict=True))
        ],
    }


def _batch_item(form: BatchForm, result: Segmentation | BaseException) -> dict[str, object]:
    if isinstance(result, Segmentation):
        return {"success": True, **_core(result, form)}
    return {
        "success": False,
        "error": str(result) if isinstance(result, ServiceError) else describe_unexpected(result),
        "polygons": [],
        "model_used": form.model,
        "threshold_used": form.threshold,
    }


def _core(found: Segmentation, form: SegmentationForm) -> dict[str, object]:
    """Return what a single answer and a good batch item have in common."""
    return {
        "model_used": form.model,
        "threshold_used": form.threshold,
        "image_size": {"width": found.width, "height": found.height},
        "polygons": orjson.Fragment(found.polygons.json),
        "processing_info": {
            "device": found.device,
            "num_polygons": len(found.polygons.confidences),
            "confidence_scores": found.polygons.confidences,
            "batch_size": found.batch_size,
        },
    }
