"""Reads what ``torch.save`` wrote, and executes nothing of it."""

import pickle
from pathlib import Path

import torch
from torch import Tensor

from deployments.errors import WeightsError


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Return the state dict of a file of ``torch.save``, on the CPU.

    Nothing in the file is executed (``weights_only``).

    Raises:
        WeightsError: The file is missing, is no checkpoint, or holds objects that only its own
            code would restore.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}") from error
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path.name} is no checkpoint, or holds objects other than tensors, which are never "
            "loaded; write the weights alone: torch.save(model.state_dict(), path)"
        ) from error
    except Exception as error:
        # A damaged file raises whatever the unpickler trips over: struct.error, AssertionError...
        raise WeightsError(f"{path.name} is damaged, or no file of torch.save") from error
    for key in ("model_state_dict", "state_dict"):
        if isinstance(checkpoint, dict) and key in checkpoint:
            checkpoint = checkpoint[key]
            break
    if not isinstance(checkpoint, dict) or not checkpoint:
        raise WeightsError(f"{path.name} holds no state dict")
    for key, value in checkpoint.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise WeightsError(f"{path.name} holds no state dict: {key!r} is no tensor")
    return checkpoint
