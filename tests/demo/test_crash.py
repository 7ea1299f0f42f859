"""The crash demo's plan of kills."""

from amends.demo.crash import moments


def test_kills_are_spread_over_the_work_and_some_hit_the_start() -> None:
    """All of them come before the work is done, in an order that makes each reachable."""
    planned = moments(kills=20, orders=2_000, seed=1)
    assert planned == moments(kills=20, orders=2_000, seed=1)
    at_work = [moment.ended for moment in planned if moment.ended is not None]
    assert (len(planned), len(at_work)) == (20, 15)
    assert at_work == sorted(at_work)
    assert at_work[-1] < 2_000
