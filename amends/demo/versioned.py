"""Optimistic locking, the one way in which the shop's rows are changed.

A row is read with its version and written only while it still has that version; otherwise
nothing is written and the change is made again on what is there now, a bounded number of
times. So services can share a database without holding it, and no update is ever lost.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TypeVar

from amends import AmendsError, Database

T = TypeVar("T")

TRIES = 5


class Stale(AmendsError):  # noqa: N818 - reads as the fact it reports
    """A row has another version than the one that was read."""


class WrongState(AmendsError):  # noqa: N818 - reads as the fact it reports
    """A row is not in the state the change begins from."""

    def __init__(self, table: str, order_id: str, found: str | None, wanted: str) -> None:
        super().__init__(f"{table}: order {order_id!r} is {found or 'absent'}, wanted {wanted}")
        self.order_id = order_id
        self.found = found
        self.wanted = wanted


def on_fresh_data(db: Database, change: Callable[[], T], *, several: bool = False) -> T:
    """Make the change, again on fresh data while it meets stale rows, and at last let `Stale` tell the caller.

    Args:
        several: it writes several rows under a version. One that is stale has then perhaps written some of
            them, which are taken back; of a single row nothing was written.
    """
    for _ in range(TRIES - 1):
        try:
            with db if several else nullcontext():
                return change()
        except Stale:
            continue
    return change()


def write_rows(db: Database, sql: str, rows: Sequence[tuple[str | int | None, ...]], count: int | None = None) -> None:
    """Write rows, each under the version it was read with; `Stale` if one of them has another by now.

    Args:
        rows: values for the statement, which asks for a version.
        count: how many rows it is to write in all, if that is not one for each of `rows`.
    """
    written = 0
    for row in rows:
        db.execute(sql, row)
        written += db.changes()
    if written != (len(rows) if count is None else count):
        raise Stale(f"a row is no longer of the version that was read: {sql}")


class States:
    """The `state` of one table's orders.

    Args:
        table: the table, with the columns order_id, state and version.
        also: columns that are set with the state.
    """

    def __init__(self, table: str, *also: str) -> None:
        columns = "".join(f", {column} = ?" for column in also)
        self.table = table
        self._read = f"select state, version from {table} where order_id = ?"
        self._write = f"update {table} set state = ?{columns}, version = version + 1 where order_id = ? and version = ?"

    def found(self, db: Database, order_id: str) -> str | None:
        """The state an order is in; None if it is absent."""
        row = db.execute(self._read, (order_id,)).fetchone()
        return None if row is None else row[0]

    def move(
        self, db: Database, order_id: str, before: str | tuple[str, ...], after: str, *also: str | int | None
    ) -> None:
        """Bring an order from one state, or any of some, to another; WrongState if it is not there."""
        wanted = (before,) if isinstance(before, str) else before

        def change() -> None:
            row = db.execute(self._read, (order_id,)).fetchone()
            found, version = row or (None, 0)
            if found not in wanted:
                raise WrongState(self.table, order_id, found, " or ".join(wanted))
            db.execute(self._write, (after, *also, order_id, version))
            if db.changes() != 1:
                raise Stale(f"{self.table}: order {order_id!r} is no longer of version {version}")

        on_fresh_data(db, change)
