"""The page about memory says what the code and the simulation say."""

import re
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks.oom_simulation import (
    Controlled,
    HalveAndForget,
    NineTenths,
    page_with_table,
    simulate,
)
from deployments.inference.memory.outcomes import Event
from deployments.inference.memory.state import Policy, State

PAGE = (Path(__file__).parents[3] / "docs" / "out-of-memory.md").read_text()


def test_the_table_of_the_page_is_that_of_the_results() -> None:
    assert page_with_table(PAGE) == PAGE


def test_the_constants_of_the_page_are_those_of_the_policy() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", PAGE, re.MULTILINE)
    assert {name: float(value) for name, value in rows} == asdict(Policy())


@pytest.mark.parametrize("word", [*Event, *State])
def test_the_page_explains_every_state_and_decision(word: str) -> None:
    assert re.search(rf"\b{word}\b", PAGE)


def test_the_controller_does_more_with_fewer_failures() -> None:
    ours = simulate(Controlled, hours=1)
    forgetful = simulate(HalveAndForget, hours=1)
    stuck = simulate(NineTenths, hours=1)
    assert ours.oom_calls < stuck.oom_calls < forgetful.oom_calls
    assert ours.requests_done > max(forgetful.requests_done, stuck.requests_done)
