"""Inventory: how many units of each item are on the shelves, set aside, and gone.

Every unit that came in is in exactly one of the three places. An order takes all it wants or
nothing; one that may wait sets units aside as they come free, until it has them all. How rows
are changed is `shelves`' business, prices are `catalogue`'s, and who waits for whom `stock_queue`'s.
"""

from functools import cached_property
from typing import Any

import msgspec

from amends import Done, Later, Refused, Service, answers, handles, undoes
from amends.demo.faults import HANDLER_TIMEOUT_S, Faults
from amends.demo.messages import (
    AwaitStock,
    CommitStock,
    Price,
    Prices,
    ReceiveStock,
    Reserved,
    ReserveStock,
    ReturnStock,
    SetPrices,
    SetStock,
    StockConflicts,
    StockLevels,
    StockWaits,
    Taken,
    TakeStock,
)
from amends.demo.services import catalogue, migrations
from amends.demo.services.dialects import listed
from amends.demo.services.shelves import (
    PUT_BACK,
    SEND_OUT,
    SET_ASIDE,
    SHORT_STOCK,
    TAKE,
    TAKE_BACK,
    UNKNOWN_ITEM,
    Move,
    Shelves,
)
from amends.demo.services.stock_queue import HOLD, StockQueue, Wait
from amends.demo.versioned import WrongState, on_fresh_data, write_rows

__all__ = ["SHORT_STOCK", "UNKNOWN_ITEM", "Inventory"]

_WAITS = "waits for units that other orders hold"
_OTHER_UNITS = "order_exists: other units are taken for it"

_RESERVE = "insert into reservations (order_id, item_id, quantity, state) values (?, ?, ?, 'held')"
_STANDS = "select state from reservations where order_id = ? and state not in ('released', 'returned') limit 1"
_IN_STATE = "select item_id, quantity, version from reservations where order_id = ? and state = ?"
_MOVE = "update reservations set state = ?, version = version + 1 where order_id = ? and state = ? and version = ?"
_GIVE_BACK = (
    "update reservations set state = ?, quantity = ?, version = version + 1 "
    "where order_id = ? and item_id = ? and version = ?"
)
_TAKEN = "select item_id, price, quantity from reservations where order_id = ? and state = 'taken'"
_ENTER_TAKEN = (
    "insert into reservations (order_id, item_id, quantity, state, price) values (?, ?, ?, 'taken', ?) "
    "on conflict (order_id, item_id) do update set quantity = excluded.quantity, state = 'taken', "
    "price = excluded.price, version = reservations.version + 1"
)


class Inventory(Service, name="inventory", migrations=migrations("inventory"), handler_timeout_s=HANDLER_TIMEOUT_S):
    """On the shelf, then set aside, then gone or back on the shelf."""

    def __init__(self, faults: Faults) -> None:
        super().__init__()
        self.faults = faults

    @cached_property
    def _shelves(self) -> Shelves:
        return Shelves(self.db)

    @cached_property
    def _queue(self) -> StockQueue:
        return StockQueue(self.db, self._shelves, self.again)

    # What comes in, and what is written by hand.

    @handles(ReceiveStock)
    def receive(self, command: ReceiveStock) -> Done[None]:
        self._shelves.receive(command.delivery_id, command.units)
        self._queue.settle(command.units)
        return Done()

    @handles(SetStock)
    def set_stock(self, command: SetStock) -> Done[None]:
        self._shelves.count(f"count-{self.key}", command.counts)
        self._queue.settle(command.counts)
        return Done()

    @handles(SetPrices)
    def set_prices(self, command: SetPrices) -> Done[None] | Refused:
        return catalogue.set_prices(self.db, command.prices) or Done()

    # In two stages.

    @handles(ReserveStock)
    def reserve(self, command: ReserveStock) -> Done[Reserved] | Refused:
        if self.faults.empties_the_shelf(command.order_id):
            return Refused(SHORT_STOCK)
        amount = None
        if command.priced:
            prices = catalogue.look_up(self.db, command.units)
            if isinstance(prices, Refused):
                return prices
            amount = catalogue.cost((prices[item_id], units) for item_id, units in command.units.items())
        refused = self._set_aside(command)
        if refused is not None:
            return refused
        self.faults.strike("reserve", command.order_id)
        return Done(Reserved(sum(command.units.values()), amount))

    @undoes(ReserveStock)
    def release(self, command: ReserveStock, result: Reserved) -> None:
        self._give_back(command.order_id, command.units)
        self.faults.strike("release", command.order_id)

    @handles(AwaitStock)
    def await_stock(self, command: AwaitStock) -> Done[Reserved] | Refused | Later:
        if self.faults.empties_the_shelf(command.order_id):
            return Refused(SHORT_STOCK)
        answer = on_fresh_data(self.db, lambda: self._await(command), several=True)
        if not isinstance(answer, Refused):
            self.faults.strike("await_stock", command.order_id)
        return answer

    @undoes(AwaitStock)
    def leave_queue(self, command: AwaitStock, result: Reserved | None) -> None:
        wait = on_fresh_data(self.db, self._leave_queue)
        self._give_back(command.order_id, command.units if wait is None else wait.held)
        self.faults.strike("leave_queue", command.order_id)

    @handles(CommitStock)
    def commit(self, command: CommitStock) -> Done[None]:
        if not self._moved(command.order_id, "held", "committed", SEND_OUT):
            raise WrongState("reservations", command.order_id, None, "held")
        self.faults.strike("commit", command.order_id)
        return Done()

    # In one stage.

    @handles(TakeStock)
    def take(self, command: TakeStock) -> Done[Taken] | Refused:
        if self.faults.empties_the_shelf(command.order_id):
            return Refused(SHORT_STOCK)
        if self._stands(command.order_id, but="taken") is None:
            refused = self._take(command)
            if refused is not None:
                return refused
        taken: list[Any] = self.db.execute(_TAKEN, (command.order_id,)).fetchall()
        if {item_id: units for item_id, _, units in taken} != command.units:
            return Refused(_OTHER_UNITS)
        unpriced = any(price is None for _, price, _ in taken)
        if unpriced and command.priced:
            return Refused(catalogue.NO_PRICE)  # what was taken without asking for it
        self.faults.strike("take", command.order_id)
        return Done(Taken(None if unpriced else catalogue.cost((price, units) for _, price, units in taken)))

    @undoes(TakeStock)
    def put_back(self, command: TakeStock, result: Taken) -> None:
        self._moved(command.order_id, "taken", "returned", TAKE_BACK)
        self.faults.strike("put_back", command.order_id)

    @handles(ReturnStock)
    def take_back(self, command: ReturnStock) -> Done[None]:
        self._moved(command.order_id, "taken", "returned", TAKE_BACK)
        self.faults.strike("take_back", command.order_id)
        return Done()

    # Questions.

    @answers(StockLevels)
    def levels(self, query: StockLevels) -> dict[str, int]:
        these, values = "", tuple[str, ...]()
        if query.item_ids is not None:
            these, values = f"and item_id in ({listed(self.db)})", (msgspec.json.encode(query.item_ids).decode(),)
        rows: list[Any] = self.db.execute(
            f"select item_id, on_hand from stock where place is not null {these} order by place", values
        ).fetchall()
        return dict(rows)

    @answers(Prices)
    def prices(self, query: Prices) -> dict[str, Price]:
        return catalogue.prices(self.db, query.item_ids)

    @answers(StockWaits)
    def waits(self, query: StockWaits) -> dict[str, list[str]]:
        return self._queue.blockers()

    @answers(StockConflicts)
    def conflicts(self, query: StockConflicts) -> int:
        return Shelves.conflicts[self.db.name]

    # Inside.

    def _set_aside(self, command: ReserveStock | AwaitStock) -> Refused | None:
        refused = self._shelves.move(SET_ASIDE, command.units)
        if refused is None:
            lines = [(command.order_id, item_id, units) for item_id, units in command.units.items()]
            self.db.executemany(HOLD if isinstance(command, AwaitStock) else _RESERVE, lines)
        return refused

    def _await(self, command: AwaitStock) -> Done[Reserved] | Refused | Later:
        wait = self._queue.find(self.key)
        return self._begin_to_wait(command) if wait is None else self._wait_on(wait)

    def _begin_to_wait(self, command: AwaitStock) -> Done[Reserved] | Refused | Later:
        self._stands(command.order_id, but="held")
        if self._set_aside(command) is None:
            return Done(Reserved(sum(command.units.values())))
        reason = self._queue.join(Wait(self.key, command.order_id, command.units, {}))
        return Later(_WAITS) if reason is None else Refused(reason)

    def _wait_on(self, wait: Wait) -> Done[Reserved] | Refused | Later:
        if wait.verdict is not None:
            return Refused(wait.verdict)
        missing = wait.ask.missing
        if missing:
            # That was looked at when the step began to wait; but not what another process did at that very moment.
            self._queue.settle(missing)
            return Later(_WAITS)
        self._queue.leave(wait)
        return Done(Reserved(sum(wait.units.values())))

    def _leave_queue(self) -> Wait | None:
        """What the step in hand waited for, and does no longer."""
        wait = self._queue.find(self.key)
        if wait is not None:
            self._queue.leave(wait)
        return wait

    def _take(self, command: TakeStock) -> Refused | None:
        prices = catalogue.look_up(self.db, command.units)
        if isinstance(prices, Refused):
            if command.priced:
                return prices
            prices = {}
        refused = self._shelves.move(TAKE, command.units)
        if refused is None:
            lines = [
                (command.order_id, item_id, units, prices.get(item_id)) for item_id, units in command.units.items()
            ]
            self.db.executemany(_ENTER_TAKEN, lines)
        return refused

    def _stands(self, order_id: str, but: str | None = None) -> str | None:
        """The state of what the order has had and not given back; WrongState if there is any `but` one."""
        found = self.db.execute(_STANDS, (order_id,)).get
        if found not in (None, but):
            raise WrongState("reservations", order_id, str(found), but or "absent")
        return None if found is None else str(found)

    def _give_back(self, order_id: str, units: dict[str, int]) -> None:
        """Put back what one step of an order holds, which may be all the order holds, or a part of it."""

        def change() -> None:
            rows = self._rows(order_id, "held")
            if {item_id: quantity for item_id, quantity, _ in rows} == units:
                self._move_rows(order_id, "held", "released", rows)
                return
            held = {item_id: (quantity, version) for item_id, quantity, version in rows}
            changed: list[tuple[str | int, ...]] = []
            for item_id, given in units.items():
                quantity, version = held.get(item_id, (0, 0))
                if quantity < given:
                    raise WrongState("reservations", order_id, None, "held")
                left = quantity - given
                # A row keeps the quantity that was released last: there is none of nothing.
                changed.append(("held" if left else "released", left or quantity, order_id, item_id, version))
            write_rows(self.db, _GIVE_BACK, changed)

        on_fresh_data(self.db, change, several=len(units) > 1)
        self._shelves.move(PUT_BACK, units)
        self._queue.settle(units)

    def _moved(self, order_id: str, before: str, after: str, move: Move) -> bool:
        """Whether there was anything in the state before, which is in the other one now."""

        def change() -> dict[str, int]:
            rows = self._rows(order_id, before)
            self._move_rows(order_id, before, after, rows)
            return {item_id: quantity for item_id, quantity, _ in rows}

        units = on_fresh_data(self.db, change, several=True)
        if units:
            self._shelves.move(move, units)
            self._queue.settle(units)
        return bool(units)

    def _move_rows(self, order_id: str, before: str, after: str, rows: list[Any]) -> None:
        # Rows of one version in one statement: as a rule an order's all are.
        versions = {version for _, _, version in rows}
        write_rows(self.db, _MOVE, [(after, order_id, before, version) for version in versions], len(rows))

    def _rows(self, order_id: str, state: str) -> list[Any]:
        """Item, quantity and version of all that an order has in that state."""
        return self.db.execute(_IN_STATE, (order_id, state)).fetchall()
