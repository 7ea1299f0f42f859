"""Somebody else's stock and money, behind plain functions: what the checkout calls when they are given to it."""

from collections.abc import Callable, Mapping
from decimal import Decimal

from amends.demo.services.functions import InventoryFunctions, PaymentFunctions

Trouble = Callable[[str, str], bool | None]
"""What happens to a call of this function for this order: it may raise, or answer False; None lets it be."""


def nothing(function: str, order_id: str) -> None:
    """No trouble."""


class StandIn:
    """The world outside: it takes the same order twice, and remembers everything.

    Attributes:
        before, after: trouble on the way there, and on the way back, when it is done.
        calls: functions by order, as they were called; keys: the keys they were called with.
        stock, money: what stands there for each order in the end.
    """

    def __init__(self, before: Trouble = nothing, after: Trouble = nothing) -> None:
        self.before = before
        self.after = after
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self.calls: list[tuple[str, str]] = []
        self.keys: dict[str, set[str]] = {}
        self.items: dict[str, Mapping[str, int]] = {}
        self.amounts: dict[str, Decimal] = {}
        self.stock: dict[str, str] = {}
        self.money: dict[str, str] = {}

    @property
    def inventory(self) -> InventoryFunctions:
        """For the checkout."""
        return InventoryFunctions(self.reserve, self.release, self.commit)

    @property
    def payment(self) -> PaymentFunctions:
        """For the checkout."""
        return PaymentFunctions(self.authorize, self.void, self.capture)

    def called(self, function: str) -> int:
        """How often."""
        return sum(name == function for name, _ in self.calls)

    def reserve(self, order_id: str, items: Mapping[str, int], key: str) -> bool | None:
        self.items[order_id] = items
        return self._do("reserve", order_id, self.stock, "held", key)

    def release(self, order_id: str, key: str) -> bool | None:
        return self._do("release", order_id, self.stock, "released", key)

    def commit(self, order_id: str, key: str) -> bool | None:
        return self._do("commit", order_id, self.stock, "committed", key)

    def authorize(self, order_id: str, amount: Decimal, key: str) -> bool | None:
        self.amounts[order_id] = amount
        return self._do("authorize", order_id, self.money, "held", key)

    def void(self, order_id: str, key: str) -> bool | None:
        return self._do("void", order_id, self.money, "voided", key)

    def capture(self, order_id: str, key: str) -> bool | None:
        return self._do("capture", order_id, self.money, "captured", key)

    def _do(self, function: str, order_id: str, book: dict[str, str], becomes: str, key: str) -> bool | None:
        self.calls.append((function, order_id))
        self.keys.setdefault(function, set()).add(key)
        answer = self.before(function, order_id)
        if answer is not None:
            return answer
        # What comes once it is final, or taken back, changes nothing more.
        if book.get(order_id) in (None, "held"):
            book[order_id] = becomes
        return self.after(function, order_id)


def failing(function: str, times: float = float("inf")) -> Trouble:
    """The function raises so many times."""
    left = [times]

    def trouble(name: str, order_id: str) -> None:
        if name == function and left[0] > 0:
            left[0] -= 1
            raise ConnectionError("nobody is there")

    return trouble


def all_or_nothing(world: StandIn, order_id: str, *, committed: bool) -> bool:
    """Whether what stands outside for an order is what its outcome says."""
    found = (world.stock.get(order_id), world.money.get(order_id))
    if committed:
        return found == ("committed", "captured")
    return found[0] in (None, "released") and found[1] in (None, "voided")
