"""What is reported of repeated calls."""

from benchmarks.timing import percentile, repeat, summary


def test_the_first_call_does_not_count() -> None:
    calls: list[int] = []
    times = repeat(lambda: calls.append(len(calls)), 0, least=3)
    assert len(times.wall) == len(times.cpu) == 3
    assert len(calls) == 4


def test_percentile_is_a_value_that_was_measured() -> None:
    values = [float(n) for n in range(100, 0, -1)]
    assert percentile(values, 95) == 95
    assert percentile([7.0], 95) == 7


def test_summary_is_in_milliseconds() -> None:
    assert summary([0.1, 0.2, 0.4]) == {"p50_ms": 200.0, "p95_ms": 400.0, "repeats": 3}
