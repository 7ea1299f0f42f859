"""Shipping: what a parcel costs, and where none can go."""

from typing import Any

import pytest

from amends import Done, Refused
from amends.demo.domain import Money
from amends.demo.messages import (
    CancelShipment,
    DispatchShipment,
    Prepared,
    PrepareShipment,
    ScheduleShipment,
    SetShippingErrors,
    ShippingErrors,
)
from amends.demo.services.shipping import Shipping
from amends.demo.versioned import WrongState

SCHEDULE = ScheduleShipment("o-1", {"street": "1 High Street", "city": "Leeds"})


def parcels(shipping: Shipping) -> list[tuple[Any, ...]]:
    """What is booked, and the version of that."""
    address = "address" if shipping.db.dialect == "sqlite" else "address::json"
    return shipping.db.execute(f"select order_id, {address} ->> 'city', state, version from shipments").fetchall()


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


@pytest.mark.parametrize(
    ("country", "address", "told"),
    [
        ("", "5 Rue de Rivoli, Paris, France", ("France", "europe", 995)),
        ("", "5 rue de Rivoli, Paris, FRANCE ", ("France", "europe", 995)),
        ("", "1 High Street, Leeds", ("United Kingdom", "home", 395)),
        ("", "France", ("France", "europe", 995)),
        ("EIRE", "5 Rue de Rivoli, Paris, France", ("EIRE", "near", 595)),
        ("Atlantis", "", ("Atlantis", "world", 1495)),
    ],
)
def test_an_address_may_tell_the_country(opened: Any, country: str, address: str, told: tuple[Any, ...]) -> None:
    """With its last part, where nobody says it otherwise; the address is kept as it is."""
    shipping = opened(Shipping)
    shipping.prepare(PrepareShipment("o-1", country, 1, "GBP", address))
    kept = shipping.db.execute("select country, zone, cost_minor, coalesce(address, '') from shipments").fetchall()
    assert kept == [(*told, address)]


@pytest.mark.parametrize(("country", "address"), [("", ""), (" ", "  "), ("", "somewhere, Unspecified")])
def test_a_parcel_without_an_address_is_refused(opened: Any, country: str, address: str) -> None:
    """As is one to a place that is none."""
    prepared = opened(Shipping).prepare(PrepareShipment("o-1", country, 1, "GBP", address))
    assert prepared == Refused("bad_address")


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


def test_a_parcel_is_scheduled_at_once(opened: Any) -> None:
    """To whatever address the customer wrote."""
    shipping = opened(Shipping)
    assert shipping.schedule(SCHEDULE) == Done()
    assert parcels(shipping) == [("o-1", "Leeds", "scheduled", 1)]


def test_an_empty_address_is_kept_as_it_is(opened: Any) -> None:
    """It is not the shop's to judge."""
    shipping = opened(Shipping)
    assert shipping.schedule(ScheduleShipment("o-1", {})) == Done()
    assert shipping.db.execute("select address from shipments").get == "{}"


def test_an_order_is_scheduled_once(opened: Any) -> None:
    """Whoever schedules it again hears that it is done, and nothing changes."""
    shipping = opened(Shipping)
    shipping.schedule(SCHEDULE)
    assert shipping.schedule(ScheduleShipment("o-1", dict(reversed(SCHEDULE.address.items())))) == Done()
    assert parcels(shipping) == [("o-1", "Leeds", "scheduled", 1)]


@pytest.mark.parametrize("address", [{"city": "Leeds"}, {**SCHEDULE.address, "city": "York"}, {}])
def test_a_parcel_goes_to_one_address(opened: Any, address: dict[str, str]) -> None:
    """Whoever schedules it to another one hears that it does not go there."""
    shipping = opened(Shipping)
    shipping.schedule(SCHEDULE)
    refused = Refused("order_exists: it is scheduled to another address")
    assert shipping.schedule(ScheduleShipment("o-1", address)) == refused
    assert parcels(shipping) == [("o-1", "Leeds", "scheduled", 1)]


def test_an_order_among_the_errors_is_refused(opened: Any) -> None:
    """Until it is taken out; nothing is booked meanwhile."""
    shipping = opened(Shipping)
    shipping.set_errors(SetShippingErrors(add=("o-1",)))
    assert shipping.schedule(SCHEDULE) == Refused("shipping_error")
    assert parcels(shipping) == []
    shipping.set_errors(SetShippingErrors(remove=("o-1",)))
    assert shipping.schedule(SCHEDULE) == Done()


def test_a_planned_bad_address_is_not_scheduled(opened: Any) -> None:
    """The fault is the same in one stage as in two."""
    shipping = opened(Shipping, bad_address=1.0)
    assert shipping.schedule(SCHEDULE) == Refused("bad_address")
    assert parcels(shipping) == []


@pytest.mark.parametrize("by_command", [False, True])
def test_what_is_scheduled_is_cancelled_once(opened: Any, by_command: bool) -> None:
    """By the undo and by command, in either order."""
    shipping = opened(Shipping)
    shipping.schedule(SCHEDULE)
    if by_command:
        assert shipping.cancel_scheduled(CancelShipment("o-1")) == Done()
    else:
        shipping.call_off(SCHEDULE, None)
    assert parcels(shipping) == [("o-1", "Leeds", "cancelled", 2)]
    shipping.call_off(SCHEDULE, None)
    assert shipping.cancel_scheduled(CancelShipment("o-1")) == Done()
    assert parcels(shipping) == [("o-1", "Leeds", "cancelled", 2)]


def test_what_was_never_scheduled_is_not_cancelled(opened: Any) -> None:
    """An order nobody knows, and a parcel that was prepared in two stages."""
    shipping = opened(Shipping)
    shipping.prepare(PrepareShipment("o-1", "France", 1, "GBP"))
    assert shipping.cancel_scheduled(CancelShipment("o-1")) == Done()
    assert shipping.cancel_scheduled(CancelShipment("o-2")) == Done()
    assert parcels(shipping) == [("o-1", None, "prepared", 1)]


def test_a_cancelled_order_can_be_scheduled_again(opened: Any) -> None:
    """To its new address."""
    shipping = opened(Shipping)
    shipping.schedule(SCHEDULE)
    shipping.cancel_scheduled(CancelShipment("o-1"))
    assert shipping.schedule(ScheduleShipment("o-1", {"city": "York"})) == Done()
    assert parcels(shipping) == [("o-1", "York", "scheduled", 3)]


def test_what_is_prepared_can_not_be_scheduled_as_well(opened: Any) -> None:
    """A transition the shop does not know is not made."""
    shipping = opened(Shipping)
    shipping.prepare(PrepareShipment("o-1", "France", 1, "GBP"))
    with pytest.raises(WrongState, match="prepared, wanted cancelled"):
        shipping.schedule(SCHEDULE)


def test_the_errors_keep_the_order_in_which_they_came(opened: Any) -> None:
    """What stands there already keeps its place; what comes back goes to the end."""
    shipping = opened(Shipping)
    shipping.set_errors(SetShippingErrors(add=("o-3", "o-1")))
    shipping.set_errors(SetShippingErrors(add=("o-2", "o-3"), remove=("o-1",)))
    shipping.set_errors(SetShippingErrors(add=("o-1",)))
    assert shipping.errors(ShippingErrors()) == ["o-3", "o-2", "o-1"]
