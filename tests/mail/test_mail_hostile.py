from typing import Any

import pytest

from benchmarks.mail_hostile import FAULTS, run


def broken_promises(result: dict[str, Any], notifications: int) -> list[str]:
    promises = {
        "every mail ends": result["unfinished"] == 0,
        "sent or given up": result["sent"] + result["dead"] == notifications,
        "the operator is told": result["dead_letters_told"] == result["dead"],
        "sent means taken": result["sent_but_not_stored"] == 0,
        "one Message-ID each": result["most_message_ids_of_one_notification"] == 1,
        "no Message-ID twice": result["distinct_message_ids"] == result["recipients_reached"],
        "a copy only for a lost reply": result["extra_copies"] <= result["lost_acknowledgements"],
    }
    return [promise for promise, kept in promises.items() if not kept]


async def test_a_few_notifications_through_the_hostile_server():
    result = await run(notifications=30, seed=3)
    assert broken_promises(result, 30) == []


@pytest.mark.long
async def test_a_thousand_notifications_through_the_hostile_server():
    result = await run(notifications=1000, seed=1)
    assert broken_promises(result, 1000) == []
    assert set(result["faults_met"]) == {fault.name for fault in FAULTS} | {"NONE"}
    assert result["lost_acknowledgements"] > 100
