from collections.abc import Callable

import httpx
import pytest

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
