"""The store of programs whose journal is on a server: a schema of a PostgreSQL database.

Any number of nodes may have it open, each under a name of its own; the right to a name is an
advisory lock of the session, so a process that is killed holds nothing, and the next of its name
goes on with what it had. A batch is one statement, which is also its transaction, and writes
nothing once others have begun to adopt what its writer had; so a process that was away for too
long, without knowing, can't write beside them. A connection that is lost is made again with the
same token, if that is still good. What leases promise and how they are adopted: `leases`.
"""

import hashlib
import os
import re
import threading
import time
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, TypeVar

import psycopg

from amends.actors import database, postgres
from amends.actors.journal import leases
from amends.actors.journal.store import LEASE_S, Batch, Blocked, Grant, InDoubt, Instance, Key, Stored
from amends.protocol.errors import JournalHeld, RecordCorrupt, StorageError
from amends.supervisor import telemetry

R = TypeVar("R")

SCRIPTS: Final = database.sql_files(Path(__file__).parent / "migrations_postgres")

GRACE_MS: Final = 1000
"""How long an opening waits for a holder that may be ending at this very moment, in milliseconds."""

_RECONNECT_S: Final = 0.2
"""How soon after a connection could not be made again the next is tried; until then that one's error stands."""

_INSTANCE = "saga_id, saga, version, key, state, started_at, ended_at"

# Nothing is written unless `held` has its row. That is locked until the commit, and looked at again if it had to be
# waited for. What one part of the statement inserts another does not see: an instance that ends in the batch of its
# beginning is inserted as ended. Arrays go over in binary form (%b), which costs a quarter of what text does.
# A key that another node has used meanwhile opens nothing, and what was to be its first records belongs to nobody; a
# batch that is written again finds its own instances there.
_HELD = "held as (select from nodes where node = %(node)s and not over for share)"
_WRITE: Final = f"""
with {_HELD},
opened as (
    insert into instances (saga_id, saga, version, key, state, started_at, ended_at, key_digest, node, token)
    select new.*, %(node)s, %(node)s
    from held, unnest(%(i0)b::text[], %(i1)b::text[], %(i2)b::bigint[], %(i3)b::text[], %(i4)b::text[],
        %(i5)b::float8[], %(i6)b::float8[], %(i7)b::bytea[]) as new
    on conflict do nothing
    returning saga_id
), taken as (
    select saga_id from held, unnest(%(i0)b::text[]) as new (saga_id)
    where saga_id not in (select saga_id from opened)
        and not exists (select from instances i where i.saga_id = new.saga_id)
), added as (
    insert into records (saga_id, seq, at, schema, type, body, checksum)
    select new.* from held, unnest(%(r0)b::text[], %(r1)b::bigint[], %(r2)b::float8[], %(r3)b::bigint[],
        %(r4)b::text[], %(r5)b::text[], %(r6)b::bigint[]) as new (saga_id)
    where saga_id not in (select saga_id from taken)
    on conflict do nothing
), changed as (
    update instances set state = new.state, ended_at = new.ended_at
    from held, unnest(%(e0)b::text[], %(e1)b::float8[], %(e2)b::text[]) as new (state, ended_at, saga_id)
    where instances.saga_id = new.saga_id and (instances.node = %(node)s or instances.state <> 'open')
)
select (select count(*) from held), (select array_agg(saga_id) from taken)"""
_PRUNE: Final = f"""
with {_HELD},
old as materialized (
    select saga_id from held, instances where ended_at < %(before)s and state <> 'quarantined' limit %(limit)s
    for update of instances skip locked
), forgotten as (
    delete from records using old where records.saga_id = old.saga_id
), gone as (
    delete from instances using old where instances.saga_id = old.saga_id
)
select (select count(*) from held), (select count(*) from old)"""
_HOLDER: Final = """
select coalesce(application_name, ''), coalesce(host(client_addr), 'its own host'), pid
from pg_locks join pg_stat_activity using (pid)
where locktype = 'advisory' and classid = %s and objid = %s and objsubid = 2 and granted
    and database = (select oid from pg_database where datname = current_database())"""
# All but counting goes by an index. A plan that was made while the tables were small is kept, and may not, later.
_BY_INDEX: Final = """
select set_config('enable_seqscan', 'off', false), set_config('enable_hashjoin', 'off', false),
    set_config('enable_mergejoin', 'off', false), set_config('jit', 'off', false)"""
_ME: Final = "select pid, backend_start from pg_stat_activity where pid = pg_backend_pid()"
_END: Final = "select pg_terminate_backend(pid) from pg_stat_activity where pid = %s and backend_start = %s"

# What the server says of one row's content that it can't read: a value or a character that is none, damaged data.
_DAMAGED_ROW = ("22", "XX001")


class PostgresStore:
    """Instances and records in a schema of their own, which is made if it is not there.

    Args:
        url: the database, as libpq takes it, and the schema: `postgresql://user@host:5432/name?schema=amends`.
        node: the name of who opens it; nobody else may have it open under the same.
        lease_s: how long it may go without renewing its lease before others adopt what it had, in seconds.
    """

    def __init__(self, url: str, node: str = "", lease_s: float = LEASE_S) -> None:
        self._place = postgres.target(url)
        self.path = self._place.name
        self._node = node
        self._turn = threading.Lock()
        self._closed = False
        self._not_before_s, self._away = 0.0, ""
        db = None
        try:
            db = postgres.connect(self._place)
            self._hold(db)
            postgres.migrate(db, self._place, {"amends": SCRIPTS})
            self.token = leases.begin(db, node, lease_s)
            self.shared = leases.Leases(self._do, self.token, lease_s, self._not_ours)
            self._take(db)
        except (psycopg.Error, StorageError, ValueError) as error:
            if db is not None:
                db.close()
            if isinstance(error, psycopg.Error):
                raise self._unusable(error) from error
            raise
        _open_stores.add(self)

    # The port.

    def write(self, batch: Batch) -> Collection[str]:
        ((held, taken),) = self._run(_WRITE, {"node": self.token, **_columns(batch)})
        if not held:
            raise self._not_ours()
        return taken or ()

    def known(self, keys: Collection[Key]) -> dict[Key, str]:
        digests = {_digest(*key): key for key in keys}
        query = "select key_digest, saga_id from instances where key_digest = any(%s)"
        return {digests[digest]: saga_id for digest, saga_id in self._run(query, (list(digests),))}

    def find(self, saga: str, key: str) -> Instance | None:
        return self._one("key_digest = %s", _digest(saga, key))

    def instance(self, saga_id: str) -> Instance | None:
        return self._one("saga_id = %s", saga_id)

    def history(self, saga_id: str) -> list[Stored]:
        query = "select saga_id, seq, at, schema, type, body, checksum from records where saga_id = %s order by seq"
        try:
            return [Stored(*row) for row in self._run(query, (saga_id,))]
        except StorageError as error:
            state = getattr(error.__cause__, "sqlstate", None)
            if state is None or not state.startswith(_DAMAGED_ROW):
                raise
            raise RecordCorrupt(saga_id, 0, str(error)) from error

    def open_grants(self, after: str, limit: int) -> list[Grant]:
        query = (
            "select saga_id, token from instances where node = %s and state = 'open' and saga_id > %s"
            " order by saga_id limit %s"
        )
        return [Grant(*row) for row in self._run(query, (self.token, after, limit))]

    def counts(self) -> dict[str, int]:
        return dict(self._run("select state, count(*) from instances group by state", ()))

    def prune(self, before_at: float, limit: int) -> int:
        ((held, forgotten),) = self._run(_PRUNE, {"node": self.token, "before": before_at, "limit": limit})
        if not held:
            raise self._not_ours()
        return int(forgotten)

    def close(self) -> None:
        self._closed = True
        # Another thread may wait for the server at this very moment; it finds its connection lost, and closes it.
        if self._turn.acquire(blocking=False):
            try:
                self._db.close()
            finally:
                self._turn.release()
        else:
            with suppress(psycopg.Error, OSError):
                postgres.cut(self._db)

    def leave_to_parent(self) -> None:
        """In a child made by fork: never to be used again, nor its connection closed for the parent."""
        self._closed = True
        with suppress(psycopg.Error):
            postgres.leave_to_parent(self._db)

    # The session.

    def _one(self, where: str, value: str | bytes) -> Instance | None:
        for row in self._run(f"select {_INSTANCE} from instances where {where}", (value,)):
            found = Instance(*row)
            return found._replace(key=unescaped(found.key))
        return None

    def _run(self, query: str, values: Mapping[str, Any] | Sequence[Any]) -> list[Any]:
        """A statement's rows."""
        return self._do(lambda db: db.execute(query.encode(), values).fetchall(), again=True)

    def _do(self, work: Callable[[postgres.Connection], R], *, again: bool) -> R:
        """Work that is one transaction.

        Args:
            again: do it once more, on a new connection, if the one there was lost over it; it may be done twice.
        """
        lost = False
        with self._turn:
            try:
                try:
                    return work(self._session())
                except psycopg.Error as error:
                    lost = postgres.has_ended(self._db, error)
                    if not (lost and again):
                        raise
                return work(self._session())
            except Blocked as error:
                raise (InDoubt if lost else Blocked)(str(error)) from error
            except psycopg.Error as error:
                if lost or postgres.has_ended(self._db, error):
                    raise InDoubt(postgres.said(error, self._place)) from error
                if postgres.may_pass(error):
                    raise Blocked(postgres.said(error, self._place)) from error
                raise self._unusable(error) from error

    def _session(self) -> postgres.Connection:
        """A connection that may be used, the same as before if it is."""
        if not self._db.closed and postgres.has_word(self._db):
            # Found now, a lost connection leaves no statement in doubt.
            with suppress(psycopg.Error):
                self._db.execute("select 1")
        if self._db.closed and not self._closed:
            self._reconnect()
        if self._closed:
            # Perhaps only now, by another thread.
            self._db.close()
            raise StorageError(f"{self.path}: this opening of it was closed")
        return self._db

    def _reconnect(self) -> None:
        if time.monotonic() < self._not_before_s:
            raise Blocked(self._away)
        db = None
        try:
            db = postgres.connect(self._place)
            self._rejoin(db)
        except (psycopg.Error, StorageError, Blocked) as error:
            if db is not None:
                db.close()
            if not isinstance(error, psycopg.Error):
                raise
            self._away = postgres.said(error, self._place)
            self._not_before_s = time.monotonic() + _RECONNECT_S
            if db is None or postgres.may_pass(error):
                raise Blocked(self._away) from error
            raise self._unusable(error) from error
        self._take(db)

    def _rejoin(self, db: postgres.Connection) -> None:
        """Hold the journal again; StorageError if somebody else has opened it since."""
        # The server may not know yet that our last session has gone.
        db.execute(_END, self._me)
        held = None
        try:
            self._hold(db)
        except JournalHeld as error:
            held = error
        if not db.execute("select from nodes where node = %s and not over", (self.token,)).fetchall():
            raise self._not_ours()
        if held is not None:
            raise Blocked(str(held)) from held

    def _hold(self, db: postgres.Connection) -> None:
        """Take the right to the node's name, which lasts as long as the session; JournalHeld names who has it."""
        db.execute(_BY_INDEX)
        place = database.JOURNAL_ID, self._place.lock_of(self._node)
        db.execute("select set_config('lock_timeout', %s, false)", (str(GRACE_MS),))
        try:
            db.execute("select pg_advisory_lock(%s::int, %s::int)", place)
        except psycopg.errors.LockNotAvailable:
            holders = [f"{name} from {host}, session {pid}" for name, host, pid in db.execute(_HOLDER, place)]
            held = "; ".join(holders) or "a process that has just ended"
            raise JournalHeld(self.path, f"{held}, as node {self._node!r}") from None
        db.execute("set lock_timeout = 0")

    def _take(self, db: postgres.Connection) -> None:
        (self._me,) = db.execute(_ME).fetchall()
        self._db = db

    def _unusable(self, error: psycopg.Error) -> StorageError:
        return StorageError(f"{self.path}: can't be used: {postgres.said(error, self._place)}")

    def _not_ours(self) -> StorageError:
        telemetry.log.warning(telemetry.LEASE_LOST, path=self.path, node=self._node, token=self.token)
        return StorageError(
            f"{self.path}: was granted to another process since; node {self._node!r} had token {self.token}"
        )


def _columns(batch: Batch) -> dict[str, Any]:
    """A batch's columns: arrays, one for each parameter of the statement."""
    # Of two ends of one instance the last counts.
    ends = {end[2]: end for end in batch.ends}
    instances = [_row(instance, ends.get(instance.saga_id)) for instance in batch.instances]
    # In one order everywhere, so that two nodes that begin with the same keys wait for each other in turn.
    instances.sort(key=itemgetter(-1))
    return {
        **_arrays("i", 8, instances),
        **_arrays("r", 7, batch.records),
        **_arrays("e", 3, list(ends.values())),
    }


def _row(instance: Instance, end: tuple[str, float, str] | None) -> tuple[Any, ...]:
    if end is not None:
        instance = instance._replace(state=end[0], ended_at=end[1])
    return (*instance._replace(key=escaped(instance.key)), _digest(instance.saga, instance.key))


def _arrays(name: str, width: int, rows: Sequence[Sequence[Any]]) -> dict[str, list[Any]]:
    columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(width)]
    return {f"{name}{number}": column for number, column in enumerate(columns)}


def _digest(saga: str, key: str) -> bytes:
    return hashlib.sha256(f"{len(saga)} {saga}{key}".encode()).digest()


def escaped(key: str) -> str:
    """A key as PostgreSQL can keep it: its texts have no NUL."""
    return key.replace("\\", "\\\\").replace("\0", "\\0")


def unescaped(key: str) -> str:
    """A key as it was given."""
    return re.sub(r"\\(.)", lambda match: "\0" if match[1] == "0" else match[1], key)


_open_stores: "weakref.WeakSet[PostgresStore]" = weakref.WeakSet()


def _leave_in_child() -> None:
    """A child made by fork shares its parent's sessions; it lets go so that only the parent counts."""
    for store in list(_open_stores):
        store.leave_to_parent()


os.register_at_fork(after_in_child=_leave_in_child)
