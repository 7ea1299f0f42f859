"""The queue: orders that wait for units, as rows, and what is done about them as holdings change.

While an order misses units of an item, none of it lies on the shelf: what comes free is given out
in the same turn. So whoever finds units there overtakes nobody.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import msgspec

from amends import Database, IdempotencyKey
from amends.demo.services.dialects import listed
from amends.demo.services.shelves import SET_ASIDE, UNKNOWN_ITEM, Shelves
from amends.demo.services.stock_waits import Ask, Decision, Waiting, decide, orders_of, waits_for
from amends.demo.versioned import Stale, on_fresh_data, write_rows
from amends.protocol.messages import SagaId

Key = IdempotencyKey

# No version is asked for: what is added does not depend on what was there.
HOLD = (
    "insert into reservations (order_id, item_id, quantity, state) values (?, ?, ?, 'held') "
    "on conflict (order_id, item_id) do update set state = 'held', version = reservations.version + 1, "
    "quantity = case reservations.state when 'held' then reservations.quantity else 0 end + excluded.quantity"
)
_WAITS = "select saga_id, step, order_id, units, held, verdict, version from waits"
_JOIN = (
    "insert into waits (saga_id, step, order_id, units, place) "
    "values (?, ?, ?, ?, (select coalesce(max(place), 0) + 1 from waits))"
)
_SET = "update waits set held = ?, verdict = ?, version = version + 1 where saga_id = ? and step = ? and version = ?"
_LEAVE = "delete from waits where saga_id = ? and step = ? and version = ?"
_HELD = "select item_id, quantity from reservations where order_id = ? and state = 'held'"
_HOLDERS = "select order_id, item_id, quantity from reservations where state = 'held' and item_id in ({})"


class Wait(NamedTuple):
    """One step that waits for units.

    Attributes:
        units: all it wants; held: what it has of them.
        verdict: why it will wait in vain, if that is known.
        version: of its row.
    """

    key: Key
    order_id: str
    units: dict[str, int]
    held: dict[str, int]
    verdict: str | None = None
    version: int = 1

    @property
    def ask(self) -> Ask[Key]:
        """What it still misses."""
        missing = {item: n - self.held.get(item, 0) for item, n in self.units.items() if n > self.held.get(item, 0)}
        return Ask(self.key, self.order_id, missing)


class StockQueue:
    """The rows of `waits`: who waits, and what the units of others mean for them.

    Args:
        wake: has a step that waits tried again, in the same turn.
    """

    def __init__(self, db: Database, shelves: Shelves, wake: Callable[[Key], None]) -> None:
        self._db = db
        self._shelves = shelves
        self._wake = wake

    def find(self, key: Key) -> Wait | None:
        """What this step waits for."""
        waits = self._waits("where saga_id = ? and step = ?", key.saga_id, key.step)
        return waits[0] if waits else None

    def join(self, wait: Wait) -> str | None:
        """Take what is free and begin to wait for the rest, or say why that would be in vain; Stale as in `leave`."""
        there = self._shelves.read(wait.units)
        unknown = next((item for item in wait.units if item not in there), None)
        if unknown is not None:
            return f"{UNKNOWN_ITEM}: {unknown}"
        waits = [*self._waits("where verdict is null"), wait]
        decision = self._decide(waits)
        if wait.order_id in decision.refused:
            # Nothing else of the decision is carried out: without the newcomer there is no reason for it.
            return decision.refused[wait.order_id]
        self._db.execute(_JOIN, (wait.key.saga_id, wait.key.step, wait.order_id, _json(wait.units)))
        self._carry_out(decision, waits)
        return None

    def leave(self, wait: Wait) -> None:
        """The step waits no longer; Stale if somebody has changed its row."""
        write_rows(self._db, _LEAVE, [(wait.key.saga_id, wait.key.step, wait.version)])

    def settle(self, moved: Iterable[str]) -> None:
        """Units of these items came free or vanished: see what that means for those who wait."""
        if self._db.execute("select 1 from waits limit 1").get is not None:
            on_fresh_data(self._db, lambda: self._try_to_settle(moved), several=True)

    def _try_to_settle(self, moved: Iterable[str]) -> None:
        waits = self._waits("where verdict is null")
        if {item for wait in waits for item in wait.ask.missing}.intersection(moved):
            self._carry_out(self._decide(waits), waits)

    def blockers(self) -> dict[str, list[str]]:
        """Which orders each waiting order waits for."""
        asks = [wait.ask for wait in self._waits()]
        missed = {item for ask in asks for item in ask.missing}
        held: dict[str, dict[str, int]] = {}
        rows: list[Any] = self._db.execute(_HOLDERS.format(listed(self._db)), (_json(sorted(missed)),)).fetchall()
        for order_id, item, units in rows:
            held.setdefault(order_id, {})[item] = units
        waiting = orders_of(asks, held)
        names = {order.order_id for order in waiting}
        others = [Waiting(order_id, {}, units) for order_id, units in held.items() if order_id not in names]
        edges = waits_for([*waiting, *others], {})
        return {order.order_id: edges[order.order_id] for order in waiting}

    def _decide(self, waits: list[Wait]) -> Decision[Key]:
        asks = [wait.ask for wait in waits]
        held: dict[str, dict[str, int]] = {}
        for order_id in {ask.order_id for ask in asks}:
            rows: list[Any] = self._db.execute(_HELD, (order_id,)).fetchall()
            held[order_id] = dict(rows)
        return decide(asks, held, self._shelves.read({item for ask in asks for item in ask.missing}))

    def _carry_out(self, decision: Decision[Key], waits: list[Wait]) -> None:
        """Write down what was decided, and wake those it concerns in the order in which they came."""
        for wait in waits:
            held, grant = wait.held, decision.grants.get(wait.key)
            if grant:
                refused = self._shelves.move(SET_ASIDE, grant)
                if refused is not None:
                    raise Stale(f"what was to be given out is gone: {refused.reason}")
                self._db.executemany(HOLD, [(wait.order_id, item, units) for item, units in grant.items()])
                held = {**held, **{item: held.get(item, 0) + units for item, units in grant.items()}}
            verdict = decision.refused.get(wait.order_id)
            if grant or verdict is not None:
                write_rows(self._db, _SET, [(_json(held), verdict, wait.key.saga_id, wait.key.step, wait.version)])
        for wait in waits:
            if wait.order_id in decision.refused or wait.key in decision.complete:
                self._wake(wait.key)

    def _waits(self, which: str = "", *values: str) -> list[Wait]:
        """In the order in which they came."""
        rows: list[Any] = self._db.execute(f"{_WAITS} {which} order by place, saga_id, step", values).fetchall()
        return [
            Wait(Key(SagaId(saga_id), step), order_id, _units(units), _units(held), verdict, version)
            for saga_id, step, order_id, units, held, verdict, version in rows
        ]


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _units(text: str) -> dict[str, int]:
    return msgspec.json.decode(text, type=dict[str, int])
