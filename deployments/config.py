"""``models.yaml``: which models are served, and how, by profile.

What is structural (implementation, input size, preset, resources) is an argument of the
application builder: changing it restarts replicas. What is tuned (weights, batch size, wait,
threshold) travels in ``user_config``: changing it reaches the running replica of that one model
and restarts nothing.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from deployments.batch_sizes import BatchSizes, load_batch_sizes
from deployments.errors import ConfigurationError
from deployments.inference.engines.precision import RequestedPrecision

EngineName = Literal["auto", "openvino", "torch"]

PACKAGE_WEIGHTS = Path(__file__).parent / "inference" / "weights"


def packaged_configs() -> Path:
    """The folder of configuration files that comes with the package.

    In a checkout it is a link to ``configs/`` at the top of the repository.
    """
    return Path(__file__).parent / "configs"


class Strict(BaseModel):
    """A frozen value that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Autoscaling(Strict):
    """Replicas of one model.

    Attributes:
        min_replicas: Fewest replicas; 0 lets the model go when nobody asks for it.
        max_replicas: Most replicas.
        target_ongoing_requests: Requests per replica that autoscaling aims at. None derives it
            from the batch size: a batch on the device and half of one that waits.
        upscale_delay_s: Seconds of sustained load before a replica is added.
        downscale_delay_s: Seconds of sustained calm before a replica is removed.
        look_back_period_s: Seconds over which the number of requests is averaged.
    """

    min_replicas: Annotated[int, Field(ge=0)] = 1
    max_replicas: Annotated[int, Field(ge=1)] = 1
    target_ongoing_requests: Annotated[float, Field(gt=0)] | None = None
    upscale_delay_s: Annotated[float, Field(ge=0)] = 10.0
    downscale_delay_s: Annotated[float, Field(ge=0)] = 300.0
    look_back_period_s: Annotated[float, Field(gt=0)] = 30.0

    @model_validator(mode="after")
    def _ordered(self) -> "Autoscaling":
        if self.min_replicas > self.max_replicas:
            raise ValueError("min_replicas is above max_replicas")
        return self


class ModelSpec(Strict):
    """What of a model is fixed for the life of a replica.

    Attributes:
        implementation: Import path ``package.module:Class`` of a ``SegmentationModel``.
        description: One line for people.
        device: Device of the network. ``cuda`` is whatever GPU Ray assigns.
        input_size: Side S in pixels of the square that the network sees.
        preset: Name of the resize and normalisation (``deployments.inference.images``).
        cpu_fallback: Whether an image that does not fit a GPU even alone is run on the CPU.
        threads: CPU threads of one device call; None takes every core that the process may use,
            or as many as its container's limit allows.
        engine: What runs the network. ``auto`` is OpenVINO on the CPU for the networks that
            come with us, torch otherwise.
        precision: Arithmetic of the network. ``auto`` goes below float32 only where the
            hardware is made for it and the weights were calibrated to give the same masks.
    """

    implementation: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]
    description: str = ""
    device: Literal["cpu", "cuda"] = "cpu"
    input_size: Annotated[int, Field(ge=32, le=8192)] = 1024
    preset: str = "spheroseg-2025-08"
    cpu_fallback: bool = False
    threads: Annotated[int, Field(ge=1)] | None = None
    engine: EngineName = "auto"
    precision: RequestedPrecision = "auto"


class Tunables(Strict):
    """What of a model changes without a restart: the ``user_config`` of its deployment.

    Attributes:
        weights: Path of a safetensors file; ``package:NAME`` is one that comes with us. None
            serves an untrained network, and every output says so.
        widths: Widths of an untrained network; a weight file brings its own.
        threshold: Threshold that is recommended to clients.
        max_batch_size: Most images in one device call.
        batch_wait_ms: Milliseconds that a batch waits for company, where the one before had some.
        memory_limit_mb: Memory in MiB on top of the loaded network; None for no limit.
        memory_reserve_percent: Part of the replica's share of a GPU that stays free.
    """

    weights: str | None = None
    widths: dict[str, int | list[int]] = {}
    threshold: Annotated[float, Field(ge=0.1, le=0.9)] = 0.5
    max_batch_size: Annotated[int, Field(ge=1)] = 1
    batch_wait_ms: Annotated[float, Field(ge=0)] = 5.0
    memory_limit_mb: Annotated[float, Field(gt=0)] | None = None
    memory_reserve_percent: Annotated[float, Field(ge=0, lt=100)] = 15.0

    @property
    def weights_path(self) -> Path | None:
        """The weight file on this machine."""
        if self.weights is None:
            return None
        kind, _, name = self.weights.partition(":")
        return PACKAGE_WEIGHTS / name if kind == "package" else Path(self.weights)


class ModelConfig(ModelSpec):
    """One model of a profile, as models.yaml has it after merging.

    Attributes:
        max_surge_percent: Replicas that may start beside the old ones when a change replaces
            them, in percent. Where the cluster has no room for them the change never ends.
    """

    weights: str | None = None
    widths: dict[str, int | list[int]] = {}
    threshold: Annotated[float, Field(ge=0.1, le=0.9)] = 0.5
    num_cpus: Annotated[float, Field(ge=0)] = 1.0
    num_gpus: Annotated[float, Field(ge=0)] = 0.0
    max_surge_percent: Annotated[int, Field(ge=0, le=100)] = 0
    autoscaling: Autoscaling = Autoscaling()

    def spec(self) -> ModelSpec:
        """The structural part."""
        return ModelSpec(**{name: getattr(self, name) for name in ModelSpec.model_fields})

    def weights_and_widths(self) -> Tunables:
        """What of the tunables decides which network is built."""
        return Tunables(weights=self.weights, widths=self.widths)

    def tunables(self, sizes: BatchSizes, name: str) -> Tunables:
        """The part that travels in ``user_config``."""
        size = sizes.of(name)
        return Tunables(
            weights=self.weights,
            widths=self.widths,
            threshold=self.threshold,
            max_batch_size=size.optimal_batch_size,
            batch_wait_ms=sizes.dynamic_batching.max_queue_delay_ms,
            memory_limit_mb=size.memory_limit_mb,
            memory_reserve_percent=sizes.memory_reserve_percent,
        )


class Profile(Strict):
    """The models of one profile and their batch sizes."""

    name: str
    device: Literal["cpu", "cuda"]
    models: dict[str, ModelConfig]
    batch_sizes: BatchSizes


class _ProfileEntry(Strict):
    device: Literal["cpu", "cuda"]
    defaults: dict[str, object] = {}
    models: dict[str, dict[str, object]]


class _ModelsFile(Strict):
    models: dict[str, dict[str, object]]
    profiles: dict[str, _ProfileEntry]


def load_profile(
    directory: Path, name: str, environment: Mapping[str, str] = os.environ
) -> Profile:
    """Read ``models.yaml`` and ``batch_sizes.json`` of a folder.

    Args:
        directory: The folder of configuration files.
        name: Name of the profile.
        environment: Values of the variables ``${NAME}``.

    Raises:
        ConfigurationError: A file is missing, a key is unknown or a value out of range; the
            sentence names it.
    """
    path = directory / "models.yaml"
    try:
        text = _expand(path.read_text(encoding="utf-8"), environment)
        parsed = _ModelsFile.model_validate(yaml.safe_load(text))
        if name not in parsed.profiles:
            known = ", ".join(sorted(parsed.profiles))
            raise ConfigurationError(f"{path}: no profile '{name}'; there are: {known}")
        entry = parsed.profiles[name]
        shared = {"device": entry.device, **entry.defaults}
        models = {
            model: ModelConfig.model_validate({**parsed.models.get(model, {}), **shared, **own})
            for model, own in entry.models.items()
        }
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path} is not YAML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"{path}: {where}: {first['msg']}") from error
    sizes = load_batch_sizes(directory / "batch_sizes.json", models)
    return Profile(name=name, device=entry.device, models=models, batch_sizes=sizes)


def _expand(text: str, environment: Mapping[str, str]) -> str:
    """Replace ``${NAME}`` by the variable, where it is set.

    An unset one stays as it is and is refused when its file is opened, so that a profile that
    is not used needs no variables.
    """
    return re.sub(r"\$\{(\w+)\}", lambda match: environment.get(match[1], match[0]), text)
