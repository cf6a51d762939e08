import logging
from datetime import UTC, datetime, timedelta

import pytest

from deployments.mail.notifications import NOTIFICATION, Digest, ModelDegraded
from deployments.mail.settings import MailSettings
from deployments.operator_mails import OperatorMails

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ADDRESSES = ("a@example.org", "b@example.org")


class World:
    """A clock to turn, and an outbox that keeps what is owed."""

    def __init__(self, **settings: object) -> None:
        self.now = START
        self.owed: list[tuple[str, str, str, dict[str, object]]] = []
        values: dict[str, object] = {
            "smtp_host": "127.0.0.1",
            "ops_email": ADDRESSES,
            "ops_locale": "cs",
        }
        mail = MailSettings(**(values | settings))
        self.operator = OperatorMails(self, mail, lambda: self.now)

    async def add(self, kind: str, recipient: str, locale: str, data: dict[str, object]) -> str:
        self.owed.append((kind, recipient, locale, data))
        return f"mail-{len(self.owed)}"


def degraded(reason: str = "memory") -> ModelDegraded:
    return ModelDegraded(model="hrnet", device="cuda:0", reason=reason, at=START)


async def test_every_operator_is_owed_a_mail_that_can_be_read_back() -> None:
    world = World()
    await world.operator.tell(degraded())
    assert [(kind, to, locale) for kind, to, locale, _ in world.owed] == [
        ("model_degraded", address, "cs") for address in ADDRESSES
    ]
    for kind, _, _, data in world.owed:
        assert NOTIFICATION.validate_python({"kind": kind, **data}) == degraded()


async def test_a_storm_is_one_mail_and_one_digest(caplog: pytest.LogCaptureFixture) -> None:
    world = World(ops_email=("a@example.org",), ops_digest_minutes=60)
    for number in range(100):
        await world.operator.tell(degraded(f"reason {number}"))
        await world.operator.flush()
    assert [kind for kind, *_ in world.owed] == ["model_degraded"]
    world.now += timedelta(minutes=61)
    await world.operator.flush()
    await world.operator.flush()
    assert [kind for kind, *_ in world.owed] == ["model_degraded", "digest"]
    digest = NOTIFICATION.validate_python({"kind": "digest", **world.owed[1][3]})
    assert isinstance(digest, Digest)
    assert digest.total == 99
    logged = [record.getMessage() for record in caplog.records]
    assert all(any(f"reason {n}" in line for line in logged) for n in range(100))


@pytest.mark.parametrize("settings", [{"ops_email": ()}, {"smtp_host": None}])
async def test_without_operator_or_server_the_log_has_it(
    settings: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    world = World(**settings)
    with caplog.at_level(logging.ERROR):
        await world.operator.tell(degraded("very short"))
    world.now += timedelta(days=1)
    await world.operator.flush()
    assert world.owed == []
    assert "very short" in caplog.text
