from datetime import timedelta

from deployments.mail.digest import OperatorLimiter
from deployments.mail.notifications import Digest, MailDeadLettered, ModelDegraded
from tests.mail.conftest import NOW

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


def _degraded(reason: str) -> ModelDegraded:
    return ModelDegraded(model="hrnet", device="cuda:0", reason=reason, at=NOW)


def _dead(mail_id: str) -> MailDeadLettered:
    return MailDeadLettered(
        mail_id=mail_id,
        mail_kind="job_failed",
        recipient="ada@example.org",
        reason="550 no such user",
        at=NOW,
    )


def test_the_first_event_of_each_kind_is_mailed_at_once():
    limiter = OperatorLimiter(HOUR)
    first, other = _degraded("first"), _dead("m1")
    assert limiter.offer(first, NOW) is first
    assert limiter.offer(other, NOW) is other
    assert limiter.take_digest(NOW + 2 * HOUR) is None, "nothing waits"


def test_more_of_a_kind_waits_for_one_digest():
    limiter = OperatorLimiter(HOUR)
    limiter.offer(_dead("m0"), NOW)
    for number in range(1, 501):
        assert limiter.offer(_dead(f"m{number}"), NOW + MINUTE) is None
    assert limiter.take_digest(NOW + HOUR) is None, "its window began with the first that waited"
    digest = limiter.take_digest(NOW + HOUR + MINUTE)
    assert isinstance(digest, Digest)
    assert digest.total == 500
    assert 0 < len(digest.entries) <= 20
    assert digest.entries[0].summary == "job_failed m1 to ada@example.org: 550 no such user"
    assert (digest.since, digest.until) == (NOW + MINUTE, NOW + HOUR + MINUTE)
    assert limiter.take_digest(NOW + 5 * HOUR) is None, "it is taken once"


def test_a_storm_makes_one_mail_per_window():
    limiter = OperatorLimiter(HOUR)
    mails = 0
    for minute in range(6 * 60):
        now = NOW + minute * MINUTE
        mails += limiter.offer(_degraded("again"), now) is not None
        mails += limiter.take_digest(now) is not None
    assert mails == 6


def test_after_a_quiet_window_an_event_is_mailed_at_once_again():
    limiter = OperatorLimiter(HOUR)
    limiter.offer(_degraded("first"), NOW)
    later = _degraded("later")
    assert limiter.offer(later, NOW + HOUR) is later
