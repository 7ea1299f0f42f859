"""Deadlocks found the slow way: by trying in which order everybody could end."""

from collections.abc import Mapping, Sequence

from amends.demo.services.stock_waits import Waiting


def never_satisfied(waiting: Sequence[Waiting], loose: Mapping[str, int]) -> set[str]:
    """Orders that get all they want in no history at all: every set of orders that may have ended is looked at."""
    start: frozenset[int] = frozenset()
    seen, to_try = {start}, [start]
    while to_try:
        ended = to_try.pop()
        for n, order in enumerate(waiting):
            after = ended | {n}
            if n not in ended and after not in seen and _gets_all(order, [waiting[e] for e in ended], loose):
                seen.add(after)
                to_try.append(after)
    return {order.order_id for n, order in enumerate(waiting) if not any(n in ended for ended in seen)}


def _gets_all(order: Waiting, ended: Sequence[Waiting], loose: Mapping[str, int]) -> bool:
    """Whether it can have all it wants once these have given back what they hold."""
    for item, missing in order.missing.items():
        if loose.get(item, 0) + sum(other.held.get(item, 0) for other in ended) < missing:
            return False
    return True
