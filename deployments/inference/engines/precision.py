"""Which arithmetic a network runs in: less than float32 only where it was shown to agree.

Half the bits are several times faster on hardware that has them, and harmless for trained
weights; for weights that were never trained the masks differ in a third of their pixels. So
each weight file records what was measured for its own weights (``calibration.measure``).
"""

from collections.abc import Mapping, Sequence
from typing import Literal

from deployments.errors import ConfigurationError

Precision = Literal["float32", "bfloat16", "float16"]
RequestedPrecision = Literal["auto", "float32", "bfloat16", "float16"]

MINIMUM_IOU = 0.99
"""Masks of two computations of one network agree where their IoU is at least this."""


def choose_precision(
    requested: RequestedPrecision,
    fast: Sequence[Precision],
    calibration: Mapping[str, float],
) -> Precision:
    """Return the precision to run in.

    Args:
        requested: What models.yaml says. A precision named there is taken as it is, agreement
            or not: it is how the speed of untrained weights is measured.
        fast: Precisions below float32 that the engine has on this hardware, best first.
        calibration: Lowest mask IoU against float32 by precision, from the weights' metadata.

    Raises:
        ConfigurationError: The requested precision does not exist here.
    """
    if requested == "auto":
        agreeing = (name for name in fast if calibration.get(name, 0.0) >= MINIMUM_IOU)
        return next(agreeing, "float32")
    if requested == "float32" or requested in fast:
        return requested
    has = ", ".join(("float32", *fast))
    raise ConfigurationError(f"precision {requested} does not exist on this device; it has {has}")
