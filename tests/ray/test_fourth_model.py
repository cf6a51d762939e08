"""docs/add-a-model.md as a test: a model that lives outside our packages is served."""

import asyncio
from pathlib import Path

import httpx
import pytest

from deployments.config import load_profile
from serve_app.serve_config import render
from serve_app.settings import Settings
from tests.ray.conftest import Service
from tests.scenes import dice, encoded, painted, spheroid

pytestmark = pytest.mark.ray

MODELS_YAML = """
models:
  dark_bodies:
    implementation: dark_bodies:DarkBodies
    description: Everything darker than half
profiles:
  mine:
    device: cpu
    models:
      dark_bodies:
        input_size: 256
        num_cpus: 0.5
        widths: {steepness: 40}
"""
BATCH_SIZES = (
    '{"batch_configurations": {"dark_bodies": {"optimal_batch_size": 4, "max_safe_batch_size": 8}}}'
)


async def test_a_model_of_ones_own(
    service: Service, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    (tmp_path / "models.yaml").write_text(MODELS_YAML)
    (tmp_path / "batch_sizes.json").write_text(BATCH_SIZES)
    profile = load_profile(tmp_path, "mine")
    mine = render(profile, Settings.from_environment(), "127.0.0.1", 8000)["applications"][0]
    mine |= {"name": "mine", "route_prefix": "/mine"}
    both = {**service.config, "applications": [*service.config["applications"], mine]}
    try:
        await asyncio.to_thread(service.cluster.deploy, both)
        async with asyncio.timeout(60):
            while (await client.get("/mine/health")).status_code != 200:
                await asyncio.sleep(0.1)
        image, mask = spheroid()
        files = {"file": ("a.png", encoded(image))}
        answer = (
            await client.post("/mine/api/v1/segment", data={"model": "dark_bodies"}, files=files)
        ).json()
        assert answer["model_used"] == "dark_bodies"
        assert dice(painted(answer["polygons"], mask.shape), mask) > 0.9
    finally:
        await asyncio.to_thread(service.cluster.deploy, service.config)
