"""What is measured: each network, compact as packaged and at full width."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deployments.config import PACKAGE_WEIGHTS, ModelSpec, Tunables
from deployments.inference.engines.graph_cache import cache_directory
from deployments.inference.engines.precision import RequestedPrecision
from deployments.inference.weights_metadata import read_metadata

CLASSES = {"hrnet": "HRNet", "resunet_small": "ResUNetSmall", "resunet_advanced": "ResUNetAdvanced"}
SIZES = {"compact": 512, "full": 1024}


@dataclass(frozen=True, slots=True)
class Subject:
    """One network on one engine.

    Attributes:
        model: Name of the network.
        variant: ``compact``, or ``full`` for the reference widths.
        engine: ``torch`` or ``openvino``.
        precision: As in models.yaml.
        side: Input size S in pixels.
    """

    model: str
    variant: str
    engine: str
    precision: RequestedPrecision
    side: int

    def spec(self) -> ModelSpec:
        """As models.yaml would have it."""
        return ModelSpec.model_validate(
            {
                "implementation": f"deployments.inference.models:{CLASSES[self.model]}",
                "input_size": self.side,
                "engine": self.engine,
                "precision": self.precision,
            }
        )

    def tunables(self, batch: int = 1) -> Tunables:
        """Its weights, and a batch size."""
        return Tunables(weights=str(weights(self.model, self.variant)), max_batch_size=batch)


def weights(model: str, variant: str) -> Path:
    """The weight file; that of a full-width network is made where it is missing or outdated."""
    compact = PACKAGE_WEIGHTS / f"{model}_compact.safetensors"
    if variant == "compact":
        return compact
    digest = read_metadata(compact).sha256[:16]
    path = cache_directory() / "benchmarks" / f"{model}-full-{digest}.safetensors"
    if not path.exists():
        # Imported here: a process that only runs a network must not pay for torch.
        from benchmarks.widen import widen_file

        path.parent.mkdir(parents=True, exist_ok=True)
        widen_file(compact, path, SIZES["full"])
    return path


def subjects(models: Sequence[str], variant: str, half: bool) -> list[Subject]:
    """The baseline and the engines to compare, for some networks of a variant.

    Args:
        models: Their names.
        variant: ``compact`` or ``full``.
        half: Whether this machine has fast half precision.
    """
    engines: list[tuple[str, RequestedPrecision]] = [("torch", "float32"), ("openvino", "float32")]
    if half:
        engines.append(("openvino", "bfloat16"))
    return [
        Subject(model, variant, engine, precision, SIZES[variant])
        for model in models
        for engine, precision in engines
    ]
