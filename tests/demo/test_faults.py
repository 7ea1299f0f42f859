"""The fault plan: decided by a hash, bounded, and the same every time."""

import pytest

from amends.demo.faults import HANG_S, STRIKES_MAX, FaultPlan, Faults, InjectedFault, fraction


def test_the_same_facts_give_the_same_fraction() -> None:
    """A run can be had again in another process: the number is written down here."""
    assert fraction(1, "o-1", "reserve", 1) == fraction(1, "o-1", "reserve", 1) == pytest.approx(0.5985749311666901)
    assert fraction("a", "bc") != fraction("ab", "c")


def test_a_share_hits_about_that_share_of_the_orders() -> None:
    """The shares mean what they say."""
    faults = Faults(FaultPlan(seed=3, declined=0.1, bad_address=0.5))
    orders = [f"o-{n}" for n in range(10_000)]
    assert sum(map(faults.declines, orders)) == pytest.approx(1_000, rel=0.1)
    assert sum(map(faults.spoils_the_address, orders)) == pytest.approx(5_000, rel=0.05)
    assert not any(map(faults.empties_the_shelf, orders))


def test_a_share_of_one_hits_every_order_and_of_zero_none() -> None:
    """The ends of the scale are exact."""
    orders = [f"o-{n}" for n in range(100)]
    assert all(map(Faults(FaultPlan(short_stock=1.0)).empties_the_shelf, orders))
    assert not any(map(Faults(FaultPlan()).empties_the_shelf, orders))


def test_only_the_first_calls_are_struck() -> None:
    """Every order ends, because a handler that is called again and again is left in peace at last."""
    hung: list[float] = []
    faults = Faults(FaultPlan(hangs=1.0), hang=hung.append)
    for _ in range(STRIKES_MAX + 5):
        faults.strike("reserve", "o-1")
    assert hung == [HANG_S] * STRIKES_MAX


def test_calls_are_counted_for_each_order_and_handler() -> None:
    """One order's bad luck does not use up another's, nor another handler's."""
    faults = Faults(FaultPlan(raises=1.0))
    for handler, order_id in (("reserve", "o-1"), ("reserve", "o-2"), ("release", "o-1")):
        for call in range(1, STRIKES_MAX + 1):
            with pytest.raises(InjectedFault, match=f"{handler} of order {order_id}, call {call}"):
                faults.strike(handler, order_id)
        faults.strike(handler, order_id)
