"""Notification: what customers are to be told, in an outbox that a mailer empties."""

from amends import Done, Service, handles
from amends.demo.faults import HANDLER_TIMEOUT_S, Faults
from amends.demo.messages import NotifyCustomer
from amends.demo.services import migrations


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
        body = (
            f"Your order {command.order_id} is confirmed: "
            f"{amount.amount_minor} + {shipping.amount_minor} for shipping, in minor units of {amount.currency}."
        )
        self.db.execute(
            "insert into outbox (order_id, user_id, kind, body, state) values (?, ?, 'confirmation', ?, 'queued')",
            (command.order_id, command.user_id, body),
        )
        self.faults.strike("notify", command.order_id)
        return Done()
