import asyncio
from typing import Any

import httpx

from deployments.errors import InvalidImage, Overloaded
from tests.serve_app.conftest import ClientFactory
from tests.serve_app.fakes import SQUARE, FakeService, segmentation

PATH = "/api/v1/batch-segment"


async def post(client: httpx.AsyncClient, *contents: bytes, **fields: str) -> httpx.Response:
    files = [("files", (f"image-{n}.tif", data)) for n, data in enumerate(contents)]
    return await client.post(PATH, files=files, data=fields)


async def test_answer_has_the_fields_of_the_contract(
    client: httpx.AsyncClient, service: FakeService
) -> None:
    service.answers[b"bad"] = InvalidImage("not an image")
    answer = await post(client, b"good", b"bad", threshold="0.4")
    assert answer.status_code == 200
    body = answer.json()
    assert isinstance(body.pop("processing_time"), float)
    echo = {"model_used": "hrnet", "threshold_used": 0.4}
    assert body == {
        "success": True,
        "batch_size": 2,
        "successful_count": 1,
        "failed_count": 1,
        "total_polygons": 1,
        **echo,
        "results": [
            {
                "filename": "image-0.tif",
                "batch_index": 0,
                "success": True,
                **echo,
                "image_size": {"width": 320, "height": 200},
                "polygons": [SQUARE],
                "processing_info": {
                    "device": "cuda:0",
                    "num_polygons": 1,
                    "confidence_scores": [0.75],
                    "batch_size": 4,
                },
            },
            {
                "filename": "image-1.tif",
                "batch_index": 1,
                "success": False,
                "error": "not an image",
                "polygons": [],
                **echo,
            },
        ],
    }


async def test_results_stand_in_upload_order_whatever_fails(
    client: httpx.AsyncClient, service: FakeService
) -> None:
    contents = [bytes([n]) for n in range(8)]
    service.answers = {data: segmentation(count=n) for n, data in enumerate(contents)}
    service.answers[contents[2]] = InvalidImage("third")
    service.answers[contents[5]] = Overloaded("sixth")
    body = (await post(client, *contents, model="hrnet")).json()
    assert [item["batch_index"] for item in body["results"]] == list(range(8))
    assert [item["filename"] for item in body["results"]] == [f"image-{n}.tif" for n in range(8)]
    assert [len(item["polygons"]) for item in body["results"]] == [0, 1, 0, 3, 4, 0, 6, 7]
    assert [item.get("error") for item in body["results"] if not item["success"]] == [
        "third",
        "sixth",
    ]
    assert (body["successful_count"], body["failed_count"]) == (6, 2)
    assert body["total_polygons"] == 21


async def test_all_failed_is_still_200(client: httpx.AsyncClient, service: FakeService) -> None:
    service.answers[b"bad"] = InvalidImage("no")
    answer = await post(client, b"bad", b"bad")
    assert answer.status_code == 200
    assert (answer.json()["success"], answer.json()["failed_count"]) == (True, 2)


async def test_files_run_at_the_same_time(client: httpx.AsyncClient, service: FakeService) -> None:
    service.held.clear()
    running = asyncio.create_task(post(client, b"a", b"b", b"c"))
    async with asyncio.timeout(5):
        for _ in range(3):
            await service.started.acquire()
    service.held.set()
    assert (await running).json()["successful_count"] == 3


async def test_unexpected_errors_stay_in_their_item_and_hide_their_text(
    client: httpx.AsyncClient, service: FakeService
) -> None:
    service.answers[b"bug"] = KeyError("/secret/path")
    service.answers[b"gone"] = asyncio.CancelledError()
    answer = await post(client, b"good", b"bug", b"gone")
    assert answer.status_code == 200
    assert "/secret/path" not in answer.text
    good, bug, gone = answer.json()["results"]
    assert good["success"] is True
    assert bug["error"].startswith("Internal error (id: ")
    assert gone["error"].startswith("Internal error (id: ")


async def test_more_files_than_the_model_allows(
    client: httpx.AsyncClient, service: FakeService
) -> None:
    answer = await post(client, *[b"x"] * 17, model="hrnet")
    assert answer.status_code == 400
    assert answer.json() == {"detail": "Batch size for hrnet model cannot exceed 16 images"}
    assert service.calls == []


async def test_more_files_than_any_request_may_have(client_for: ClientFactory) -> None:
    answer = await post(client_for(max_files=2), b"x", b"y", b"z")
    assert answer.status_code == 400
    assert answer.json() == {"detail": "body: more than 2 files."}


async def test_unknown_model(client: httpx.AsyncClient) -> None:
    answer = await post(client, b"x", model="unet")
    assert answer.status_code == 400
    assert isinstance(answer.json()["detail"], str)


async def test_no_files_is_422(client: httpx.AsyncClient) -> None:
    answer = await client.post(PATH, files={"file": ("a.png", b"image")})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "files"]


async def test_text_among_the_files_is_422(client: httpx.AsyncClient) -> None:
    answer = await client.post(PATH, files=[("files", (None, "text")), ("files", ("a", b"x"))])
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "files", 0]


async def test_file_that_is_too_large_fails_alone(
    client_for: ClientFactory, service: FakeService
) -> None:
    answer = await post(client_for(max_file_bytes=10), b"small", b"x" * 11, b"y" * 10)
    assert answer.status_code == 200
    body = answer.json()
    assert [item["success"] for item in body["results"]] == [True, False, True]
    assert body["results"][1]["error"] == "files: larger than the limit of 10 bytes."
    assert [call[0] for call in service.calls] == [b"small", b"y" * 10]


async def test_deadline_fails_only_what_is_not_done(
    client_for: ClientFactory, service: FakeService
) -> None:
    async def segment(data: bytes, *arguments: Any) -> object:
        if data == b"slow":
            await asyncio.Event().wait()
        return segmentation()

    service.segment = segment  # type: ignore[method-assign, assignment]
    answer = await post(client_for(request_timeout_seconds=1), b"quick", b"slow")
    assert answer.status_code == 200
    quick, slow = answer.json()["results"]
    assert quick["success"] is True
    assert slow["error"] == "Not answered within 1 seconds."
