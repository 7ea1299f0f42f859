"""A service whose database server goes away, or loses a connection, at any moment of a turn."""

import threading
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import msgspec
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from amends import DatabaseError, Done, StorageError, Unavailable
from amends.actors import postgres
from amends.actors.database.postgres import PostgresDatabase
from amends.actors.storage.postgres import Server
from amends.demo.cluster.proxy import Proxy
from tests.actors.trip import LONG_S, Script, Seats, TakeSeat
from tests.actors.world import ServiceUnderTest
from tests.conformance.databases import on_server
from tests.servers import admin, need_postgres, postgres_schema

SEAT = Done(msgspec.Raw(b'"seat of a"'))
TAKE = TakeSeat("a")


@pytest.fixture
def wire() -> Iterator[Proxy]:
    """A network of the test's own."""
    settings = conninfo_to_dict(need_postgres())
    with Proxy(str(settings.get("host") or "localhost"), int(settings.get("port") or 5432)) as wire:
        yield wire


@pytest.fixture
def url(wire: Proxy) -> Iterator[str]:
    """A schema, at the other end of that."""
    settings = conninfo_to_dict(need_postgres())
    user, password = settings.get("user", "postgres"), settings.get("password", "")
    place = f"postgresql://{user}:{password}@127.0.0.1:{wire.port}/{settings.get('dbname', 'test')}"
    with postgres_schema() as url:
        yield f"{place}?{url.rpartition('?')[2].rpartition('&')[2]}"


@pytest.fixture
def script() -> Script:
    """What the handlers do."""
    return Script()


@pytest.fixture
def seats(url: str, script: Script, nobody_left: None) -> Iterator[ServiceUnderTest]:
    """A service whose database is there."""
    seats = ServiceUnderTest(lambda scripts: on_server(url, scripts), Seats.spec(script))
    yield seats
    assert seats.keeper.told == [], "it has not failed"
    seats.stop()


def effects(url: str) -> list[str]:
    """What has happened."""
    with admin(postgres.target(url).schema) as db:
        return [what for (what,) in db.execute("select what from effects order by id")]


def session_of(seats: ServiceUnderTest) -> "psycopg.Connection[Any]":
    """What its database is made of."""
    database = seats.service.db
    assert isinstance(database, PostgresDatabase)
    assert database._db is not None
    return database._db


def end(seats: ServiceUnderTest) -> None:
    """As an administrator would."""
    with admin() as db:
        db.execute("select pg_terminate_backend(%s, 10000)", (session_of(seats).info.backend_pid,))


def test_a_session_that_ended_between_turns(seats: ServiceUnderTest, url: str) -> None:
    """Nobody notices."""
    for number in range(3):
        assert seats.ask(seats.do(TAKE, step=str(number))) == SEAT
        end(seats)
    assert effects(url) == ["seat"] * 3


def test_a_session_that_ends_in_a_turn(seats: ServiceUnderTest, script: Script, url: str) -> None:
    """Whoever asked in it hears that nothing has happened; the next turn has another one."""
    script.acts["seat"] = lambda service, name: end(seats)
    answer = seats.ask(seats.do(TAKE))
    assert isinstance(answer, Unavailable)
    assert effects(url) == []
    del script.acts["seat"]
    assert seats.ask(seats.do(TAKE)) == SEAT
    assert effects(url) == ["seat"]


def lose_the_commit(seats: ServiceUnderTest, wire: Proxy, *, arrives: bool, comes_back: bool = True) -> None:
    """Cut the next commit off: before it has arrived, or before its answer has."""
    database: Any = seats.service.db
    right = database.commit
    cut = wire.cut if comes_back else wire.shut

    def cut_off() -> None:
        assert wire.swallowed.wait(LONG_S)
        wire.swallows = False
        cut()

    def commit() -> None:
        database.commit = right
        if not arrives:
            cut()
        else:
            wire.swallows = True
            threading.Thread(target=cut_off).start()
        right()

    database.commit = commit


@pytest.mark.parametrize("arrives", [False, True])
def test_a_commit_that_nobody_heard_of(seats: ServiceUnderTest, wire: Proxy, url: str, arrives: bool) -> None:
    """The turn is run once more, and the fence says what has happened already: the effect is there once."""
    lose_the_commit(seats, wire, arrives=arrives)
    assert seats.ask(seats.do(TAKE)) == SEAT
    assert effects(url) == ["seat"]


@pytest.mark.parametrize("arrives", [False, True])
def test_a_commit_that_nobody_can_find_out_about(seats: ServiceUnderTest, wire: Proxy, url: str, arrives: bool) -> None:
    """Nobody is told anything of which nobody knows whether it is so; whoever asks again is."""
    lose_the_commit(seats, wire, arrives=arrives, comes_back=False)
    assert seats.tell(seats.do(TAKE)) == []
    assert effects(url) == (["seat"] if arrives else [])
    wire.let_in()
    seats.runtime.time.s += 2
    assert seats.ask(seats.do(TAKE)) == SEAT
    assert effects(url) == ["seat"]


def test_while_the_server_is_away(seats: ServiceUnderTest, wire: Proxy, url: str) -> None:
    """Everybody hears so, at once; how often it is tried is a matter of the clock, longer each time."""
    wire.shut()
    tries: list[float] = []
    right = PostgresDatabase.connect

    def connect(database: PostgresDatabase) -> None:
        tries.append(seats.runtime.time.s)
        right(database)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PostgresDatabase, "connect", connect)
        for _ in range(100):
            assert isinstance(seats.ask(seats.do(TAKE)), Unavailable)
            seats.runtime.time.s += 0.1
    waits = [later - before for before, later in pairwise(tries)]
    assert 8 <= len(tries) <= 20
    assert waits == sorted(waits)
    assert waits[-1] == pytest.approx(1.0, abs=0.15)
    wire.let_in()
    seats.runtime.time.s += 2
    assert seats.ask(seats.do(TAKE)) == SEAT
    assert effects(url) == ["seat"]


def test_nobody_asks_when_the_server_is_back(seats: ServiceUnderTest, wire: Proxy) -> None:
    """It is found all the same, so a service that has nothing to do is ready again."""
    wire.shut()
    assert isinstance(seats.ask(seats.do(TAKE)), Unavailable)
    assert seats.service.blocked
    wire.let_in()
    seats.runtime.advance(2)
    assert seats.service.blocked == ""


def test_a_service_may_start_again_while_the_server_is_away(wire: Proxy, url: str) -> None:
    """If it was there before; a system that never had it is not opened."""
    scripts = Seats.scripts()
    wire.shut()
    storage = Server(url)
    with pytest.raises(StorageError, match="can't be opened"):
        storage.open_service("seats", scripts)
    wire.let_in()
    storage.open_service("seats", scripts).close()
    wire.shut()
    database = storage.open_service("seats", scripts)
    with pytest.raises(DatabaseError):
        database.begin()
    wire.let_in()
    database.begin()
    database.rollback()
    database.close()


def test_no_error_shows_a_password() -> None:
    """Nor does the name of a place."""
    storage = Server("postgresql://someone:hush@127.0.0.1:1/test?schema=shop")
    with pytest.raises(StorageError) as error:
        storage.open_service("seats", Seats.scripts())
    assert "hush" not in str(error.value)
    assert "schema=shop_seats" in str(error.value)


def test_the_schemas_of_services() -> None:
    """Each has one of its own, named after the journal's; two can't have the same."""
    storage = Server("postgresql://127.0.0.1:1/test?schema=shop")
    assert storage.place_of("air-mail").schema == "shop_air_mail"
    with pytest.raises(StorageError, match="'air-mail' and 'air_mail' would share the schema 'shop_air_mail'"):
        storage.place_of("air_mail")
    with pytest.raises(StorageError, match="up to 63"):
        storage.place_of("x" * 60)
