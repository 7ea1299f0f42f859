"""By hand: what a service can do, each as a saga of one step, for those who call it on its own.

So each call is as durable as an order, and is tried again like one. Its key begins with the order's
number, so that whoever looks for that in the log finds it.
"""

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from amends import Results, Retry, Saga, pivot, retriable
from amends.demo.messages import (
    CancelShipment,
    ChargePayment,
    RefundPayment,
    ResendConfirmation,
    ReturnStock,
    ScheduleShipment,
    SendConfirmation,
    SetBlacklist,
    SetPaymentRecords,
    SetPrices,
    SetShippingErrors,
    SetStock,
    TakeStock,
)
from amends.demo.stocking import ATTEMPT_S

# A service that raises and raises is given up within a second or two.
RETRY = Retry(attempts=4, base_s=0.05, cap_s=0.5, slow_s=2.0)

Declare = Callable[..., Callable[[Any], Any]]


def by_hand(name: str, command: Any, to: str, kind: Declare) -> type[Saga]:
    """A saga of one step, whose input is its command."""

    class ByHand(Saga, name=f"fulfilment-{name}"):
        input: command

        @kind(to=to, timeout_s=ATTEMPT_S, retry=RETRY)
        def send(self, value: Any, done: Results) -> command:
            return value

    return ByHand


def key_of(command: Struct, new_id: Callable[[], str]) -> str | None:
    """A key for one call, which names its order; None if it is about no order."""
    order_id = getattr(command, "order_id", None)
    return None if order_id is None else f"{order_id}/{new_id()}"


# What may be refused is a pivot, whose no is an answer; all else has to succeed in the end.
BY_HAND: dict[type, type[Saga]] = {
    TakeStock: by_hand("reserve", TakeStock, "inventory", pivot),
    ReturnStock: by_hand("return", ReturnStock, "inventory", retriable),
    ChargePayment: by_hand("pay", ChargePayment, "payment", pivot),
    RefundPayment: by_hand("refund", RefundPayment, "payment", retriable),
    ScheduleShipment: by_hand("schedule", ScheduleShipment, "shipping", pivot),
    CancelShipment: by_hand("cancel", CancelShipment, "shipping", retriable),
    SendConfirmation: by_hand("confirm", SendConfirmation, "notification", retriable),
    ResendConfirmation: by_hand("resend", ResendConfirmation, "notification", retriable),
    SetStock: by_hand("set-stock", SetStock, "inventory", pivot),
    SetPrices: by_hand("set-prices", SetPrices, "inventory", pivot),
    SetPaymentRecords: by_hand("set-records", SetPaymentRecords, "payment", pivot),
    SetBlacklist: by_hand("set-blacklist", SetBlacklist, "payment", pivot),
    SetShippingErrors: by_hand("set-errors", SetShippingErrors, "shipping", pivot),
}
