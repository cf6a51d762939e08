"""How jobs share the workers."""

import heapq
from collections.abc import Sequence


def fair_shares(limit: int, waiting: Sequence[int], in_flight: Sequence[int]) -> list[int]:
    """Return how many images each job may start now.

    The next image always comes from the job with the fewest in flight, of equals from the
    first, so a job of thousands of images does not hold up one of three.

    Args:
        limit: Number of images to start in all.
        waiting: Images of each job that could start; the oldest job first.
        in_flight: Images of each job that have started.
    """
    shares = [0] * len(waiting)
    queue = [(started, job) for job, started in enumerate(in_flight) if waiting[job]]
    heapq.heapify(queue)
    while queue and limit:
        started, job = heapq.heappop(queue)
        shares[job] += 1
        limit -= 1
        if shares[job] < waiting[job]:
            heapq.heappush(queue, (started + 1, job))
    return shares
