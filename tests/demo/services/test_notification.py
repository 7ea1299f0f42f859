"""Notification: what customers are told."""

from typing import Any

from amends import Done
from amends.demo.domain import Money
from amends.demo.messages import NotifyCustomer
from amends.demo.services.notification import Notification


def test_a_confirmation_is_written_to_the_outbox(opened: Any) -> None:
    """It says what the order costs and waits for the mailer."""
    notification = opened(Notification)
    assert notification.notify(NotifyCustomer("o-1", "u-1", Money(500, "GBP"), Money(395, "GBP"))) == Done()
    rows = notification.db.execute("select order_id, user_id, kind, body, state from outbox").fetchall()
    body = "Your order o-1 is confirmed: 500 + 395 for shipping, in minor units of GBP."
    assert rows == [("o-1", "u-1", "confirmation", body, "queued")]
