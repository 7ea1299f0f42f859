"""What every database of a service does; one suite, each adapter."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from amends import Database, DatabaseError, StorageError
from amends.actors.database.port import Aborted
from amends.actors.database.scripts import by_dialect
from tests.actors.trip import LONG_S
from tests.conformance.databases import KINDS, Place, a_place

ITEMS = "create table items (name text primary key, units bigint not null check (units >= 0))"
OWNERS = "create table owners (name text not null references items (name))"
EVERYTHING = "create table everything (i bigint, f double precision, s text, b {})"


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Where each of the adapters keeps its content."""
    with a_place(request.param, tmp_path) as place:
        yield place


@pytest.fixture
def db(place: Place) -> Database:
    """Open, with a few items."""
    db = place.open_with(ITEMS, OWNERS)
    db.begin()
    db.executemany("insert into items values (?, ?)", [("A", 1), ("B", 2), ("C", 3)])
    db.commit()
    return db


def items(db: Database) -> list[tuple[str, int]]:
    """All there are."""
    return db.execute("select name, units from items order by name").fetchall()


def test_what_is_committed_is_there(place: Place, db: Database) -> None:
    """For every other connection, and only once it is."""
    other = place.open_with(ITEMS, OWNERS)
    db.begin()
    db.execute("update items set units = 9 where name = 'A'")
    assert items(other)[0] == ("A", 1)
    assert items(db)[0] == ("A", 9)
    db.commit()
    assert items(other)[0] == ("A", 9)
    assert not db.in_transaction


def test_what_is_rolled_back_is_not(db: Database) -> None:
    """Nothing of it, and to roll back what is not there is no error."""
    db.begin()
    db.execute("delete from items")
    db.rollback()
    db.rollback()
    assert len(items(db)) == 3


def test_rows(db: Database) -> None:
    """They are iterated, taken one by one, or all; of one column, its value."""
    assert list(db.execute("select name from items order by name")) == [("A",), ("B",), ("C",)]
    rows = db.execute("select name, units from items order by name")
    assert [rows.fetchone(), rows.fetchall(), rows.fetchone()] == [("A", 1), [("B", 2), ("C", 3)], None]
    assert db.execute("select units from items where name = ?", ("B",)).get == 2
    assert db.execute("select units from items where name = ?", ("X",)).get is None
    assert db.execute("update items set units = 4 where name = 'A'").fetchall() == []
    assert db.execute("update items set units = units + 1 where name = 'A' returning units").get == 5


def test_changes(db: Database) -> None:
    """The rows that the last statement that can change any has changed; and all of them."""
    before = db.total_changes()
    db.begin()
    counted = []
    for statement in (
        "update items set units = units + 1 where units > 1",
        "select 1",
        "update items set units = 0 where name = 'X'",
        "insert into items values ('A', 1) on conflict do nothing",
        "insert into items values ('A', 1) on conflict (name) do update set units = 7",
        "update items set units = 3 where name = 'A' returning units",
        "delete from items where name in ('A', 'B')",
    ):
        db.execute(statement).fetchall()
        counted.append(db.changes())
    db.executemany("update items set units = ? where name = ?", [(5, "C"), (6, "X")])
    assert counted == [2, 2, 0, 0, 1, 1, 2]
    assert db.total_changes() - before == 7
    db.rollback()


def test_values_come_back_as_they_were(place: Place) -> None:
    """Numbers, text, bytes and nothing; a truth is 1 or 0, and what is reckoned from integers is one."""
    tables = {"sqlite": [EVERYTHING.format("blob")], "postgres": [EVERYTHING.format("bytea")]}
    db = place.open({"service": by_dialect("s", tables)})
    wrote = [
        (1, 1.5, "text", b"\0bytes\xff"),
        (-(2**63), -0.1, "naïve 🐢 'quoted' ? $1 \\", b""),
        (2**63 - 1, 1e300, "", b"?"),
        (None, None, None, None),
    ]
    for row in wrote:
        db.execute("insert into everything values (?, ?, ?, ?)", row)
    read = db.execute("select i, f, s, b from everything").fetchall()
    assert read == wrote
    assert [type(value) for value in read[0]] == [int, float, str, bytes]
    db.execute("delete from everything")
    db.executemany("insert into everything (i, f) values (?, ?)", [(True, 1), (False, 2.5), (7, 3)])
    found = db.execute("select sum(i), count(*), sum(f), max(i), i = 7 from everything group by i = 7 order by 1")
    rows = found.fetchall()
    assert rows == [(1, 2, 3.5, 1, 0), (7, 1, 3.0, 7, 1)]
    assert [type(value) for value in rows[0]] == [int, int, float, int, int]


def test_values_by_number(db: Database) -> None:
    """One may be used several times, and what looks like a placeholder within text is none."""
    found = db.execute("select name, '?1' from items where units > ?1 and units < ?1 + ?2 -- ?", (1, 2))
    assert found.fetchall() == [("B", "?1")]


@pytest.mark.parametrize(
    ("statement", "violates"),
    [
        ("insert into items values ('A', 1)", "unique"),
        ("insert into items values ('D', null)", "not null"),
        ("insert into items values ('D', -1)", "check"),
        ("insert into owners values ('nobody')", "foreign key"),
        ("insert into nothing values (1)", None),
        ("not sql", None),
    ],
)
def test_errors(db: Database, statement: str, violates: str | None) -> None:
    """They are ours, have a code, and name the kind of constraint that was violated."""
    db.begin()
    with pytest.raises(DatabaseError) as error:
        db.execute(statement)
    assert error.value.violates == violates
    assert error.value.code
    db.rollback()
    assert len(items(db)) == 3


def test_with_care_an_error_takes_nothing_with_it(db: Database) -> None:
    """What was written before a statement that fails stays, and what comes after it too."""
    db.begin(careful=True)
    db.execute("update items set units = 7 where name = 'A'")
    with pytest.raises(DatabaseError):
        db.execute("insert into items values ('A', 1)")
    with pytest.raises(DatabaseError):
        db.executemany("insert into items values (?, ?)", [("D", 1), ("D", 2)])
    db.execute("update items set units = 8 where name = 'B'")
    assert db.trouble is None
    db.commit()
    assert [units for name, units in items(db) if name in ("A", "B")] == [7, 8]


def test_without_care_an_error_may_be_the_end_and_nobody_overlooks_it(place: Place, db: Database) -> None:
    """Either the transaction goes on, or nothing more can be done in it, nor committed."""
    db.begin()
    with pytest.raises(DatabaseError):
        db.execute("insert into items values ('A', 1)")
    if place.kind == "sqlite":
        assert db.trouble is None
    else:
        assert isinstance(db.trouble, Aborted)
        for _ in range(2):
            with pytest.raises(Aborted):
                db.execute("select 1")
        with pytest.raises(Aborted):
            db.commit()
    db.rollback()
    db.begin()
    assert db.trouble is None
    db.rollback()


def test_what_is_done_within_is_taken_back_by_an_error(db: Database) -> None:
    """The transaction goes on from where it was before, also if it was the database's error."""
    db.begin()
    db.execute("update items set units = 7 where name = 'A'")
    with suppress(KeyError), db:
        db.execute("delete from items")
        raise KeyError
    with suppress(DatabaseError), db, db:
        db.execute("delete from items where name = 'B'")
        db.execute("insert into items values ('A', 1)")
    with db:
        db.execute("update items set units = 9 where name = 'C'")
    db.commit()
    assert items(db) == [("A", 7), ("B", 2), ("C", 9)]


def test_savepoints(db: Database) -> None:
    """What came after one is taken back."""
    db.begin()
    db.execute("update items set units = 7 where name = 'A'")
    db.savepoint("amends")
    db.execute("delete from items")
    db.rollback_to("amends")
    db.release("amends")
    db.commit()
    assert items(db) == [("A", 7), ("B", 2), ("C", 3)]


@pytest.mark.parametrize("end", ["rollback", "commit"])
def test_nothing_is_done_after_a_transaction_that_a_handler_has_ended(db: Database, end: str) -> None:
    """What it still wrote would stay by itself."""
    db.begin()
    db.execute(end)
    assert db.trouble is not None
    if end == "rollback":
        with pytest.raises(DatabaseError):
            db.execute("delete from items")
    db.rollback()
    assert len(items(db)) == 3
    db.begin()
    db.execute("delete from items")
    db.commit()
    assert items(db) == []


def test_reading(place: Place, db: Database) -> None:
    """It sees what is committed, can't write, and leaves nothing behind."""
    with db.reading():
        assert len(items(db)) == 3
    with pytest.raises(DatabaseError), db.reading():
        db.execute("delete from items")
    with db.reading():
        pass
    db.begin()
    db.execute("delete from items where name = 'A'")
    db.commit()
    assert len(items(place.open_with(ITEMS, OWNERS))) == 2


def test_scripts_run_once_and_later_ones_go_on(place: Place) -> None:
    """Though they could not run twice; of one that fails nothing stays."""
    place.open_with("create table one (x bigint)").close()
    place.open_with("create table one (x bigint)").close()
    with pytest.raises((StorageError, DatabaseError)):
        place.open_with("create table one (x bigint)", "create table two (x bigint); nonsense")
    place.open_with("create table one (x bigint)", "create table two (x bigint)").execute("insert into two values (1)")


def test_newer_tables_are_refused(place: Place) -> None:
    """The error has both versions."""
    place.open_with(ITEMS, OWNERS).close()
    with pytest.raises(StorageError, match="service stands at 2, this program knows up to 1"):
        place.open_with(ITEMS)


def test_tables_of_another_owner_are_refused(place: Place) -> None:
    """As those of a journal that is in the place where a service's are to be."""
    place.open({"amends": by_dialect("j", [ITEMS])}).close()
    with pytest.raises(StorageError, match="amends stands at 1, this program knows up to 0"):
        place.open_with(ITEMS)


def test_scripts_for_another_dialect_only(place: Place) -> None:
    """They are missed by name."""
    other = {"sqlite": "postgres", "postgres": "sqlite"}[place.kind]
    with pytest.raises(StorageError, match=f"service has migrations for .'{other}'. only, wanted '{place.kind}'"):
        place.open({"service": {other: (ITEMS,)}})


ENDLESS = {
    "sqlite": "with recursive n (x) as (select 1 union all select x + 1 from n) select count(*) from n",
    "postgres": "select pg_sleep(1000)",
}


def test_what_runs_can_be_abandoned_by_another_thread(place: Place, db: Database) -> None:
    """It ends with an error, and so does all that comes after it."""
    begun, ended = threading.Event(), threading.Event()

    def run() -> None:
        db.begin()
        begun.set()
        with pytest.raises(DatabaseError):
            db.execute(ENDLESS[place.kind]).fetchall()
        with pytest.raises(DatabaseError):
            db.execute("delete from items")
        ended.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert begun.wait(LONG_S)
    while not ended.wait(0.05):
        db.abandon()
    thread.join()
    db.close()
    assert len(items(place.open_with(ITEMS, OWNERS))) == 3
