"""Optimistic locking: a stale write changes nothing and is made again on fresh data."""

from collections.abc import Callable

import apsw
import pytest

from amends.actors.database.sqlite import SqliteDatabase
from amends.demo.versioned import TRIES, Stale, States, WrongState, on_fresh_data


@pytest.fixture
def db() -> SqliteDatabase:
    """A table of orders with two of them."""
    made = SqliteDatabase(apsw.Connection(":memory:"))
    made.execute("create table orders (order_id text primary key, state text, note text, version integer default 1)")
    made.execute("insert into orders (order_id, state) values ('o-1', 'pending'), ('o-2', 'pending')")
    return made


def rows(db: SqliteDatabase) -> list[tuple[object, ...]]:
    """All there is."""
    return [tuple(row) for row in db.execute("select order_id, state, note, version from orders")]


def test_a_move_changes_state_and_version_of_one_row(db: SqliteDatabase) -> None:
    """Whoever read the row before can no longer write it."""
    States("orders", "note").move(db, "o-1", "pending", "confirmed", "done")
    assert rows(db) == [("o-1", "confirmed", "done", 2), ("o-2", "pending", None, 1)]


def test_a_move_from_another_state_is_an_error_that_says_which(db: SqliteDatabase) -> None:
    """A transition the shop does not know is not made."""
    states = States("orders")
    states.move(db, "o-1", "pending", "cancelled")
    with pytest.raises(WrongState, match="order 'o-1' is cancelled, wanted pending"):
        states.move(db, "o-1", "pending", "confirmed")
    with pytest.raises(WrongState, match="order 'o-9' is absent, wanted pending"):
        states.move(db, "o-9", "pending", "confirmed")
    assert rows(db)[0] == ("o-1", "cancelled", None, 2)


def someone_else_writes(db: SqliteDatabase, times: int) -> None:
    """Let another writer be faster, so many times: between the read and the write of a move."""
    left = times

    def interfere(cursor: apsw.Cursor, statement: str, bindings: object) -> bool:
        nonlocal left
        if statement.startswith("update") and "'someone'" not in statement and left:
            left -= 1
            db.execute("update orders set note = 'someone', version = version + 1 where order_id = 'o-1'")
        return True

    db.connection.exec_trace = interfere


def test_a_stale_write_is_made_again_on_fresh_data(db: SqliteDatabase) -> None:
    """Neither of two writers' changes is lost."""
    someone_else_writes(db, times=TRIES - 1)
    States("orders").move(db, "o-1", "pending", "confirmed")
    assert rows(db)[0] == ("o-1", "confirmed", "someone", TRIES + 1)


def test_a_write_that_stays_stale_gives_up(db: SqliteDatabase) -> None:
    """The number of tries is bounded; the caller hears of it."""
    someone_else_writes(db, times=TRIES)
    with pytest.raises(Stale, match="order 'o-1'"):
        States("orders").move(db, "o-1", "pending", "confirmed")
    assert rows(db)[0] == ("o-1", "pending", "someone", TRIES + 1)


def failing(db: SqliteDatabase, times: int) -> Callable[[], str]:
    """A change of two rows that is stale after the first, so many times."""
    left = times

    def change() -> str:
        nonlocal left
        db.execute("update orders set note = coalesce(note, '') || 'x' where order_id = 'o-1'")
        if left:
            left -= 1
            raise Stale("o-2")
        db.execute("update orders set note = coalesce(note, '') || 'x' where order_id = 'o-2'")
        return "changed"

    return change


def test_what_a_stale_change_of_several_rows_wrote_is_taken_back(db: SqliteDatabase) -> None:
    """Rows are changed together or not at all."""
    assert on_fresh_data(db, failing(db, times=2), several=True) == "changed"
    assert [row[2] for row in rows(db)] == ["x", "x"]
