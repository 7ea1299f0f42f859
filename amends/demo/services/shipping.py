"""Shipping: parcels, and what their way costs by zone and number of units."""

from amends import Done, Refused, Service, handles, undoes
from amends.demo.domain import Money
from amends.demo.faults import HANDLER_TIMEOUT_S, Faults
from amends.demo.messages import DispatchShipment, Prepared, PrepareShipment
from amends.demo.services import migrations
from amends.demo.versioned import States

BAD_ADDRESS = "bad_address"
NO_RATE = "no_rate"
NOWHERE = "nowhere"
"""The zone of what stands in the list of countries and is none."""

_RATE = (
    "select c.zone, r.base_minor + r.each_minor * (?2 - r.from_units) "
    "from (select coalesce((select zone from countries where country = ?1), 'world') as zone) as c "
    "left join rates r on r.zone = c.zone and r.currency = ?3 and r.from_units <= ?2 "
    "order by r.from_units desc limit 1"
)

_shipments = States("shipments")


class Shipping(Service, name="shipping", migrations=migrations("shipping"), handler_timeout_s=HANDLER_TIMEOUT_S):
    """Prepared, then dispatched or cancelled."""

    def __init__(self, faults: Faults) -> None:
        super().__init__()
        self.faults = faults

    @handles(PrepareShipment)
    def prepare(self, command: PrepareShipment) -> Done[Prepared] | Refused:
        zone, cost_minor = self._rate(command)
        if zone == NOWHERE or self.faults.spoils_the_address(command.order_id):
            return Refused(BAD_ADDRESS)
        if cost_minor is None:
            return Refused(f"{NO_RATE}: {zone}, {command.currency}")
        self.db.execute(
            "insert into shipments (order_id, country, zone, units, cost_minor, currency, state) "
            "values (?, ?, ?, ?, ?, ?, 'prepared')",
            (command.order_id, command.country, zone, command.units, cost_minor, command.currency),
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

    def _rate(self, command: PrepareShipment) -> tuple[str, int | None]:
        """The zone, and the cost if there is a rate for it."""
        row = self.db.execute(_RATE, (command.country, command.units, command.currency)).fetchone()
        assert row is not None  # the zone is there even where no rate is
        zone, cost_minor = row
        return zone, cost_minor
