"""Notification: what customers are to be told, in an outbox that a mailer empties."""

from amends import Done, Later, Service, handles, undoes
from amends.demo.faults import HANDLER_TIMEOUT_S, Faults
from amends.demo.messages import NotifyCustomer, ResendConfirmation, SendConfirmation
from amends.demo.services import migrations
from amends.demo.versioned import States

RESEND_AFTER_S = 2.0
"""How long after it was asked for a confirmation is sent again."""

_resends = States("resends")


class Notification(
    Service, name="notification", migrations=migrations("notification"), handler_timeout_s=HANDLER_TIMEOUT_S
):
    """A letter written is a letter sent: the outbox is emptied by others."""

    def __init__(self, faults: Faults) -> None:
        super().__init__()
        self.faults = faults

    @handles(NotifyCustomer)
    def notify(self, command: NotifyCustomer) -> Done[None]:
        amount, shipping = command.amount, command.shipping
        way = "" if shipping is None else f" + {shipping.amount_minor} for shipping"
        body = (
            f"Your order {command.order_id} is confirmed: "
            f"{amount.amount_minor}{way}, in minor units of {amount.currency}."
        )
        self._write(command.order_id, command.user_id, "confirmation", body)
        self.faults.strike("notify", command.order_id)
        return Done()

    @handles(SendConfirmation)
    def confirm(self, command: SendConfirmation) -> Done[None]:
        self._write(command.order_id, command.user_id, "confirmation", f"Your order {command.order_id} is confirmed.")
        self.faults.strike("send_confirmation", command.order_id)
        return Done()

    @undoes(SendConfirmation)
    def tell_again(self, command: SendConfirmation, result: None) -> Later | None:
        return self._resend(command.order_id, command.user_id)

    @handles(ResendConfirmation)
    def resend(self, command: ResendConfirmation) -> Done[None] | Later:
        return self._resend(command.order_id, command.user_id) or Done()

    @undoes(ResendConfirmation)
    def drop_resend(self, command: ResendConfirmation, result: None) -> None:
        self.db.execute("delete from resends where order_id = ? and state = 'pending'", (command.order_id,))
        self.faults.strike("drop_resend", command.order_id)

    def _resend(self, order_id: str, user_id: str) -> Later | None:
        """Write what is due, once; `Later` while it is not."""
        wait_s = self._due_in_s(order_id)
        if wait_s is None:
            return None
        if wait_s > 0:
            self.faults.strike("resend", order_id)
            return Later("the confirmation is sent again after a while", again_s=wait_s)
        _resends.move(self.db, order_id, "pending", "written")
        self._write(order_id, user_id, "resend", f"Your order {order_id} is confirmed.")
        self.faults.strike("resend", order_id)
        return None

    def _due_in_s(self, order_id: str) -> float | None:
        """Seconds until an order's resend is due, which begin with the first call; None if there is none to write."""
        now_at = self.clock.now_at()
        row = self.db.execute("select due_at, state from resends where order_id = ?", (order_id,)).fetchone()
        if row is not None:
            due_at, state = row
            return max(0.0, due_at - now_at) if state == "pending" else None
        told = self.db.execute("select 1 from outbox where order_id = ? and kind = 'confirmation'", (order_id,))
        if told.fetchone() is None:
            return None
        self.db.execute(
            "insert into resends (order_id, due_at, state) values (?, ?, 'pending')",
            (order_id, now_at + RESEND_AFTER_S),
        )
        return RESEND_AFTER_S

    def _write(self, order_id: str, user_id: str, kind: str, body: str) -> None:
        self.db.execute(
            "insert into outbox (order_id, user_id, kind, body, state) values (?, ?, ?, ?, 'queued')",
            (order_id, user_id, kind, body),
        )
