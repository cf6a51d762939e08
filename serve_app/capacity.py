"""How many replicas of a model one node holds, by the shares that Ray counts.

Ray never splits one replica over two GPUs: what counts is what is left on each GPU, not the sum.
Shares are packed largest first, each on the fullest GPU; Ray packs in the order in which
replicas start, so with unlike shares it may fit fewer.
"""

import math
from dataclasses import dataclass

from deployments.config import ModelConfig, Profile
from serve_app.serve_config import required_cpus

# Ray counts resources in units of 0.0001.
_UNIT = 10_000


@dataclass(frozen=True)
class Node:
    """Logical resources of one node.

    Attributes:
        cpus: Logical CPUs.
        gpus: Whole GPUs.
    """

    cpus: float
    gpus: int = 0


def replicas_that_fit(profile: Profile, name: str, node: Node) -> int:
    """Most replicas of a model on a node that also holds the fewest of every other deployment.

    Args:
        profile: The models that share the node.
        name: The model in question.
        node: An otherwise empty node.

    Returns:
        Number of replicas; 0 if not even one fits.
    """
    model = profile.models[name]
    own_cpus = model.num_cpus * max(1, model.autoscaling.min_replicas)
    fits = math.inf
    if model.num_cpus > 0:
        left = _units(node.cpus) - _units(required_cpus(profile) - own_cpus)
        fits = max(0, left // _units(model.num_cpus))
    if model.num_gpus > 0:
        free = _free_gpus(profile, name, node.gpus)
        fits = min(fits, _on_gpus(model.num_gpus, free))
    # A model that asks for nothing is limited by its own configuration alone.
    return int(fits) if math.isfinite(fits) else model.autoscaling.max_replicas


def describe_capacity(profile: Profile, node: Node) -> list[str]:
    """Say what fits a node: one line per model, a warning where autoscaling asks for more.

    Args:
        profile: The models that share the node.
        node: An otherwise empty node.
    """
    return [_describe(name, profile, node) for name in profile.models]


def _describe(name: str, profile: Profile, node: Node) -> str:
    model = profile.models[name]
    fits = replicas_that_fit(profile, name, node)
    wanted = model.autoscaling.max_replicas
    surge = max(0, fits - wanted)
    share = _share(model)
    size = f"{node.cpus:g} logical CPUs and {node.gpus} GPUs"
    if wanted > fits:
        return (
            f"warning: {name}: max_replicas is {wanted}, and {fits} of {share} fit one node of "
            f"{size} beside the other models; set max_replicas {fits} or add nodes; surge 0"
        )
    room = "no room for a second replica or a surge" if fits == 1 else f"{fits} fit"
    return f"{name}: replicas of {share} on {size}: {room} (max_replicas {wanted}, surge {surge})"


def _share(model: ModelConfig) -> str:
    if model.num_gpus > 0:
        return f"{model.num_gpus:g} GPU and {model.num_cpus:g} CPU"
    return f"{model.num_cpus:g} CPU"


def _free_gpus(profile: Profile, name: str, gpus: int) -> list[int]:
    """What is left of each GPU when the other models are packed, largest share first."""
    free = [_UNIT] * gpus
    others = [
        model.num_gpus
        for other, model in profile.models.items()
        if other != name and model.num_gpus > 0
        for _ in range(model.autoscaling.min_replicas)
    ]
    for share in sorted(others, reverse=True):
        _place(share, free)
    return free


def _on_gpus(share: float, free: list[int]) -> int:
    left, placed = list(free), 0
    while _place(share, left):
        placed += 1
    return placed


def _place(share: float, free: list[int]) -> bool:
    """Take a share from the fullest GPU that has room; False if there is none."""
    wanted = _units(share)
    if wanted >= _UNIT:
        whole = [index for index, left in enumerate(free) if left == _UNIT][: wanted // _UNIT]
        if len(whole) < wanted // _UNIT:
            return False
        for index in whole:
            free[index] = 0
        return True
    fitting = [index for index, left in enumerate(free) if left >= wanted]
    if not fitting:
        return False
    free[min(fitting, key=lambda index: free[index])] -= wanted
    return True


def _units(amount: float) -> int:
    return round(amount * _UNIT)
