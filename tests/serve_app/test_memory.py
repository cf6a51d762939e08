from collections.abc import Callable

import httpx

from tests.serve_app.fakes import FakeService


async def test_every_replica_is_listed_and_the_smallest_batch_told(
    client_for: Callable[..., httpx.AsyncClient],
) -> None:
    answer = (await client_for().get("/api/v1/memory")).json()
    assert set(answer) == {"hrnet", "resunet_small", "resunet_advanced"}
    hrnet = answer["hrnet"]
    assert hrnet["effective_batch_size"] == 5
    assert [replica["effective_batch_size"] for replica in hrnet["replicas"]] == [12, 5]
    assert hrnet["replicas"][0]["memory"]["state"] == "probing"


async def test_the_reset_reaches_the_service(
    client_for: Callable[..., httpx.AsyncClient], service: FakeService
) -> None:
    response = await client_for().post("/api/v1/memory/reset")
    assert response.status_code == 200
    assert service.forgotten == 1
