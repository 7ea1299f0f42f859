"""The port: a place that keeps instances and their records, in transactions.

A store knows nothing of sagas but their ids, keys and ends; records are bytes to it. Every
record carries a checksum over itself and the one before, so a bit that flips anywhere in a
history is found when it is read. Batching is the journal actor's business.

An opening of a store is granted a token, and what it begins is its own. Where several nodes
share a store, each has a lease, which it renews; when one has lapsed, the others adopt what it
had, under higher tokens, and from then on it writes nothing more.
"""

import zlib
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Final, NamedTuple, Protocol

from amends.protocol.errors import RecordCorrupt


class Instance(NamedTuple):
    """One instance as the store lists it.

    Attributes:
        state: "open", "completed", "compensated" or "quarantined".
        started_at, ended_at: unix seconds.
    """

    saga_id: str
    saga: str
    version: int
    key: str
    state: str
    started_at: float
    ended_at: float | None = None


class Stored(NamedTuple):
    """One record as it is stored; `at` is unix seconds, `seq` counts from 0."""

    saga_id: str
    seq: int
    at: float
    schema: int
    type: str
    body: str
    checksum: int


class Grant(NamedTuple):
    """An open instance, and the token under which it is to be run."""

    saga_id: str
    token: int


LEASE_S: Final = 6.0
"""How long a node may go without renewing its lease before others adopt what it had, in seconds."""


class PlanId(NamedTuple):
    """What an instance goes on with: a saga, its version, and the digest of its steps."""

    saga: str
    version: int
    digest: str


Key = tuple[str, str]
"""A saga's name, and a key of its."""


class Batch(NamedTuple):
    """What one transaction writes.

    Attributes:
        ends: (state, ended_at, saga_id) of instances that changed.
    """

    instances: Sequence[Instance]
    records: Sequence[Stored]
    ends: Sequence[tuple[str, float, str]]


class Blocked(Exception):  # noqa: N818 - reads as the fact it reports
    """The store can't be used now and has written nothing of the batch; the same batch may be tried again."""


class InDoubt(Blocked):
    """As Blocked, but perhaps all of the batch is written; whether it is shows once the same batch is tried again."""


class Request(NamedTuple):
    """What a caller at one node asks of an instance that another node runs; `body` is the sharing's business."""

    request_id: str
    saga_id: str
    body: str


class Shared(Protocol):
    """What a store does that several nodes have open; any of it may be Blocked.

    Attributes:
        renew_every_s: how often this opening's lease is to be renewed, in seconds.
    """

    renew_every_s: float

    def renew(self) -> bool:
        """Keep the lease; whether there is anything to adopt. StorageError if others have adopted what it had."""
        ...

    def adopt(self, plans: Collection[PlanId], limit: int) -> list[Grant]:
        """Take over up to `limit` open instances of these plans from nodes whose leases have lapsed.

        After InDoubt they may be this opening's all the same; `open_grants` knows.
        """
        ...

    def leave(self) -> None:
        """The last act of a process that ends in order: others may adopt at once what it had."""
        ...

    def no_longer_open(self, saga_ids: Collection[str]) -> list[str]:
        """Which of these instances, run by other nodes perhaps, are not open."""
        ...

    def post(self, request: Request) -> None:
        """Leave a request for whoever runs its instance; the same again changes nothing."""
        ...

    def requests(self) -> list[Request]:
        """Those that wait for an answer of this opening's instances."""
        ...

    def answer(self, request_id: str, answer: str) -> None:
        """What became of a request; the first answer stands."""
        ...

    def answers(self, request_ids: Collection[str]) -> dict[str, str]:
        """The answers to these requests, by their ids, as far as there are any."""
        ...


class Store(Protocol):
    """What every store does; `tests/conformance` holds them to it.

    What can't be read or written because the place where it stands is damaged raises StorageError, which names that
    place; opened again, the store has put aside what the damage concerns and lists everything else as it was.
    A store that is reached over a network raises Blocked for reading, too, while it can't be.
    """

    path: str
    token: int
    """The grant this opening got: more than any before."""

    @property
    def shared(self) -> "Shared | None":
        """What concerns the other nodes; None if nobody else can have the store open."""
        ...

    def write(self, batch: Batch) -> Collection[str]:
        """All of the batch or, with Blocked, nothing of it; with InDoubt, one of the two.

        What is there already is left as it is. Left out are instances whose key another node has used since it was
        looked for, with their records: the ids of these come back.
        """
        ...

    def known(self, keys: Collection[Key]) -> dict[Key, str]:
        """The ids of the instances that these keys belong to, of those that belong to any."""
        ...

    def find(self, saga: str, key: str) -> Instance | None:
        """The instance that a saga's key belongs to."""
        ...

    def instance(self, saga_id: str) -> Instance | None:
        """The instance of that id."""
        ...

    def history(self, saga_id: str) -> list[Stored]:
        """An instance's records, oldest first, as they are: unchecked; RecordCorrupt if they can't be read."""
        ...

    def open_grants(self, after: str, limit: int) -> list[Grant]:
        """Up to `limit` of this opening's open instances, by their ids, those that sort after `after`."""
        ...

    def counts(self) -> dict[str, int]:
        """How many instances are in each state."""
        ...

    def prune(self, before_at: float, limit: int) -> int:
        """Forget up to `limit` instances that ended before `before_at`; how many it were. Or none, with Blocked."""
        ...

    def close(self) -> None:
        """Let go of the file, or the node's name; another process may open it, or have it."""
        ...


def checksum(before: int, saga_id: str, seq: int, at: float, schema: int, body: bytes) -> int:
    """The checksum of a record, given that of the record before (0 for the first)."""
    return zlib.crc32(body, zlib.crc32(b"%d|%s|%d|%s|%d|" % (before, saga_id.encode(), seq, _exact(at), schema)))


@lru_cache(maxsize=1024)
def _exact(at: float) -> bytes:
    """Every digit of it. A turn's records share their time, and writing a float out is slow."""
    return repr(at).encode()


def verify(saga_id: str, history: Sequence[Stored]) -> None:
    """RecordCorrupt unless every record is the one that was written, and none is missing before it."""
    before = 0
    for expected, stored in enumerate(history):
        if stored.seq != expected:
            raise RecordCorrupt(saga_id, expected, "another record is in its place")
        try:
            wanted = checksum(before, saga_id, stored.seq, stored.at, stored.schema, stored.body.encode())
        except (
            AttributeError,
            TypeError,
            ValueError,
            OverflowError,
        ) as error:  # a damaged row may give values of other types
            raise RecordCorrupt(saga_id, expected, f"is no record: {error}") from None
        if stored.checksum != wanted:
            raise RecordCorrupt(saga_id, stored.seq, f"checksum is not the wanted {wanted}")
        before = stored.checksum
    if not history:
        raise RecordCorrupt(saga_id, 0, "no record at all")
