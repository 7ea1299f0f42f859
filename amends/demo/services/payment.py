"""Payment: what customers owe, by double entry.

Money only moves between accounts: from the customer to what is held, from there to revenue or
back. Every movement sums to zero, so every order's does, and the whole ledger.
"""

from amends import Done, Refused, Service, handles, undoes
from amends.demo.faults import HANDLER_TIMEOUT_S, Faults
from amends.demo.messages import AuthorizePayment, CapturePayment
from amends.demo.services import migrations
from amends.demo.versioned import States

DECLINED = "card_declined"

_MOVEMENT = (
    "insert into entries (order_id, movement, account, amount_minor, currency) "
    "select order_id, ?2, ?3, -amount_minor, currency from payments where order_id = ?1 "
    "union all select order_id, ?2, ?4, amount_minor, currency from payments where order_id = ?1"
)

_payments = States("payments")


class Payment(Service, name="payment", migrations=migrations("payment"), handler_timeout_s=HANDLER_TIMEOUT_S):
    """Held, then captured or voided."""

    def __init__(self, faults: Faults) -> None:
        super().__init__()
        self.faults = faults

    @handles(AuthorizePayment)
    def authorize(self, command: AuthorizePayment) -> Done[None] | Refused:
        if self.faults.declines(command.order_id):
            return Refused(DECLINED)
        amount = command.amount
        self.db.execute(
            "insert into payments (order_id, user_id, method, account, amount_minor, currency, state) "
            "values (?, ?, ?, ?, ?, ?, 'held')",
            (
                command.order_id,
                command.user_id,
                command.method,
                command.account,
                amount.amount_minor,
                amount.currency,
            ),
        )
        self._enter(command.order_id, "hold", "customer", "held")
        self.faults.strike("authorize", command.order_id)
        return Done()

    @undoes(AuthorizePayment)
    def void(self, command: AuthorizePayment, result: None) -> None:
        _payments.move(self.db, command.order_id, "held", "voided")
        self._enter(command.order_id, "void", "held", "customer")
        self.faults.strike("void", command.order_id)

    @handles(CapturePayment)
    def capture(self, command: CapturePayment) -> Done[None]:
        _payments.move(self.db, command.order_id, "held", "captured")
        self._enter(command.order_id, "capture", "held", "revenue")
        self.faults.strike("capture", command.order_id)
        return Done()

    def _enter(self, order_id: str, movement: str, giver: str, taker: str) -> None:
        """Move the whole amount of an order's payment."""
        self.db.execute(_MOVEMENT, (order_id, movement, giver, taker))
