"""Samples of any type to 8 bits."""

import numpy as np
import numpy.typing as npt

from deployments.errors import InvalidImage
from deployments.inference.types import UInt8Array

_CAMERA_DEPTHS = (8, 10, 12, 14, 16)


def to_uint8(samples: npt.NDArray[np.generic], bits: int) -> UInt8Array:
    """Scale samples to 0..255. The shape is kept.

    - Up to 8 bits: the declared range is stretched to 0..255.
    - 16 bits: cameras put 10, 12 or 14 bits into 16, and ImageJ puts 8. The depth is taken as
      the smallest of 8, 10, 12, 14 and 16 bits that holds the largest sample, and the samples
      are shifted to 8. Where every sample is a multiple of 257, the file is an 8-bit image
      stretched to 16 and comes back as that.
    - Floating point: 0..1 is stretched to 0..255; samples beyond that, 32-bit integers and
      negative integers are stretched from their minimum and maximum.

    Args:
        samples: Boolean, integer or real array.
        bits: Bits per sample as declared; 12 in a uint16 array is a depth of 12.

    Raises:
        InvalidImage: A sample is not finite, or the type is none of these.
    """
    kind, size = samples.dtype.kind, samples.dtype.itemsize
    if kind == "b" or (kind == "u" and size == 1):
        return _from_8_bits(samples.astype(np.uint8, copy=False), bits)
    if kind in "ui" and size == 2 and (kind == "u" or samples.min() >= 0):
        return _from_16_bits(samples.astype(np.uint16, copy=False), bits)
    if kind in "uif":
        return _from_wide(samples)
    raise InvalidImage(f"Samples of the type {samples.dtype} are not accepted.")


def _from_8_bits(samples: UInt8Array, bits: int) -> UInt8Array:
    return samples if bits >= 8 else samples * np.uint8(255 // (2**bits - 1))


def _from_16_bits(samples: npt.NDArray[np.uint16], bits: int) -> UInt8Array:
    depth = bits
    # Row by row: the first row usually tells, and no second array of this size is made.
    if bits == 16 and any(np.any(row % 257) for row in samples):
        largest = int(samples.max()).bit_length()
        depth = min(depth for depth in _CAMERA_DEPTHS if depth >= largest)
    result = np.empty(samples.shape, np.uint8)
    return np.right_shift(samples, max(depth - 8, 0), out=result, casting="unsafe")


def _from_wide(samples: npt.NDArray[np.generic]) -> UInt8Array:
    values = samples.astype(np.float32)
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise InvalidImage("The image has samples that are no finite numbers.")
    if samples.dtype.kind == "f" and low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    values -= low
    values *= 255 / (high - low) if high > low else 0
    return np.rint(values, out=values).astype(np.uint8)
