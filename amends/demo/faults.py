"""The faults of the demo: which order meets which, and in which call of which handler.

Everything is decided by a hash of the seed, the order, the handler and how often that handler
was called for that order, so a run can be had again, whatever order things happen in. Only the
first few calls can be struck, so every order ends.
Losing messages and killing actors is not done here: `shop` passes those shares on.
"""

import time
from collections.abc import Callable
from hashlib import blake2b
from typing import Annotated

from msgspec import Meta, Struct

Share = Annotated[float, Meta(ge=0.0, le=1.0)]

HANDLER_TIMEOUT_S = 1.0
"""How long a handler of the shop may take before it counts as hung."""

HANG_S = 1.5 * HANDLER_TIMEOUT_S
"""How long one that hangs by plan takes."""

STRIKES_MAX = 2
"""From the call after these on, a handler of an order is left in peace."""


class InjectedFault(RuntimeError):  # noqa: N818 - reads as the fact it reports
    """A handler raised because the demo wanted it to."""


class FaultPlan(Struct, frozen=True, forbid_unknown_fields=True):
    """How much goes wrong.

    Attributes:
        declined, short_stock, bad_address: shares of the orders that are refused for it.
        raises, hangs: shares of the handlers' first calls that do so.
        lost, doubled, delayed: shares of the messages between sagas and services.
        killed: share of the orders beside which an actor is killed.
    """

    seed: int = 1
    declined: Share = 0.0
    short_stock: Share = 0.0
    bad_address: Share = 0.0
    raises: Share = 0.0
    hangs: Share = 0.0
    lost: Share = 0.0
    doubled: Share = 0.0
    delayed: Share = 0.0
    killed: Share = 0.0


class Faults:
    """What the services ask before they do well.

    One object serves all services, and the successors of those that crash: what it counts must
    outlive an actor, or a handler that is called again would be struck again for ever. Each
    count belongs to one handler, so to one service's thread.

    Args:
        hang: what blocks; it gets the seconds.
    """

    def __init__(self, plan: FaultPlan, hang: Callable[[float], None] = time.sleep) -> None:
        self.plan = plan
        self._hang = hang
        self._calls: dict[tuple[str, str], int] = {}

    def declines(self, order_id: str) -> bool:
        return self._hits(self.plan.declined, "declined", order_id)

    def empties_the_shelf(self, order_id: str) -> bool:
        return self._hits(self.plan.short_stock, "short_stock", order_id)

    def spoils_the_address(self, order_id: str) -> bool:
        return self._hits(self.plan.bad_address, "bad_address", order_id)

    def strike(self, handler: str, order_id: str) -> None:
        """Raise or hang, if this call of the handler is to.

        A handler calls it after its last write, where it hurts most: everything must be taken
        back, or be found done although no answer came.
        """
        plan = self.plan
        if not (plan.raises or plan.hangs):
            return
        call = self._calls.get((handler, order_id), 0) + 1
        self._calls[handler, order_id] = call
        if call > STRIKES_MAX:
            return
        lot = fraction(plan.seed, order_id, handler, call)
        if lot < plan.raises:
            raise InjectedFault(f"{handler} of order {order_id}, call {call}")
        if lot < plan.raises + plan.hangs:
            self._hang(HANG_S)

    def _hits(self, share: float, what: str, order_id: str) -> bool:
        return share > 0 and fraction(self.plan.seed, order_id, what) < share


def fraction(*facts: str | int) -> float:
    """A number in [0, 1) that the facts decide, the same in every process."""
    digest = blake2b("\x1f".join(map(str, facts)).encode(), digest_size=8).digest()
    return (int.from_bytes(digest) >> 11) / 2**53
