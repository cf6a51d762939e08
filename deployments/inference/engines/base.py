"""What runs a network: one device call, uint8 in, uint8 out."""

from typing import Protocol

from deployments.inference.engines.precision import Precision
from deployments.inference.types import UInt8Array


class Engine(Protocol):
    """A network on a device.

    Attributes:
        name: ``torch`` or ``openvino``.
        device: ``cpu`` or ``cuda:N``.
        device_name: Name of the device for people.
        precision: Arithmetic of the network.
    """

    name: str
    device: str
    device_name: str
    precision: Precision

    def run(self, batch: UInt8Array) -> UInt8Array:
        """Make one device call. Blocks; not thread-safe.

        Args:
            batch: uint8 (N, S, S, 3) RGB.

        Returns:
            uint8 (N, S, S) probability maps, 255 = probability 1, in the order of the batch.
        """
        ...

    def release(self) -> None:
        """Give cached memory back to the device. Called after a call ran out of memory."""
        ...
