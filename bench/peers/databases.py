"""The services' databases, for those who bring none of their own: a file each, or a schema each on a server.

Commits are forced to the disk: WAL with `synchronous=FULL` in SQLite, `synchronous_commit` on in PostgreSQL.
In a file one transaction runs at a time, which a lock says before SQLite has to; on the server, sixteen.
"""

import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import apsw

from bench.peers.work import SCHEMAS, SERVICE_OF, Audit, Db, Function, Order, audit

SCHEMA = "shop"
CONNECTIONS = 16
_WAIT_MS = 10_000


class Databases:
    """All three of them.

    Args:
        place: a folder, or a PostgreSQL URL.
    """

    def __init__(self, place: str) -> None:
        self._begin = "begin" if is_url(place) else "begin immediate"
        if is_url(place):
            self._idle = dict.fromkeys(SCHEMAS, _idle(open_schemas(place) for _ in range(CONNECTIONS)))
        else:
            self._idle = {service: _idle([open_file(place, service)]) for service in SCHEMAS}

    def run(self, function: Function, order: Order) -> Any:
        """One function in one transaction, committed."""
        with self._transaction(SERVICE_OF[function]) as db:
            return function(db, order)

    @contextmanager
    def _transaction(self, service: str) -> Iterator[Db]:
        db = self._idle[service].get()
        try:
            db.execute(self._begin)
            try:
                yield db
            except BaseException:
                db.execute("rollback")
                raise
            db.execute("commit")
        finally:
            self._idle[service].put(db)


_used: list[Databases] = []


def use(place: str) -> None:
    """Have `run` work on these from now on."""
    _used[:] = [Databases(place)]


def run(function: Function, order: Order) -> Any:
    """As of `Databases`, for peers whose steps are functions of a module."""
    return _used[0].run(function, order)


def _idle(connections: Iterable[Any]) -> "queue.LifoQueue[Any]":
    """Connections that nobody uses now."""
    idle: queue.LifoQueue[Any] = queue.LifoQueue()
    for connection in connections:
        idle.put(connection)
    return idle


class _Server:
    """A psycopg connection that takes `?` as SQLite does."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def execute(self, sql: str, values: Sequence[Any] = ()) -> Any:
        return self.connection.execute(sql.replace("?", "%s") if values else sql, values or None)

    def close(self) -> None:
        self.connection.close()


def is_url(place: str) -> bool:
    """Whether it is a server's, and not a folder."""
    return place.startswith("postgresql://")


_making = threading.Lock()


def open_file(folder: str, service: str) -> Any:
    """A connection to a service's file, which is made if it is not there."""
    with _making:
        db = apsw.Connection(str(Path(folder) / f"{service}.db"))
        db.set_busy_timeout(_WAIT_MS)
        db.pragma("journal_mode", "wal")
        db.pragma("synchronous", "full")
        db.execute("begin immediate")
        if not db.execute("select 1 from sqlite_master where name = ?", (service_table(service),)).fetchall():
            for statement in SCHEMAS[service]:
                db.execute(statement)
        db.execute("commit")
    return db


def open_schemas(url: str) -> _Server:
    """A connection to the server that finds every service's tables, which are made if they are not there."""
    import psycopg  # noqa: PLC0415 - not in every peer's environment

    names = [f"{SCHEMA}_{service}" for service in SCHEMAS]
    db = _Server(psycopg.connect(url, autocommit=True))
    db.execute("set search_path = " + ", ".join(names))
    db.execute("begin")
    db.execute("select pg_advisory_xact_lock(1)")
    for service, name in zip(SCHEMAS, names, strict=True):
        db.execute(f"create schema if not exists {name}")
        if not db.execute("select to_regclass(?)", (f"{name}.{service_table(service)}",)).fetchall()[0][0]:
            db.execute(f"set local search_path = {name}")
            for statement in SCHEMAS[service]:
                db.execute(statement)
    db.execute("commit")
    return db


def service_table(service: str) -> str:
    """A table that is there once the service's database is made."""
    return {"orders": "orders", "stock": "stock", "payment": "accounts"}[service]


def audit_of(place: str, accepted: Sequence[str] = ()) -> Audit:
    """The audit of what is in a place, whoever has written it."""
    if is_url(place):
        with closing(open_schemas(place)) as db:
            return audit(dict.fromkeys(SCHEMAS, db), accepted)
    files = {service: open_file(place, service) for service in SCHEMAS}
    try:
        return audit(files, accepted)
    finally:
        for file in files.values():
            file.close()
