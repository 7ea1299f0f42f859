"""Who waits for whose units, and who waits in vain: pure rules on values.

Orders take units as they come free, in the order in which they came, and keep them while they
wait for more. So orders may wait for each other in a circle, and then none of them will ever
get on. Whether that is so is found by reduction: what lies on the shelves and what is held by
orders that do not wait may become free; an order that this would satisfy may end, and what it
holds may become free; who is left in the end waits for others that are left, whatever
anybody else does. So nobody is called deadlocked who might still get all it wants.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from amends.demo.services.shelves import SHORT_STOCK, Shelf

DEADLOCK = "deadlock"

K = TypeVar("K", bound=Hashable)
Units = Mapping[str, int]

_NOTHING = Shelf(0, 0)


@dataclass(frozen=True, slots=True)
class Ask(Generic[K]):
    """One step that waits: whose order it is for, and what it still misses."""

    key: K
    order_id: str
    missing: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Waiting:
    """An order that waits, with all its steps.

    Attributes:
        missing: what it waits for; held: what it has already and would give back.
    """

    order_id: str
    missing: Mapping[str, int]
    held: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Decision(Generic[K]):
    """What is to be done about those who wait.

    Attributes:
        grants: units to set aside, by step; complete: steps that have it all.
        refused: why an order is to give up.
    """

    grants: dict[K, dict[str, int]] = field(default_factory=dict)
    complete: list[K] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


def decide(asks: Sequence[Ask[K]], held: Mapping[str, Units], shelves: Mapping[str, Shelf]) -> Decision[K]:
    """Give out what is free, first come, first served; refuse those who wait in vain.

    Args:
        asks: in the order in which they came.
        held: what each of their orders holds, by whatever step.
        shelves: what there is of every item that one of them misses.
    """
    decision: Decision[K] = Decision()
    for order in orders_of(asks, held):
        short = _short(order, shelves)
        if short is not None:
            decision.refused[order.order_id] = f"{SHORT_STOCK}: {short}"
    free = {item: shelf.on_hand for item, shelf in shelves.items()}
    still_asked, holding = [], {order_id: Counter(units) for order_id, units in held.items()}
    for ask in asks:
        if ask.order_id not in decision.refused:
            grant = {item: min(units, free[item]) for item, units in ask.missing.items() if free[item]}
            still_asked += _served(ask, grant, decision)
            holding.setdefault(ask.order_id, Counter()).update(grant)
            for item, units in grant.items():
                free[item] -= units
    waiting = orders_of(still_asked, holding)
    # What orders hold that do not wait, or give up, may become free as well as what lies on the shelf.
    loose = {item: sum(shelf) - sum(o.held.get(item, 0) for o in waiting) for item, shelf in shelves.items()}
    decision.refused.update(deadlocks(waiting, loose))
    return decision


def orders_of(asks: Iterable[Ask[K]], held: Mapping[str, Units]) -> list[Waiting]:
    """The orders that wait, in the order in which they began to."""
    missing: dict[str, Counter[str]] = {}
    for ask in asks:
        missing.setdefault(ask.order_id, Counter()).update(ask.missing)
    return [Waiting(order_id, units, held.get(order_id, {})) for order_id, units in missing.items()]


def _short(order: Waiting, shelves: Mapping[str, Shelf]) -> str | None:
    """An item of which there is not enough, even if all others give back theirs."""
    for item, units in order.missing.items():
        if units + order.held.get(item, 0) > sum(shelves.get(item, _NOTHING)):
            return item
    return None


def _served(ask: Ask[K], grant: dict[str, int], decision: Decision[K]) -> list[Ask[K]]:
    """Note what a step is given; what it still asks for, if anything."""
    if grant:
        decision.grants[ask.key] = grant
    missing = {item: units - grant.get(item, 0) for item, units in ask.missing.items() if units > grant.get(item, 0)}
    if missing:
        return [replace(ask, missing=missing)]
    decision.complete.append(ask.key)
    return []


def deadlocks(waiting: Sequence[Waiting], loose: Mapping[str, int]) -> dict[str, str]:
    """Who is to give up, and in which circle, so that the others can go on.

    Args:
        waiting: in the order in which they came.
        loose: units that lie free or are held by others than these, by item; all others count as none.
    """
    verdicts: dict[str, str] = {}
    while True:
        left, available = reduce(waiting, loose)
        if not left:
            return verdicts
        victim, circle = _victim(left, waits_for(left, available))
        verdicts[victim.order_id] = f"{DEADLOCK}: {' -> '.join(circle)}"
        # The others have not lost what they would have got: the victim's units are free now.
        waiting = [order for order in left if order is not victim]
        _set_free(victim, available)
        loose = available


def reduce(waiting: Sequence[Waiting], loose: Mapping[str, int]) -> tuple[list[Waiting], dict[str, int]]:
    """Those who can't end whatever the others do, and the units that are available to them at most."""
    available = dict(loose)
    left = list(waiting)
    while True:
        stuck = []
        for order in left:
            if all(available.get(item, 0) >= units for item, units in order.missing.items()):
                _set_free(order, available)
            else:
                stuck.append(order)
        if len(stuck) == len(left):
            return left, available
        left = stuck


def waits_for(waiting: Iterable[Waiting], available: Mapping[str, int]) -> dict[str, list[str]]:
    """Which of these orders hold what each of them misses, beyond what is available."""
    orders = list(waiting)
    holders: dict[str, list[str]] = {}
    for order in orders:
        for item in order.held:
            holders.setdefault(item, []).append(order.order_id)
    edges = {}
    for order in orders:
        lacking = [item for item, units in order.missing.items() if units > available.get(item, 0)]
        found = dict.fromkeys(holder for item in lacking for holder in holders.get(item, ()))
        edges[order.order_id] = [holder for holder in found if holder != order.order_id]
    return edges


def _victim(left: Sequence[Waiting], edges: Mapping[str, list[str]]) -> tuple[Waiting, list[str]]:
    """The order on a circle that has least to undo, the youngest of several, and its circle."""
    by_age = range(len(left))
    for n in sorted(by_age, key=lambda n: (sum(left[n].held.values()), -n)):
        circle = circle_of(left[n].order_id, edges)
        if circle is not None:
            return left[n], circle
    raise AssertionError("each of these waits for another one of them, so there is a circle")


def circle_of(order_id: str, edges: Mapping[str, list[str]]) -> list[str] | None:
    """The shortest way from an order back to itself."""
    ways = {order_id: [order_id]}
    reached = [order_id]
    for here in reached:
        for there in edges[here]:
            if there == order_id:
                return [*ways[here], order_id]
            if there not in ways:
                ways[there] = [*ways[here], there]
                reached.append(there)
    return None


def _set_free(order: Waiting, available: dict[str, int]) -> None:
    for item, units in order.held.items():
        available[item] = available.get(item, 0) + units
