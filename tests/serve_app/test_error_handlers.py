import logging

import httpx
import pytest

from deployments import errors
from serve_app.error_handlers import STATUS, error_response, status_of
from tests.serve_app.fakes import FakeService


def all_errors(base: type[errors.ServiceError] = errors.ServiceError) -> set[type[Exception]]:
    return {base}.union(*(all_errors(each) for each in base.__subclasses__()))


def test_every_error_has_a_status() -> None:
    ours = {each for each in all_errors() if each.__module__ == errors.__name__}
    assert set(STATUS) == ours


@pytest.mark.parametrize("error", sorted(all_errors(errors.ClientError), key=str))
def test_errors_of_the_client_are_4xx(error: type[errors.ServiceError]) -> None:
    assert 400 <= status_of(error("x")) < 500


def test_only_load_and_deadline_ask_to_come_again() -> None:
    again = {error for error, status in STATUS.items() if status in (503, 504)}
    assert again == {
        errors.Overloaded,
        errors.ModelUnavailable,
        errors.DeadlineExceeded,
        errors.StoreUnavailable,
        errors.RetryElsewhere,
    }


def test_unlisted_class_has_the_status_of_its_base() -> None:
    """An exception that crossed a Ray handle arrives as a class made on the way."""
    remote = type("RayTaskError(Overloaded)", (errors.Overloaded,), {})
    assert status_of(remote("x")) == 503


@pytest.mark.parametrize("error", [errors.Overloaded("x"), errors.RateLimited("x")])
def test_retry_after(error: errors.ServiceError) -> None:
    assert error_response(error, retry_after=7).headers["retry-after"] == "7"


def test_no_retry_after_where_it_would_not_help() -> None:
    assert "retry-after" not in error_response(errors.InvalidImage("x"), 7).headers


async def test_unexpected_error_hides_its_text_and_is_found_in_the_log(
    client: httpx.AsyncClient, service: FakeService, caplog: pytest.LogCaptureFixture
) -> None:
    service.answers[b"image"] = RuntimeError("the secret is hidden")
    with caplog.at_level(logging.ERROR):
        answer = await client.post(
            "/api/v1/segment",
            files={"file": ("a.png", b"image")},
            headers={"origin": "http://page"},
        )
    assert answer.status_code == 500
    assert answer.headers["access-control-allow-origin"] == "*"
    body = answer.json()
    assert body.keys() == {"success", "error", "detail"}
    assert (body["success"], body["error"]) == (False, "Internal server error")
    assert "secret" not in answer.text
    assert body["detail"] in caplog.text
    assert "the secret is hidden" in caplog.text
