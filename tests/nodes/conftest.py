"""One cluster of a head and two workers for all tests of this folder, in the order of the file."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nodes import phases
from tests.nodes.cluster import Nodes, running_nodes
from tests.nodes.network import missing


@pytest.fixture(scope="session")
def namespaces() -> None:
    """Skips where pods cannot be started."""
    reason = missing()
    if reason is not None:
        pytest.skip(f"pods need network and mount namespaces: {reason}")


@pytest.fixture(scope="module")
def nodes(namespaces: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """The cluster, without an application."""
    with running_nodes(site_folder(tmp_path_factory)) as running:
        yield running


@pytest.fixture(scope="module")
def deployed(nodes: Nodes) -> phases.Facts:
    """What was seen when the rendered configuration was deployed there."""
    return asyncio.run(phases.deploy(nodes))


def site_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder for a site."""
    return tmp_path_factory.mktemp("nodes")
