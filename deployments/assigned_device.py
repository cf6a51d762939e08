"""Which device Ray gave to a replica."""

import ray

from deployments.errors import ConfigurationError


def assigned_device(kind: str) -> str:
    """The device that Ray assigned to this replica.

    ``torch.cuda.is_available()`` says nothing about that: a replica without a GPU share sees
    every GPU of its node.

    Raises:
        ConfigurationError: A GPU is asked for and Ray assigned none.
    """
    if kind == "cpu":
        return "cpu"
    if not ray.get_gpu_ids():
        raise ConfigurationError("device cuda needs num_gpus above 0 in models.yaml")
    # Ray narrows CUDA_VISIBLE_DEVICES to the assigned GPU, which torch then calls number 0.
    return "cuda:0"
