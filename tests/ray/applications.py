"""Further applications beside the packaged one, for tests that need a model of their own."""

import asyncio
import contextlib
import copy
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from deployments.config import load_profile
from serve_app.serve_config import render
from serve_app.settings import Settings
from tests.ray.conftest import Service


@dataclass(frozen=True)
class Application:
    """A deployed application with one model.

    Attributes:
        prefix: Its route prefix.
        name: Name of the model and of the application.
        service: The service it is part of.
        config: The configuration that was deployed.
        client: A client of the service.
    """

    prefix: str
    name: str
    service: Service
    config: dict[str, Any]
    client: httpx.AsyncClient

    async def segment(self, data: bytes, **fields: str) -> httpx.Response:
        """Send one image to the model."""
        return await self.client.post(
            f"{self.prefix}/api/v1/segment",
            data={"model": self.name, **fields},
            files={"file": ("image", data)},
        )

    async def replicas(self) -> list[dict[str, Any]]:
        """What the replicas of the model said of themselves last."""
        models = (await self.client.get(f"{self.prefix}/api/v1/models")).json()["models"]
        replicas: list[dict[str, Any]] = models[self.name]["replicas"]
        return replicas

    async def until(self, condition: Callable[[list[dict[str, Any]]], bool]) -> None:
        """Wait until the replicas say what is expected."""
        async with asyncio.timeout(90):
            while not condition(await self.replicas()):
                await asyncio.sleep(0.1)

    async def until_one(self, condition: Callable[[dict[str, Any]], bool]) -> None:
        """Wait until the first replica says what is expected.

        While Serve hands a configuration over, it may name no replica for a moment.
        """
        await self.until(lambda replicas: bool(replicas) and condition(replicas[0]))

    async def tune(self, **tunables: object) -> None:
        """Change the model's user_config."""
        config = copy.deepcopy(self.config)
        for deployment in config["applications"][-1]["deployments"]:
            if deployment["name"] == self.name:
                deployment["user_config"].update(tunables)
        await asyncio.to_thread(self.service.cluster.deploy, config)


@contextlib.asynccontextmanager
async def application(
    service: Service,
    client: httpx.AsyncClient,
    folder: Path,
    name: str,
    model: dict[str, object],
    batch_size: int = 4,
    environment: dict[str, str] | None = None,
    replica_environment: dict[str, str] | None = None,
) -> AsyncIterator[Application]:
    """An application with one model beside the packaged one.

    Args:
        service: The running service.
        client: A client of it.
        folder: Where the configuration is written.
        name: Name of the model and of the application.
        model: Its entry in models.yaml.
        batch_size: Its batch size.
        environment: Variables of its ingress.
        replica_environment: Variables of its model replicas.
    """
    defaults = {"device": "cpu", "models": {name: {"num_cpus": 0.5, **model}}}
    (folder / "models.yaml").write_text(yaml.safe_dump({"models": {}, "profiles": {"p": defaults}}))
    sizes = {name: {"optimal_batch_size": batch_size, "max_safe_batch_size": 16}}
    (folder / "batch_sizes.json").write_text(json.dumps({"batch_configurations": sizes}))
    rendered = render(load_profile(folder, "p"), Settings.from_environment(), "127.0.0.1", 8000)
    entry = {**rendered["applications"][0], "name": name, "route_prefix": f"/{name}"}
    for deployment in entry["deployments"]:
        variables = environment if deployment["name"] == "ingress" else replica_environment
        deployment["ray_actor_options"]["runtime_env"] = {"env_vars": variables or {}}
    config = {**service.config, "applications": [*service.config["applications"], entry]}
    try:
        await asyncio.to_thread(service.cluster.deploy, config)
        async with asyncio.timeout(90):
            while (await client.get(f"/{name}/health")).status_code != 200:
                await asyncio.sleep(0.1)
        running = Application(f"/{name}", name, service, config, client)
        # A model that begins with no replica has one when somebody asks for it.
        begins = next(e for e in entry["deployments"] if e["name"] == name)["autoscaling_config"]
        await running.until(lambda replicas: len(replicas) >= begins["min_replicas"])
        yield running
    finally:
        await asyncio.to_thread(service.cluster.deploy, service.config)
