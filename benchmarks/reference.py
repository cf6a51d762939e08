"""The user's own figures of the original service, as they reported them. Not measured here."""

from dataclasses import dataclass

DEVICE = "NVIDIA RTX A5000"


@dataclass(frozen=True, slots=True)
class Reference:
    """One row of their table.

    Attributes:
        model: Name for people.
        cpu_s: Seconds per image on their CPU.
        gpu_s: Seconds per image on their GPU.
        speed_up: Their ratio.
        batch: Their optimal batch size.
    """

    model: str
    cpu_s: float
    gpu_s: float
    speed_up: float
    batch: int


ROWS = (
    Reference("HRNet", 3.1, 0.064, 48.4, 12),
    Reference("ResUNet Small", 6.9, 0.088, 78.4, 3),
    Reference("ResUNet Advanced", 18.1, 0.43, 42.1, 1),
)
