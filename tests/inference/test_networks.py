"""One tester for all networks: sizes, batches, gradients, dropout, widths."""

from collections import Counter

import pytest
import torch
from torch import nn

from deployments.errors import ConfigurationError, WeightsError
from deployments.inference.networks.registry import (
    NETWORKS,
    check_input_size,
    get_network,
    identify_network,
    infer_widths,
)

NARROW: dict[str, dict[str, object]] = {
    "hrnet": {"base": 8, "stem": 16, "planes": 8},
    "resunet_small": {"features": [8, 16, 32, 64, 96]},
    "resunet_advanced": {"features": [8, 16, 32, 64]},
}
every_network = pytest.mark.parametrize("network", NETWORKS)

pytestmark = pytest.mark.usefixtures("one_thread")


def narrow_network(name: str) -> nn.Module:
    torch.manual_seed(0)
    return get_network(name).build(NARROW[name])


@every_network
def test_images_of_a_batch_do_not_influence_each_other(network: str) -> None:
    module = narrow_network(network).double().eval()
    images = torch.rand(3, 3, 64, 64, dtype=torch.float64)
    with torch.inference_mode():
        together, alone = module(images), torch.cat([module(image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-9)


@every_network
def test_gradient_reaches_every_parameter_that_is_read(network: str) -> None:
    module = narrow_network(network).train()
    module(torch.rand(2, 3, 64, 64)).square().mean().backward()
    gradients = {name: parameter.grad for name, parameter in module.named_parameters()}
    unread = {name for name, gradient in gradients.items() if gradient is None}
    expected = {"bottleneck.1.relative_position_bias_table"}
    assert unread == (expected if network == "resunet_advanced" else set())
    # A bias before an instance norm is cancelled by it.
    inert = ("last_layer.0.bias", "psi.0.bias")
    without = [
        name
        for name, gradient in gradients.items()
        if gradient is not None and not name.endswith(inert) and not gradient.any()
    ]
    assert without == []


@every_network
def test_dropout_acts_in_training_only(network: str) -> None:
    module = narrow_network(network)
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(module.eval()(image), module(image))
        same = torch.equal(module.train()(image), module(image))
    assert same == (network == "hrnet")


@pytest.mark.parametrize(
    ("network", "rates"),
    [
        ("hrnet", {}),
        # Stem, head and ten blocks; the two blocks of the bottleneck drop 1.2 times as much.
        (
            "resunet_small",
            {
                (nn.Dropout2d, 0.075): 12,
                (nn.Dropout2d, 0.15): 10,
                (nn.Dropout, 0.075): 10,
                (nn.Dropout2d, 0.09): 2,
                (nn.Dropout2d, 0.18): 2,
                (nn.Dropout, 0.09): 2,
            },
        ),
        ("resunet_advanced", {(nn.Dropout2d, 0.1): 20}),
    ],
)
def test_dropout_rates_are_those_of_the_original(
    network: str, rates: dict[tuple[type[nn.Module], float], int]
) -> None:
    dropouts = Counter(
        (type(module), round(module.p, 6))
        for module in narrow_network(network).modules()
        if isinstance(module, nn.Dropout | nn.Dropout2d)
    )
    assert dropouts == rates


@every_network
def test_smallest_input_size_is_the_one_that_is_documented(network: str) -> None:
    module = narrow_network(network).eval()
    widths = get_network(network).parse_widths(NARROW[network])
    minimum = widths.minimum_size
    check_input_size(network, minimum, NARROW[network])
    with torch.inference_mode():
        assert module(torch.rand(1, 3, minimum, minimum)).shape[-2:] == (minimum, minimum)
    below = minimum - widths.size_multiple
    with pytest.raises(ConfigurationError, match=f"at least {minimum} pixels, not {below}"):
        check_input_size(network, below, NARROW[network])
    with torch.inference_mode(), pytest.raises((ValueError, RuntimeError)):
        module(torch.rand(1, 3, below, below))


@pytest.mark.parametrize(
    ("network", "size", "multiple"),
    [("hrnet", 510, 4), ("resunet_advanced", 1000, 16), ("resunet_advanced", 1032, 16)],
)
def test_sizes_that_are_no_multiple_are_refused(network: str, size: int, multiple: int) -> None:
    with pytest.raises(ConfigurationError, match=f"a multiple of {multiple} and .* not {size}"):
        check_input_size(network, size)


def test_resunet_small_answers_odd_sizes_and_its_levels_set_the_minimum() -> None:
    module = narrow_network("resunet_small").eval()
    check_input_size("resunet_small", 75)
    with torch.inference_mode():
        assert module(torch.rand(1, 3, 75, 75)).shape == (1, 1, 75, 75)
    check_input_size("resunet_small", 16, {"features": [4, 8, 12]})
    with pytest.raises(ConfigurationError, match="at least 64"):
        check_input_size("resunet_small", 16)


@pytest.mark.parametrize(
    ("network", "widths", "message"),
    [
        ("hrnet", {"bse": 8}, "bse"),
        ("hrnet", {"base": 0}, "base"),
        ("hrnet", {"base": "8"}, "base"),
        ("hrnet", {"base": True}, "base"),
        ("resunet_small", {"features": []}, "features"),
        ("resunet_small", {"features": [1, 8]}, "features.0"),
        ("resunet_advanced", {"features": [8, 16, 32]}, "features"),
        ("resunet_advanced", {"features": [8, 16, 32, 66]}, "66 is not a multiple of 4"),
    ],
)
def test_widths_that_make_no_network_are_refused(
    network: str, widths: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"widths of {network}: .*{message}"):
        get_network(network).build(widths)


@every_network
@pytest.mark.parametrize("reference_width", [True, False])
def test_network_and_widths_are_read_off_a_state_dict(network: str, reference_width: bool) -> None:
    spec = get_network(network)
    parsed = spec.parse_widths({} if reference_width else NARROW[network])
    widths = parsed.model_dump(mode="json")
    with torch.device("meta"):
        state_dict = spec.build(widths).state_dict()
    assert identify_network(state_dict) == network
    assert infer_widths(network, state_dict) == widths


def test_foreign_state_dicts_are_refused() -> None:
    with pytest.raises(WeightsError, match="none of hrnet, resunet_small, resunet_advanced"):
        identify_network({"conv1.weight": torch.ones(1)})
    with pytest.raises(WeightsError, match=r"weights of hrnet lack the key 'stage2\.0"):
        infer_widths("hrnet", {"conv1.weight": torch.ones(1)})
    with pytest.raises(ConfigurationError, match="unknown network 'unet'; known are hrnet"):
        get_network("unet")
