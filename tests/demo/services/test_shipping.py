"""Shipping: what a parcel costs, and where none can go."""

from typing import Any

import pytest

from amends import Done, Refused
from amends.demo.domain import Money
from amends.demo.messages import DispatchShipment, Prepared, PrepareShipment
from amends.demo.services.shipping import Shipping
from amends.demo.versioned import WrongState


@pytest.mark.parametrize(
    ("country", "units", "zone", "cost_minor"),
    [
        ("United Kingdom", 1, "home", 395),
        ("United Kingdom", 49, "home", 395 + 48 * 10),
        ("United Kingdom", 50, "home", 895),
        ("EIRE", 3, "near", 595 + 2 * 15),
        ("France", 600, "europe", 7_495 + 100 * 6),
        ("Atlantis", 2, "world", 1_495 + 40),
    ],
)
def test_cost_by_zone_and_units(opened: Any, country: str, units: int, zone: str, cost_minor: int) -> None:
    """The rates of the country's zone, or of the world for one that is not listed."""
    prepared = opened(Shipping).prepare(PrepareShipment("o-1", country, units, "GBP"))
    assert prepared == Done(Prepared(zone, Money(cost_minor, "GBP")))


@pytest.mark.parametrize(
    ("country", "currency", "reason"),
    [("Unspecified", "GBP", "bad_address"), ("France", "EUR", "no_rate: europe, EUR")],
)
def test_a_parcel_that_can_not_go_is_refused(opened: Any, country: str, currency: str, reason: str) -> None:
    """No place, or no price for it: a business no."""
    assert opened(Shipping).prepare(PrepareShipment("o-1", country, 1, currency)) == Refused(reason)


def test_a_planned_bad_address_is_refused(opened: Any) -> None:
    """The fault looks like a place no parcel can go to."""
    shipping = opened(Shipping, bad_address=1.0)
    assert shipping.prepare(PrepareShipment("o-1", "France", 1, "GBP")) == Refused("bad_address")


def test_a_parcel_is_dispatched_or_cancelled_once(opened: Any) -> None:
    """What has gone can't be called back."""
    shipping = opened(Shipping)
    command = PrepareShipment("o-1", "France", 1, "GBP")
    prepared = shipping.prepare(command).result
    assert shipping.dispatch(DispatchShipment("o-1")) == Done()
    with pytest.raises(WrongState, match="dispatched, wanted prepared"):
        shipping.cancel(command, prepared)
