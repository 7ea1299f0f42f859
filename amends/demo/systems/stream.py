"""The stream: orders come in line by line, and for each a line goes out that says how it ended.

    reserve -- authorize -- prepare ==decision== commit, capture, dispatch

One step after the other and not side by side: whoever is refused has then the least to undo, and
this customer counts retries and compensations. What the goods cost is inventory's to say, which
knows the prices, so nothing is paid that is not reserved.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct

from amends import Completed, Handle, InputError, Outcome, Results, Saga, retriable, step
from amends.demo.cards import reference, secret
from amends.demo.domain import CURRENCY, LINES_MAX, Order, OrderId, PaymentInfo, Wanted, total_units
from amends.demo.faults import FaultPlan
from amends.demo.messages import (
    AuthorizePayment,
    CapturePayment,
    CommitStock,
    DispatchShipment,
    PrepareShipment,
    Reserved,
    ReserveStock,
    StockConflicts,
)
from amends.demo.services.inventory import Inventory
from amends.demo.services.payment import Payment
from amends.demo.services.shipping import Shipping
from amends.demo.shop import CALM, Shop
from amends.demo.stocking import ATTEMPT_S, RETRY
from amends.demo.systems.runnable import Runnable
from amends.protocol import codec

SERVICES = (Inventory, Payment, Shipping)

HOME = "United Kingdom"
"""Where a parcel goes whose address names no country."""

_ORDER = re.compile(
    r"\s*order\s+(?P<order_id>[^,]+?)\s*,\s*user\s+(?P<user_id>[^,]+?)\s*,\s*items:\s*\[(?P<items>.*)\]\s*,"
    r"\s*payment:\s*(?P<payment>.*?)\s*,\s*address:\s*(?P<address>.*\S)\s*",
    re.IGNORECASE,
)
_ITEM = re.compile(r"\s*\{\s*(?P<item_id>[^{},]+?)\s*,\s*(?P<quantity>[^{},]+?)\s*\}\s*(?:,|\Z)")
_NUMBER = re.compile(r"[+-]?\d{1,18}")
_FORM = "Order <id>, User <number>, Items: [{<item>, <quantity>}, ...], Payment: <how>, Address: <where>"


Items = Annotated[tuple[Wanted, ...], Meta(min_length=1, max_length=LINES_MAX)]
UserNumber = Annotated[int, Meta(ge=0, le=2**62)]
Country = Annotated[str, Meta(min_length=1, max_length=60)]


class Request(Struct, frozen=True, forbid_unknown_fields=True):
    """An order as its line says it."""

    order_id: OrderId
    user_id: UserNumber
    items: Items
    payment_info: dict[str, Any] | str
    shipping_address: dict[str, Any] | str


class StreamOrder(Struct, frozen=True, forbid_unknown_fields=True):
    """One order of the stream; the payment is a reference, and of the address there is what the way costs by."""

    order_id: OrderId
    user_id: UserNumber
    items: Items
    payment_info: PaymentInfo
    country: Country


def units_of(order: Request | StreamOrder) -> dict[str, int]:
    """What an order wants, each item once."""
    return total_units((item.item_id, item.quantity) for item in order.items)


class StreamedOrder(Saga, name="stream", deadline_s=30.0):
    """One order, from its line to its outcome."""

    input: StreamOrder

    @step(to="inventory", timeout_s=ATTEMPT_S, retry=RETRY)
    def reserve(self, order: StreamOrder, done: Results) -> ReserveStock:
        return ReserveStock(order.order_id, units_of(order), priced=True)

    @step(to="payment", after=[reserve], timeout_s=ATTEMPT_S, retry=RETRY)
    def authorize(self, order: StreamOrder, done: Results) -> AuthorizePayment:
        amount = done.of("reserve", Reserved).amount
        assert amount is not None  # it was asked for
        payment = order.payment_info
        return AuthorizePayment(order.order_id, str(order.user_id), payment.method, payment.account, amount)

    @step(to="shipping", after=[authorize], timeout_s=ATTEMPT_S, retry=RETRY)
    def prepare(self, order: StreamOrder, done: Results) -> PrepareShipment:
        return PrepareShipment(order.order_id, order.country, sum(units_of(order).values()), CURRENCY)

    @retriable(to="inventory", timeout_s=ATTEMPT_S, retry=RETRY)
    def commit(self, order: StreamOrder, done: Results) -> CommitStock:
        return CommitStock(order.order_id)

    @retriable(to="payment", timeout_s=ATTEMPT_S, retry=RETRY)
    def capture(self, order: StreamOrder, done: Results) -> CapturePayment:
        return CapturePayment(order.order_id)

    @retriable(to="shipping", timeout_s=ATTEMPT_S, retry=RETRY)
    def dispatch(self, order: StreamOrder, done: Results) -> DispatchShipment:
        return DispatchShipment(order.order_id)


class Stream(Shop):
    """The stream's orders on one folder; usable as a context."""

    def __init__(self, folder: str | Path, plan: FaultPlan = CALM) -> None:
        super().__init__(folder, [StreamedOrder], SERVICES, plan)
        self._folder = Path(folder)

    def submit(self, request: Request) -> Handle:
        """Hand an order in without waiting; the same order again is the same instance."""
        order = StreamOrder(
            request.order_id,
            request.user_id,
            request.items,
            reference(_part(request.payment_info), secret(self._folder), datetime.now(UTC).date()),
            _part(request.shipping_address).get("country", HOME),
        )
        return self.system.submit(StreamedOrder, order, key=order.order_id)


def _part(told: dict[str, Any] | str) -> dict[str, Any]:
    """What is told by fields; a word or an address in one line has none."""
    return told if isinstance(told, dict) else {}


def read(line: str) -> Request:
    """A line of the stream, JSON or the customer's text; InputError with what is wrong with it."""
    is_json = line.lstrip().startswith("{")
    return codec.decode(Request, line.encode() if is_json else codec.encode(_fields(line)), "order")


def _fields(line: str) -> Mapping[str, object]:
    """The fields of a line in the text form."""
    found = _ORDER.fullmatch(line)
    if found is None:
        raise InputError("order", "$", f"wanted JSON, or text like {_FORM}")
    items: list[Mapping[str, object]] = []
    text, place = found["items"], 0
    while place < len(text):
        item = _ITEM.match(text, place)
        if item is None:
            raise InputError("order", f"$.items[{len(items)}]", "wanted {<item>, <quantity>}")
        items.append({"item_id": item["item_id"], "quantity": _number(item["quantity"])})
        place = item.end()
    return {
        "order_id": found["order_id"],
        "user_id": _number(found["user_id"]),
        "items": items,
        "payment_info": found["payment"],
        "shipping_address": found["address"],
    }


def _number(text: str) -> int | str:
    return int(text) if _NUMBER.fullmatch(text) else text


def from_order(order: Order) -> Request:
    """A real order; what it costs is what the catalogue says."""
    items = tuple(Wanted(item.item_id, item.quantity) for item in order.items)
    payment = {"method": order.payment_info.method, "account": order.payment_info.account}
    address = {"country": order.shipping_address.country}
    return Request(order.order_id, int(order.user_id), items, payment, address)


def say(request: Request, outcome: Outcome, _took_s: float) -> str:
    """The customer's line."""
    return f"Order {request.order_id} {'confirmed' if isinstance(outcome, Completed) else 'failed'}"


def refused(outcome: Outcome) -> str | None:
    """The reason alone: what follows its colon is the case (which item)."""
    return None if isinstance(outcome, Completed) else outcome.reason.partition(":")[0]


def numbers(stream: Stream) -> Mapping[str, object]:
    """How much was done again, and how much was taken back."""
    status = stream.system.status()
    return {
        "retries": status.retries,
        "compensations": status.undone,
        "conflicts": stream.system.ask("inventory", StockConflicts()),
    }


RUNNABLE = Runnable(
    open=Stream,
    read=read,
    from_order=from_order,
    units=units_of,
    say=say,
    refused=refused,
    numbers=numbers,
)
