"""The rendered RayService on several nodes: deployed, changed, rolled, rolled back, halved.

The tests build on one another: each finds the cluster as the one before left it.
"""

import httpx
import pytest

from tests.nodes import phases
from tests.nodes.asking import JOB_IMAGES, MODEL
from tests.nodes.cluster import Nodes

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("deployed")]


def test_every_worker_answers_through_its_own_ingress(deployed: phases.Facts) -> None:
    # An image, its polygons, and 401 for who has no key.
    assert deployed["answers"] == {"worker-1": (200, 1, 401), "worker-2": (200, 1, 401)}
    assert deployed["ingresses"] == [1, 1]


def test_pods_are_alive_and_ready(nodes: Nodes) -> None:
    for pod in (nodes.head, *nodes.workers):
        pod.wait_until("livenessProbe")
        pod.wait_until("readinessProbe")
    assert set(nodes.proxies().values()) == {"HEALTHY"}


def test_the_head_has_no_replica(nodes: Nodes) -> None:
    for application, names in (("inference", phases.DEPLOYMENTS), ("jobs", ("jobs", "notifier"))):
        for name in names:
            found = {replica.node for replica in nodes.replicas(name, application)}
            assert found
            assert nodes.head.address not in found


def test_pods_have_files_of_their_own_and_a_root_that_nobody_writes(nodes: Nodes) -> None:
    first, second = nodes.workers
    assert first.execute(["touch", "/tmp/mark", "/dev/shm/mark"]).returncode == 0
    assert second.execute(["ls", "/tmp/mark"]).returncode != 0
    assert second.execute(["ls", "/dev/shm/mark"]).returncode != 0
    for folder in ("/", "/usr", "/etc"):
        assert "Read-only" in first.execute(["touch", f"{folder}/mark"]).stderr


def test_strangers_get_nothing_from_ray(nodes: Nodes) -> None:
    url = f"http://{nodes.head.address}:8265/api/serve/applications/"
    assert httpx.get(url).status_code == 401
    assert httpx.get(url, headers={"Authorization": "Bearer x"}).status_code == 403


async def test_a_batch_size_reaches_the_running_replicas(nodes: Nodes) -> None:
    seen = await phases.change_batch_size(nodes, 5)
    assert seen["statuses"] == [200]
    assert 1 < seen["largest_batch"] <= 5
    assert seen["same_replicas"]


@pytest.mark.long
async def test_new_weights_cost_no_request(nodes: Nodes) -> None:
    seen = await phases.roll_weights(nodes)
    assert seen["lost"] == 0
    assert seen["same_replicas"]


@pytest.mark.long
async def test_damaged_weights_leave_the_old_ones_serving(nodes: Nodes) -> None:
    seen = await phases.roll_back(nodes)
    assert seen["lost"] == 0
    assert seen["served_meanwhile"] == phases.GOOD
    assert f"{phases.BAD} is damaged" in seen["service_says"]
    assert seen["same_replicas"]


async def test_the_loss_of_a_worker_costs_what_its_ingress_was_answering(nodes: Nodes) -> None:
    seen = await phases.kill_worker(nodes)
    assert MODEL in seen["hosted"]
    assert seen["lost_otherwise"] == []
    # As many as its clients had under way.
    assert seen["lost_in_flight_on_it"] <= phases.CLIENTS_PER_WORKER
    assert seen["answered_through_the_other"] > 0
    assert seen["job"] == {"state": "succeeded", "done": JOB_IMAGES}
