"""Further applications beside the packaged one, for tests that need a model of their own."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import yaml

from deployments.config import load_profile
from serve_app.serve_config import render
from serve_app.settings import Settings
from tests.ray.conftest import Service


@contextlib.asynccontextmanager
async def application(
    service: Service,
    client: httpx.AsyncClient,
    folder: Path,
    name: str,
    model: dict[str, object],
    batch_size: int = 4,
    environment: dict[str, str] | None = None,
) -> AsyncIterator[str]:
    """An application with one model beside the packaged one; yields its route prefix.

    Args:
        service: The running service.
        client: A client of it.
        folder: Where the configuration is written.
        name: Name of the model and of the application.
        model: Its entry in models.yaml.
        batch_size: Its batch size.
        environment: Variables of its ingress.
    """
    defaults = {"device": "cpu", "models": {name: {"num_cpus": 0.5, **model}}}
    (folder / "models.yaml").write_text(yaml.safe_dump({"models": {}, "profiles": {"p": defaults}}))
    sizes = {name: {"optimal_batch_size": batch_size, "max_safe_batch_size": 8}}
    (folder / "batch_sizes.json").write_text(json.dumps({"batch_configurations": sizes}))
    rendered = render(load_profile(folder, "p"), Settings.from_environment(), "127.0.0.1", 8000)
    entry = {**rendered["applications"][0], "name": name, "route_prefix": f"/{name}"}
    for deployment in entry["deployments"]:
        if deployment["name"] == "ingress":
            deployment["ray_actor_options"]["runtime_env"] = {"env_vars": environment or {}}
    config = {**service.config, "applications": [*service.config["applications"], entry]}
    try:
        await asyncio.to_thread(service.cluster.deploy, config)
        async with asyncio.timeout(90):
            while (await client.get(f"/{name}/health")).status_code != 200:
                await asyncio.sleep(0.1)
        yield f"/{name}"
    finally:
        await asyncio.to_thread(service.cluster.deploy, service.config)
