"""Fair shares, for any queues."""

from hypothesis import given
from hypothesis import strategies as st

from deployments.jobs.shares import fair_shares

_jobs = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=6)


@given(st.integers(0, 60), _jobs)
def test_shares_use_every_place_and_level_the_jobs(limit: int, jobs: list[tuple[int, int]]) -> None:
    waiting = [job[0] for job in jobs]
    in_flight = [job[1] for job in jobs]
    shares = fair_shares(limit, waiting, in_flight)

    assert sum(shares) == min(limit, sum(waiting))
    assert all(0 <= share <= most for share, most in zip(shares, waiting, strict=True))
    running = [share + before for share, before in zip(shares, in_flight, strict=True)]
    for one, share in enumerate(shares):
        for other, most in enumerate(waiting):
            # A job that was served is never above one that still waits, nor level with an older.
            if share and shares[other] < most:
                assert running[one] <= running[other] + (1 if one < other else 0)


def test_the_oldest_is_served_first() -> None:
    assert fair_shares(1, [5, 5], [0, 0]) == [1, 0]
    assert fair_shares(4, [5000, 3], [2, 0]) == [1, 3]
