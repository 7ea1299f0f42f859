"""Orders: the shop's book of what was asked for and what became of it."""

import msgspec

from amends import Done, Refused, Service, handles, undoes
from amends.demo.faults import HANDLER_TIMEOUT_S, Faults
from amends.demo.messages import ConfirmOrder, CreateOrder
from amends.demo.services import migrations
from amends.demo.versioned import States

_orders = States("orders")
_confirmed = States("orders", "shipping_minor")


class Orders(Service, name="orders", migrations=migrations("orders"), handler_timeout_s=HANDLER_TIMEOUT_S):
    """Pending, then confirmed or cancelled."""

    def __init__(self, faults: Faults) -> None:
        super().__init__()
        self.faults = faults

    @handles(CreateOrder)
    def create(self, command: CreateOrder) -> Done[None] | Refused:
        amount = command.amount
        items = msgspec.json.encode(command.items).decode()
        self.db.execute(
            "insert into orders (order_id, user_id, items, amount_minor, currency, state) "
            "values (?, ?, ?, ?, ?, 'pending') on conflict do nothing",
            (command.order_id, command.user_id, items, amount.amount_minor, amount.currency),
        )
        if self.db.changes() != 1:
            return Refused("order_exists")
        self.faults.strike("create", command.order_id)
        return Done()

    @undoes(CreateOrder)
    def cancel(self, command: CreateOrder, result: None) -> None:
        _orders.move(self.db, command.order_id, "pending", "cancelled")
        self.faults.strike("cancel", command.order_id)

    @handles(ConfirmOrder)
    def confirm(self, command: ConfirmOrder) -> Done[None]:
        _confirmed.move(self.db, command.order_id, "pending", "confirmed", command.shipping.amount_minor)
        self.faults.strike("confirm", command.order_id)
        return Done()
