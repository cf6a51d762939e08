import random
from datetime import timedelta

import pytest

from deployments.mail.backoff import RetrySchedule
from deployments.mail.settings import MailSettings


def test_delays_of_the_default_settings():
    settings = MailSettings()
    schedule = RetrySchedule(settings.email_retry_minutes, 0, random.Random(1))
    minutes = [schedule.delay(attempt) / timedelta(minutes=1) for attempt in range(1, 8)]
    assert minutes == [1, 5, 15, 30, 60, 60, 60]


@pytest.mark.parametrize("attempt", [1, 3, 9])
def test_jitter_spreads_up_and_down_within_its_share(attempt):
    schedule = RetrySchedule([1, 5, 15, 30, 60], 0.2, random.Random(1))
    plain = RetrySchedule([1, 5, 15, 30, 60], 0, random.Random(1)).delay(attempt)
    shares = [schedule.delay(attempt) / plain for _ in range(500)]
    assert 0.8 <= min(shares) < 0.85
    assert 1.15 < max(shares) <= 1.2
