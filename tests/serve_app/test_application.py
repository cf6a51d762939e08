import httpx
import pytest

from tests.serve_app.conftest import ClientFactory

PREFLIGHT = {
    "origin": "https://page.example",
    "access-control-request-method": "POST",
    "access-control-request-headers": "x-request-id",
}


async def test_any_origin_by_default(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/v1/status", headers={"origin": "https://page.example"})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers


async def test_preflight(client: httpx.AsyncClient) -> None:
    answer = await client.options("/api/v1/segment", headers=PREFLIGHT)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert answer.headers["access-control-allow-headers"] == "x-request-id"
    assert answer.headers["access-control-max-age"] == "600"


@pytest.mark.parametrize("path", ["/api/v1/segment", "/anything/else"])
async def test_plain_options(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.options(path)
    assert (answer.status_code, answer.json()) == (200, {})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-allow-methods"] == "GET, POST, OPTIONS"
    assert answer.headers["access-control-allow-headers"] == "*"
    assert answer.headers["access-control-max-age"] == "600"


async def test_listed_origins_only(client_for: ClientFactory) -> None:
    client = client_for(cors_origins="https://page.example, https://other.example")
    allowed = await client.get("/health", headers={"origin": "https://other.example"})
    assert allowed.headers["access-control-allow-origin"] == "https://other.example"
    refused = await client.get("/health", headers={"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in refused.headers
    plain = await client.options("/health")
    assert "access-control-allow-origin" not in plain.headers


async def test_errors_carry_cors_headers(client_for: ClientFactory) -> None:
    """A browser hides an answer without them from the page."""
    answer = await client_for(max_body_bytes=10, max_file_bytes=10).post(
        "/api/v1/segment",
        files={"file": ("a.png", b"x" * 100)},
        headers={"origin": "https://page.example"},
    )
    assert answer.status_code == 413
    assert answer.headers["access-control-allow-origin"] == "*"
