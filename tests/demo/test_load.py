"""The customers' tally."""

from amends.demo.load import Tally, quantile


def test_quantiles_are_values_that_occurred() -> None:
    """The smallest one that the share does not exceed."""
    values = [float(n) for n in range(1, 101)]
    assert (quantile(values, 0.5), quantile(values, 0.99), quantile([7.0], 0.99)) == (50.0, 99.0, 7.0)
    assert quantile([], 0.5) == 0.0


def test_the_tally_counts_outcomes_latencies_and_the_rate() -> None:
    """By its own clock, from its own start."""
    clock = iter([0.0, 1.0, 1.0, 3.0, 4.0, 4.0])
    heard: list[int] = []
    tally = Tally(clock=lambda: next(clock), on_end=heard.append)
    first, second = tally.start(), tally.start()
    tally.end(first, None)
    tally.end(second, "short_stock")
    counts = tally.counts()
    assert (counts.started, counts.ended, counts.completed, counts.reasons) == (2, 2, 1, {"short_stock": 1})
    assert (counts.p50_s, counts.p99_s, counts.rate) == (2.0, 3.0, 0.5)
    assert heard == [1, 2]
