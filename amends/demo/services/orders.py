"""Orders: the shop's book of what was asked for, what somebody said to it, and what became of it."""

import msgspec

from amends import Done, IdempotencyKey, Later, Refused, Service, handles, undoes
from amends.demo.faults import HANDLER_TIMEOUT_S, Faults
from amends.demo.messages import AwaitApproval, ConfirmOrder, CreateOrder, RecordApproval, TakeOverOrder
from amends.demo.services import migrations
from amends.demo.versioned import States
from amends.protocol.messages import SagaId

ORDER_EXISTS = "order_exists"
UNKNOWN_ORDER = "unknown_order"

_orders = States("orders")
_confirmed = States("orders", "shipping_minor")


class Orders(Service, name="orders", migrations=migrations("orders"), handler_timeout_s=HANDLER_TIMEOUT_S):
    """Pending, handed over to a further saga perhaps, then confirmed or cancelled."""

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
            return Refused(ORDER_EXISTS)
        self.faults.strike("create", command.order_id)
        return Done()

    @undoes(CreateOrder)
    def cancel(self, command: CreateOrder, result: None) -> None:
        _orders.move(self.db, command.order_id, "pending", "cancelled")
        self.faults.strike("cancel", command.order_id)

    @handles(ConfirmOrder)
    def confirm(self, command: ConfirmOrder) -> Done[None]:
        shipping_minor = None if command.shipping is None else command.shipping.amount_minor
        _confirmed.move(self.db, command.order_id, ("pending", "handed_over"), "confirmed", shipping_minor)
        self.faults.strike("confirm", command.order_id)
        return Done()

    # Orders that take longer.

    @handles(TakeOverOrder)
    def take_over(self, command: TakeOverOrder) -> Done[None] | Refused:
        found = _orders.found(self.db, command.order_id)
        if found is None:
            return Refused(UNKNOWN_ORDER)
        if found != "pending":
            return Refused(f"order_{found}")
        _orders.move(self.db, command.order_id, "pending", "handed_over")
        self.faults.strike("take_over", command.order_id)
        return Done()

    @undoes(TakeOverOrder)
    def cancel_taken_over(self, command: TakeOverOrder, result: None) -> None:
        _orders.move(self.db, command.order_id, "handed_over", "cancelled")
        self.faults.strike("cancel_taken_over", command.order_id)

    @handles(AwaitApproval)
    def await_approval(self, command: AwaitApproval) -> Done[str] | Refused | Later:
        order_id, of = command.order_id, command.of
        if _orders.found(self.db, order_id) is None:
            return Refused(UNKNOWN_ORDER)
        if not of:
            return Done("nobody")
        said = self.db.execute(
            "select approved, by from approvals where order_id = ? and of = ?", (order_id, of)
        ).fetchone()
        if said is None:
            self.db.execute(
                "insert into waiting (order_id, of, saga_id, step) values (?, ?, ?, ?) on conflict do nothing",
                (order_id, of, self.key.saga_id, self.key.step),
            )
            self.faults.strike("await_approval", order_id)
            return Later(f"waits for {of}")
        approved, by = said
        if not approved:
            return Refused(f"{of}_refused")
        self._wait_no_more(command)
        self.faults.strike("await_approval", order_id)
        return Done(by)

    @undoes(AwaitApproval)
    def stop_waiting(self, command: AwaitApproval, result: str | None) -> None:
        self._wait_no_more(command)
        self.faults.strike("stop_waiting", command.order_id)

    @handles(RecordApproval)
    def record_approval(self, command: RecordApproval) -> Done[bool] | Refused:
        order_id, of = command.order_id, command.of
        if _orders.found(self.db, order_id) is None:
            return Refused(UNKNOWN_ORDER)
        self.db.execute(
            "insert into approvals (order_id, of, approved, by) values (?, ?, ?, ?) on conflict do nothing",
            (order_id, of, command.approved, command.by),
        )
        if self.db.changes() != 1:
            return Done(False)
        waiting = self.db.execute("select saga_id, step from waiting where order_id = ? and of = ?", (order_id, of))
        for saga_id, step in waiting.fetchall():
            self.again(IdempotencyKey(SagaId(str(saga_id)), str(step)))
        self.faults.strike("record_approval", order_id)
        return Done(True)

    def _wait_no_more(self, command: AwaitApproval) -> None:
        self.db.execute(
            "delete from waiting where order_id = ? and of = ? and saga_id = ? and step = ?",
            (command.order_id, command.of, self.key.saga_id, self.key.step),
        )
