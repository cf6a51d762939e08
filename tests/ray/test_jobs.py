"""Jobs through the whole service."""

import asyncio
import io
import zipfile

import httpx
import orjson
import pytest

from tests.ray.jobs import (
    JOBS,
    ended,
    events,
    every_image_once,
    images,
    kill_after_first_image,
    start_job,
)
from tests.ray.processes import replica_pids
from tests.scenes import dice, painted

pytestmark = pytest.mark.ray


async def test_a_job_answers_what_single_requests_answer(client: httpx.AsyncClient) -> None:
    contents = images(1000, 3)
    job = await start_job(client, [contents[0], b"no image", *contents[1:]], threshold="0.4")
    job = await ended(client, job["id"])
    assert job["state"] == "partial"
    assert [image["state"] for image in job["images"]] == [
        *("succeeded", "failed", "succeeded", "succeeded")
    ]
    assert job["images"][1]["error"]
    response = await client.get(f"{JOBS}/{job['id']}/results")
    archive = zipfile.ZipFile(io.BytesIO(response.content))
    assert archive.testzip() is None
    assert len(archive.namelist()) == 3 + 3 + 2
    for position, data in zip((0, 2, 3), contents, strict=True):
        single = await client.post(
            "/api/v1/segment", data={"threshold": "0.4"}, files={"file": ("a.png", data)}
        )
        result = orjson.loads(archive.read(f"json/{position:04d}-{position}.json"))["result"]
        for key in ("image_size", "model_used", "threshold_used"):
            assert result[key] == single.json()[key], key
        # In half precision the outline depends a little on who shares the batch.
        shape = (result["image_size"]["height"], result["image_size"]["width"])
        masks = [painted(answer["polygons"], shape) for answer in (result, single.json())]
        assert dice(*masks) > 0.99
        by_task = await client.get(f"/api/v1/segment/{job['id']}:{position}")
        assert by_task.json()["result"] == result


async def test_a_zip_file_is_unpacked_in_a_child_process(client: httpx.AsyncClient) -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for number, content in enumerate(images(1000, 2)):
            archive.writestr(f"plate/{number}.png", content)
    response = await client.post(JOBS, files={"files": ("plate.zip", data.getvalue())})
    job = await ended(client, response.json()["id"])
    assert [image["name"] for image in job["images"]] == ["plate/0.png", "plate/1.png"]
    assert job["state"] == "succeeded"


async def test_the_same_images_again_cost_no_device_call(client: httpx.AsyncClient) -> None:
    contents = images(1100, 6)
    first = await ended(client, (await start_job(client, contents))["id"])
    before = await device_calls(client)
    again = await ended(client, (await start_job(client, contents))["id"])
    assert again["state"] == "succeeded"
    assert await device_calls(client) == before
    for position in range(6):
        results = [
            (await client.get(f"{JOBS}/{job['id']}/results/{position}")).json()["result"]
            for job in (first, again)
        ]
        assert results[0] == results[1]
    # Counted again as soon as something differs.
    other = await ended(client, (await start_job(client, contents, threshold="0.6"))["id"])
    assert other["state"] == "succeeded"
    assert await device_calls(client) > before


async def device_calls(client: httpx.AsyncClient) -> int:
    """Device calls of hrnet, once the ingress, which asks every second, has heard of all."""
    last = -1
    async with asyncio.timeout(60):
        while True:
            models = (await client.get("/api/v1/models")).json()["models"]
            now = sum(replica["device_calls"] for replica in models["hrnet"]["replicas"])
            if now == last:
                return last
            last = now
            await asyncio.sleep(2)


async def test_cancelling_lets_nothing_more_start(client: httpx.AsyncClient) -> None:
    job = await start_job(client, images(1200, 60), model="resunet_advanced")
    async for event in events(client, job["id"]):
        if event["event"] == "image":
            break
    assert (await client.delete(f"{JOBS}/{job['id']}")).status_code == 200
    job = await ended(client, job["id"])
    assert job["state"] == "cancelled"
    counts = job["counts"]
    assert counts["cancelled"] > 30
    assert counts["succeeded"] >= 1
    assert counts["cancelled"] + counts["succeeded"] == 60


async def test_events_go_on_where_they_were_cut(client: httpx.AsyncClient) -> None:
    job = await start_job(client, images(1300, 4))
    seen = []
    async for event in events(client, job["id"]):
        seen.append(event)
        if event["event"] == "image":
            break
    async for event in events(client, job["id"], int(seen[-1]["id"])):
        seen.append(event)
    # Accepted, started, four images, ended.
    assert [event["id"] for event in seen] == [str(number) for number in range(1, 8)]
    assert [event["data"].get("state") for event in seen] == [
        *("queued", "running", "succeeded", "succeeded", "succeeded", "succeeded", "succeeded")
    ]


async def test_killing_the_jobs_loses_and_repeats_nothing(client: httpx.AsyncClient) -> None:
    job = await start_job(client, images(1400, 48), headers={"Idempotency-Key": "killed"})
    before = replica_pids("jobs", "jobs")
    await kill_after_first_image(client, job["id"], "jobs", "jobs")
    # Accepted while there is no replica: the ingress waits for the next one.
    other = await start_job(client, images(1450, 2))
    await every_image_once(client, await ended(client, job["id"]))
    await every_image_once(client, await ended(client, other["id"]))
    assert replica_pids("jobs", "jobs").isdisjoint(before)
    again = await start_job(client, images(1400, 48), headers={"Idempotency-Key": "killed"})
    assert again["id"] == job["id"]


async def test_killing_the_model_costs_a_job_nothing(client: httpx.AsyncClient) -> None:
    job = await start_job(client, images(1500, 36))
    before = replica_pids("hrnet")
    await kill_after_first_image(client, job["id"], "hrnet")
    await every_image_once(client, await ended(client, job["id"]))
    assert replica_pids("hrnet").isdisjoint(before)
