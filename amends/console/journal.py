"""Reading a journal's file while a system runs on it, or not.

The file is opened for reading alone: nothing of it is written, no lock of the system's is taken, and
a file that is damaged is told of, never mended. Each call sees one moment of it, and what is on disk
may be a little behind what happens. Without a system SQLite leaves an empty `-wal` and a `-shm` file
beside the journal, which the next system takes away; a folder that can't be written can't be read.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Final

import apsw

from amends.actors import database
from amends.actors.journal.sqlite import SCRIPTS
from amends.actors.journal.store import Instance, Stored, verify
from amends.console.progress import Fold, Plans, Progress
from amends.console.timings import SagaTotals, Timings, timings_of
from amends.protocol import codec
from amends.protocol.errors import AmendsError, RecordCorrupt, StorageError
from amends.protocol.saga import Saga

STATES: Final = ("open", "completed", "compensated", "quarantined")

_INSTANCE: Final = "select saga_id, saga, version, key, state, started_at, ended_at from instances"
# The names of all sagas, each found by one step in the index over (saga, key).
_SAGAS: Final = """with recursive names(saga) as (
    select min(saga) from instances
    union all select (select min(saga) from instances where saga > names.saga) from names where saga is not null
) select saga from names where saga is not null"""
_BUSY_MS: Final = 5000
# What reading raises, SQLite's errors and those of rows whose values are of other types than were written.
_UNREADABLE: Final = (apsw.Error, UnicodeDecodeError, TypeError, ValueError)


def progress(
    where: Path | str,
    *,
    key: str | None = None,
    saga: str | None = None,
    saga_id: str | None = None,
    sagas: Sequence[type[Saga]] = (),
) -> Progress | None:
    """How far an instance has come; None if the journal has no such instance.

    Args:
        where: the journal's file, or the system's folder.
        key, saga: the instance's key, and the name of its saga where several use that key.
        saga_id: instead of the key.
        sagas: the classes, if they are at hand; with them times are exact, and steps not reached yet are listed.

    Raises StorageError if the file can't be read, AmendsError if the key belongs to instances of several sagas.
    """
    if (key is None) == (saga_id is None):
        raise AmendsError(f"progress: key is {key!r} and saga_id is {saga_id!r}; wanted one of them")
    with _reading(where) as db:
        found = _instances(db, "saga_id = ?", [saga_id]) if key is None else _of_key(db, key, saga)
        if len(found) > 1:
            names = [instance.saga for instance in found]
            raise AmendsError(f"key {key!r}: belongs to instances of the sagas {names}; name one of them with saga=")
        return _progress(db, found[0], _plans(sagas)) if found else None


def instances(
    where: Path | str,
    *,
    state: str | None = None,
    saga: str | None = None,
    key: str | None = None,
    limit: int = 100,
) -> list[Instance]:
    """The instances that are in `state`, of `saga` and of `key`, each where it is given; newest first."""
    if state is not None and state not in STATES:
        raise AmendsError(f"instances: state is {state!r}, wanted one of {list(STATES)}")
    with _reading(where) as db:
        if key is not None:
            found = [i for i in _of_key(db, key, saga) if state in (None, i.state)]
            return sorted(found, reverse=True)[:limit]
        wanted = {name: value for name, value in (("state", state), ("saga", saga)) if value is not None}
        condition = " and ".join(f"{name} = ?" for name in wanted) or "true"
        # An id sorts after all earlier ones.
        return _instances(db, f"{condition} order by saga_id desc limit ?", [*wanted.values(), limit])


def timings(where: Path | str, *, sagas: Sequence[type[Saga]] = ()) -> Timings:
    """How long sagas and their steps take, what fails and why, over the whole journal.

    Args:
        where: the journal's file, or the system's folder.
        sagas: the classes, if they are at hand; with them the times of steps are exact.

    It reads every record once, without looking at checksums. While that takes, a running system goes on, but its
    write-ahead log grows.
    """
    plans = _plans(sagas)
    totals: dict[str, SagaTotals] = {}
    with _reading(where) as db:
        skipped = {saga_id for (saga_id,) in db.execute("select saga_id from instances where state = 'quarantined'")}
        unreadable = len(skipped)
        # As bytes, since damaged text would end the whole reading and not that of its instance.
        rows = db.execute("select saga_id, seq, at, schema, cast(body as blob) from records order by saga_id, seq")
        for saga_id, history in groupby(rows, key=lambda row: row[0]):
            if saga_id in skipped:
                continue
            fold = Fold(plans)
            try:
                for _, seq, at, schema, body in history:
                    fold.add(at, codec.decode_record(saga_id, seq, schema, body))
                if fold.started is not None:
                    totals.setdefault(fold.started.saga, SagaTotals()).add(fold)
            except (AmendsError, TypeError, ValueError):  # a damaged row may give values of other types
                unreadable += 1
        counts = db.execute("select saga, state, count(*) from instances group by saga, state")
        return timings_of(totals, [(str(s), str(state), int(n)) for s, state, n in counts], unreadable)


@contextmanager
def _reading(where: Path | str) -> Iterator[apsw.Connection]:
    """One moment of the journal."""
    path = Path(where)
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
        yield db
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


def _plans(sagas: Sequence[type[Saga]]) -> Plans:
    return {(saga.plan.name, saga.plan.version): saga.plan for saga in sagas}


def _instances(db: apsw.Connection, condition: str, values: Sequence[str | int | None]) -> list[Instance]:
    return [Instance(*row) for row in db.execute(f"{_INSTANCE} where {condition}", values)]


def _of_key(db: apsw.Connection, key: str, saga: str | None) -> list[Instance]:
    if saga is not None:
        return _instances(db, "saga = ? and key = ?", [saga, key])
    return _instances(db, f"saga in ({_SAGAS}) and key = ?", [key])


def _progress(db: apsw.Connection, instance: Instance, plans: Plans) -> Progress:
    fold = Fold(plans)
    try:
        history = [
            Stored(*row)
            for row in db.execute("select * from records where saga_id = ? order by seq", [instance.saga_id])
        ]
    except UnicodeDecodeError as error:
        return fold.progress(instance, f"its records can't be read: {error}")
    try:
        verify(instance.saga_id, history)
        sound, damage = len(history), ""
    except RecordCorrupt as error:
        sound, damage = error.seq, str(error)
    try:
        for stored in history[:sound]:
            record = codec.decode_record(stored.saga_id, stored.seq, stored.schema, stored.body.encode())
            fold.add(stored.at, record)
    except AmendsError as error:
        damage = str(error)
    return fold.progress(instance, damage or _disagreement(instance, fold))


def _disagreement(instance: Instance, fold: Fold) -> str:
    """What the list of instances says otherwise than the history; checksums can't tell a lost end."""
    told = "open" if fold.ended is None else "completed" if fold.ended.completed else "compensated"
    if instance.state in ("quarantined", told):
        return ""
    return f"instance {instance.saga_id}: is listed as {instance.state}, its records tell that it is {told}"
