"""Inventory and payment as plain functions of the caller's, in place of the shop's own services.

A function answers True or None when it has done what it was asked, and False, or raises `Rejected`,
for a business no. Whatever else it raises means that nobody knows: it is called again, with the
same key, after the saga's backoff. After `TRIES_MAX` calls in vain what they may have done is taken
back, and that is a no, too. What must succeed in the end (commit, capture, and all taking back) is
called until it does. Each call has a thread of its own: a slow one holds up nobody, and an answer
that comes late counts. So a function must bear being asked the same twice.
"""

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from amends import Done, IdempotencyKey, InputError, Refused, Service, answers, handles, undoes
from amends.actors.service import ServiceSpec
from amends.demo.domain import to_whole
from amends.demo.messages import (
    AuthorizePayment,
    CapturePayment,
    CommitStock,
    Reserved,
    ReserveStock,
    StockLevels,
)

TRIES_MAX = 5
"""How often a function is called in vain; fewer than the attempts of the saga's step, which timeouts use up too."""

LIMIT_S = 10.0
"""After so long a call is made again beside the one that has not come back; the first answer counts."""

REJECTED = "rejected"
GAVE_UP = "gave_up"

Function = Callable[..., bool | None]


class Rejected(Exception):  # noqa: N818 - reads as the fact it reports
    """A business no, for a caller's function to raise; it is not called again."""

    def __init__(self, reason: str = REJECTED) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class InventoryFunctions:
    """Functions that keep the stock; `items` are quantities by product.

    Those that have a parameter `key` get the idempotency key: the same whenever the same is meant.

    Attributes:
        reserve: `(order_id, items)`.
        release: `(order_id)`, with `items` if it has that parameter; it takes a reserve back, one that failed too.
        commit: `(order_id)`.
        products: the ids of what is sold; None if only `reserve` can tell.
    """

    reserve: Function
    release: Function
    commit: Function
    products: Collection[str] | None = None

    def __post_init__(self) -> None:
        _check(self, "reserve", "order_id", "items")
        _check(self, "release", "order_id", offered=("items", "key"))
        _check(self, "commit", "order_id")

    @property
    def service(self) -> ServiceSpec:
        """The service that calls them."""
        return InventoryByFunctions.spec(self)


@dataclass(frozen=True)
class PaymentFunctions:
    """Functions that move the money; `amount` is a Decimal in whole units.

    Those that have a parameter `key` get the idempotency key: the same whenever the same is meant.

    Attributes:
        authorize: `(order_id, amount)`, with those of `currency`, `user_id`, `method` and `account` (a reference, never
            a card) that it has parameters for.
        void: `(order_id)`, and the same; it takes an authorize back, one that failed too.
        capture: `(order_id)`.
    """

    authorize: Function
    void: Function
    capture: Function

    def __post_init__(self) -> None:
        who = ("currency", "user_id", "method", "account", "key")
        _check(self, "authorize", "order_id", "amount", offered=who)
        _check(self, "void", "order_id", offered=("amount", *who))
        _check(self, "capture", "order_id")

    @property
    def service(self) -> ServiceSpec:
        """The service that calls them."""
        return PaymentByFunctions.spec(self)


class InventoryByFunctions(Service, name="inventory"):
    """The stock is somebody else's; nothing of it is kept here."""

    def __init__(self, functions: InventoryFunctions) -> None:
        super().__init__()
        self.functions = functions
        self.tries = Tries()

    @handles(ReserveStock, outside=True, limit_s=LIMIT_S)
    def reserve(self, command: ReserveStock, key: IdempotencyKey) -> Done[Reserved] | Refused:
        refused = self.tries.ask(
            key,
            lambda: _call(self.functions.reserve, command.order_id, dict(command.units), key=str(key)),
            lambda: self._release(command, key),
        )
        return refused or Done(Reserved(sum(command.units.values())))

    @undoes(ReserveStock, outside=True, limit_s=LIMIT_S)
    def release(self, command: ReserveStock, result: Reserved, key: IdempotencyKey) -> None:
        self._release(command, key)

    @handles(CommitStock, outside=True, limit_s=LIMIT_S)
    def commit(self, command: CommitStock, key: IdempotencyKey) -> Done[None]:
        _insist(self.functions.commit, command.order_id, key=str(key))
        return Done()

    @answers(StockLevels)
    def levels(self, query: StockLevels) -> dict[str, None]:
        """What is sold, of these or of all; how much there is nobody here can tell."""
        products = self.functions.products
        if products is None:
            return dict.fromkeys(query.item_ids or ())
        sold = set(map(str, list(products)))
        return dict.fromkeys(sold if query.item_ids is None else sold.intersection(query.item_ids))

    def _release(self, command: ReserveStock, key: IdempotencyKey) -> None:
        _insist(self.functions.release, command.order_id, items=dict(command.units), key=str(key))


class PaymentByFunctions(Service, name="payment"):
    """The money is somebody else's; nothing of it is kept here."""

    def __init__(self, functions: PaymentFunctions) -> None:
        super().__init__()
        self.functions = functions
        self.tries = Tries()

    @handles(AuthorizePayment, outside=True, limit_s=LIMIT_S)
    def authorize(self, command: AuthorizePayment, key: IdempotencyKey) -> Done[None] | Refused:
        who = _who(command, key)
        amount: Decimal = who.pop("amount")
        refused = self.tries.ask(
            key,
            lambda: _call(self.functions.authorize, command.order_id, amount, **who),
            lambda: self._void(command, key),
        )
        return refused or Done()

    @undoes(AuthorizePayment, outside=True, limit_s=LIMIT_S)
    def void(self, command: AuthorizePayment, result: None, key: IdempotencyKey) -> None:
        self._void(command, key)

    @handles(CapturePayment, outside=True, limit_s=LIMIT_S)
    def capture(self, command: CapturePayment, key: IdempotencyKey) -> Done[None]:
        _insist(self.functions.capture, command.order_id, key=str(key))
        return Done()

    def _void(self, command: AuthorizePayment, key: IdempotencyKey) -> None:
        _insist(self.functions.void, command.order_id, **_who(command, key))


class Tries:
    """How often the functions behind each step were called in vain; a new process knows nothing of it, and tries on."""

    def __init__(self) -> None:
        self._tries: dict[IdempotencyKey, int] = {}
        self._noes: dict[IdempotencyKey, Refused] = {}

    def ask(self, key: IdempotencyKey, do: Callable[[], object], take_back: Callable[[], object]) -> Refused | None:
        """None if it is done, Refused if not; while it is worth asking again, what the function raised is raised."""
        tries = self._tries[key] = self._tries.get(key, 0) + 1
        no = self._noes.get(key) or _once(do, tries)
        # A try in vain may have done it all the same, and even be the reason for the no.
        if no is not None and tries > 1:
            self._noes[key] = no
            take_back()
        self._tries.pop(key, None)
        self._noes.pop(key, None)
        return no


def _once(do: Callable[[], object], tries: int) -> Refused | None:
    if tries > TRIES_MAX:
        return Refused(f"{GAVE_UP}: no answer")
    try:
        return _refused(do())
    except Rejected as no:
        return Refused(no.reason)
    except Exception as error:
        if tries < TRIES_MAX:
            raise
        return Refused(f"{GAVE_UP}: {type(error).__name__}")


def _who(command: AuthorizePayment, key: IdempotencyKey) -> dict[str, Any]:
    amount = command.amount
    return {
        "amount": to_whole(amount),
        "currency": amount.currency,
        "user_id": command.user_id,
        "method": command.method,
        "account": command.account,
        "key": str(key),
    }


def _insist(function: Function, order_id: str, **offered: object) -> None:
    """Call what must succeed in the end; a no is an error like any other."""
    if _refused(_call(function, order_id, **offered)) is not None:
        raise RuntimeError("no is no answer to this")


def _refused(answer: object) -> Refused | None:
    if answer is None or answer is True:
        return None
    if answer is False:
        return Refused(REJECTED)
    raise TypeError(f"a function answered {type(answer).__name__}, wanted True, False or None")


def _call(function: Function, *given: object, **offered: object) -> object:
    """Call it with what is given, and what it has parameters for of what is offered."""
    return function(*given, **_taken(function, len(given), offered))


def _taken(function: Function, given: int, offered: Mapping[str, object]) -> dict[str, object]:
    parameters = list(inspect.signature(function).parameters.values())
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return dict(offered)
    by_name = {p.name for p in parameters[given:] if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    return {name: value for name, value in offered.items() if name in by_name}


def _check(functions: object, name: str, *given: str, offered: tuple[str, ...] = ("key",)) -> None:
    """InputError unless the function of that name can be called as it is going to be."""
    function = getattr(functions, name)
    try:
        taken = _taken(function, len(given), dict.fromkeys(offered))
        inspect.signature(function).bind(*given, **taken)
    except (TypeError, ValueError) as error:
        wanted = f"wanted a function of ({', '.join(given)}), which may take {', '.join(offered)} as well"
        raise InputError(type(functions).__name__, name, f"{wanted}; {error}") from None
