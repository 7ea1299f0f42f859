"""The store of a program on one machine: an SQLite file, and a lock that only its holder's end releases.

The lock is the operating system's (`flock` on a file beside the journal), so a process that is
killed holds nothing; the file's text names the holder. Every write checks that the token is
still the last one granted. A file that is damaged is salvaged when it is opened; damage that
shows later is a StorageError, and the next opening salvages it.
"""

import fcntl
import os
import socket
import weakref
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import apsw

from amends.actors import database
from amends.actors.journal.damage import find_damage, keep_token, last_token
from amends.actors.journal.salvage import salvage
from amends.actors.journal.store import Batch, Blocked, Grant, Instance, Key, Stored
from amends.protocol.errors import JournalHeld, RecordCorrupt, StorageError
from amends.supervisor.baton import without

SCRIPTS: Final = database.sql_files(Path(__file__).parent / "migrations")

_INSTANCE = "saga_id, saga, version, key, state, started_at, ended_at"

# The disk is full or away, or somebody else is at the file: it may pass.
_PASSING = (
    apsw.FullError,
    apsw.IOError,
    apsw.BusyError,
    apsw.LockedError,
    apsw.ReadOnlyError,
    apsw.CantOpenError,
    apsw.NoMemError,
)
# What reading raises, SQLite's errors and those of rows whose values are of other types than were written.
_UNREADABLE = (apsw.Error, UnicodeDecodeError, TypeError, ValueError)


class SqliteStore:
    """Instances and records in one SQLite file.

    Args:
        path: the journal's file; made if it is not there.
    """

    shared = None

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._lock = _Lock(path)
        try:
            self._db = _open_sound(path)
            self.token = self._take_grant()
        except _UNREADABLE as error:
            self._let_go()
            raise self._unusable(error) from error
        except StorageError:
            self._let_go()
            raise

    def _take_grant(self) -> int:
        with self._db:
            token = last_token(self._db) + 1
            keep_token(self._db, token)
        return token

    def write(self, batch: Batch) -> Collection[str]:
        db = self._db
        try:
            db.execute("begin immediate")
            token = db.execute("select token from grants").get
            if token != self.token:
                raise StorageError(
                    f"{self.path}: was granted to another process since; token {token}, ours {self.token}"
                )
            if batch.instances:
                db.executemany(f"insert or ignore into instances ({_INSTANCE}) values (?,?,?,?,?,?,?)", batch.instances)
            db.executemany("insert or ignore into records values (?,?,?,?,?,?,?)", batch.records)
            if batch.ends:
                db.executemany("update instances set state = ?, ended_at = ? where saga_id = ?", batch.ends)
            without(db.execute, "commit")
            return ()
        except _PASSING as error:
            self._roll_back()
            raise Blocked(str(error)) from error
        except _UNREADABLE as error:
            self._roll_back()
            raise self._unusable(error) from error
        except StorageError:
            self._roll_back()
            raise

    def known(self, keys: Collection[Key]) -> dict[Key, str]:
        found = {key: self.find(*key) for key in keys}
        return {key: instance.saga_id for key, instance in found.items() if instance is not None}

    def find(self, saga: str, key: str) -> Instance | None:
        return self._one("saga = ? and key = ?", (saga, key))

    def instance(self, saga_id: str) -> Instance | None:
        return self._one("saga_id = ?", (saga_id,))

    def history(self, saga_id: str) -> list[Stored]:
        try:
            rows = self._db.execute("select * from records where saga_id = ? order by seq", (saga_id,))
            return [Stored(*row) for row in rows]
        except UnicodeDecodeError as error:
            raise RecordCorrupt(saga_id, 0, f"{self.path}: {error}") from error
        except _UNREADABLE as error:
            raise self._unusable(error) from error

    def open_grants(self, after: str, limit: int) -> list[Grant]:
        try:
            rows = self._db.execute(
                "select saga_id from instances where state = 'open' and saga_id > ? order by saga_id limit ?",
                (after, limit),
            )
            return [Grant(str(saga_id), self.token) for (saga_id,) in rows]
        except _UNREADABLE as error:
            raise self._unusable(error) from error

    def counts(self) -> dict[str, int]:
        try:
            counted = self._db.execute("select state, count(*) from instances group by state")
            return {str(state): int(count) for state, count in counted}
        except _UNREADABLE as error:
            raise self._unusable(error) from error

    def prune(self, before_at: float, limit: int) -> int:
        try:
            with self._db:
                old = self._db.execute(
                    "select saga_id from instances where ended_at < ? and state <> 'quarantined' limit ?",
                    (before_at, limit),
                ).fetchall()
                self._db.executemany("delete from records where saga_id = ?", old)
                self._db.executemany("delete from instances where saga_id = ?", old)
            return len(old)
        except _PASSING as error:
            raise Blocked(str(error)) from error
        except _UNREADABLE as error:
            raise self._unusable(error) from error

    def close(self) -> None:
        self._let_go()

    def _let_go(self) -> None:
        # A statement that another thread runs at this very moment keeps the connection, but as soon as somebody
        # else opens the file its token is worth nothing.
        with suppress(apsw.ThreadingViolationError):
            if "_db" in self.__dict__:
                self._db.close()
        self._lock.release()

    def _one(self, where: str, values: tuple[str, ...]) -> Instance | None:
        try:
            for row in self._db.execute(f"select {_INSTANCE} from instances where {where}", values):
                return Instance(*row)
        except _UNREADABLE as error:
            raise self._unusable(error) from error
        return None

    def _unusable(self, error: Exception) -> StorageError:
        return StorageError(f"{self.path}: can't be used: {error}")

    def _roll_back(self) -> None:
        # What can't be rolled back is in the way of the next write, and that one says so.
        with suppress(apsw.Error):
            if self._db.in_transaction:
                self._db.execute("rollback")


def _open_sound(path: Path) -> apsw.Connection:
    db = database.open_database(path, database.JOURNAL_ID, {"amends": SCRIPTS})
    try:
        damage = find_damage(db, SCRIPTS)
    except apsw.Error:
        db.close()
        raise
    if not damage:
        return db
    db.close()
    return salvage(path, SCRIPTS, damage)


class _Lock:
    """The right to open a journal, held for as long as this process has the file open."""

    def __init__(self, journal: Path) -> None:
        self._file: Any = journal.with_name(journal.name + ".lock").open("a+", encoding="utf-8")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            holder = self._file.read().strip() or "a process that has just begun"
            self._file.close()
            raise JournalHeld(str(journal), holder) from None
        self._file.truncate(0)
        self._file.write(f"{socket.gethostname()} {os.getpid()}")
        self._file.flush()
        _held.add(self)

    def release(self) -> None:
        self._file.close()


_held: "weakref.WeakSet[_Lock]" = weakref.WeakSet()


def _release_in_child() -> None:
    """A child made by fork shares its parent's locks; it lets go so that only the parent counts."""
    for lock in list(_held):
        lock.release()


os.register_at_fork(after_in_child=_release_in_child)
