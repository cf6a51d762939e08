"""Batches of any size from a few shapes that an engine has prepared."""

from collections.abc import Callable, Iterator

import numpy as np

from deployments.inference.types import UInt8Array


def parts(count: int) -> Iterator[int]:
    """Cut a number of images into powers of two, largest first: 13 is 8, 4 and 1.

    Padding 9 images to 16 would waste almost half of the work. Cut this way nothing is wasted,
    and a batch of N needs only log2(N) + 1 prepared shapes.

    Args:
        count: Number of images, above 0.
    """
    while count:
        part = 1 << (count.bit_length() - 1)
        yield part
        count -= part


def run_in_parts(batch: UInt8Array, run: Callable[[UInt8Array], UInt8Array]) -> UInt8Array:
    """Run a batch part by part.

    Args:
        batch: uint8 (N, S, S, 3).
        run: Maps uint8 (P, S, S, 3) to uint8 (P, S, S), P a power of two.

    Returns:
        uint8 (N, S, S), in the order of the batch.
    """
    maps = []
    start = 0
    for part in parts(len(batch)):
        maps.append(run(batch[start : start + part]))
        start += part
    return maps[0] if len(maps) == 1 else np.concatenate(maps)
