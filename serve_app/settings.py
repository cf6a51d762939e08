"""Settings of the service, each an environment variable ``SPHEROSERVE_<NAME>``."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from deployments.errors import ConfigurationError
from deployments.inference.shape_metrics import MetricsConvention

ENV_PREFIX = "SPHEROSERVE_"

_MIB = 1024 * 1024


class Settings(BaseSettings):
    """Limits and times of the HTTP edge.

    Build it with :meth:`from_environment`, which turns a bad value into one sentence.
    """

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, frozen=True)

    # Uploads
    max_file_bytes: int = Field(
        default=64 * _MIB,
        ge=1,
        description="Most bytes of one uploaded file; more is refused with 413.",
    )
    max_body_bytes: int = Field(
        default=128 * _MIB,
        ge=1,
        description="Most bytes of one request body; more is refused with 413.",
    )
    max_files: int = Field(
        default=128,
        ge=1,
        le=10_000,
        description="Most files in one request, whatever the model allows.",
    )
    max_job_bytes: int = Field(
        default=2048 * _MIB,
        ge=1,
        description="Most bytes of the body of a job, and of a ZIP file in it once unpacked.",
    )
    max_job_images: int = Field(default=2000, ge=1, description="Most images of one job.")
    job_transfer_seconds: float = Field(
        default=3600.0,
        gt=0,
        description="Longest time of the upload of a job, and of the download of its results.",
    )
    max_form_fields: int = Field(
        default=16, ge=1, le=1000, description="Most form fields in one request that are not files."
    )
    max_field_bytes: int = Field(
        default=65_536, ge=64, description="Most bytes of one form field that is not a file."
    )
    upload_stall_seconds: float = Field(
        default=30.0,
        gt=0,
        description="An upload that sends nothing for this long is cut with 408.",
    )
    request_timeout_seconds: float = Field(
        default=240.0,
        gt=0,
        description="End-to-end time of one request; after it the answer is 504.",
    )
    max_queued_requests: int = Field(
        default=200,
        ge=1,
        description="Images that one ingress replica holds for one model; more is answered 503.",
    )
    retry_after_seconds: int = Field(
        default=2,
        ge=1,
        le=3600,
        description="Fewest seconds in the Retry-After header that 503 and 429 carry.",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("*",),
        description="Origins whose pages may call the service, separated by commas; "
        "* allows all, an empty value none.",
    )

    # Images
    max_image_pixels: int = Field(
        default=100_000_000, ge=1, description="Most pixels of one image; more is refused with 413."
    )
    decode_workers: int = Field(
        default=2,
        ge=1,
        le=256,
        description="Child processes of one ingress replica that decode images.",
    )
    decode_memory_mb: int = Field(
        default=2048,
        ge=256,
        description="Memory that one task may take in a child process, in MiB.",
    )
    decode_cpu_seconds: int = Field(
        default=20, ge=1, description="CPU time that one task may use in a child process."
    )
    decode_wall_seconds: float = Field(
        default=30.0, gt=0, description="Wall time after which a task in a child process is ended."
    )

    # Access
    api_keys_file: Path | None = Field(
        default=None,
        description="JSON file of API keys (`spheroserve keys new`); without one, everybody who "
        "reaches the port may call.",
    )
    allow_anonymous: bool = Field(
        default=False,
        description="Listen beyond this machine although there is no file of API keys.",
    )
    allow_open_cluster: bool = Field(
        default=False,
        description="Run on a Ray cluster that other machines reach and that asks for no token.",
    )

    metrics_convention: MetricsConvention = Field(
        default="2026",
        description="Formulas of the shape metrics where a request names none: those of "
        "SpheroSeg's releases of 2025 or of 2026.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="Least severe log line that is written."
    )
    log_format: Literal["text", "json"] = Field(
        default="text", description="Form of the log files of Ray Serve; json has the trace ids."
    )

    @field_validator("api_keys_file", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split_origins(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(origin.strip() for origin in value.split(",") if origin.strip())
        return value

    @classmethod
    def from_environment(cls) -> "Settings":
        """Read the environment.

        Raises:
            ConfigurationError: A value cannot be read or is out of range.
        """
        try:
            settings = cls()
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = ENV_PREFIX + str(first["loc"][0]).upper()
            raise ConfigurationError(
                f"{name} is {first['input']!r}, but: {first['msg']}."
            ) from error
        if settings.max_file_bytes > settings.max_body_bytes:
            raise ConfigurationError(
                f"{ENV_PREFIX}MAX_FILE_BYTES is {settings.max_file_bytes}, above "
                f"{ENV_PREFIX}MAX_BODY_BYTES, which is {settings.max_body_bytes}."
            )
        return settings
