"""What weight files say about themselves; read without torch, which takes a second to import."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open

from deployments.errors import WeightsError

METADATA_KEY = "spheroserve"


class WeightsMetadata(BaseModel):
    """What a weight file says about itself.

    Attributes:
        network: Name of the network, for ours one of the registry.
        widths: Width parameters, all of them.
        preset: Name of the preprocessing that the weights were trained with.
        input_size: Side of the square input that the weights are meant for, in pixels.
        sha256: Digest of the tensors as stored (`digest`). `save` fills it in.
        notes: Free text: training, licence, sources.
        calibration: Lowest mask IoU against float32 by precision, on the calibration images
            (``calibration.py``). A precision that is missing was not measured and is not used.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: str
    widths: dict[str, int | list[int]]
    preset: str
    input_size: int
    sha256: str = ""
    notes: str = ""
    calibration: dict[str, float] = {}


def read_metadata(path: Path) -> WeightsMetadata:
    """Read the metadata of a weight file, not its tensors.

    Raises:
        WeightsError: The file is missing, no safetensors file or without our metadata.
    """
    with opened(path, "numpy") as file:
        return parse_metadata(path, file)


@contextmanager
def opened(path: Path, framework: Literal["pt", "numpy"]) -> Iterator[Any]:
    """Open a safetensors file.

    Args:
        path: The file.
        framework: Whose tensors it will give.

    Raises:
        WeightsError: It is missing or no safetensors file.
    """
    try:
        with safe_open(path, framework=framework, device="cpu") as file:
            yield file
    except FileNotFoundError as error:
        raise WeightsError(f"there is no weight file {path}") from error
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path.name} is no safetensors file: {error}") from error


def parse_metadata(path: Path, file: Any) -> WeightsMetadata:
    """Return the metadata of an opened file.

    Raises:
        WeightsError: There is none of ours.
    """
    text = (file.metadata() or {}).get(METADATA_KEY)
    if text is None:
        raise WeightsError(
            f"{path.name} says nothing about its network and preset; "
            "make weight files with 'spheroserve weights convert'"
        )
    try:
        return WeightsMetadata.model_validate_json(text)
    except ValidationError as error:
        raise WeightsError(f"{path.name} has metadata that this version cannot read") from error
