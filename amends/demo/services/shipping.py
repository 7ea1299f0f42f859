"""Shipping: parcels, and what their way costs by zone and number of units.

A parcel is prepared and then dispatched, or its way is booked in one go to whatever address the
customer wrote.
"""

from typing import Any

import msgspec

from amends import Done, Refused, Service, answers, handles, undoes
from amends.demo.domain import Money
from amends.demo.faults import HANDLER_TIMEOUT_S, Faults
from amends.demo.messages import (
    CancelShipment,
    DispatchShipment,
    Prepared,
    PrepareShipment,
    ScheduleShipment,
    SetShippingErrors,
    ShippingErrors,
)
from amends.demo.services import migrations
from amends.demo.versioned import States

BAD_ADDRESS = "bad_address"
NO_RATE = "no_rate"
SHIPPING_ERROR = "shipping_error"
HOME = "United Kingdom"
"""Where a parcel goes whose address names no country of the list."""
NOWHERE = "nowhere"
"""The zone of what stands in the list of countries and is none."""

_OTHER_ADDRESS = "order_exists: it is scheduled to another address"
_RATE = (
    "select c.zone, r.base_minor + r.each_minor * (?2 - r.from_units) "
    "from (select coalesce((select zone from countries where country = ?1), 'world') as zone) as c "
    "left join rates r on r.zone = c.zone and r.currency = ?3 and r.from_units <= ?2 "
    "order by r.from_units desc limit 1"
)

_shipments = States("shipments")
_scheduled_again = States("shipments", "address")


class Shipping(Service, name="shipping", migrations=migrations("shipping"), handler_timeout_s=HANDLER_TIMEOUT_S):
    """Prepared, then dispatched or cancelled; or scheduled, and perhaps cancelled."""

    def __init__(self, faults: Faults) -> None:
        super().__init__()
        self.faults = faults

    # In two stages.

    @handles(PrepareShipment)
    def prepare(self, command: PrepareShipment) -> Done[Prepared] | Refused:
        country = command.country.strip() or self._country_in(command.address)
        if not country:
            return Refused(BAD_ADDRESS)
        zone, cost_minor = self._rate(country, command)
        if zone == NOWHERE or self.faults.spoils_the_address(command.order_id):
            return Refused(BAD_ADDRESS)
        if cost_minor is None:
            return Refused(f"{NO_RATE}: {zone}, {command.currency}")
        self.db.execute(
            "insert into shipments (order_id, country, address, zone, units, cost_minor, currency, state) "
            "values (?, ?, nullif(?, ''), ?, ?, ?, ?, 'prepared')",
            (command.order_id, country, command.address, zone, command.units, cost_minor, command.currency),
        )
        self.faults.strike("prepare", command.order_id)
        return Done(Prepared(zone, Money(cost_minor, command.currency)))

    @undoes(PrepareShipment)
    def cancel(self, command: PrepareShipment, result: Prepared) -> None:
        _shipments.move(self.db, command.order_id, "prepared", "cancelled")
        self.faults.strike("cancel_shipment", command.order_id)

    @handles(DispatchShipment)
    def dispatch(self, command: DispatchShipment) -> Done[None]:
        _shipments.move(self.db, command.order_id, "prepared", "dispatched")
        self.faults.strike("dispatch", command.order_id)
        return Done()

    # In one.

    @handles(ScheduleShipment)
    def schedule(self, command: ScheduleShipment) -> Done[None] | Refused:
        order_id = command.order_id
        if self.db.execute("select 1 from errors where order_id = ?", (order_id,)).fetchone() is not None:
            return Refused(SHIPPING_ERROR)
        if self.faults.spoils_the_address(order_id):
            return Refused(BAD_ADDRESS)
        found = _shipments.found(self.db, order_id)
        if found == "scheduled":
            return Done() if self._address(order_id) == command.address else Refused(_OTHER_ADDRESS)
        address = msgspec.json.encode(command.address).decode()
        if found is None:
            self.db.execute(
                "insert into shipments (order_id, address, state) values (?, ?, 'scheduled')", (order_id, address)
            )
        else:
            _scheduled_again.move(self.db, order_id, "cancelled", "scheduled", address)
        self.faults.strike("schedule", order_id)
        return Done()

    @undoes(ScheduleShipment)
    def call_off(self, command: ScheduleShipment, result: None) -> None:
        self._cancel_scheduled(command.order_id)

    @handles(CancelShipment)
    def cancel_scheduled(self, command: CancelShipment) -> Done[None]:
        self._cancel_scheduled(command.order_id)
        return Done()

    # What is set and asked from outside.

    @handles(SetShippingErrors)
    def set_errors(self, command: SetShippingErrors) -> Done[None]:
        self.db.executemany("delete from errors where order_id = ?", [(gone,) for gone in command.remove])
        self.db.executemany(
            "insert into errors (order_id) values (?) on conflict do nothing", [(more,) for more in command.add]
        )
        return Done()

    @answers(ShippingErrors)
    def errors(self, query: ShippingErrors) -> list[str]:
        return [order_id for (order_id,) in self.db.execute("select order_id from errors order by place")]

    # The parts.

    def _country_in(self, address: str) -> str | None:
        """The country an address ends with, if the list has it, else the shop's own; None if there is no address."""
        if not address.strip():
            return None
        last = address.rpartition(",")[2].strip()
        found = self.db.execute("select country from countries where lower(country) = lower(?)", (last,)).get
        return HOME if found is None else str(found)

    def _rate(self, country: str, command: PrepareShipment) -> tuple[str, int | None]:
        """The zone, and the cost if there is a rate for it."""
        row = self.db.execute(_RATE, (country, command.units, command.currency)).fetchone()
        assert row is not None  # the zone is there even where no rate is
        zone, cost_minor = row
        return zone, cost_minor

    def _address(self, order_id: str) -> Any:
        """The address a scheduled parcel goes to, as the customer wrote it."""
        found = self.db.execute("select address from shipments where order_id = ?", (order_id,)).get
        return msgspec.json.decode(str(found))

    def _cancel_scheduled(self, order_id: str) -> None:
        """Cancel what is scheduled for an order; nothing if nothing is, or not any more."""
        if _shipments.found(self.db, order_id) != "scheduled":
            return
        _shipments.move(self.db, order_id, "scheduled", "cancelled")
        self.faults.strike("cancel_scheduled", order_id)
