"""docs/add-a-model.md as a test: a model that lives outside our packages is served."""

from pathlib import Path

import httpx
import pytest

from tests.ray.applications import application
from tests.ray.conftest import Service
from tests.scenes import dice, encoded, painted, spheroid

pytestmark = pytest.mark.ray


async def test_a_model_of_ones_own(
    service: Service, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    model = {
        "implementation": "dark_bodies:DarkBodies",
        "description": "Everything darker than half",
        "input_size": 256,
        "widths": {"steepness": 40},
    }
    image, mask = spheroid()
    async with application(service, client, tmp_path, "dark_bodies", model) as mine:
        answer = (await mine.segment(encoded(image))).json()
        assert answer["model_used"] == "dark_bodies"
        assert dice(painted(answer["polygons"], mask.shape), mask) > 0.9
