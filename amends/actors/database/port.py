"""The port: the database of one service, as its handlers and the engine around them use it.

A turn of the service is one transaction. A statement that fails says so with `DatabaseError`; if
that was the end of the transaction, or one that others were in the way of, every statement
after it fails too, until the engine has rolled back, so that no handler can overlook it. What is
committed is on disk. Who else has the same database open is the adapter's business: what
several processes must not do at once they do under `begin`'s names.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Protocol

from amends.actors.database.scripts import Dialect
from amends.protocol.errors import DatabaseError

BUSY_MS = 2000
"""How long a statement waits for what another process has locked, in milliseconds."""


class Conflict(DatabaseError):  # noqa: N818 - reads as the fact it reports
    """Others were in the way; the whole transaction may be run again, and at once."""


class Aborted(DatabaseError):  # noqa: N818 - as above
    """A statement's error took the transaction with it; it would not have in one begun with care."""


class InDoubt(DatabaseError):  # noqa: N818 - as above
    """Nobody has heard whether the commit happened."""


class Rows(Protocol):
    """What a statement has found, row by row."""

    def __iter__(self) -> Iterator[Any]: ...

    def fetchone(self) -> Any:
        """The next row; None if there is no more."""
        ...

    def fetchall(self) -> list[Any]:
        """All that are left."""
        ...

    @property
    def get(self) -> Any:
        """The value of a row of one column; None if there is no row."""
        ...


class Database(Protocol):
    """One connection; used by one thread at a time but for `abandon`.

    Attributes:
        name: what errors call it.
        worker: who uses it, if other processes may use it at the same time.
    """

    name: str
    dialect: Dialect
    worker: str | None

    # For handlers.

    def execute(self, sql: str, values: Sequence[Any] = ()) -> Rows:
        """Run a statement; `?` is the next value, `?1` the first one."""
        ...

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run a statement for each row of values; `total_changes` tells how many rows that has changed."""
        ...

    def changes(self) -> int:
        """How many rows the last insert, update or delete has changed."""
        ...

    def total_changes(self) -> int:
        """How many rows were changed since the connection was made."""
        ...

    def __enter__(self) -> object:
        """What is done inside is taken back if it ends with an error; the transaction goes on, if there was one."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None: ...

    # For the engine.

    @property
    def is_away(self) -> bool:
        """Whether `begin` has to connect first."""
        ...

    @property
    def in_transaction(self) -> bool: ...

    @property
    def trouble(self) -> DatabaseError | None:
        """Why the transaction that was begun can't be committed; None while it can."""
        ...

    def begin(self, names: Sequence[str] = (), *, alone: bool = False, careful: bool = False) -> None:
        """Begin a transaction; of those with a common name one runs at a time.

        Args:
            alone: no other transaction runs meanwhile, whatever its names.
            careful: a statement that fails takes nothing else with it; what costs nothing is done in any case.
        """
        ...

    def lock(self, name: str) -> bool:
        """Have the transaction that was begun be about `name` too; False if another one is."""
        ...

    def commit(self) -> None:
        """End the transaction; InDoubt if nobody can tell how."""
        ...

    def rollback(self) -> None:
        """Forget the transaction, if there is one; never fails."""
        ...

    def savepoint(self, name: str) -> None: ...

    def release(self, name: str) -> None: ...

    def rollback_to(self, name: str) -> None: ...

    def reading(self) -> AbstractContextManager[object]:
        """A transaction of its own that sees what is committed, can't write, and leaves nothing."""
        ...

    def is_at_work(self, worker: str) -> bool:
        """Whether another process that uses this database by that name is alive; asked in a transaction."""
        ...

    def abandon(self) -> None:
        """From another thread: what runs now fails, and nothing that comes later is done."""
        ...

    def close(self) -> None:
        """Let go of it; what is not committed is gone."""
        ...
