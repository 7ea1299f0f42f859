"""Journal files with histories made by hand, so that every time in them is known."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from amends.actors.journal.sqlite import SqliteStore
from amends.actors.journal.store import Batch, Instance, Stored, checksum
from amends.protocol import codec
from amends.protocol.messages import SagaId
from amends.protocol.records import Ended, Record, Started

START_AT = 1_700_000_000.0
RESULT = msgspec.Raw(b'"a result nobody is to read"')
INPUT = b'{"name":"an input nobody is to read"}'

Step = tuple[float, Record]
"""A record, and how many seconds after the start it was recorded."""


def started(saga_id: str, saga: str = "book-trip", version: int = 1) -> Step:
    """The first record; the key is the id."""
    return 0.0, Started(SagaId(saga_id), saga, version, saga_id, msgspec.Raw(INPUT), START_AT)


def write(folder: Path, saga_id: str, steps: Sequence[Step], *, state: str | None = None) -> None:
    """Add an instance with this history, listed in the state that its last record says, or in `state`."""
    records, before = [], 0
    for seq, (after_s, record) in enumerate(steps):
        at, body = START_AT + after_s, codec.encode(record)
        before = checksum(before, saga_id, seq, at, codec.SCHEMA, body)
        records.append(Stored(saga_id, seq, at, codec.SCHEMA, codec.TYPES[type(record)], body.decode(), before))
    first, (last_s, last) = steps[0][1], steps[-1]
    assert isinstance(first, Started)
    ended_at = START_AT + last_s if isinstance(last, Ended) else None
    told = "open" if not isinstance(last, Ended) else "completed" if last.completed else "compensated"
    instance = Instance(saga_id, first.saga, first.version, first.key, state or told, START_AT, ended_at)
    store = SqliteStore(folder / "journal.db")
    store.write(Batch([instance], records, []))
    store.close()
