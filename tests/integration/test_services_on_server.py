"""A whole system on a PostgreSQL server: what the server, or the way to it, does under load."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from amends import Completed, Handle, JournalUnavailable
from amends.actors import postgres
from amends.demo.cluster.own_postgres import OwnPostgres
from amends.demo.cluster.proxy import Proxy
from tests.actors.conftest import OpenSystem
from tests.actors.patience import refuse_some
from tests.actors.trip import LONG_S, SERVICES, BookTrip, LossyTrip, Script, Trip
from tests.servers import admin, postgres_schema


@pytest.fixture
def url() -> Iterator[str]:
    """A place for a journal, with the services beside it."""
    with postgres_schema() as url:
        yield url


def effects(url: str, database: str = "") -> Counter[tuple[str, str]]:
    """What has happened in all services, and how often."""
    found: Counter[tuple[str, str]] = Counter()
    place = postgres.target(url)
    with psycopg.connect(database, autocommit=True) if database else admin() as db:
        for service in SERVICES:
            schema = postgres.service_schema(place, service)
            rows: Any = db.execute(f"select what, name from {schema}.effects".encode()).fetchall()
            found.update(rows)
    return found


def assert_all_or_nothing(happened: Counter[tuple[str, str]], completed: int) -> None:
    """Every effect once; what is not completed is undone."""
    assert set(happened.values()) == {1}
    kinds = Counter(what for what, _ in happened)
    assert kinds["ticket"] == kinds["fare"] == completed
    assert kinds["seat"] - kinds["free seat"] == completed


def cut() -> int:
    """End every session of the services in the server: each holds a lock in its process's name; how many there were."""
    with admin() as db:
        ((ended,),) = db.execute(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = %s and pid in"
            " (select pid from pg_locks where locktype = 'advisory' and mode = 'ShareLock' and objsubid = 1)",
            (postgres.session_name(),),
        ).fetchall()
        return int(ended)


def test_sessions_that_are_ended_under_load(url: str, booking: OpenSystem) -> None:
    """Every trip is booked once or not at all, however often the server ends the services' sessions."""
    system = booking(Script(fare=refuse_some), folder=url)
    handles = []
    cuts = 0
    for number in range(300):
        handles.append(system.submit(LossyTrip, Trip(f"trip-{number}"), key=f"trip-{number}"))
        if number % 50 == 25:
            handles[-20].result(LONG_S)
            cuts += cut()
    for handle in handles:
        handle.result(LONG_S)
    assert cuts > 0
    status = system.status()
    assert (status.completed, status.compensated, status.restarts) == (200, 100, 0)
    system.stop()
    assert_all_or_nothing(effects(url), 200)


@pytest.mark.parametrize("crash", [False, True], ids=["restarted", "killed"])
def test_server_restarted_under_load(booking: OpenSystem, own_postgres: OwnPostgres, *, crash: bool) -> None:
    """Journal and services wait for it, and no actor fails over it."""
    url = f"{own_postgres.url}&schema=services_{'killed' if crash else 'restarted'}"
    system = booking(Script(fare=refuse_some), folder=url)
    restart = threading.Thread(target=_restart, args=(own_postgres, crash))
    wanted = [f"trip-{number}" for number in range(200)]
    accepted: list[Handle] = []
    while wanted:
        handle = system.submit(LossyTrip, Trip(wanted[0]), key=wanted[0])
        with suppress(JournalUnavailable):
            handle.accepted(LONG_S)
            accepted.append(handle)
            wanted.pop(0)
        if len(accepted) == 100 and restart.ident is None:
            restart.start()
    for handle in accepted:
        handle.result(LONG_S)
    restart.join()
    status = system.status()
    assert (status.completed, status.compensated, status.restarts) == (133, 67, 0)
    system.stop()
    assert_all_or_nothing(effects(url, own_postgres.url), 133)


def _restart(server: OwnPostgres, crash: bool) -> None:
    if crash:
        server.kill()
        server.start()
    else:
        server.restart()


def test_a_way_to_the_server_that_freezes(url: str, booking: OpenSystem) -> None:
    """Turns that wait for it are given up, and their services start again once it is there."""
    settings = conninfo_to_dict(url.partition("?")[0])
    with Proxy(str(settings.get("host")), int(str(settings.get("port") or 5432))) as wire:
        there = f"postgresql://{settings.get('user')}@127.0.0.1:{wire.port}/{settings.get('dbname')}"
        schema = postgres.target(url).schema
        system = booking(folder=f"{there}?schema={schema}", journal=f"{url}_journal")
        system.run(LossyTrip, Trip("before"), key="before", timeout_s=LONG_S)
        wire.swallows = True
        handles = [system.start(LossyTrip, Trip(f"trip-{n}"), key=f"trip-{n}") for n in range(20)]
        assert wire.swallowed.wait(LONG_S)
        while system.status().stuck_turns == 0:
            wire.swallowed.wait(0.01)
        wire.swallows = False
        wire.cut()
        assert all(isinstance(handle.result(LONG_S), Completed) for handle in handles)
        system.stop()
    assert_all_or_nothing(effects(url), 21)


def test_two_systems_with_the_same_services(url: str, booking: OpenSystem) -> None:
    """Each has a journal of its own; the services' databases are the same."""
    first = booking(Script(fare=refuse_some), folder=url, journal=f"{url}_one")
    second = booking(Script(fare=refuse_some), folder=url, journal=f"{url}_other")
    handles = []
    for number in range(150):
        for name, system in (("one", first), ("other", second)):
            handles.append(system.submit(BookTrip, Trip(f"{name}-{number}"), key=f"{name}-{number}"))
    outcomes = [handle.result(LONG_S) for handle in handles]
    first.stop()
    second.stop()
    assert_all_or_nothing(effects(url), sum(isinstance(outcome, Completed) for outcome in outcomes))
