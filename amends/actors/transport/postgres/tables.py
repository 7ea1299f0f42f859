"""The tables of a queue, and one session that works on them as a reader.

A message that was taken has its reader's number in it, and the reader an advisory lock of its
session: when a process dies the server ends its session, and whoever looks next gives back
what it had in hand. A process that hangs with its session open says for too long that it is there
no more, and is given up in the same way. A reader that was given up takes nothing any more, since
taking locks its row; and it settles nothing, since what it had is not its own any more.
All times are the server's.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from psycopg import sql

from amends.actors import database, postgres
from amends.actors.transport.wire import Envelope
from amends.protocol.errors import AmendsError

SCRIPTS: Final = database.sql_files(Path(__file__).parent / "migrations")

GONE_S: Final = 30.0
"""How long a reader may say nothing before it is given up, though its session is there, in seconds."""

DELIVERIES: Final = 20
"""How often a message is given back before it is taken for a killer of services."""

NODE_TTL_S: Final = 3600.0
"""How long a reply waits for a node that nobody runs, in seconds."""

DEAD_LETTERS_MAX: Final = 100_000
"""How many dead letters are kept; the oldest go first."""

# What goes out is durable once it is committed; what else is done here may be lost with the server, and done again.
# Taking goes by the index whatever the planner thinks of a table that was small when it looked.
_SET: Final = """
select current_setting('synchronous_commit'), set_config('synchronous_commit', 'off', false),
    set_config('enable_seqscan', 'off', false), set_config('enable_hashjoin', 'off', false),
    set_config('enable_mergejoin', 'off', false), set_config('jit', 'off', false)"""
_NUMBER: Final = "select nextval(pg_get_serial_sequence('readers', 'reader'))"
_ENTER: Final = "insert into readers (reader, queue) values (%s, %s) on conflict do nothing returning reader"
_SEEN: Final = "update readers set seen_at = now() where reader = %s returning reader"

_TURN: Final = """
with sent as (
    insert into messages (queue, kind, schema, reply_to, body)
    select new.* from unnest(%(queue)b::text[], %(kind)b::text[], %(schema)b::bigint[], %(reply_to)b::text[],
        %(body)b::text[]) as new
    where set_config('synchronous_commit', %(durably)s, true) is not null
), settled as (
    delete from messages using unnest(%(done_queue)b::text[], %(done_id)b::bigint[]) as done (queue, id)
    where messages.queue = done.queue and messages.id = done.id and taken_by = %(me)s
), held as materialized (
    select from readers where reader = %(me)s for key share
), found as materialized (
    select next.queue, next.id
    from held, unnest(%(from)b::text[], %(room)b::bigint[]) as wanted (queue, room) cross join lateral (
        select queue, id from messages where messages.queue = wanted.queue and taken_by is null
        order by id limit wanted.room for update skip locked
    ) as next
)
update messages set taken_by = %(me)s, deliveries = deliveries + 1
from found where messages.queue = found.queue and messages.id = found.id
returning messages.queue, messages.id, deliveries, kind, schema, reply_to, body"""
_BURY: Final = """
with unread as (
    delete from messages
    using unnest(%(queue)b::text[], %(id)b::bigint[], %(reason)b::text[]) as read (queue, id, reason)
    where messages.queue = read.queue and messages.id = read.id and taken_by = %(me)s
    returning messages.*, read.reason
)
insert into dead_letters (queue, kind, schema, reply_to, body, sent_at, reason)
select queue, kind, schema, reply_to, body, sent_at, reason from unread"""

# A lock of one bigint: its halves are the schema's number and the reader's.
_GONE: Final = """
delete from readers where reader = any(%(known)s) or reader <> %(me)s and (
    seen_at < now() - make_interval(secs => %(gone_s)s) or not exists (
        select from pg_locks
        where locktype = 'advisory' and classid::bigint = %(schema)s and objid::bigint = reader and objsubid = 1
            and database = (select oid from pg_database where datname = current_database())))
returning reader"""
_GIVE_BACK: Final = """
with worn as (
    delete from messages where taken_by = any(%(gone)s) and deliveries >= %(most)s
    returning queue, kind, schema, reply_to, body, sent_at, deliveries
), dead as (
    insert into dead_letters (queue, kind, schema, reply_to, body, sent_at, reason)
    select queue, kind, schema, reply_to, body, sent_at, format('delivered %%s times and never settled', deliveries)
    from worn
)
update messages set taken_by = null where taken_by = any(%(gone)s) and deliveries < %(most)s"""
_TIDY: Final = """
with late as (
    delete from messages
    where queue >= 'node.' and queue < 'node/' and sent_at < now() - make_interval(secs => %(ttl_s)s)
        and queue not in (select queue from readers where queue is not null)
)
delete from dead_letters where id <= (select max(id) from dead_letters) - %(most)s"""


class Taken(NamedTuple):
    """A message that this reader has in hand."""

    queue: str
    id: int
    deliveries: int
    envelope: Envelope


class Out(NamedTuple):
    """A message for a queue."""

    queue: str
    envelope: Envelope
    again: bool = False

    @property
    def body(self) -> bytes:
        return self.envelope.body


class Session:
    """One reader, for as long as its connection lasts.

    Args:
        alone: the queue that nobody else may read beside it, if any.
        known: earlier readers of this process, which are gone.

    Raises psycopg.Error, StorageError, or AmendsError if somebody else reads that queue.
    """

    def __init__(
        self, db: postgres.Connection, place: postgres.Target, alone: str | None, known: Sequence[int]
    ) -> None:
        self._db = db
        self._place = place
        postgres.migrate(db, place, {"queue": SCRIPTS})
        ((self._durably, *_),) = db.execute(_SET).fetchall()
        ((self.reader,),) = db.execute(_NUMBER).fetchall()
        db.execute("select pg_advisory_lock(%s)", (place.lock << 32 | self.reader,))
        self.give_up_gone(known)
        if not db.execute(_ENTER, (self.reader, alone)).fetchall():
            raise AmendsError(f"another process reads {alone!r}")

    def listen(self, queues: Collection[str]) -> dict[str, str]:
        """Be told when something arrives in one of them; which queue each channel speaks of."""
        channels = {}
        for queue in queues:
            digest = hashlib.md5(f"{self._place.schema} {queue}".encode(), usedforsecurity=False).hexdigest()
            channels[f"amends {digest}"] = queue
            self._db.execute(sql.SQL("listen {}").format(sql.Identifier(f"amends {digest}")))
        return channels

    def turn(self, out: Sequence[Out], done: Sequence[tuple[str, int]], rooms: Mapping[str, int]) -> list[Taken]:
        """Send, settle and take, in one transaction."""
        values = {
            "queue": [one.queue for one in out],
            "kind": [one.envelope.kind for one in out],
            "schema": [one.envelope.schema for one in out],
            "reply_to": [one.envelope.reply_to for one in out],
            "body": [one.body.decode() for one in out],
            "done_queue": [queue for queue, _ in done],
            "done_id": [number for _, number in done],
            "from": list(rooms),
            "room": list(rooms.values()),
            "me": self.reader,
            "durably": self._durably,
        }
        rows = sorted(self._db.execute(_TURN, values).fetchall())
        return [
            Taken(queue, number, deliveries, Envelope(kind, schema, reply_to, body.encode()))
            for queue, number, deliveries, kind, schema, reply_to, body in rows
        ]

    def bury(self, unread: Sequence[tuple[str, int, str]]) -> None:
        """Put aside what can't be read: queue, number and reason of each."""
        queues, numbers, reasons = (list(column) for column in zip(*unread, strict=True))
        self._db.execute(_BURY, {"queue": queues, "id": numbers, "reason": reasons, "me": self.reader})

    def look_after(self) -> None:
        """Say that this reader is here, and give up those that are not; AmendsError if this one was given up."""
        if not self._db.execute(_SEEN, (self.reader,)).fetchall():
            raise AmendsError("this reader was silent for so long that it was given up")
        self.give_up_gone(())

    def give_up_gone(self, known: Sequence[int]) -> None:
        """Give back what readers have in hand that are gone, those that are known to be among them."""
        values = {"known": list(known), "me": self.reader, "gone_s": GONE_S, "schema": self._place.lock}
        # Together, for a reader that is not listed is never looked for again.
        with self._db.transaction():
            gone = [reader for (reader,) in self._db.execute(_GONE, values)]
            if gone:
                self._db.execute(_GIVE_BACK, {"gone": gone, "most": DELIVERIES})

    def tidy(self) -> None:
        """Forget replies that no node has come for, and the oldest of too many dead letters."""
        self._db.execute(_TIDY, {"ttl_s": NODE_TTL_S, "most": DEAD_LETTERS_MAX})

    def leave(self) -> None:
        """Give back all that is in hand."""
        self.give_up_gone((self.reader,))


def service_queue(name: str) -> str:
    """Where the messages of a service wait."""
    return f"service.{name}"


def node_queue(name: str) -> str:
    """Where the replies to a node wait."""
    return f"node.{name}"
