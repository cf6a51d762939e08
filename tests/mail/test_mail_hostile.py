import pytest

from benchmarks.mail_hostile import FAULTS, run


def _check(result: dict[str, object], notifications: int) -> None:
    assert result["unfinished"] == 0
    assert result["sent"] + result["dead"] == notifications
    assert result["dead_letters_told"] == result["dead"]
    assert result["sent_but_not_stored"] == 0
    assert result["most_message_ids_of_one_notification"] == 1
    assert result["distinct_message_ids"] == result["recipients_reached"]
    assert result["extra_copies"] <= result["lost_acknowledgements"]


async def test_a_few_notifications_through_the_hostile_server():
    result = await run(notifications=30, seed=3)
    _check(result, 30)


@pytest.mark.long
async def test_a_thousand_notifications_through_the_hostile_server():
    result = await run(notifications=1000, seed=1)
    _check(result, 1000)
    assert set(result["faults_met"]) == {fault.name for fault in FAULTS} | {"NONE"}
    assert result["lost_acknowledgements"] > 100
