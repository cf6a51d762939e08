import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest
import uvicorn

from serve_app.routes import create_app
from serve_app.settings import Settings
from tests.serve_app.fakes import NO_JOBS, FakeService

ClientFactory = Callable[..., httpx.AsyncClient]


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def client_for(service: FakeService) -> ClientFactory:
    """Build a client of an application with the given settings."""

    def build(**settings: object) -> httpx.AsyncClient:
        app = create_app(service, NO_JOBS, Settings(**settings))  # type: ignore[arg-type]
        return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service")

    return build


@pytest.fixture
def client(client_for: ClientFactory) -> httpx.AsyncClient:
    return client_for()


class Server(uvicorn.Server):
    """A server that tells when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = threading.Event()

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        await super().startup(sockets)  # type: ignore[arg-type]
        self.listening.set()


@pytest.fixture
def url(service: FakeService) -> Iterator[str]:
    """Address of a real server in front of the fake service."""
    with serving(service, Settings()) as address:
        yield address


@contextmanager
def serving(service: FakeService, settings: Settings) -> Iterator[str]:
    """A real server in front of the fake service; yields its address."""
    config = uvicorn.Config(create_app(service, NO_JOBS, settings), port=0, log_level="error")
    server = Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    assert server.listening.wait(30)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(30)
