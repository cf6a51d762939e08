import json
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from deployments.errors import ConfigurationError, RateLimited
from serve_app.api_keys import ApiKey, KeyRing, Scope, digest_of, new_key, read_keys
from serve_app.authentication import Authentication, require_operator, tenant, use_pixels
from serve_app.cli.keys import keys as keys_command
from serve_app.error_handlers import exception_handlers
from serve_app.rate_limits import Allowance, KeyAllowances

USER, OPERATOR = new_key(), new_key()
RING = KeyRing(
    [
        ApiKey(name="lab", sha256=digest_of(USER), megapixels_per_minute=10),
        ApiKey(name="admin", sha256=digest_of(OPERATOR), scope=Scope.OPERATOR),
    ]
)


async def whoami(request: Request) -> PlainTextResponse:
    if request.method == "POST":
        use_pixels(int(request.query_params.get("pixels", 0)))
    return PlainTextResponse(tenant())


async def reset(request: Request) -> PlainTextResponse:
    require_operator()
    return PlainTextResponse("done")


def client(keys: KeyRing | None) -> httpx.AsyncClient:
    app = Starlette(
        routes=[
            Route("/api/v1/whoami", whoami, methods=["GET", "POST"]),
            Route("/reset", reset, methods=["POST"]),
            Route("/health", lambda _: PlainTextResponse("healthy")),
        ],
        middleware=[Middleware(Authentication, keys=keys, retry_after=7)],
        exception_handlers=exception_handlers(7),
    )
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


@pytest.mark.parametrize(
    "headers",
    [{"Authorization": f"Bearer {USER}"}, {"X-API-Key": USER}, {"authorization": f"bearer {USER}"}],
)
async def test_a_key_in_either_header_is_known(headers: dict[str, str]) -> None:
    response = await client(RING).get("/api/v1/whoami", headers=headers)
    assert (response.status_code, response.text) == (200, "lab")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer nonsense"},
        {"Authorization": f"Basic {USER}"},
        {"X-API-Key": USER[:-1]},
    ],
)
async def test_everybody_else_gets_401(headers: dict[str, str]) -> None:
    response = await client(RING).get("/api/v1/whoami", headers=headers)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert isinstance(response.json()["detail"], str)


async def test_health_needs_no_key_and_a_service_without_keys_none_at_all() -> None:
    assert (await client(RING).get("/health")).status_code == 200
    response = await client(None).get("/api/v1/whoami")
    assert (response.status_code, response.text) == (200, "default")


async def test_only_operators_may_operate() -> None:
    async with client(RING) as http:
        assert (await http.post("/reset", headers={"X-API-Key": USER})).status_code == 403
        assert (await http.post("/reset", headers={"X-API-Key": OPERATOR})).status_code == 200
    assert (await client(None).post("/reset")).status_code == 200


async def test_pixels_are_counted_against_the_key() -> None:
    async with client(RING) as http:
        mine = {"X-API-Key": USER}
        first = await http.post("/api/v1/whoami?pixels=25000000", headers=mine)
        second = await http.post("/api/v1/whoami", headers=mine)
        reading = await http.get("/api/v1/whoami", headers=mine)
        other = await http.post("/api/v1/whoami", headers={"X-API-Key": OPERATOR})
    assert first.status_code == 200
    # 15 megapixels of debt at 10 a minute: when it is paid, not the usual 7 s.
    assert (second.status_code, second.headers["Retry-After"]) in [(429, "90"), (429, "91")]
    assert reading.status_code == 200
    assert other.status_code == 200


def test_an_allowance_refills_steadily_and_never_overflows() -> None:
    now = 0.0
    allowance = Allowance(60, lambda: now)
    allowance.use(90)
    assert allowance.level == -30
    now = 40.0
    assert allowance.level == 10
    now = 1000.0
    assert allowance.level == 60


def test_requests_are_counted() -> None:
    now = 0.0
    allowances = KeyAllowances(lambda: now)
    key = ApiKey(name="lab", sha256=digest_of("x"), requests_per_minute=2)
    allowances.begin(key)
    allowances.begin(key)
    with pytest.raises(RateLimited, match="2 requests a minute"):
        allowances.begin(key)
    assert allowances.seconds_until_free(key) == 30
    now = 30.0
    assert allowances.seconds_until_free(key) == 0
    allowances.begin(key)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("not json", "the file"),
        ('{"keys": []}', "no key"),
        ('{"keys": [{"name": "a", "sha256": "12"}]}', r"keys\.0\.sha256"),
        (json.dumps({"keys": [{"name": "a", "sha256": "0" * 64}] * 2}), "same name"),
        ('{"keys": [{"name": "a", "sha256": "%s", "scopes": 1}]}' % ("0" * 64), "scopes"),
    ],
)
def test_a_wrong_file_is_one_sentence_without_digests(
    tmp_path: Path, content: str, named: str
) -> None:
    path = tmp_path / "keys.json"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match=named) as caught:
        read_keys(path)
    assert "00000000" not in str(caught.value)


def test_a_new_key_fits_its_entry() -> None:
    result = CliRunner().invoke(keys_command, ["new", "lab", "--scope", "operator"])
    entry = ApiKey.model_validate_json(result.stdout)
    key = result.stderr.split()[-1]
    found = KeyRing([entry]).find(key)
    assert found is not None
    assert (found.name, found.scope) == ("lab", Scope.OPERATOR)
    assert key not in result.stdout
