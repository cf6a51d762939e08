import asyncio
import io

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.corpus import malformed_files
from tests.scenes import dice, encoded, painted, spheroid

pytestmark = pytest.mark.ray

MODELS = ["hrnet", "resunet_small", "resunet_advanced"]


@pytest.mark.parametrize("model", MODELS)
async def test_a_spheroid_is_found_where_it_is(client: httpx.AsyncClient, model: str) -> None:
    image, mask = spheroid()
    response = await client.post(
        "/api/v1/segment", data={"model": model}, files={"file": ("a.png", encoded(image))}
    )
    answer = response.json()
    assert response.status_code == 200, answer
    assert answer["image_size"] == {"width": 600, "height": 450}
    assert answer["model_used"] == model
    assert dice(painted(answer["polygons"], mask.shape), mask) > 0.9


async def test_a_batch_is_answered_in_order_with_the_bad_one_in_its_place(
    client: httpx.AsyncClient,
) -> None:
    scenes = [spheroid(seed, width=400 + 40 * seed, height=400) for seed in range(8)]
    files = [("files", (f"{n}.tif", encoded(scene[0], "TIFF"))) for n, scene in enumerate(scenes)]
    files[3] = ("files", ("broken.tif", b"II*\x00 and then nothing"))
    response = await client.post("/api/v1/batch-segment", data={"model": "hrnet"}, files=files)
    answer = response.json()
    assert response.status_code == 200
    assert (answer["successful_count"], answer["failed_count"]) == (7, 1)
    assert [item["success"] for item in answer["results"]] == [n != 3 for n in range(8)]
    for number, (item, (_, mask)) in enumerate(zip(answer["results"], scenes, strict=True)):
        assert item["batch_index"] == number
        if item["success"]:
            assert item["image_size"]["width"] == 400 + 40 * number
            assert dice(painted(item["polygons"], mask.shape), mask) > 0.85


async def test_health_answers_while_every_model_is_busy(client: httpx.AsyncClient) -> None:
    data = encoded(spheroid()[0])
    busy = [
        asyncio.create_task(
            client.post("/api/v1/segment", data={"model": model}, files={"file": ("a.png", data)})
        )
        for model in MODELS
        for _ in range(8)
    ]
    await asyncio.wait(busy, return_when=asyncio.FIRST_COMPLETED)
    health = await client.get("/health")
    status = await client.get("/api/v1/status")
    waiting = sum(not task.done() for task in busy)
    assert waiting > 0, "the models were done before the question was asked"
    assert health.json()["status"] == "healthy"
    assert health.json()["models_loaded"] == 3
    assert status.json()["is_processing"] is True
    assert {response.status_code for response in await asyncio.gather(*busy)} == {200}


async def test_requests_that_arrive_together_run_together(client: httpx.AsyncClient) -> None:
    async def counts() -> tuple[int, int]:
        models = (await client.get("/api/v1/models")).json()["models"]
        replicas = models["hrnet"]["replicas"]
        return (
            sum(replica["images"] for replica in replicas),
            sum(replica["device_calls"] for replica in replicas),
        )

    data = encoded(spheroid()[0])

    async def one_client() -> list[int]:
        sizes = []
        for _ in range(4):
            response = await client.post(
                "/api/v1/segment", data={"model": "hrnet"}, files={"file": ("a.png", data)}
            )
            sizes.append(response.json()["batch_size_used"])
        return sizes

    before = await counts()
    sizes = [
        size for sizes in await asyncio.gather(*(one_client() for _ in range(16))) for size in sizes
    ]
    assert max(sizes) <= 12
    # The counters are read every second; wait until they have all of these images.
    async with asyncio.timeout(30):
        while (after := await counts())[0] < before[0] + 64:
            await asyncio.sleep(0.1)
    images, calls = after[0] - before[0], after[1] - before[1]
    assert images == 64
    assert images / calls >= 4


async def test_malformed_files_are_refused_and_harm_nobody(client: httpx.AsyncClient) -> None:
    files = malformed_files()
    assert len(files) >= 100
    good = encoded(spheroid()[0])
    places = asyncio.Semaphore(8)

    async def send(name: str, data: bytes) -> tuple[str, int, object]:
        async with places:
            response = await client.post("/api/v1/segment", files={"file": (name, data)})
        return name, response.status_code, response.json().get("detail")

    answers = await asyncio.gather(*(send(name, data) for name, data in files))
    wrong = [answer for answer in answers if answer[1] not in {400, 413}]
    assert wrong == []
    assert all(isinstance(detail, str) and detail for _, _, detail in answers)
    response = await client.post("/api/v1/segment", files={"file": ("good.png", good)})
    assert response.status_code == 200


async def test_sixteen_bits_and_rotation_are_understood(client: httpx.AsyncClient) -> None:
    image, mask = spheroid()
    deep = io.BytesIO()
    Image.fromarray(image[..., 0].astype(np.uint16) * 257).save(deep, "TIFF")
    turned = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side
    Image.fromarray(np.rot90(image).copy()).save(turned, "JPEG", exif=exif, quality=95)
    for name, data in (("deep.tif", deep), ("turned.jpg", turned)):
        response = await client.post("/api/v1/segment", files={"file": (name, data.getvalue())})
        answer = response.json()
        assert answer["image_size"] == {"width": 600, "height": 450}, name
        assert dice(painted(answer["polygons"], mask.shape), mask) > 0.9, name


async def test_metrics_of_a_square(client: httpx.AsyncClient) -> None:
    contour = [[0, 0], [100, 0], [100, 100], [0, 100]]
    response = await client.post("/api/calculate-metrics", json={"contour": contour})
    metrics = response.json()
    assert len(metrics) == 18
    assert metrics["Area"] == 10_000
    assert metrics["Perimeter"] == pytest.approx(400)
