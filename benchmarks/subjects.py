"""What is measured: each network, compact as packaged and at full width."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deployments.config import PACKAGE_WEIGHTS, ModelSpec, Tunables
from deployments.inference.engines.graph_cache import cache_directory
from deployments.inference.engines.precision import Precision, RequestedPrecision
from deployments.inference.weights_metadata import read_metadata

CLASSES = {"hrnet": "HRNet", "resunet_small": "ResUNetSmall", "resunet_advanced": "ResUNetAdvanced"}
SIZES = {"compact": 512, "full": 1024}
PLAIN = ("torch", "compile")
"""Engines that are not ours."""


@dataclass(frozen=True, slots=True)
class Subject:
    """One network on one engine.

    Attributes:
        model: Name of the network.
        variant: ``compact``, or ``full`` for the reference widths.
        engine: ``torch`` for plain PyTorch in eager mode, ``compile`` for ``torch.compile``;
            what the service runs: ``openvino``, ``cuda``, or ``auto``.
        precision: As in models.yaml.
        side: Input size S in pixels.
        device: ``cpu`` or ``cuda:N``.
    """

    model: str
    variant: str
    engine: str
    precision: RequestedPrecision
    side: int
    device: str = "cpu"

    @property
    def plain(self) -> bool:
        """Whether PyTorch runs it without an engine of ours."""
        return self.engine in PLAIN

    def spec(self) -> ModelSpec:
        """As models.yaml would have it."""
        return ModelSpec.model_validate(
            {
                "implementation": f"deployments.inference.models:{CLASSES[self.model]}",
                "input_size": self.side,
                "device": self.device.partition(":")[0],
                "engine": "openvino" if self.engine == "openvino" else "auto",
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


def subjects(
    model: str, variant: str, fast: Sequence[Precision], device: str = "cpu"
) -> list[Subject]:
    """The original's way and the engines to compare, for one network.

    Args:
        model: Its name.
        variant: ``compact`` or ``full``.
        fast: Precisions below float32 that the device has.
        device: ``cpu`` or ``cuda:N``.
    """
    engine = "openvino" if device == "cpu" else "cuda"
    runs: list[tuple[str, RequestedPrecision]] = [
        ("torch", "float32"),
        *((engine, precision) for precision in ("float32", *fast)),
    ]
    if device != "cpu" and fast:
        runs.append(("compile", fast[0]))
    return [Subject(model, variant, *run, SIZES[variant], device) for run in runs]
