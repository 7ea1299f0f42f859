"""One moment of a journal, read beside whoever works on it: of a file, or of a schema on a server.

It is opened for reading alone: nothing of it is written, no lock of a system's is taken, and what is damaged is told
of, never mended. What is read of it, and what that means, is `journal`'s.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol

import apsw

from amends.actors import database
from amends.actors.journal.sqlite import SCRIPTS
from amends.actors.journal.store import Instance, Stored
from amends.protocol.errors import AmendsError, StorageError

Value = str | int | None

_INSTANCE: Final = "select saga_id, saga, version, key, state, started_at, ended_at from instances"
# The names of all sagas, each found by one step in the index over (saga, key).
_SAGAS: Final = """with recursive names(saga) as (
    select min(saga) from instances
    union all select (select min(saga) from instances where saga > names.saga) from names where saga is not null
) select saga from names where saga is not null"""
_BUSY_MS: Final = 5000
# What reading raises, SQLite's errors and those of rows whose values are of other types than were written.
_UNREADABLE: Final = (apsw.Error, UnicodeDecodeError, TypeError, ValueError)


class Rows(Protocol):
    """Runs a query; its parameters are `?`."""

    def __call__(self, query: str, values: Sequence[Value] = (), /) -> Iterator[tuple[Any, ...]]: ...


class Reading:
    """What can be asked of a journal.

    Attributes:
        body: a record's body as bytes, since damaged text would end the whole reading and not that of its instance.
    """

    body: ClassVar[str] = "cast(body as blob)"

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def instances(self, condition: str, values: Sequence[Value]) -> list[Instance]:
        """Those of which a condition is true."""
        return [Instance(*row) for row in self._rows(f"{_INSTANCE} where {condition}", values)]

    def of_key(self, key: str, saga: str | None) -> list[Instance]:
        """Those of a key, of one saga or all of them."""
        if saga is not None:
            return self.instances("saga = ? and key = ?", [saga, key])
        return self.instances(f"saga in ({_SAGAS}) and key = ?", [key])

    def history(self, saga_id: str) -> list[Stored]:
        """An instance's records, as they are."""
        query = "select saga_id, seq, at, schema, type, body, checksum from records where saga_id = ? order by seq"
        return [Stored(*row) for row in self._rows(query, [saga_id])]

    def records(self) -> Iterator[tuple[Any, ...]]:
        """All records, instance by instance: id, number, time, schema and body."""
        return self._rows(f"select saga_id, seq, at, schema, {self.body} from records order by saga_id, seq")

    def starts(self) -> Iterator[tuple[Any, ...]]:
        """Of each open instance: its id, saga, version, and schema and body of its first record, if it has one."""
        return self._rows(
            f"select i.saga_id, saga, version, schema, {self.body} from instances i"
            " left join records r on r.saga_id = i.saga_id and seq = 0 where state = 'open'"
        )

    def counts(self) -> Iterator[tuple[Any, ...]]:
        """Of each saga and state: how many instances."""
        return self._rows("select saga, state, count(*) from instances group by saga, state")


@contextmanager
def reading(where: Path | str) -> Iterator[Reading]:
    """One moment of the journal of a file, a system's folder, or a PostgreSQL URL; StorageError if it can't be read."""
    if isinstance(where, Path) or "://" not in where:
        with _file(Path(where)) as rows:
            yield Reading(rows)
        return
    try:
        from amends.console.server import ServerReading, schema  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise AmendsError(f"journal: {error}; one on a server needs `pip install 'amends[postgres]'`") from None
    with schema(where) as rows:
        yield ServerReading(rows)


@contextmanager
def _file(path: Path) -> Iterator[Rows]:
    if path.is_dir():
        path /= "journal.db"
    # Never by a file of Python's own: to close one takes away the locks that a system in this process has on it.
    if not path.is_file():
        raise StorageError(f"{path}: is not there; wanted a journal, or the folder of a system")
    db: apsw.Connection | None = None
    try:
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        db = apsw.Connection(f"{path.absolute().as_uri()}?mode=ro", flags=flags)
        db.set_busy_timeout(_BUSY_MS)
        db.execute("begin")
        _check(path, db)
        yield db.execute
    except _UNREADABLE as error:
        raise StorageError(f"{path}: can't be read: {error}") from error
    finally:
        if db is not None:
            db.close()


def _check(path: Path, db: apsw.Connection) -> None:
    found = db.pragma("application_id")
    if found != database.JOURNAL_ID:
        raise StorageError(f"{path}: is no journal; its application id is {found}, wanted {database.JOURNAL_ID}")
    version = db.execute("select version from amends_versions where owner = 'amends'").get
    if version > len(SCRIPTS):
        raise StorageError(f"{path}: is of version {version}; this program reads up to {len(SCRIPTS)}")
