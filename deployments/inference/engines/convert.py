"""From a network in PyTorch to a graph of OpenVINO: the program of a child process.

``python -m deployments.inference.engines.convert TARGET ERROR`` reads a pickled `Source` from
standard input. An error of ours is pickled into the file ERROR.
"""

import pickle
import sys
import tempfile
from pathlib import Path

import openvino
import torch

from deployments.errors import ConfigurationError, ServiceError
from deployments.inference.building import build_network
from deployments.inference.calibration_images import calibration_images, mask_iou
from deployments.inference.engines.graph import SegmentationGraph
from deployments.inference.engines.graph_cache import Source
from deployments.inference.engines.openvino_engine import OpenVinoEngine
from deployments.inference.engines.precision import MINIMUM_IOU
from deployments.inference.engines.torch_engine import TorchEngine
from deployments.inference.images.transforms import get_preset


def convert(source: Source, target: Path) -> None:
    """Convert one network and check that the result finds the same masks.

    Args:
        source: The network.
        target: The ``.xml`` to write; the weights go beside it.

    Raises:
        ConfigurationError: The network cannot be built, or the converted one does not agree.
        WeightsError: The weight file does not fit.
    """
    preset, side = get_preset(source.preset), source.input_size
    network = build_network(source.implementation, side, source.weights, source.widths)
    example = torch.zeros((1, side, side, 3), dtype=torch.uint8)
    with torch.inference_mode():
        # Torch's own check would run the network twice more; ours comes below.
        traced = torch.jit.trace(  # type: ignore[no-untyped-call]
            SegmentationGraph(network, preset), example, check_trace=False
        )
    model = openvino.convert_model(traced, input=openvino.PartialShape([-1, side, side, 3]))
    # Weights stay float32: compressed to float16 they would not be those that were trained.
    openvino.save_model(model, target, compress_to_fp16=False)
    del model, traced
    images, threads = calibration_images(side, 1), torch.get_num_threads()
    expected = TorchEngine(network, preset, threads).run(images)
    with tempfile.TemporaryDirectory() as compiled:
        engine = OpenVinoEngine(target, "float32", threads, Path(compiled))
        iou = mask_iou(expected, engine.run(images))
    if iou < MINIMUM_IOU:
        raise ConfigurationError(
            f"{source.implementation} converted for OpenVINO finds other masks than in torch "
            f"(IoU {iou:.3f}); set 'engine: torch'"
        )


def main() -> None:
    """Convert what standard input names."""
    target, error_file = map(Path, sys.argv[1:])
    source: Source = pickle.loads(sys.stdin.buffer.read())
    try:
        convert(source, target)
    except ServiceError as error:
        error_file.write_bytes(pickle.dumps(error))


if __name__ == "__main__":
    main()
