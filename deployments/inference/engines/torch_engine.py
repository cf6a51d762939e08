"""The reference engine: PyTorch in eager mode, fp32."""

import gc

import numpy as np
import torch
from torch import nn

from deployments.inference.images.transforms import Preset
from deployments.inference.types import UInt8Array


class TorchEngine:
    """Runs a network that maps normalised float32 (N, 3, S, S) to logits (N, 1, S, S).

    Args:
        network: The network with its weights loaded.
        preset: Its normalisation, applied on the device.
        device: ``cpu``, or ``cuda:N`` as Ray assigned it.
        threads: CPU threads of one call. Ray sets OMP_NUM_THREADS=1 in replicas, so torch is
            told here.
    """

    def __init__(self, network: nn.Module, preset: Preset, device: str, threads: int) -> None:
        torch.set_num_threads(threads)
        self.device = device
        self.device_name = (
            torch.cuda.get_device_name(device) if device.startswith("cuda") else "CPU"
        )
        self._network = network.to(device).eval().requires_grad_(False)
        shape = (1, 3, 1, 1)
        self._mean = torch.tensor(preset.mean, device=device).reshape(shape)
        self._scale = 1.0 / (255.0 * torch.tensor(preset.std, device=device).reshape(shape))
        self._offset = self._mean * 255.0

    @torch.inference_mode()
    def run(self, batch: UInt8Array) -> UInt8Array:
        """Make one device call; see ``Engine.run``."""
        side = batch.shape[1]
        pixels = torch.from_numpy(np.ascontiguousarray(batch)).to(self.device)
        images = pixels.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
        images = (images - self._offset).mul_(self._scale)
        logits = self._network(images)
        # HRNet answers larger than it was asked where a side is no multiple of 4.
        probability = torch.sigmoid(logits[:, 0, :side, :side].float())
        maps: UInt8Array = probability.mul_(255.0).round_().to(torch.uint8).cpu().numpy()
        return maps

    def release(self) -> None:
        """Give cached memory back to the device."""
        gc.collect()
        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()
