"""Limits that turn a shortage into an error of our own, before it hurts a neighbour.

Ray's fractional GPUs are bookkeeping: nothing stops a replica from taking the whole card. On a
GPU torch's caching allocator is capped at the replica's share; on CPU the kernel caps the
private memory of the process. Both fail in the allocator, where it can be caught.
"""

import resource
from collections.abc import Mapping

from deployments.errors import ConfigurationError
from deployments.inference.memory.process import read_process_memory

_MIB = 2**20


def check_gpu_shares(shares: Mapping[str, float], gpus: float = 1.0) -> None:
    """Refuse replicas that together ask for more than there is.

    Args:
        shares: GPU share of all replicas of each model, by model.
        gpus: Number of GPUs.

    Raises:
        ConfigurationError: The shares are not positive or their sum is too large; says by how
            much.
    """
    for name, share in shares.items():
        if share <= 0:
            raise ConfigurationError(f"The GPU share of {name} must be above 0, it is {share:g}")
    excess = sum(shares.values()) - gpus
    if excess > 1e-9:
        listed = ", ".join(f"{name} {share:g}" for name, share in shares.items())
        raise ConfigurationError(
            f"The GPU shares exceed the {gpus:g} GPU available by {excess:.2f}: {listed}"
        )


def gpu_fraction(share: float, reserve_percent: float) -> float:
    """The part of a GPU's memory that a replica may use.

    Args:
        share: The replica's share of the GPU, above 0 and up to 1.
        reserve_percent: Percent of that share left for the CUDA context and cuDNN's workspaces,
            which torch's allocator does not count.

    Raises:
        ConfigurationError: A value is out of range.
    """
    if not 0 < share <= 1:
        raise ConfigurationError(f"A GPU share must be above 0 and up to 1, it is {share:g}")
    if not 0 <= reserve_percent < 100:
        raise ConfigurationError(
            f"memory_reserve_percent must be from 0 up to 100, it is {reserve_percent:g}"
        )
    return share * (1 - reserve_percent / 100)


def limit_gpu_memory(device: str, share: float, reserve_percent: float) -> float:
    """Cap torch's allocator on a GPU. May be called again with another share.

    Args:
        device: ``cuda:N``.
        share: See ``gpu_fraction``.
        reserve_percent: See ``gpu_fraction``.

    Returns:
        The fraction of the device's memory that is now the cap.

    Raises:
        ConfigurationError: A value is out of range.
    """
    import torch

    fraction = gpu_fraction(share, reserve_percent)
    torch.cuda.set_per_process_memory_fraction(fraction, device)
    return fraction


class ProcessMemoryLimit:
    """A limit on the private memory of this process, as RLIMIT_DATA.

    The kernel then refuses memory and torch raises; only the soft limit is moved, so that it can
    be raised or cleared again. Threads and other libraries share the limit; see ``heap`` for what
    is kept for them.
    """

    def __init__(self) -> None:
        """Take the present private memory as the base. Create it when the model is loaded."""
        self._original, self._hard = resource.getrlimit(resource.RLIMIT_DATA)
        self._base_bytes = read_process_memory().data_bytes
        self.limit_mb: int | None = None
        """Memory above the base that may be used, None where there is no limit."""

    def set(self, limit_mb: int | None) -> None:
        """Set, move or clear the limit. Memory already in use is not taken away.

        Args:
            limit_mb: MiB above the base, None for no limit.

        Raises:
            ConfigurationError: The limit is below 1, or above the hard limit of the process.
        """
        if limit_mb is None:
            soft = self._original
        elif limit_mb < 1:
            raise ConfigurationError(f"memory_limit_mb must be above 0, it is {limit_mb}")
        else:
            soft = self._base_bytes + limit_mb * _MIB
            if self._hard != resource.RLIM_INFINITY and soft > self._hard:
                raise ConfigurationError(
                    f"memory_limit_mb {limit_mb} is above the hard limit of the process by "
                    f"{(soft - self._hard) / _MIB:.0f} MiB"
                )
        resource.setrlimit(resource.RLIMIT_DATA, (soft, self._hard))
        self.limit_mb = limit_mb
