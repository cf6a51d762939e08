from typing import Any

import httpx
import pytest

from tests.serve_app.conftest import ClientFactory

SQUARE = [[0, 0], [100, 0], [100, 100], [0, 100]]
HOLE = [[20, 20], [40, 20], [40, 40], [20, 40]]
CALCULATE = "/api/calculate-metrics"
BATCH = "/api/batch-calculate-metrics"
INFO = "/api/metrics-info"
NAMES = {
    "Area",
    "Perimeter",
    "PerimeterWithHoles",
    "EquivalentDiameter",
    "Circularity",
    "FeretDiameterMax",
    "FeretDiameterMaxOrthogonalDistance",
    "FeretDiameterMin",
    "FeretAspectRatio",
    "LengthMajorDiameterThroughCentroid",
    "LengthMinorDiameterThroughCentroid",
    "Compactness",
    "Convexity",
    "Solidity",
    "Sphericity",
    "Extent",
    "BoundingBoxWidth",
    "BoundingBoxHeight",
}


async def test_all_18_fields(client: httpx.AsyncClient) -> None:
    answer = await client.post(CALCULATE, json={"contour": SQUARE, "holes": [HOLE]})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    fields = answer.json()
    assert fields.keys() == NAMES
    assert all(isinstance(value, float) for value in fields.values())
    assert fields["Area"] == 100 * 100 - 20 * 20


async def test_holes_are_optional(client: httpx.AsyncClient) -> None:
    answer = await client.post(CALCULATE, json={"contour": SQUARE})
    assert answer.json()["Area"] == 10_000


async def test_batch_answers_in_order_and_zeros_for_what_is_no_polygon(
    client: httpx.AsyncClient,
) -> None:
    contours = [{"contour": SQUARE}, {"contour": SQUARE[:2]}, {"contour": HOLE}]
    answer = await client.post(BATCH, json=contours)
    assert answer.status_code == 200
    first, second, third = answer.json()
    assert (first["Area"], third["Area"]) == (10_000, 400)
    assert second == dict.fromkeys(NAMES, 0.0)


@pytest.mark.parametrize("path", [CALCULATE, BATCH])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b'"text"',
        b'{"holes": []}',
        b'{"contour": [[0, 0, 0], [1, 1, 1], [2, 0, 0]]}',
        b'{"contour": [["a", 0], [1, 1], [2, 0]]}',
        b'{"contour": [[NaN, 0], [1, 1], [2, 0]]}',
        b'{"contour": [[1e999, 0], [1, 1], [2, 0]]}',
    ],
)
async def test_wrong_json_is_422_with_a_list(
    client: httpx.AsyncClient, path: str, body: bytes
) -> None:
    answer = await client.post(
        path, content=body if path == CALCULATE else b"[%b]" % (body or b"1")
    )
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"][0] == "body"


async def test_two_points_are_no_polygon(client: httpx.AsyncClient) -> None:
    answer = await client.post(CALCULATE, json={"contour": SQUARE[:2]})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "contour"]


async def test_list_of_errors_is_short(client: httpx.AsyncClient) -> None:
    answer = await client.post(CALCULATE, json={"contour": [["a", "b"]] * 1000})
    assert len(answer.json()["detail"]) == 20


async def compactness(client: httpx.AsyncClient, **query: str) -> Any:
    answer = await client.post(CALCULATE, json={"contour": SQUARE}, params=query)
    return answer.json()["Compactness"]


async def test_convention(client_for: ClientFactory) -> None:
    """Compactness is at least 1 by the formulas of 2026, at most 1 by those of 2025."""
    assert await compactness(client_for()) > 1
    assert await compactness(client_for(), convention="2025") < 1
    assert await compactness(client_for(metrics_convention="2025")) < 1
    assert await compactness(client_for(metrics_convention="2025"), convention="2026") > 1


@pytest.mark.parametrize(("method", "path"), [("POST", CALCULATE), ("POST", BATCH), ("GET", INFO)])
async def test_unknown_convention_is_422(client: httpx.AsyncClient, method: str, path: str) -> None:
    answer = await client.request(method, path, params={"convention": "2024"})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["query", "convention"]


async def test_info_describes_every_field(client: httpx.AsyncClient) -> None:
    answer = (await client.get(INFO)).json()
    assert answer.keys() == {"metrics", "units", "version"}
    assert answer["metrics"].keys() == NAMES
    assert all(isinstance(text, str) for text in answer["metrics"].values())


async def test_info_follows_the_convention(client: httpx.AsyncClient) -> None:
    old = (await client.get(INFO, params={"convention": "2025"})).json()
    new = (await client.get(INFO)).json()
    assert old["metrics"]["Compactness"] != new["metrics"]["Compactness"]
