"""Placement: an order goes in, an answer comes out within five seconds, whatever hangs.

At the door a card becomes a token, an order gets its number and today's prices; then its saga
runs (see `placement_sagas`). An answer is read off a durable decision and never guessed: when
patience ends, the saga is told to turn back, and says whether it still could. What is undone
then, or goes on, needs nobody who waits.

An order that needs a manual check, or goods that are made to order, is answered "pending"; the
further saga it became waits for `approve`, and `answer` tells at any time how it stands.
"""

import time
from collections.abc import Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import msgspec
from msgspec import Meta, Struct

from amends import (
    Compensated,
    Found,
    Handle,
    InputError,
    JournalUnavailable,
    KeyConflict,
    Outcome,
    Overloaded,
    Saga,
    StorageError,
)
from amends.demo import cards
from amends.demo.domain import CURRENCY, LINES_MAX, Order, OrderId, UserId, Wanted, to_minor, total_units
from amends.demo.faults import FaultPlan
from amends.demo.messages import Line, Price, Prices, RecordApproval
from amends.demo.services.inventory import Inventory
from amends.demo.services.notification import Notification
from amends.demo.services.orders import Orders
from amends.demo.services.payment import Payment
from amends.demo.shop import CALM, Shop
from amends.demo.systems.placement_sagas import REVIEW, SUPPLIER, Accept, Approval, Desk, Finish, Place, PlacementOrder
from amends.demo.systems.runnable import Runnable, json_line
from amends.protocol import codec

SERVICES = (Orders, Payment, Inventory, Notification)
SAGAS = (Place, Accept, Finish, Approval)

PATIENCE_S = 4.4
"""How long an outcome is waited for; the saga's own deadline for deciding lies before it."""

CANCEL_S = 0.2
"""How long its answer to a cancel is waited for, twice at most."""

READ_S = 0.2
"""How long the journal's word on a decision is waited for, in what is left of the five seconds."""

ANSWER_S = 10.0
"""How long it is waited for by those who only want to know how an order stands; TimeoutError follows."""

START_S = 1.0
"""How long the start of a further saga is waited for before it is tried again."""

AT_ONCE_MAX = 512
"""Orders handed in with `submit` that are under way at once; more wait for their turn."""

UNITS_MAX = 1_000_000
"""Of one item, as of one line."""

INVALID = "Invalid request"
LATE = "Order timed out"
ERRORS = {
    "create": "Order failed",
    "take_over": "Order failed",
    "pay": "Payment failed",
    "reserve_first": "Reservation failed",
    "reserve_rest": "Reservation failed",
    "review": "Review failed",
    "supplier": "Supplier failed",
    None: LATE,
}
"""What failed, by step; None is no step's doing: a deadline, or a cancel."""

NO_TURN = "Too many orders at once"
NO_CATALOGUE = "The catalogue did not answer in time"
_NO_SUCH_ORDER = "order_id: wanted the number of an order"
_NO_DECISION = "No decision within 4 seconds"
WORDS = {
    "insufficient_funds": "Insufficient funds",
    "card_declined": "Card declined",
    "short_stock": "Out of stock",
    "unknown_item": "Unknown item",
    "order_exists": "There is an order of that number",
    "review_refused": "Not approved",
    "supplier_refused": "Not deliverable",
    "no answer in time": "No answer in time",
    "deadline": _NO_DECISION,
    "cancelled by the caller": _NO_DECISION,
}
"""The services' reasons in words; what follows a colon stays as it is, and so does every other reason."""

Answer = dict[str, str]


class Request(Struct, frozen=True, forbid_unknown_fields=True):
    """What the customer hands in: a card in `payment_info` comes no further than the door.

    Attributes:
        payment_info: a card (card_number, expiry_date, cvv), an account, or a provider's token.
        order_id: the same number again is the same order; without one the order gets one of its own.
    """

    customer_id: UserId
    items: Annotated[tuple[Wanted, ...], Meta(min_length=1, max_length=LINES_MAX)]
    payment_info: dict[str, Any]
    order_id: OrderId | None = None

    def __repr__(self) -> str:
        return f"Request({self.customer_id!r}, {self.items!r}, order_id={self.order_id!r})"


class Placement(Shop):
    """The placement system on one folder; usable as a context.

    Args:
        review_above: orders of more than that, in whole units of the shop's currency, need a manual check.
        made_to_order: items that a supplier has to make.
    """

    def __init__(
        self,
        folder: str | Path,
        plan: FaultPlan = CALM,
        *,
        review_above: Decimal | None = None,
        made_to_order: Collection[str] = (),
    ) -> None:
        super().__init__(folder, SAGAS, [*SERVICES, Desk.spec(self._start_rest)], plan)
        self._review_above_minor = None if review_above is None else to_minor(review_above, CURRENCY)
        self._made_to_order = frozenset(made_to_order)
        self._callers = ThreadPoolExecutor(AT_ONCE_MAX, "placement")

    def close(self) -> None:
        super().close()
        self._callers.shutdown()

    def place(self, request: Mapping[str, Any] | Request) -> Answer:
        """What becomes of an order, within five seconds: a success, a failure with its reason, or pending.

        It may be called from any thread. SystemStopped if the system is closed meanwhile: an order that was started
        goes on when it is opened again.
        """
        return self._place_until(request, self.now_s() + PATIENCE_S)

    def submit(self, request: Request) -> "Future[Answer]":
        """`place` without the wait; the five seconds begin here."""
        return self._callers.submit(self._place_until, request, self.now_s() + PATIENCE_S)

    def _place_until(self, request: Mapping[str, Any] | Request, until_s: float) -> Answer:
        try:
            sound = request if isinstance(request, Request) else _sound(request)
            if self.now_s() >= until_s:
                return self._turned_away(sound)
            return self._place(sound, until_s)
        except InputError as error:
            return _failure(INVALID, f"{error.path.removeprefix('$.')}: {error.problem}".removeprefix("$: "))
        except (Overloaded, JournalUnavailable) as error:
            return _failure("Order failed", str(error))

    def _turned_away(self, request: Request) -> Answer:
        """It waited too long for its turn, and nothing of it has begun, unless it was handed in before."""
        known = None if request.order_id is None else self._read(request.order_id)
        return known or _failure(LATE, NO_TURN)

    def answer(self, order_id: str) -> Answer:
        """How an order stands now: decided or, as long as it is not, pending."""
        return self._answer_until(order_id, self.now_s() + ANSWER_S) or _failure(INVALID, _NO_SUCH_ORDER)

    def _answer_until(self, order_id: str, until_s: float) -> Answer | None:
        for saga in (Finish, Place, Accept):
            found = self._find(saga, order_id, until_s)
            if found is None:
                continue
            if isinstance(found.decided, Compensated):
                return _failure_of(found.decided.step, found.decided.reason)
            return _pending(order_id) if found.decided is None or saga is Accept else _success(order_id)
        return None

    def approve(self, order_id: str, *, of: str, approved: bool, by: str) -> None:
        """Say yes or no to an order that waits, or will wait, for it; the first word counts.

        Args:
            of: "review" for the manual check, "supplier" for goods made to order.
            by: who says so.
        """
        if of not in (REVIEW, SUPPLIER):
            raise InputError("approve", "$.of", f"found {of!r}, wanted {REVIEW!r} or {SUPPLIER!r}")
        if isinstance(self.system.run(Approval, RecordApproval(order_id, of, approved, by)), Compensated):
            raise InputError("approve", "$.order_id", "wanted the number of an order")

    def now_s(self) -> float:
        """The time by which patience is measured."""
        return time.monotonic()

    # At the door.

    def _place(self, request: Request, until_s: float) -> Answer:
        known = None
        if request.order_id is not None:
            try:
                known = self._known(request.order_id, until_s)
            except (TimeoutError, JournalUnavailable):
                # It may be known, and decided: nothing is said of it that is not known, as in `_give_up`.
                return _pending(request.order_id)
        try:
            order = self.take(request, known, until_s)
        except TimeoutError:
            return _failure(LATE, NO_CATALOGUE)
        handle = self.start(order)
        try:
            outcome = handle.result(max(0.0, until_s - self.now_s()))
        except KeyConflict:
            # Somebody was faster with the same number, and at other prices perhaps: now it is known.
            return self._place(request, until_s)
        except TimeoutError:
            return self._give_up(handle, order.order_id)
        return self._told(order, outcome)

    def take(self, request: Request, known: PlacementOrder | None, until_s: float) -> PlacementOrder:
        """The order that a request means; `known` is the one of its number as it was first taken."""
        payment = cards.reference(request.payment_info, self.secret, datetime.now(UTC).date())
        if known is not None:
            wanted = tuple((line.item_id, line.quantity) for line in known.items)
            same = wanted == tuple((item.item_id, item.quantity) for item in request.items)
            if not same or (known.customer_id, known.payment) != (request.customer_id, payment):
                raise InputError("request", "$.order_id", "belongs to another order; wanted a new one, or none")
            return known
        item_ids = tuple({item.item_id: None for item in request.items})
        left_s = max(0.0, until_s - self.now_s())
        prices: dict[str, Price] = self.system.ask("inventory", Prices(item_ids), timeout_s=left_s)
        lines = tuple(
            Line(item.item_id, item.quantity, _price_minor(place, prices.get(item.item_id)))
            for place, item in enumerate(request.items)
        )
        order = PlacementOrder(request.order_id or uuid4().hex, request.customer_id, lines, payment)
        if max(order.units.values()) > UNITS_MAX:
            raise InputError("request", "$.items", f"wanted at most {UNITS_MAX} of an item, on all lines together")
        return msgspec.structs.replace(order, awaits=self._awaits(order))

    def start(self, order: PlacementOrder) -> Handle:
        """Start an order's saga without waiting; the one it had, if it had one."""
        return self.system.submit(Accept if order.awaits else Place, order, key=order.order_id)

    def _awaits(self, order: PlacementOrder) -> tuple[str, ...]:
        limit_minor = self._review_above_minor
        review = limit_minor is not None and order.amount.amount_minor > limit_minor
        supplier = not self._made_to_order.isdisjoint(order.units)
        return (REVIEW,) * review + (SUPPLIER,) * supplier

    def _known(self, order_id: str, until_s: float) -> PlacementOrder | None:
        """The order of that number as it was first taken."""
        found = self._find(Place, order_id, until_s) or self._find(Accept, order_id, until_s)
        return None if found is None else found.input

    def _find(self, saga: type[Saga], order_id: str, until_s: float) -> Found | None:
        return self.system.find(saga, order_id, max(0.0, until_s - self.now_s()))

    # What is answered.

    def _told(self, order: PlacementOrder, outcome: Outcome) -> Answer:
        if isinstance(outcome, Compensated):
            return _failure_of(outcome.step, outcome.reason)
        if not order.awaits:
            return _success(order.order_id)
        return self._read(order.order_id) or _pending(order.order_id)

    def _give_up(self, handle: Handle, order_id: str) -> Answer:
        """Turn the saga back if it is not decided, and tell what is decided then."""
        try:
            handle.cancel(CANCEL_S)
        except (TimeoutError, KeyConflict, StorageError):
            # Not even the journal answers in time. Whether the order was taken is not known, and must not be made up.
            return _pending(order_id)
        return self._read(order_id) or _pending(order_id)

    def _read(self, order_id: str) -> Answer | None:
        """How an order stands, as far as the journal tells it in time; None if there is no such order."""
        try:
            return self._answer_until(order_id, self.now_s() + READ_S)
        except (TimeoutError, JournalUnavailable):
            return _pending(order_id)

    def _start_rest(self, order: PlacementOrder) -> None:
        self.system.submit(Finish, order, key=order.order_id).accepted(START_S)


def _sound(request: Mapping[str, Any]) -> Request:
    if not isinstance(request, Mapping):
        raise InputError("request", "$", f"found a {type(request).__name__}, wanted an object")
    return codec.decode(Request, codec.checked(dict, dict(request), "request"), "request")


def _price_minor(place: int, price: Price | None) -> int:
    path = f"$.items[{place}].item_id"
    if price is None:
        raise InputError("request", path, "is not in the catalogue")
    try:
        return to_minor(Decimal(str(price)), CURRENCY)
    except ValueError:
        raise InputError("request", path, f"its price is no whole number of minor units of {CURRENCY}") from None


def _success(order_id: str) -> Answer:
    return {"status": "success", "order_id": order_id}


def _pending(order_id: str) -> Answer:
    return {"status": "pending", "order_id": order_id}


def _failure(error: str, reason: str) -> Answer:
    return {"status": "failure", "error": error, "reason": reason}


def _failure_of(step: str | None, reason: str) -> Answer:
    code, colon, case = reason.partition(":")
    return _failure(ERRORS.get(step, "Order failed"), WORDS.get(code, code) + colon + case)


def from_order(order: Order) -> Request:
    """A real order as the customer would hand it in; what it costs is the catalogue's to say."""
    payment = order.payment_info
    return Request(
        order.user_id,
        tuple(Wanted(item.item_id, item.quantity) for item in order.items),
        {"account" if payment.method == "account" else "token": payment.account},
        order.order_id,
    )


def units(request: Request) -> dict[str, int]:
    """What it wants, by item."""
    return total_units((item.item_id, item.quantity) for item in request.items)


def say(_request: Request, answer: Answer, _took_s: float) -> str:
    """The answer as it is."""
    return codec.encode(answer).decode()


def refused(answer: Answer) -> str | None:
    """The reason alone: what follows its colon is the case (which item)."""
    return answer["reason"].partition(":")[0] if answer["status"] == "failure" else None


RUNNABLE = Runnable(
    open=Placement,
    read=json_line(Request, "request"),
    from_order=from_order,
    units=units,
    say=say,
    refused=refused,
)
