"""A service's database in a schema of its own on a PostgreSQL server, which several processes may use at once.

A transaction sees what others have committed before each of its statements (READ COMMITTED), so
what must not be done at once is kept apart by advisory locks, taken in one order before anything
else: a transaction that waits for one holds nothing, and so is part of no circle. Statements are
prepared. PostgreSQL gives up a transaction at its first error: nothing is run in it any more
then, not even by a handler that caught the error, unless a savepoint stood before.
"""

import hashlib
import os
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Final

import psycopg
from psycopg.adapt import Loader
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.types.numeric import Int8Dumper
from psycopg.types.string import TextLoader

from amends.actors import postgres
from amends.actors.database.placeholders import numbered
from amends.actors.database.port import BUSY_MS, Aborted, Conflict, InDoubt
from amends.actors.database.scripts import Dialect, Scripts, in_dialect
from amends.protocol.errors import DatabaseError

_IDLE_MS: Final = 60_000
"""How long a transaction may be without a statement: a process that was stopped in one must not hold up the others."""

_CANCEL_S: Final = 2.0
"""How long the server is asked to end a statement."""

_PREPARED_MAX: Final = 1000
_VIOLATES: Final = {"23505": "unique", "23502": "not null", "23514": "check", "23503": "foreign key"}
_CONFLICTS: Final = ("40001", "40P01")
_LOCK_ONE: Final = "select pg_try_advisory_xact_lock($1)"
# A plan is kept, and made while tables may be small: it goes by an index where there is one.
_SETTINGS: Final = """
select set_config('lock_timeout', %s, false), set_config('idle_in_transaction_session_timeout', %s, false),
    set_config('enable_seqscan', 'off', false), set_config('jit', 'off', false)"""
_WORK: Final = "select pg_advisory_lock_shared(%s)"


class _NumericLoader(Loader):
    """A sum of integers is one, as in SQLite."""

    def load(self, data: Any) -> int | float:
        text = bytes(data)
        return int(text) if text.lstrip(b"-").isdigit() else float(text)


class _BoolLoader(Loader):
    def load(self, data: Any) -> int:
        return int(bytes(data) == b"t")


class _BoolDumper(Int8Dumper):
    def dump(self, obj: Any) -> bytes:
        return b"1" if obj else b"0"


class _Rows:
    """What a statement has found, all of it."""

    __slots__ = ("_rows",)

    def __init__(self, rows: list[Any]) -> None:
        self._rows = iter(rows)

    def __iter__(self) -> Iterator[Any]:
        return self._rows

    def fetchone(self) -> Any:
        return next(self._rows, None)

    def fetchall(self) -> list[Any]:
        return list(self._rows)

    @property
    def get(self) -> Any:
        row = next(self._rows, None)
        return row[0] if row is not None else None


_NOTHING: Final[list[Any]] = []


class PostgresDatabase:
    """One session, made again when it was lost.

    Args:
        scripts: the migrations of each owner of tables.
        worker: what this process calls itself, for as long as it lives.
    """

    dialect: Dialect = "postgres"

    def __init__(self, place: postgres.Target, scripts: Scripts, worker: str) -> None:
        self.name = place.name
        self.worker: str | None = worker
        self._place = place
        self._scripts = in_dialect(place.name, scripts, self.dialect)
        self._db: postgres.Connection | None = None
        self._migrated = self._given_up = False
        self._trouble: DatabaseError | None = None
        self._begun = self._for_good = self._careful = False
        self._depth = 0
        self._changes = self._total_changes = 0
        _open.add(self)

    # For handlers.

    def execute(self, sql: str, values: Sequence[Any] = ()) -> _Rows:
        if self._careful:
            made: _Rows = self._with_care(lambda: self._run(sql, values))
            return made
        return self._run(sql, values)

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        rows = list(rows)
        if not rows:
            self._changes = 0
        elif self._careful:
            self._with_care(lambda: self._run_many(sql, rows))
        else:
            self._run_many(sql, rows)

    def changes(self) -> int:
        return self._changes

    def total_changes(self) -> int:
        return self._total_changes

    def __enter__(self) -> object:
        if not self.in_transaction:
            self.begin()
            return self
        self._depth += 1
        self.savepoint(f"amends_{self._depth}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        if not self._depth:
            # The outermost of those is a transaction of its own.
            self.commit() if kind is None else self.rollback()
            return None
        name = f"amends_{self._depth}"
        self._depth -= 1
        if kind is not None:
            self.rollback_to(name)
        self.release(name)
        return None

    # For the engine.

    @property
    def is_away(self) -> bool:
        return self._db is None or self._db.closed

    @property
    def in_transaction(self) -> bool:
        return self._db is not None and self._db.pgconn.transaction_status in _IN_TRANSACTION

    @property
    def trouble(self) -> DatabaseError | None:
        return self._trouble

    def begin(self, names: Sequence[str] = (), *, alone: bool = False, careful: bool = False) -> None:
        self._trouble, self._for_good, self._careful, self._depth = None, False, False, 0
        # Whoever is alone waits for all who are not. Then the names in the order of their locks, the same for all.
        locks = f"select pg_advisory_xact_lock{'' if alone else '_shared'}({self._key('all')})"
        if names:
            keys = ",".join(map(str, sorted({self._key("name", name) for name in names})))
            locks += f"; select count(pg_advisory_xact_lock(key)) from unnest('{{{keys}}}'::bigint[]) as key"
        session = self._session()
        self._say(session, f"begin; {locks}")
        self._begun, self._careful = True, careful

    def lock(self, name: str) -> bool:
        return bool(self._run(_LOCK_ONE, (self._key("name", name),)).get)

    def commit(self) -> None:
        db = self._session_in_use()
        self._begun = self._careful = False
        try:
            ended = db.execute("commit", prepare=False).statusmessage
        except psycopg.Error as error:
            if not db.closed:
                raise self._failed(error) from error
            raise InDoubt(self._said(error), error.sqlstate or "") from error
        if ended != "COMMIT":
            raise DatabaseError("the transaction had failed", "25P02")

    def rollback(self) -> None:
        self._trouble, self._begun, self._careful, self._depth = None, False, False, 0
        db = self._db
        if db is None or db.closed or db.pgconn.transaction_status == TransactionStatus.IDLE:
            return
        try:
            db.execute("rollback", prepare=False)
        except psycopg.Error:
            db.close()

    def savepoint(self, name: str) -> None:
        self._say(self._session_in_use(), f"savepoint {name}")

    def release(self, name: str) -> None:
        self._say(self._session_in_use(), f"release {name}")

    def rollback_to(self, name: str) -> None:
        if self._for_good and self._trouble is not None:
            raise self._trouble
        self._trouble = None
        self._say(self._session_in_use(), f"rollback to {name}")

    @contextmanager
    def reading(self) -> Iterator[None]:
        self._trouble, self._careful = None, False
        self._say(self._session(), "begin read only")
        try:
            yield
        finally:
            self.rollback()

    def is_at_work(self, worker: str) -> bool:
        return not self._run(_LOCK_ONE, (self._key("worker", worker),)).get

    def abandon(self) -> None:
        self._given_up = True
        db = self._db
        if db is None or db.closed:
            return
        # That may take its time, on a connection of its own.
        threading.Thread(target=_end, args=(db,), name="amends-cancel", daemon=True).start()

    def close(self) -> None:
        self._given_up = True
        if self._db is not None:
            self._db.close()

    def leave_to_parent(self) -> None:
        """In a child made by fork: never to be used again, nor its session ended for the parent."""
        self._given_up = True
        if self._db is not None and not self._db.closed:
            with suppress(psycopg.Error):
                postgres.leave_to_parent(self._db)

    # The session.

    def connect(self) -> None:
        """Connect, and make or change the tables; StorageError or DatabaseError if that can't be."""
        if self._given_up:
            raise DatabaseError(f"{self.name}: was closed", "08003")
        db = None
        try:
            db = postgres.connect(self._place)
            db.execute(_SETTINGS, (str(BUSY_MS), str(_IDLE_MS)))
            if not self._migrated:
                postgres.migrate(db, self._place, self._scripts)
            db.execute(_WORK, (self._key("worker", self.worker or ""),))
        except BaseException as error:
            if db is not None:
                db.close()
            if isinstance(error, psycopg.Error):
                raise self._failed(error) from error
            raise
        self._migrated = True
        db.adapters.register_dumper(bool, _BoolDumper)
        for kind, loader in _LOADERS:
            db.adapters.register_loader(kind, loader)
        db.cursor_factory = psycopg.RawCursor
        db.prepare_threshold, db.prepared_max = 0, _PREPARED_MAX
        self._db = db

    def _session(self) -> postgres.Connection:
        """A session that may be used, the same as before if it is."""
        db = self._db
        if db is not None and not db.closed and postgres.has_word(db):
            # Found now, a lost connection leaves nothing in doubt.
            with suppress(psycopg.Error):
                db.execute("select 1")
        if db is None or db.closed:
            self.connect()
        return self._session_in_use()

    def _session_in_use(self) -> postgres.Connection:
        if self._trouble is not None:
            raise self._trouble
        if self._db is None or self._given_up:
            raise DatabaseError(f"{self.name}: was closed", "08003")
        return self._db

    def _run(self, sql: str, values: Sequence[Any]) -> _Rows:
        try:
            cursor = self._session_in_use().execute(numbered(sql).encode(), values)
            result = cursor.pgresult
            assert result is not None
            self._count(result.command_status, result.command_tuples)
            if self._begun and not self.in_transaction:
                # What a handler still writes would be a transaction of its own, and stay.
                self._trouble = DatabaseError("the transaction has ended before its time", "")
                self._for_good = True
            return _Rows(cursor.fetchall() if result.status == ExecStatus.TUPLES_OK else _NOTHING)
        except psycopg.Error as error:
            raise self._failed(error) from error

    def _run_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        try:
            with self._session_in_use().cursor() as cursor:
                cursor.executemany(numbered(sql).encode(), rows)
                self._changes = max(0, cursor.rowcount)
                self._total_changes += self._changes
        except psycopg.Error as error:
            raise self._failed(error) from error

    def _with_care(self, run: Any) -> Any:
        self.savepoint("amends_one")
        try:
            answer = run()
        except DatabaseError:
            if not self._for_good:
                self.rollback_to("amends_one")
                self.release("amends_one")
            raise
        self.release("amends_one")
        return answer

    def _say(self, db: postgres.Connection, sql: str) -> None:
        try:
            db.execute(sql.encode(), prepare=False)
        except psycopg.Error as error:
            raise self._failed(error) from error

    def _count(self, status: bytes | None, rows: int | None) -> None:
        if status is not None and not status.startswith((b"SELECT", b"SHOW", b"FETCH")):
            self._changes = rows or 0
            self._total_changes += self._changes

    def _failed(self, error: psycopg.Error) -> DatabaseError:
        """The error as the port says it; what follows for the transaction is remembered."""
        code = error.sqlstate or ""
        lost = self._db is None or self._db.closed
        self._for_good = lost or postgres.may_pass(error)
        kind = Conflict if code in _CONFLICTS and not lost else DatabaseError if self._for_good else Aborted
        made = kind(self._said(error), code, _VIOLATES.get(code))
        self._trouble = made if self._begun else None
        return made

    def _said(self, error: psycopg.Error) -> str:
        return postgres.said(error, self._place)

    def _key(self, *names: str) -> int:
        """The advisory lock of a name of ours."""
        name = "\0".join((self._place.schema, *names))
        return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big", signed=True)


_IN_TRANSACTION: Final = (TransactionStatus.INTRANS, TransactionStatus.INERROR, TransactionStatus.ACTIVE)
_LOADERS: Final = (("numeric", _NumericLoader), ("bool", _BoolLoader), ("json", TextLoader), ("jsonb", TextLoader))


def _end(db: postgres.Connection) -> None:
    """End what runs on the server, and then the session; the thread that waits for it finds it lost, and closes it."""
    # libpq before version 17 can only do so while all of Python waits for it.
    if psycopg.capabilities.has_cancel_safe():
        with suppress(psycopg.Error):
            db.cancel_safe(timeout=_CANCEL_S)
    with suppress(psycopg.Error, OSError):
        postgres.cut(db)


_open: "weakref.WeakSet[PostgresDatabase]" = weakref.WeakSet()


def _leave_in_child() -> None:
    for database in list(_open):
        database.leave_to_parent()


os.register_at_fork(after_in_child=_leave_in_child)
