"""The journal on a PostgreSQL server: who may have it open, what a lost connection means, and what is said of it."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from amends.actors import postgres
from amends.actors.journal import postgres as postgres_store
from amends.actors.journal.postgres import PostgresStore
from amends.actors.journal.store import Batch, Blocked, InDoubt, verify
from amends.demo.cluster.proxy import Proxy
from amends.protocol.errors import JournalHeld, RecordCorrupt, StorageError
from tests.actors.patience import until
from tests.actors.trip import LONG_S
from tests.conformance.test_stores import history, instance, opened
from tests.open_ids import open_ids
from tests.servers import admin, need_postgres, postgres_schema

EMPTY = Batch([], [], [])


@pytest.fixture
def url() -> Iterator[str]:
    """A schema that is not there yet."""
    with postgres_schema() as url:
        yield url


@pytest.fixture
def store(url: str) -> Iterator[PostgresStore]:
    """A journal, open."""
    store = PostgresStore(url)
    yield store
    store.close()


@pytest.fixture
def db(url: str) -> Iterator["psycopg.Connection[Any]"]:
    """Another session on its tables."""
    with admin(postgres.target(url).schema) as db:
        yield db


@pytest.fixture
def wire(url: str) -> Iterator[Proxy]:
    """A network of the test's own."""
    settings = conninfo_to_dict(need_postgres())
    with Proxy(str(settings.get("host") or "localhost"), int(settings.get("port") or 5432)) as wire:
        yield wire


@pytest.fixture
def far(url: str, wire: Proxy) -> Iterator[PostgresStore]:
    """The journal at the other end of it."""
    settings = conninfo_to_dict(need_postgres())
    user, password = settings.get("user", "postgres"), settings.get("password", "")
    place = f"postgresql://{user}:{password}@127.0.0.1:{wire.port}/{settings.get('dbname', 'test')}"
    store = PostgresStore(f"{place}?{url.rpartition('?')[2].rpartition('&')[2]}")
    yield store
    store.close()


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long for a holder that stays, nor for the next try."""
    monkeypatch.setattr(postgres_store, "GRACE_MS", 300)
    monkeypatch.setattr(postgres_store, "_RECONNECT_S", 0.0)


def session(store: PostgresStore) -> int:
    """The server's number of its session."""
    return store._db.info.backend_pid


def end_session(db: "psycopg.Connection[Any]", store: PostgresStore) -> None:
    """The server ends it, as an administrator may; it has when this returns."""
    assert db.execute("select pg_terminate_backend(%s, 10000)", (session(store),)).fetchall() == [(True,)]


def waits(db: "psycopg.Connection[Any]", pid: int) -> bool:
    """Whether a session waits for a lock."""
    # What pg_stat_activity says is the same all through a transaction.
    return bool(db.execute("select from pg_locks where pid = %s and not granted", (pid,)).fetchall())


@contextmanager
def meanwhile(work: Callable[[], object]) -> Iterator[list[BaseException]]:
    """Do it on another thread, beside the block; what it raised is there after the block."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - the test looks at it
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield raised
    thread.join(LONG_S)
    assert not thread.is_alive()


@contextmanager
def held_up(
    store: PostgresStore, db: "psycopg.Connection[Any]", by: str = "select from nodes for update"
) -> Iterator[list[BaseException]]:
    """The store writes an instance on another thread, and waits for `by` in a transaction that ends with the block."""
    with ExitStack() as afterwards, db.transaction():
        db.execute(by)
        raised = afterwards.enter_context(meanwhile(lambda: store.write(opened("late"))))
        until(lambda: waits(db, session(store)))
        yield raised


# Connections that are lost.


def test_session_ended_while_nothing_goes_on(store: PostgresStore, db: "psycopg.Connection[Any]") -> None:
    """The next write is made on a new session, with the token as it was."""
    token = store.token
    store.write(opened("a"))
    end_session(db, store)
    store.write(opened("b"))
    end_session(db, store)
    assert (open_ids(store, "", 10), store.token) == (["a", "b"], token)


def test_session_ended_in_the_middle_of_a_write(store: PostgresStore, db: "psycopg.Connection[Any]") -> None:
    """What the lost session had begun is undone by the server, and the batch is written once all the same."""
    before = session(store)
    with held_up(store, db) as raised:
        end_session(db, store)
    assert raised == []
    assert session(store) != before
    assert store.history("late") == history("late", 2)


def test_session_ended_twice_in_the_middle_of_a_write(store: PostgresStore, db: "psycopg.Connection[Any]") -> None:
    """It is not tried for ever; the caller is told that it does not know."""
    before = session(store)
    with held_up(store, db) as raised:
        end_session(db, store)
        until(lambda: session(store) != before and waits(db, session(store)))
        end_session(db, store)
    (error,) = raised
    assert isinstance(error, InDoubt)
    store.write(opened("late"))
    assert store.history("late") == history("late", 2)


def test_reply_lost_and_the_server_away(far: PostgresStore, wire: Proxy, db: "psycopg.Connection[Any]") -> None:
    """A commit nobody could tell of is in doubt until the same batch is written again, which changes nothing."""

    def cut_once_it_is_there() -> None:
        wire.swallowed.wait(LONG_S)
        wire.shut()
        wire.swallows = False

    wire.swallows = True
    with meanwhile(cut_once_it_is_there), pytest.raises(InDoubt):
        far.write(opened("a"))
    assert db.execute("select count(*) from records").fetchall() == [(2,)]
    with pytest.raises(Blocked):
        far.write(opened("a"))
    wire.let_in()
    far.write(opened("a"))
    assert far.history("a") == history("a", 2)


def test_reply_lost_and_the_server_there(far: PostgresStore, wire: Proxy) -> None:
    """Whether it was written shows at once, and is no error."""

    def cut_once_it_is_there() -> None:
        wire.swallowed.wait(LONG_S)
        wire.swallows = False
        wire.cut()

    wire.swallows = True
    with meanwhile(cut_once_it_is_there):
        far.write(opened("a"))
    assert far.history("a") == history("a", 2)


def test_server_away(far: PostgresStore, wire: Proxy) -> None:
    """Nothing is in doubt of what was never sent; reading waits too, and all goes on when the server is back."""
    far.write(opened("a"))
    wire.shut()
    with pytest.raises(Blocked) as blocked:
        far.write(opened("b"))
    assert not isinstance(blocked.value, InDoubt)
    asked: list[Callable[[], object]] = [
        lambda: far.find("s", "a"),
        lambda: far.instance("a"),
        lambda: far.history("a"),
        lambda: open_ids(far, "", 1),
        lambda: far.prune(1.0, 1),
        far.counts,
    ]
    for ask in asked:
        with pytest.raises(Blocked):
            ask()
    wire.let_in()
    far.write(opened("b"))
    assert open_ids(far, "", 10) == ["a", "b"]


def test_a_while_between_tries(far: PostgresStore, wire: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is away is not knocked at for every question."""
    monkeypatch.setattr(postgres_store, "_RECONNECT_S", 3600.0)
    wire.shut()
    with pytest.raises(Blocked):
        far.counts()
    wire.let_in()
    with pytest.raises(Blocked):
        far.counts()


def test_lost_session_that_the_server_still_has(far: PostgresStore, wire: Proxy, db: "psycopg.Connection[Any]") -> None:
    """A session of ours that hangs in the server is ended by the next one."""
    before = session(far)
    with held_up(far, db) as raised:
        # The server does not look at the wire while the session waits for a lock.
        wire.cut()
        until(lambda: not waits(db, before))
    assert raised == []
    assert far.history("late") == history("late", 2)


# Who has it open.


def test_second_opener(store: PostgresStore, url: str) -> None:
    """It is told who has the journal open, and takes nothing away."""
    with pytest.raises(JournalHeld) as held:
        PostgresStore(url)
    assert f"{postgres.session_name()} from " in held.value.holder
    assert f"session {session(store)}" in held.value.holder
    store.write(opened("a"))


def test_journals_side_by_side(store: PostgresStore) -> None:
    """Each schema is a journal of its own."""
    with postgres_schema() as other:
        beside = PostgresStore(other)
        beside.write(opened("b"))
        store.write(opened("a"))
        assert (open_ids(store, "", 9), open_ids(beside, "", 9)) == (["a"], ["b"])
        beside.close()


HOLDER = """
import sys
from amends.actors.journal.postgres import PostgresStore
from tests.conformance.test_stores import opened
store = PostgresStore(sys.argv[1])
store.write(opened("a"))
print("open", flush=True)
sys.stdin.read()
"""


def test_killed_holder(url: str) -> None:
    """A process that is killed holds nothing, and what it had written is there."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(JournalHeld, match=f" {holder.pid} "):
            PostgresStore(url)
        holder.send_signal(signal.SIGKILL)
        holder.wait(LONG_S)
        store = PostgresStore(url)
    assert (store.token, store.history("a")) == (2, history("a", 2))
    store.close()


def test_opened_by_another_meanwhile(far: PostgresStore, wire: Proxy, url: str, db: "psycopg.Connection[Any]") -> None:
    """Who lost its session, and the journal with it, may write and prune no more, and is told why."""
    far.write(opened("a"))
    end_session(db, far)
    other = PostgresStore(url)
    for write in (lambda: far.write(opened("b")), lambda: far.prune(1e12, 10)):
        with pytest.raises(StorageError, match="granted to another process"):
            write()
    assert open_ids(other, "", 10) == ["a"]
    other.close()
    with pytest.raises(StorageError, match="granted to another process"):
        far.write(opened("b"))


def test_lease_is_looked_at_in_the_very_write(store: PostgresStore, db: "psycopg.Connection[Any]") -> None:
    """A session that stands, with a lease that is over, writes nothing."""
    store.write(opened("a"))
    with held_up(store, db, by="update nodes set over = true") as raised:
        pass
    (error,) = raised
    assert isinstance(error, StorageError)
    for write in (lambda: store.write(EMPTY), lambda: store.prune(1e12, 10)):
        with pytest.raises(StorageError, match="granted to another process"):
            write()
    assert open_ids(store, "", 10) == ["a"]


def test_two_threads_open_and_write(url: str) -> None:
    """Every opening that succeeds has a token of its own, and all it wrote is there."""
    tokens: list[int] = []

    def hammer() -> None:
        for _ in range(20):
            try:
                store = PostgresStore(url)
            except JournalHeld:
                continue
            for number in range(5):
                store.write(opened(f"{store.token:03}-{number}"))
            tokens.append(store.token)
            store.close()

    with meanwhile(hammer) as one, meanwhile(hammer) as two:
        pass
    assert one + two == []
    assert sorted(tokens) == list(range(1, len(tokens) + 1))
    store = PostgresStore(url)
    assert open_ids(store, "", 1000) == [f"{token:03}-{number}" for token in sorted(tokens) for number in range(5)]
    for saga_id in open_ids(store, "", 1000):
        verify(saga_id, store.history(saga_id))
    store.close()


def test_closed_while_a_write_hangs(store: PostgresStore, url: str, db: "psycopg.Connection[Any]") -> None:
    """Another thread may let go of it at any time; the write ends with an error, and the next opening succeeds."""
    before = session(store)
    with held_up(store, db) as raised:
        store.close()
        until(lambda: bool(raised))
        db.execute("select pg_terminate_backend(%s, 10000)", (before,))
    assert isinstance(raised[0], (StorageError, Blocked))
    store.close()
    PostgresStore(url).close()


def test_closed_store(store: PostgresStore) -> None:
    """It does not connect anew."""
    store.close()
    with pytest.raises(StorageError, match="closed"):
        store.counts()


def test_forked_child(store: PostgresStore) -> None:
    """A child takes nothing away by ending, and can't use its parent's session."""
    before = session(store)
    child = os.fork()
    if child == 0:
        try:
            store.counts()
        except StorageError:
            store.close()
            os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    store.write(opened("a"))
    assert (session(store), store.history("a")) == (before, history("a", 2))


# What the server may answer.


PASSING = ["40001", "40P01", "53100", "53200", "57014", "58030", "25006"]
LASTING = ["23514", "42501", "XX001", "P0001"]


@pytest.mark.parametrize("state", [*PASSING, *LASTING])
def test_server_refuses_a_write(store: PostgresStore, db: "psycopg.Connection[Any]", state: str) -> None:
    """What may pass is Blocked, all else an error of the place; nothing of the batch is written."""
    db.execute(
        f"create function fail() returns trigger language plpgsql as"
        f" $$ begin raise exception 'it fails' using errcode = '{state}'; end $$"
    )
    db.execute("create trigger fail before insert on records for each statement execute function fail()")
    with pytest.raises(Blocked if state in PASSING else StorageError, match=f"it fails \\({state}\\)") as raised:
        store.write(opened("a"))
    assert not isinstance(raised.value, InDoubt)
    assert store.counts() == {}
    db.execute("drop trigger fail on records")
    store.write(opened("a"))
    assert store.history("a") == history("a", 2)


@pytest.mark.parametrize("state", ["XX001", "22021", "22P02"])
def test_row_that_the_server_can_not_read(store: PostgresStore, db: "psycopg.Connection[Any]", state: str) -> None:
    """Damaged content concerns its own instance, and no other."""
    store.write(opened("a", "b"))
    db.execute("alter table records rename to sound")
    db.execute(
        f"create function body(sound) returns text language plpgsql as $$ begin if $1.saga_id = 'a' then"
        f" raise exception 'unreadable' using errcode = '{state}'; end if; return $1.body; end $$"
    )
    db.execute("create view records as select saga_id, seq, at, schema, type, body(sound) as body, checksum from sound")
    with pytest.raises(RecordCorrupt, match="unreadable"):
        store.history("a")
    assert store.history("b") == history("b", 2)


def test_table_that_is_gone(store: PostgresStore, db: "psycopg.Connection[Any]") -> None:
    """An error that names the place, and no RecordCorrupt."""
    db.execute("drop table records")
    with pytest.raises(StorageError, match=re.escape(store.path) + ".* does not exist"):
        store.history("a")


def test_commits_are_on_disk(url: str) -> None:
    """Whatever the role's default is."""
    store = PostgresStore(
        f"{url}&options=-c%20synchronous_commit%3Doff%20-c%20default_transaction_isolation%3Dserializable"
    )
    for name, wanted in (("synchronous_commit", "on"), ("default_transaction_isolation", "read committed")):
        assert store._db.execute("select current_setting(%s)", (name,)).fetchall() == [(wanted,)]
    store.close()


def test_a_large_batch(store: PostgresStore) -> None:
    """As much as the journal may have kept while the server was away."""
    ids = [f"{number:05}" for number in range(5_000)]
    store.write(opened(*ids))
    assert store.counts() == {"open": 5_000}
    store.write(Batch([], [], [("completed", 2.0, saga_id) for saga_id in ids]))
    assert (store.prune(3.0, 4_000), store.counts()) == (4_000, {"completed": 1_000})


# The schema.


def test_schema_of_another_program(url: str) -> None:
    """A schema with tables and none of ours is left as it is."""
    schema = postgres.target(url).schema
    with admin() as db:
        db.execute(f"create schema {schema} create table records (x int)")
        with pytest.raises(StorageError, match="belongs to another program"):
            PostgresStore(url)
        tables = "select count(*) from pg_class where relnamespace = to_regnamespace(%s)"
        assert db.execute(tables, (schema,)).fetchall() == [(1,)]


def test_schema_of_a_newer_program(store: PostgresStore, url: str, db: "psycopg.Connection[Any]") -> None:
    """It is not touched, and the error says how far each has come."""
    store.close()
    db.execute("update amends_versions set version = 99")
    with pytest.raises(StorageError, match="newer version; amends stands at 99, this program knows up to"):
        PostgresStore(url)


@pytest.mark.parametrize("schema", ["", "pg_mine", "a-b", 'a"b', "x" * 64])
def test_names_that_no_schema_can_have(schema: str) -> None:
    """They are refused before anything is connected to."""
    with pytest.raises(StorageError, match="wanted a name"):
        PostgresStore(f"postgresql://localhost:1/test?schema={schema}")


# Secrets.


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hid/den@localhost:1/db",
        "postgresql://me:hid@den@localhost:1/db",
        "postgresql://me:hid%zzden@localhost:1/db",
        "postgresql://me:hid:den@localhost:1/db",
        "postgresql://me:hid#den@localhost:1/db",
        "postgresql://me:hidden@localhost:1/db",
        "postgresql://localhost:1/db?password=hidden",
        "postgresql://localhost:1/db?hidden=hidden",
        "mysql://me:hidden@localhost:1/db",
    ],
)
def test_no_error_shows_a_password(url: str) -> None:
    """Whether it is written as it should be or not."""
    with pytest.raises(StorageError) as raised:
        PostgresStore(url)
    error: BaseException | None = raised.value
    while error is not None:
        assert "hid" not in f"{error} {error!r}"
        assert "den" not in f"{error} {error!r}"
        error = error.__cause__


def test_what_the_driver_says_is_searched_for_secrets() -> None:
    """Should it ever quote one, it is masked."""
    place = postgres.target("postgresql://me:hidden@localhost/db")
    assert postgres.said(psycopg.OperationalError("no entry for hidden\n  there"), place) == "no entry for *** there"
    assert "hidden" not in repr(place)


def test_rows_do_not_stand_in_errors(store: PostgresStore, db: "psycopg.Connection[Any]") -> None:
    """The server's detail of an error may be a whole row, and a row holds what customers said."""
    db.execute("alter table instances add check (key <> 'secret')")
    with pytest.raises(StorageError, match="23514") as raised:
        store.write(Batch([instance("a", "secret")], [], []))
    assert "secret" not in str(raised.value)
