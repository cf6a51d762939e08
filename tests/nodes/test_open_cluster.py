"""A cluster whose Ray lets everybody in serves nothing, also where ``serve deploy`` deploys."""

import copy
from collections.abc import Iterator

import pytest

from tests.nodes.cluster import Nodes, messages, running_nodes
from tests.nodes.conftest import site_folder

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def open_head(namespaces: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """A head without token, and no worker: applications are built on any node."""
    with running_nodes(site_folder(tmp_path_factory), workers=0, open_to_all=True) as running:
        yield running


def test_the_applications_are_refused(open_head: Nodes) -> None:
    open_head.deploy(open_head.config)
    open_head.wait_until("DEPLOY_FAILED")
    said = messages(open_head.status())
    for application in ("inference", "jobs"):
        assert f"{open_head.head.address}:6379 asks for no token" in said[application]
        assert "SPHEROSERVE_ALLOW_OPEN_CLUSTER=true" in said[application]


def test_unless_somebody_says_that_this_is_meant(open_head: Nodes) -> None:
    config = copy.deepcopy(open_head.config)
    for application in config["applications"]:
        application["args"]["exposure"]["allow_open_cluster"] = True
    open_head.deploy(config)
    # Built, and waiting for a worker.
    models = {"ingress", "hrnet", "resunet_small", "resunet_advanced"}
    open_head.wait_for(lambda states: set(states["inference"]["deployments"]) == models, 60)
    assert open_head.status()["inference"]["status"] == "DEPLOYING"
