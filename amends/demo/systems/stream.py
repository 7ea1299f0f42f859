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
from amends.demo import cards
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
from amends.demo.systems.runnable import Runnable, read_json, refused
from amends.protocol import codec

SERVICES = (Inventory, Payment, Shipping)

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
Country = Annotated[str, Meta(max_length=60)]
Where = Annotated[str, Meta(max_length=1_000)]

_FIRST = ("name", "street", "city", "postcode")
"""In this order the fields of an address are written; others follow as they came."""
_NAME = re.compile(r"[A-Za-z_]{1,40}")


class Request(Struct, frozen=True, forbid_unknown_fields=True):
    """An order as its line says it."""

    order_id: OrderId
    user_id: UserNumber
    items: Items
    payment_info: dict[str, Any] | str
    shipping_address: dict[str, Any] | Where


class StreamOrder(Struct, frozen=True, forbid_unknown_fields=True):
    """One order of the stream; the payment is a reference, and the country is empty if no field names one."""

    order_id: OrderId
    user_id: UserNumber
    items: Items
    payment_info: PaymentInfo
    country: Country
    address: Where = ""


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
        units = sum(units_of(order).values())
        return PrepareShipment(order.order_id, order.country, units, CURRENCY, order.address)

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

    def submit(self, request: Request) -> Handle:
        """Hand an order in without waiting; the same order again is the same instance."""
        # Of a payment told in a word there are no fields.
        payment = request.payment_info if isinstance(request.payment_info, dict) else {}
        reference = cards.reference(payment, self.secret, datetime.now(UTC).date())
        country, address = _where_to(request.shipping_address)
        order = StreamOrder(request.order_id, request.user_id, request.items, reference, country, address)
        return self.system.submit(StreamedOrder, order, key=order.order_id)


def _where_to(told: dict[str, Any] | str) -> tuple[str, str]:
    """The country, if a field names it, and the rest of the address in one line."""
    if isinstance(told, str):
        return "", told
    fields = {name: _field(name, value) for name, value in told.items() if value is not None}
    country = fields.pop("country", "")
    names = [*(name for name in _FIRST if name in fields), *(name for name in fields if name not in _FIRST)]
    return country, ", ".join(fields[name] for name in names if fields[name])


def _field(name: str, value: object) -> str:
    """What stands in a field of an address; a postcode may be a number."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and name != "country":
        return str(value)
    where = f".{name}" if _NAME.fullmatch(name) else ""
    raise InputError("order", f"$.shipping_address{where}", f"wanted text, found {type(value).__name__}")


def read(line: str) -> Request:
    """A line of the stream, JSON or the customer's text; InputError with what is wrong with it."""
    is_json = line.lstrip().startswith("{")
    return read_json(Request, line.encode() if is_json else codec.encode(_fields(line)), "order")


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
    user_id = _number(order.user_id)
    if not isinstance(user_id, int):
        raise InputError("order", "$.user_id", f"wanted a number, found {user_id!r}")
    payment = {"method": order.payment_info.method, "account": order.payment_info.account}
    address = {"country": order.shipping_address.country}
    return Request(order.order_id, user_id, items, payment, address)


def say(request: Request, outcome: Outcome, _took_s: float) -> str:
    """The customer's line."""
    return f"Order {request.order_id} confirmed" if isinstance(outcome, Completed) else turned_away(request)


def turned_away(request: Request) -> str:
    """The line of an order that is not to be, whatever the reason."""
    return f"Order {request.order_id} failed"


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
    turned_away=turned_away,
    refused=refused,
    numbers=numbers,
)
