"""Remains: what a scan finds in the tables of a damaged journal.

A scan goes from one end, and where that is cut off from the other one, so a single broken page
hides no more than itself. What it finds may be of any type; whether a record is what was written,
and whose, its checksum says.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import apsw

from amends.actors.journal.store import Instance, checksum
from amends.protocol import codec
from amends.protocol.errors import RecordCorrupt
from amends.protocol.records import Record

# Text is read as bytes, for it may be none any more.
RECORDS: Final = "cast(saga_id as blob), seq, at, schema, cast(type as blob), cast(body as blob), checksum"
INSTANCES: Final = (
    "cast(saga_id as blob), cast(saga as blob), version, cast(key as blob), cast(state as blob), started_at, ended_at"
)
_KEYS: Final = {"records": "saga_id desc, seq desc", "instances": "saga_id desc"}


class Row(NamedTuple):
    """A record as it is found; a damaged one may have values of any type."""

    saga_id: Any
    seq: Any
    at: Any
    schema: Any
    kind: Any
    body: Any
    checksum: Any

    def fits(self, before: int, saga_id: str, seq: int) -> bool:
        """Whether it is this instance's record of that number, whatever its key says."""
        try:
            return bool(self.checksum == checksum(before, saga_id, seq, self.at, self.schema, self.body))
        except (TypeError, ValueError, OverflowError):
            return False

    def decoded(self) -> Record | None:
        try:
            return codec.decode_record("", 0, self.schema, self.body)
        except (RecordCorrupt, TypeError):
            return None


class Remains:
    """What a scan found of one instance.

    Attributes:
        broken: a record is missing or is not what was written.
        in_doubt: a record of which nobody knows whose it was stood right behind.
    """

    def __init__(self, saga_id: str) -> None:
        self.saga_id = saga_id
        self.rows: list[Row] = []
        self.broken = False
        self.in_doubt = False

    def takes(self, row: Row) -> bool:
        """Add the row if it is the next one."""
        before = self.rows[-1].checksum if self.rows else 0
        if type(before) is not int or not row.fits(before, self.saga_id, len(self.rows)):
            return False
        record = row.decoded()
        kind = row.kind if record is None else codec.TYPES[type(record)].encode()
        self.rows.append(row._replace(seq=len(self.rows), kind=kind))
        return True

    def takes_damaged(self, row: Row) -> None:
        self.broken = True
        self.rows.append(row)


def scan(damaged: apsw.Connection, made: apsw.Connection, table: str, columns: str) -> Iterator[tuple[Any, ...] | None]:
    """Every row of a table as its tree has them; None for those that can't be read in between."""
    last = None
    try:
        for last in damaged.execute(f"select {columns} from {table}"):
            yield last
    except apsw.CorruptError:
        yield None
        yield from _scan_from_the_end(damaged, made, table, columns, last)


def _scan_from_the_end(
    damaged: apsw.Connection, made: apsw.Connection, table: str, columns: str, last: tuple[Any, ...] | None
) -> Iterator[tuple[Any, ...]]:
    """Every row after `last` that can be read; they may be many, so they are turned around in a table."""
    made.execute(f"create temp table late_{table} (a, b, c, d, e, f, g)")
    try:
        for row in damaged.execute(f"select {columns} from {table} order by {_KEYS[table]}"):
            if row == last:
                break
            made.execute(f"insert into late_{table} values (?,?,?,?,?,?,?)", row)
    except apsw.CorruptError:
        pass  # this is the other side of what stopped the first scan
    yield from made.execute(f"select * from late_{table} order by rowid desc")


def text_of(value: object) -> str | None:
    """The text that was written, if it still is one."""
    try:
        return value.decode() if isinstance(value, bytes) else None
    except UnicodeDecodeError:
        return None


def instance_of(row: tuple[Any, ...]) -> Instance | None:
    """The row as an instance, if it can be one."""
    saga_id, saga, version, key, state, started_at, ended_at = row
    texts = [text_of(value) for value in (saga_id, saga, key, state)]
    if None in texts or type(version) is not int or type(started_at) is not float:
        return None
    if not isinstance(ended_at, float | None):
        return None
    return Instance(str(texts[0]), str(texts[1]), version, str(texts[2]), str(texts[3]), started_at, ended_at)
