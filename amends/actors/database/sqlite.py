"""A service's database in an SQLite file; a transaction has it for itself, so names mean nothing here."""

import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Final

import apsw

from amends.actors.database.scripts import Dialect
from amends.protocol.errors import DatabaseError
from amends.supervisor.baton import without

_VIOLATES: Final = {
    apsw.SQLITE_CONSTRAINT_UNIQUE: "unique",
    apsw.SQLITE_CONSTRAINT_PRIMARYKEY: "unique",
    apsw.SQLITE_CONSTRAINT_ROWID: "unique",
    apsw.SQLITE_CONSTRAINT_NOTNULL: "not null",
    apsw.SQLITE_CONSTRAINT_CHECK: "check",
    apsw.SQLITE_CONSTRAINT_FOREIGNKEY: "foreign key",
}

_next, _fetchone, _fetchall = apsw.Cursor.__next__, apsw.Cursor.fetchone, apsw.Cursor.fetchall


def said(error: apsw.Error) -> DatabaseError:
    """What SQLite says, as the port says it."""
    code: int = getattr(error, "extendedresult", 0)
    name = apsw.mapping_extended_result_codes.get(code) or apsw.mapping_result_codes.get(code) or type(error).__name__
    return DatabaseError(str(error), str(name), _VIOLATES.get(code))


def _refuse(*_: object) -> Any:
    raise DatabaseError("the database was taken away", "")


class _Rows(apsw.Cursor):
    """A cursor whose errors are the port's."""

    __slots__ = ()

    def __next__(self) -> Any:
        try:
            return _next(self)
        except apsw.Error as error:
            raise said(error) from error

    def fetchone(self) -> Any:
        try:
            return _fetchone(self)
        except apsw.Error as error:
            raise said(error) from error

    def fetchall(self) -> list[Any]:
        try:
            return _fetchall(self)
        except apsw.Error as error:
            raise said(error) from error

    @property
    def get(self) -> Any:
        row = self.fetchone()
        return row[0] if row is not None else None


class _Guard:
    """Refuses what comes after a transaction that has ended under its handler, until the engine has taken note.

    Attributes:
        begun: whether a transaction is under way that is not to end by itself.
        refuses: whether one has.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self.begun = self.refuses = False
        # A connection that nobody closes ends with the last reference to it.
        self._connection = weakref.ref(connection)
        connection.set_rollback_hook(self._rolled_back)

    def lift(self, connection: apsw.Connection) -> None:
        self.begun = False
        if self.refuses:
            self.refuses = False
            connection.exec_trace = None

    def _rolled_back(self) -> None:
        connection = self._connection()
        if self.begun and connection is not None:
            # What a handler still writes would be a transaction of its own, and stay.
            self.refuses = True
            with suppress(apsw.ConnectionClosedError):
                connection.exec_trace = lambda *_: False


class SqliteDatabase:
    """One connection to one file.

    Attributes:
        connection: what it is made of.
    """

    dialect: Dialect = "sqlite"
    worker: str | None = None
    is_away = False

    def __init__(self, connection: apsw.Connection) -> None:
        self.name = connection.filename
        self.connection = connection
        connection.cursor_factory = _Rows
        self._guard = _Guard(connection)
        # As they are: a method around each would cost more than it does.
        self.changes, self.total_changes = connection.changes, connection.total_changes
        self._execute: Callable[..., Any] = connection.execute
        self._executemany: Callable[..., Any] = connection.executemany

    # For handlers.

    def execute(self, sql: str, values: Sequence[Any] = ()) -> Any:
        try:
            return self._execute(sql, values)
        except apsw.Error as error:
            raise said(error) from error

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        try:
            self._executemany(sql, rows)
        except apsw.Error as error:
            raise said(error) from error

    def __enter__(self) -> object:
        try:
            return self.connection.__enter__()
        except apsw.Error as failed:
            raise said(failed) from failed

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        try:
            return self.connection.__exit__(kind, error, traceback)
        except apsw.Error as failed:
            raise said(failed) from failed

    # For the engine.

    @property
    def in_transaction(self) -> bool:
        return self.connection.in_transaction

    @property
    def trouble(self) -> DatabaseError | None:
        try:
            if not self._guard.refuses and self.connection.in_transaction:
                return None
        except apsw.Error as error:
            return said(error)
        # A full disk or an I/O error may take the whole transaction with it.
        return DatabaseError("the transaction has ended before its time", "")

    def begin(self, names: Sequence[str] = (), *, alone: bool = False, careful: bool = False) -> None:
        self.execute("begin immediate")
        self._guard.begun = True

    def lock(self, name: str) -> bool:
        return True

    def commit(self) -> None:
        self._guard.begun = False
        without(self.execute, "commit")

    def rollback(self) -> None:
        # One that can't roll back is rolled back by whoever opens the file next.
        with suppress(apsw.Error):
            self._guard.lift(self.connection)
            if self.connection.in_transaction:
                self._execute("rollback")

    def savepoint(self, name: str) -> None:
        self.execute(f"savepoint {name}")

    def release(self, name: str) -> None:
        self.execute(f"release {name}")

    def rollback_to(self, name: str) -> None:
        self.execute(f"rollback to {name}")

    @contextmanager
    def reading(self) -> Iterator[None]:
        self.execute("pragma query_only = true")
        try:
            yield
        finally:
            self.rollback()  # the method's own, which must not become the next turn's
            self.execute("pragma query_only = false")

    def is_at_work(self, worker: str) -> bool:
        return False

    def abandon(self) -> None:
        self._execute = self._executemany = _refuse
        # It must not keep the write lock.
        self.connection.interrupt()
        # A statement that runs at this very moment keeps the connection; whoever comes back from it closes it.
        with suppress(apsw.ThreadingViolationError):
            self.connection.close(True)

    def close(self) -> None:
        self.connection.close()
