from datetime import timedelta

from deployments.mail.breaker import CircuitBreaker
from tests.mail.conftest import NOW

REST = timedelta(minutes=5)


def _open_breaker() -> CircuitBreaker:
    breaker = CircuitBreaker(3, REST)
    assert [breaker.failed(NOW) for _ in range(3)] == [False, False, True]
    return breaker


def test_failures_in_a_row_open_it():
    breaker = CircuitBreaker(3, REST)
    breaker.failed(NOW)
    breaker.failed(NOW)
    assert breaker.allowed(NOW, 4) == 4
    breaker.succeeded()
    breaker.failed(NOW)
    breaker.failed(NOW)
    assert breaker.allowed(NOW, 4) == 4, "a success in between starts the count again"
    breaker.failed(NOW)
    assert breaker.allowed(NOW, 4) == 0


def test_after_its_rest_it_lets_one_attempt_through():
    breaker = _open_breaker()
    assert breaker.allowed(NOW + REST - timedelta(seconds=1), 4) == 0
    assert breaker.allowed(NOW + REST, 4) == 1


def test_a_failed_attempt_opens_it_again():
    breaker = _open_breaker()
    assert breaker.failed(NOW + REST)
    assert breaker.allowed(NOW + REST + timedelta(minutes=4), 4) == 0
    assert breaker.allowed(NOW + 2 * REST, 4) == 1


def test_a_good_attempt_closes_it():
    breaker = _open_breaker()
    breaker.succeeded()
    assert breaker.allowed(NOW, 4) == 4
