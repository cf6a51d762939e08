"""The least time that a GPU could take: arithmetic alone, at the speed of its data sheet."""

GFLOP = {"hrnet": 746, "resunet_small": 1116, "resunet_advanced": 3771}
"""Of one image of 1024 x 1024 pixels at full width; two for each multiplication and addition."""

_TFLOPS = {
    "NVIDIA A100-SXM4-80GB": 312,
    "NVIDIA H100 80GB HBM3": 989,
    "NVIDIA H200": 989,
}
"""Dense bfloat16, by NVIDIA's data sheets."""


def least_seconds(device: str, model: str) -> float | None:
    """Seconds of one image; None for a GPU that is not listed."""
    speed = _TFLOPS.get(device)
    return GFLOP[model] / 1000 / speed if speed else None
