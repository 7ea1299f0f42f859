"""The virtual disk: what a commit has written is there after any crash, what none has is lost.

A commit is there in full or not at all; the process may die right before one or right after,
and a disk may have no room for it. It stands in front of another storage, in memory or of real
files, and adds to each service's database a table of its own, where the work of handlers is
noted in the transaction that does it: so what counts as an effect is what SQLite says.
"""

from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any, Final

import apsw

from amends.actors import database
from amends.actors.database.port import Database
from amends.actors.database.scripts import Scripts, in_dialect
from amends.actors.database.sqlite import SqliteDatabase
from amends.actors.journal.memory import MemoryStore
from amends.actors.journal.store import Batch, Blocked, Grant, Instance, Key, Store, Stored
from amends.actors.storage.port import Storage
from amends.protocol import codec
from amends.protocol.errors import AmendsError, DatabaseError
from amends.protocol.messages import SagaId
from amends.testing.facts import Effect
from amends.testing.life import Life
from amends.testing.world import World

Value = int | float | bytes | str | None
"""What SQLite keeps in a column."""

_COMMIT: Final = ("crash before", "crash after", "full")
_LEDGER: Final = (
    "create table if not exists amends_simulated"
    " (id integer primary key, saga_id text, step text, method text, kind text, token integer)"
)
_NOTE: Final = "insert into amends_simulated (saga_id, step, method, kind, token) values (?, ?, ?, ?, ?)"
_READ: Final = "select id, saga_id, step, method, kind, token from amends_simulated where id > ? order by id"
_FLAGS: Final = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI
_numbers = count(1)


class MemoryDisk:
    """Real SQLite databases and a journal, all in memory; they live as long as this object does."""

    name = "simulated"

    def __init__(self) -> None:
        self._number = next(_numbers)
        self._store: MemoryStore | None = None
        self._anchors: dict[str, apsw.Connection] = {}

    def open_store(self) -> MemoryStore:
        self._store = MemoryStore() if self._store is None else self._store.reopened()
        return self._store

    def open_service(self, service: str, scripts: Scripts) -> SqliteDatabase:
        if service not in self._anchors:
            anchor = self._anchors[service] = self._connect(service)
            template = _template(tuple(in_dialect(self.name, scripts, SqliteDatabase.dialect).items()))
            with anchor.backup("main", template, "main") as copying:
                copying.step()
        connection = self._connect(service)
        connection.pragma("foreign_keys", True)
        return SqliteDatabase(connection)

    def _connect(self, service: str) -> apsw.Connection:
        return apsw.Connection(f"file:/amends-{self._number}-{service}?vfs=memdb", flags=_FLAGS)


@lru_cache(maxsize=64)
def _template(scripts: tuple[tuple[str, tuple[str, ...]], ...]) -> apsw.Connection:
    """An empty database of these tables; copying it is a third of making one."""
    return database.open_database(Path(":memory:"), database.SERVICE_ID, dict(scripts))


class VirtualDisk:
    """Another storage, as processes see it that may die at any commit.

    Attributes:
        life: the process that uses it now.
    """

    def __init__(self, world: World, inner: Storage) -> None:
        self.name = inner.name
        self.life: Life
        self._world = world
        self._inner = inner
        self._readers: dict[str, SqliteDatabase] = {}
        self._seen: dict[str, int] = {}
        self._opened = False

    # The port.

    def open_store(self) -> Store:
        store = self._inner.open_store()
        if not self._opened and store.counts():
            store.close()
            raise AmendsError(f"{self.name}: has a journal with instances of an earlier system; wanted an empty folder")
        self._opened = True
        return _Store(store, self._world, self.life)

    def open_service(self, service: str, scripts: Scripts) -> SqliteDatabase:
        if service not in self._readers:
            reader = self._readers[service] = self._open(service, scripts)
            reader.execute(_LEDGER)
            self._seen[service] = int(reader.execute("select coalesce(max(id), 0) from amends_simulated").get)
        opened = self._open(service, scripts)
        opened.connection.set_commit_hook(self._commit_hook(service, self.life))
        return opened

    def _open(self, service: str, scripts: Scripts) -> SqliteDatabase:
        opened = self._inner.open_service(service, scripts)
        assert isinstance(opened, SqliteDatabase)
        return opened

    def _commit_hook(self, service: str, life: Life) -> Callable[[], bool]:
        def refuse() -> bool:
            if life.ended:
                return True
            fate = self._world.meet(f"commit of {service}", _COMMIT)
            if fate.startswith("crash"):
                life.end()
            return fate in ("crash before", "full")

        return refuse

    # The world's side.

    def query(self, service: str, sql: str, values: Sequence[Value]) -> list[tuple[Value, ...]]:
        """What a query finds in a service's database, of what is committed."""
        found: list[tuple[Value, ...]] = self._readers[service].execute(sql, tuple(values)).fetchall()
        return found

    def new_effects(self, service: str) -> list[Effect]:
        """What handlers of the service have done for good since the last time."""
        reader = self._readers.get(service)
        if reader is None:
            return []
        try:
            rows: list[Any] = reader.execute(_READ, (self._seen[service],)).fetchall()
        except DatabaseError:
            return []  # a handler that hangs is in the middle of its transaction; the next turn tells
        if rows:
            self._seen[service] = rows[-1][0]
        at_s, who = self._world.now_s, self._world.who
        return [
            Effect(at_s, who(saga_id), SagaId(saga_id), step, service, method, kind, token)
            for _, saga_id, step, method, kind, token in rows
        ]


def note(db: Database, saga_id: SagaId, step: str, method: str, kind: str, token: int) -> None:
    """The work of a handler was done: it counts if the transaction it is part of does."""
    db.execute(_NOTE, (saga_id, step, method, kind, token))


def noted(db: Database, saga_id: SagaId, step: str) -> bool:
    """Whether that step was done."""
    return bool(db.execute("select 1 from amends_simulated where saga_id = ? and step = ?", (saga_id, step)).get)


class _Store:
    """A journal store as one process sees it."""

    def __init__(self, inner: Store, world: World, life: Life) -> None:
        self.path = inner.path
        self.token, self.shared = inner.token, inner.shared
        self._inner = inner
        self._world = world
        self._life = life
        self.known, self.find, self.instance, self.history = inner.known, inner.find, inner.instance, inner.history
        self.open_grants, self.counts = inner.open_grants, inner.counts
        self.close = inner.close

    def write(self, batch: Batch) -> Collection[str]:
        if self._life.ended:
            raise Blocked("the process is gone")
        fate = self._world.meet("commit of journal", _COMMIT)
        if fate == "crash before":
            self._life.end()
            raise Blocked("the process is gone")
        if fate == "full":
            raise Blocked("database or disk is full")
        left_out = self._inner.write(batch)
        for stored in batch.records:
            record = codec.decode_record(stored.saga_id, stored.seq, stored.schema, stored.body.encode())
            self._world.on_disk(SagaId(stored.saga_id), stored.seq, record)
        if fate == "crash after":
            self._life.end()
        return left_out

    def prune(self, before_at: float, limit: int) -> int:
        if self._life.ended:
            raise Blocked("the process is gone")
        forgotten = self._inner.prune(before_at, limit)
        if forgotten:
            self._world.forget(lambda saga_id: self._inner.instance(saga_id) is None)
        return forgotten

    # What a store promises, for those who read types; `__init__` binds them.
    known: Callable[[Collection[Key]], dict[Key, str]]
    find: Callable[[str, str], Instance | None]
    instance: Callable[[str], Instance | None]
    history: Callable[[str], list[Stored]]
    open_grants: Callable[[str, int], list[Grant]]
    counts: Callable[[], dict[str, int]]
    close: Callable[[], None]
