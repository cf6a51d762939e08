"""What operators and Prometheus are told, on a real job store and faked models."""

import json
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from deployments.jobs.store import JobStore
from serve_app.api_keys import digest_of, new_key
from serve_app.routes import create_app
from serve_app.settings import Settings
from tests.serve_app.fakes import FakeService
from tests.serve_app.local_jobs import LocalJobs

ClientFactory = Callable[..., httpx.AsyncClient]


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    store = await JobStore.open(f"sqlite:///{tmp_path}/jobs.db", str(tmp_path / "files"))
    await store.outbox.add("replica_replaced", "operator@example.org", "en", {})
    app = create_app(FakeService(busy=True), LocalJobs(store), Settings())
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        yield client
    await store.close()


def samples(text: str) -> dict[str, float]:
    """Value of every line by name and labels, the ingress left out."""
    return {
        sample.name
        + "".join(f" {k}={v}" for k, v in sample.labels.items() if k != "ingress"): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_the_overview_has_replicas_jobs_and_mails(client: httpx.AsyncClient) -> None:
    overview = (await client.get("/api/v1/overview")).json()
    assert [each["pid"] for each in overview["models"]["hrnet"]["replicas"]] == [112, 105]
    assert overview["queue_length"] == 3
    assert [each["name"] for each in overview["deployments"]] == ["hrnet", "notifier"]
    assert overview["deployments"][1]["message"] == "it died"
    assert overview["jobs"]["jobs"]["queued"] == 0
    assert overview["jobs"]["mails"]["queued"] == 1
    assert overview["jobs"]["oldest_unsent_seconds"] >= 0


async def test_a_service_without_jobs_says_so(client_for: ClientFactory) -> None:
    assert (await client_for().get("/api/v1/overview")).json()["jobs"] is None
    page = await client_for().get("/metrics")
    assert page.status_code == 200
    assert "spheroserve_jobs" not in page.text


async def test_prometheus_can_read_the_page(client: httpx.AsyncClient) -> None:
    page = await client.get("/metrics")
    assert page.headers["content-type"].startswith("text/plain")
    found = samples(page.text)
    assert found["spheroserve_requests_total model=hrnet status=200"] == 7
    assert found["spheroserve_requests_total model=other status=400"] == 1
    assert found["spheroserve_replicas model=hrnet"] == 2
    assert found["spheroserve_images_waiting model=hrnet"] == 4
    assert found["spheroserve_batch_ceiling_images model=hrnet"] == 5
    assert found["spheroserve_replica_ooms model=hrnet"] == 2
    assert found["spheroserve_device_peak_bytes model=hrnet"] == 512 * 2**20
    assert found["spheroserve_mails state=queued"] == 1
    assert found["spheroserve_jobs state=running"] == 0


async def test_every_metric_has_help(client: httpx.AsyncClient) -> None:
    text = (await client.get("/metrics")).text
    helped = set(re.findall(r"^# HELP (\w+) \w", text, re.MULTILINE))
    assert helped == set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))
    assert len(helped) > 8


@pytest.mark.parametrize("path", ["/metrics", "/api/v1/overview"])
async def test_only_operators_see_the_numbers_of_all(
    path: str, tmp_path: Path, client_for: ClientFactory
) -> None:
    user, operator = new_key(), new_key()
    keys = [
        {"name": "lab", "sha256": digest_of(user)},
        {"name": "admin", "sha256": digest_of(operator), "scope": "operator"},
    ]
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": keys}))
    client = client_for(api_keys_file=file)
    statuses = [
        (await client.get(path, headers={"X-API-Key": key})).status_code for key in (user, operator)
    ]
    assert statuses == [403, 200]
