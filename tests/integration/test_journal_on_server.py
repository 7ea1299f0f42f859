"""A system whose journal is on a PostgreSQL server, and whose services keep their files."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from amends import AmendsError, Completed, Found, Handle, JournalHeld, JournalUnavailable, StorageError, System
from amends.actors.postgres import session_name, target
from amends.demo.cluster.own_postgres import OwnPostgres
from tests.actors.conftest import OpenSystem
from tests.actors.patience import Gate, refuse_some, until
from tests.actors.trip import LONG_S, SERVICES, BookTrip, Script, Trip, rows_of
from tests.servers import admin, postgres_schema

_OURS = """
select pid from pg_locks join pg_stat_activity using (pid)
where locktype = 'advisory' and application_name = %s and objid = %s and granted"""


@pytest.fixture
def url() -> Iterator[str]:
    """A schema of the test's own; systems are stopped before it goes."""
    with postgres_schema() as url:
        yield url


def cut(url: str) -> int:
    """End the journal's session in the server; how many there were."""
    with admin() as db:
        sessions = db.execute(_OURS, (session_name(), target(url).lock_of(""))).fetchall()
        for (pid,) in sessions:
            db.execute("select pg_terminate_backend(%s, 10000)", (pid,))
        return len(sessions)


def doubles(folder: Path) -> list[object]:
    """Effects that happened more than once."""
    query = "select what, name from effects group by what, name having count(*) > 1"
    return [row for service in SERVICES for row in rows_of(folder / f"{service}.db", query)]


def test_instances_go_on_after_a_restart(url: str, booking: OpenSystem, tmp_path: Path) -> None:
    """What one system left open the next one ends, from the journal on the server and nothing else."""
    gate = Gate()
    system = booking(Script(ticket=gate), journal=url)
    handle = system.start(BookTrip, Trip("trip-1"), key="trip-1")
    system.stop()
    system = booking(journal=url)
    outcome = system.start(BookTrip, Trip("trip-1"), key="trip-1")
    assert isinstance(outcome.result(LONG_S), Completed)
    assert outcome.saga_id == handle.saga_id
    assert not (tmp_path / "journal.db").exists()


def test_sessions_that_are_ended_under_load(url: str, booking: OpenSystem, tmp_path: Path) -> None:
    """Every trip is booked once or not at all, however often the server ends the journal's session."""
    names = [f"trip-{number}" for number in range(300)]
    system = booking(Script(fare=refuse_some), journal=url)
    handles = []
    cuts = 0
    for number, name in enumerate(names):
        handles.append(system.submit(BookTrip, Trip(name), key=name))
        if number % 50 == 25:
            cuts += cut(url)
    for name, handle in zip(names, handles, strict=True):
        try:
            handle.result(LONG_S)
        except JournalUnavailable:
            # It came in the moment of a cut, and the next connection was not there at once.
            until(lambda name=name: _booked(system, name))  # type: ignore[misc]  # mypy takes the default for an argument
    assert cuts > 0
    status = system.status()
    assert (status.completed, status.compensated, status.restarts) == (200, 100, 0)
    system.stop()
    assert doubles(tmp_path) == []
    assert len(rows_of(tmp_path / "tickets.db", "select distinct name from effects")) == 200
    assert len(rows_of(tmp_path / "seats.db", "select name from effects where what = 'free seat'")) == 100


def _booked(system: System, name: str) -> bool:
    with suppress(JournalUnavailable):
        system.run(BookTrip, Trip(name), key=name, timeout_s=LONG_S)
        return True
    return False


@pytest.mark.parametrize("crash", [False, True], ids=["restarted", "killed"])
def test_server_restarted_under_load(
    booking: OpenSystem, tmp_path: Path, own_postgres: OwnPostgres, *, crash: bool
) -> None:
    """Whoever was told that a trip is accepted is told how it ended, and who was refused may come again."""
    system = booking(
        Script(fare=refuse_some), journal=f"{own_postgres.url}&schema={'killed' if crash else 'restarted'}"
    )
    restart = threading.Thread(target=_kill_and_start if crash else OwnPostgres.restart, args=(own_postgres,))
    wanted = [f"trip-{number}" for number in range(200)]
    accepted: list[Handle] = []
    while wanted:
        handle = system.submit(BookTrip, Trip(wanted[0]), key=wanted[0])
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
    assert doubles(tmp_path) == []


def _kill_and_start(server: OwnPostgres) -> None:
    server.kill()
    server.start()


def test_key_looked_up_while_the_server_is_away(booking: OpenSystem, own_postgres: OwnPostgres) -> None:
    """Found as in a file; who asks meanwhile is told that nobody knows, and the answer once the server is back."""
    system = booking(journal=f"{own_postgres.url}&schema=looked_up")
    system.run(BookTrip, Trip("a"), key="a", timeout_s=LONG_S)
    told = system.find(BookTrip, "a", LONG_S)
    assert told is not None
    assert (told.input, told.state) == (Trip("a"), "completed")
    assert system.find(BookTrip, "b", LONG_S) is None
    own_postgres.kill()
    with pytest.raises(JournalUnavailable, match="key 'a' can't be looked up"):
        system.find(BookTrip, "a", LONG_S)
    own_postgres.start()
    until(lambda: _found(system) == told)
    system.stop()


def _found(system: System) -> Found | None:
    with suppress(JournalUnavailable):
        return system.find(BookTrip, "a", LONG_S)
    return None


def test_second_system(url: str, booking: OpenSystem, tmp_path: Path) -> None:
    """It is the caller's error, at once."""
    booking(journal=url)
    with pytest.raises(JournalHeld, match=session_name()):
        booking(journal=url, folder=tmp_path / "other")


def test_opened_by_another_while_the_session_was_lost(url: str, booking: OpenSystem, tmp_path: Path) -> None:
    """A system that lost its journal to another does nothing more with it, and never told anybody it had."""
    first = booking(journal=url)
    first.run(BookTrip, Trip("trip-1"), key="trip-1", timeout_s=LONG_S)
    assert cut(url) == 1
    second = booking(journal=url, folder=tmp_path / "other")
    handle = first.submit(BookTrip, Trip("trip-2"), key="trip-2")
    second.run(BookTrip, Trip("trip-3"), key="trip-3", timeout_s=LONG_S)
    first.stop(timeout_s=0.1)
    with pytest.raises(AmendsError):
        handle.accepted()
    assert second.status().completed == 2


def test_server_that_is_not_there(booking: OpenSystem) -> None:
    """The caller hears where it was looked for, without the password."""
    with pytest.raises(StorageError, match="postgresql://me@localhost:1/x") as raised:
        booking(journal="postgresql://me:hidden@localhost:1/x")
    assert "hidden" not in str(raised.value)


def test_a_url_of_another_kind_is_no_place() -> None:
    """No folder of that name is made."""
    with pytest.raises(AmendsError, match="no PostgreSQL URL"):
        System("mysql://localhost/test", sagas=[], services=[])
