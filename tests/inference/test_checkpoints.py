"""Weight files: what is written is what is read, and what does not fit is named."""

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from deployments.errors import ConfigurationError, WeightsError
from deployments.inference import checkpoints
from deployments.inference.checkpoints import WeightsMetadata
from deployments.inference.networks.registry import get_network

pytestmark = pytest.mark.usefixtures("one_thread")

WIDTHS: dict[str, int | list[int]] = {"features": [4, 6]}
METADATA = WeightsMetadata(
    network="resunet_small",
    widths=WIDTHS,
    preset="imagenet",
    input_size=64,
    notes="Trained on Žižkov spheroids; CC0.",
)


def meta_network(name: str = "resunet_small", widths: object = WIDTHS) -> nn.Module:
    assert isinstance(widths, dict)
    with torch.device("meta"):
        return get_network(name).build(widths)


def trained(name: str = "resunet_small", widths: object = WIDTHS) -> dict[str, Tensor]:
    assert isinstance(widths, dict)
    torch.manual_seed(0)
    return get_network(name).build(widths).state_dict()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.safetensors"


@pytest.fixture
def pth(tmp_path: Path) -> Path:
    return tmp_path / "checkpoint.pth"


def convert(source: Path, target: Path, **options: object) -> WeightsMetadata:
    arguments: dict[str, object] = {"preset": "spheroseg-2025-08", "input_size": 64, **options}
    return checkpoints.convert(source, target, **arguments)  # type: ignore[arg-type]


def test_a_file_gives_back_what_was_saved(path: Path) -> None:
    state_dict = trained()
    saved = checkpoints.save(path, state_dict, METADATA)
    network = meta_network()
    assert checkpoints.load(path, network) == checkpoints.read_metadata(path) == saved
    assert saved == METADATA.model_copy(update={"sha256": saved.sha256})
    loaded = network.state_dict()
    assert loaded.keys() == state_dict.keys()
    assert all(torch.equal(loaded[key], state_dict[key]) for key in loaded)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_half_precision_is_half_the_size_and_float32_in_memory(path: Path) -> None:
    state_dict = trained()
    checkpoints.save(path, state_dict, METADATA)
    full = path.stat().st_size
    checkpoints.save(path, state_dict, METADATA, torch.float16)
    data = sum(tensor.nbytes for tensor in state_dict.values())
    assert full - path.stat().st_size == pytest.approx(data / 2, abs=200)
    network = meta_network()
    checkpoints.load(path, network)
    for key, tensor in network.state_dict().items():
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor, state_dict[key], rtol=1e-3, atol=1e-7)


def test_a_loaded_network_can_be_trained_and_does_not_hang_on_the_file(path: Path) -> None:
    checkpoints.save(path, trained(), METADATA)
    network = meta_network()
    checkpoints.load(path, network)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    path.write_bytes(bytes(path.stat().st_size))
    assert all(torch.equal(before[key], tensor) for key, tensor in network.state_dict().items())
    network(torch.rand(1, 3, 16, 16)).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_digest_depends_on_names_types_shapes_and_values() -> None:
    tensor = torch.arange(6.0)
    variants = [
        {"a": tensor},
        {"b": tensor},
        {"a": tensor.view(torch.int32)},
        {"a": tensor.reshape(2, 3)},
        {"a": tensor.flip(0)},
        {"a": torch.tensor(0.0)},
    ]
    assert len({checkpoints.digest(variant) for variant in variants}) == len(variants)
    one, other = torch.ones(1), torch.zeros(1)
    assert checkpoints.digest({"a": one, "b": other}) == checkpoints.digest({"b": other, "a": one})


def test_changed_tensors_are_noticed(path: Path) -> None:
    checkpoints.save(path, trained(), METADATA)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    network = meta_network()
    with pytest.raises(WeightsError, match=r"weights\.safetensors is damaged"):
        checkpoints.load(path, network)
    assert all(parameter.is_meta for parameter in network.parameters())


def test_a_file_that_does_not_fit_names_the_first_differences(path: Path) -> None:
    state_dict = trained()
    for key in [key for key in state_dict if key.startswith("downs.0.")]:
        state_dict[f"encoder.{key}"] = state_dict.pop(key)
    state_dict["final_conv.4.bias"] = torch.zeros(2)
    checkpoints.save(path, state_dict, METADATA)
    with pytest.raises(WeightsError) as raised:
        checkpoints.load(path, meta_network())
    assert str(raised.value) == (
        "weights.safetensors (resunet_small) does not fit the network; "
        "missing: downs.0.conv1.weight, downs.0.norm1.weight, downs.0.norm1.bias and 6 more; "
        "unexpected: encoder.downs.0.conv1.weight, encoder.downs.0.conv2.weight, "
        "encoder.downs.0.norm1.bias and 6 more; "
        "wrong shape: final_conv.4.bias is [2] instead of [1]"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "no safetensors file"), (b"PK\x03\x04" * 40, "no safetensors file")],
)
def test_other_files_are_refused(path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        checkpoints.read_metadata(path)
    with pytest.raises(WeightsError, match=message):
        checkpoints.load(path, meta_network())


def test_missing_file_and_missing_or_foreign_metadata_are_told_apart(path: Path) -> None:
    with pytest.raises(WeightsError, match="there is no weight file"):
        checkpoints.read_metadata(path)
    save_file(trained(), path)
    with pytest.raises(WeightsError, match="spheroserve weights convert"):
        checkpoints.read_metadata(path)
    save_file(trained(), path, {"spheroserve": '{"network": "hrnet"}'})
    with pytest.raises(WeightsError, match="metadata that this version cannot read"):
        checkpoints.load(path, meta_network())


def test_integers_are_no_weights(path: Path) -> None:
    checkpoints.save(path, trained(), METADATA)
    tensors = {key: tensor.to(torch.int32) for key, tensor in load_file(path).items()}
    save_file(tensors, path, {"spheroserve": METADATA.model_dump_json()})
    with pytest.raises(WeightsError, match="neither float32 nor float16"):
        checkpoints.load(path, meta_network())


@pytest.mark.parametrize(
    ("value", "dtype"), [(float("nan"), torch.float32), (70000.0, torch.float16)]
)
def test_values_that_are_not_finite_are_not_written(
    path: Path, value: float, dtype: torch.dtype
) -> None:
    state_dict = trained()
    state_dict["ups.0.bias"][1] = value
    with pytest.raises(WeightsError, match=r"ups\.0\.bias holds values that are not finite"):
        checkpoints.save(path, state_dict, METADATA, dtype)
    assert not path.exists()


@pytest.mark.parametrize(
    ("network", "widths"),
    [
        ("hrnet", {"base": 2, "stem": 3, "planes": 2}),
        ("resunet_small", {"features": [4, 6]}),
        ("resunet_advanced", {"features": [2, 3, 4, 8]}),
    ],
)
@pytest.mark.parametrize("wrapper", [None, "model_state_dict", "state_dict"])
def test_checkpoints_convert_without_further_words(
    pth: Path, path: Path, network: str, widths: dict[str, object], wrapper: str | None
) -> None:
    state_dict = trained(network, widths)
    optimizer = torch.optim.AdamW([nn.Parameter(torch.ones(2))])
    rest = {"optimizer_state_dict": optimizer.state_dict(), "epoch": 7, "best_iou": 0.91}
    torch.save({wrapper: state_dict, **rest} if wrapper else state_dict, pth)

    metadata = convert(pth, path)

    assert (metadata.network, metadata.widths) == (network, widths)
    assert (metadata.preset, metadata.input_size) == ("spheroseg-2025-08", 64)
    module = meta_network(network, widths)
    checkpoints.load(path, module)
    assert all(torch.equal(state_dict[key], value) for key, value in module.state_dict().items())


def test_checkpoint_of_another_form_of_the_network_is_refused(pth: Path, path: Path) -> None:
    state_dict = trained()
    state_dict["deep_outputs.0.weight"] = torch.zeros(1)
    torch.save(state_dict, pth)
    with pytest.raises(WeightsError, match=r"unexpected: deep_outputs\.0\.weight"):
        convert(pth, path)
    assert not path.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": "hrnet"}, "lack the key"),
        ({"network": "unet"}, "unknown network 'unet'"),
        ({"preset": "imagnet"}, "imagnet"),
        ({"input_size": 4}, "at least 8 pixels, not 4"),
    ],
)
def test_conversion_refuses_what_could_not_be_served(
    pth: Path, path: Path, options: dict[str, object], message: str
) -> None:
    torch.save(trained(), pth)
    with pytest.raises(ConfigurationError, match=message):
        convert(pth, path, **options)
    assert not path.exists()


class Payload:
    """Calls a function when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.target,)


def test_nothing_in_a_checkpoint_is_executed(pth: Path, path: Path, tmp_path: Path) -> None:
    victim = tmp_path / "executed"
    torch.save({"state_dict": trained(), "extra": Payload(victim)}, pth)
    with pytest.raises(WeightsError, match="objects other than tensors"):
        convert(pth, path)
    assert not victim.exists()
    pickle.loads(pickle.dumps(Payload(victim)))
    assert victim.exists(), "the payload itself works"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "holds no state dict"),
        ([torch.ones(1)], "holds no state dict"),
        ({"state_dict": None}, "holds no state dict"),
        ({"a": torch.ones(1), "lr": 0.1}, "'lr' is no tensor"),
        ({"a": torch.ones(1)}, "none of hrnet"),
    ],
)
def test_files_without_a_state_dict_are_refused(
    pth: Path, path: Path, content: object, message: str
) -> None:
    torch.save(content, pth)
    with pytest.raises(WeightsError, match=message):
        convert(pth, path)


def test_damaged_checkpoints_are_refused(pth: Path, path: Path) -> None:
    with pytest.raises(WeightsError, match="cannot be read: No such file"):
        convert(pth, path)
    torch.save(trained(), pth)
    whole = pth.read_bytes()
    for size in (0, 10, len(whole) // 2):
        pth.write_bytes(whole[:size])
        with pytest.raises(WeightsError, match=r"damaged|no checkpoint"):
            convert(pth, path)
