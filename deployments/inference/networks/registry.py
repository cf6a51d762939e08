"""The networks by name: how to build them, and which input sizes they accept."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from torch import Tensor, nn

from deployments.errors import ConfigurationError, WeightsError
from deployments.inference.networks.hrnet import HRNet, HRNetWidths
from deployments.inference.networks.resunet_advanced import ResUNetAdvanced, ResUNetAdvancedWidths
from deployments.inference.networks.resunet_small import ResUNetSmall, ResUNetSmallWidths
from deployments.inference.networks.widths import Widths


def _first_error(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}"


@dataclass(frozen=True)
class NetworkSpec:
    """One network.

    Attributes:
        name: The name of models.yaml and of weight files.
        widths: Class of its width parameters.
        network: Class of the module, called with an instance of ``widths``.
    """

    name: str
    widths: type[Widths]
    network: Callable[[Any], nn.Module]

    def parse_widths(self, widths: Mapping[str, object]) -> Widths:
        """Check width parameters; absent ones take the reference width.

        Raises:
            ConfigurationError: An unknown name or a value that makes no network.
        """
        try:
            return self.widths.model_validate(dict(widths))
        except ValidationError as error:
            raise ConfigurationError(f"widths of {self.name}: {_first_error(error)}") from error

    def build(self, widths: Mapping[str, object]) -> nn.Module:
        """Return the untrained network; under ``torch.device("meta")`` it takes no memory.

        Raises:
            ConfigurationError: The widths do not make a network.
        """
        return self.network(self.parse_widths(widths))


NETWORKS: Mapping[str, NetworkSpec] = {
    spec.name: spec
    for spec in (
        NetworkSpec("hrnet", HRNetWidths, HRNet),
        NetworkSpec("resunet_small", ResUNetSmallWidths, ResUNetSmall),
        NetworkSpec("resunet_advanced", ResUNetAdvancedWidths, ResUNetAdvanced),
    )
}


def get_network(name: str) -> NetworkSpec:
    """Return the network of that name.

    Raises:
        ConfigurationError: There is none.
    """
    if name not in NETWORKS:
        raise ConfigurationError(f"unknown network {name!r}; known are {', '.join(NETWORKS)}")
    return NETWORKS[name]


def check_input_size(network: str, size: int, widths: Mapping[str, object] | None = None) -> None:
    """Refuse a side of the square input, in pixels, that the network cannot answer.

    Args:
        network: Name of the network.
        size: Side of the input.
        widths: Width parameters. They matter for resunet_small, whose number of levels is
            one of them.

    Raises:
        ConfigurationError: The size is too small or not the multiple that is needed.
    """
    parsed = get_network(network).parse_widths(widths or {})
    multiple, minimum = parsed.size_multiple, parsed.minimum_size
    if size >= minimum and size % multiple == 0:
        return
    kind = f"a multiple of {multiple} and " if multiple > 1 else ""
    raise ConfigurationError(
        f"{network} needs an input size that is {kind}at least {minimum} pixels, not {size}"
    )


def identify_network(state_dict: Mapping[str, Tensor]) -> str:
    """Tell by its keys which network a state dict belongs to.

    Raises:
        WeightsError: None of ours.
    """
    for spec in NETWORKS.values():
        if spec.widths.signature in state_dict:
            return spec.name
    raise WeightsError(f"the keys belong to none of {', '.join(NETWORKS)}")


def infer_widths(network: str, state_dict: Mapping[str, Tensor]) -> dict[str, int | list[int]]:
    """Read the width parameters off the shapes of a state dict.

    Raises:
        ConfigurationError: No network of that name.
        WeightsError: A key that fixes a width is missing, or the widths make no network.
    """
    spec = get_network(network)
    shapes = {key: tensor.shape for key, tensor in state_dict.items()}
    try:
        return spec.widths.from_shapes(shapes).model_dump(mode="json")
    except KeyError as error:
        raise WeightsError(f"weights of {network} lack the key {error}") from error
    except ValidationError as error:
        raise WeightsError(f"weights of {network}: {_first_error(error)}") from error
