"""What the journal is told, and what it tells."""

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from amends.actors.journal.store import Grant, Instance
from amends.protocol.events import CancelAsked, Intervention
from amends.protocol.messages import SagaId
from amends.protocol.records import Record, Started
from amends.supervisor.mailbox import Address

Then = tuple[tuple[Address, object], ...]


class Open:
    """Begin an instance, unless its key is known.

    Attributes:
        records: a Started and what follows from it at once.
        reply_to: is told Opened, Known or NotOpened.
        closed: why it is not to be begun if its key is new; empty if it is.
    """

    __slots__ = ("closed", "records", "reply_to", "started")

    def __init__(self, started: Started, records: tuple[Record, ...], reply_to: Address, closed: str = "") -> None:
        self.started = started
        self.records = records
        self.reply_to = reply_to
        self.closed = closed


class Opened:
    """The instance is on disk, and to be run under `token`."""

    __slots__ = ("saga_id", "token")

    def __init__(self, saga_id: SagaId, token: int) -> None:
        self.saga_id = saga_id
        self.token = token


class Known:
    """The key belongs to an earlier instance, whose history this is."""

    __slots__ = ("instance", "records", "saga_id")

    def __init__(self, saga_id: SagaId, instance: Instance, records: tuple[Record, ...]) -> None:
        self.saga_id = saga_id
        self.instance = instance
        self.records = records


class NotOpened:
    """Nothing of the instance is on disk.

    The journal can't write now; or `corrupt`, its key's history is damaged; or `closed`, it was asked not to begin it.
    """

    __slots__ = ("closed", "corrupt", "reason", "saga_id")

    def __init__(self, saga_id: SagaId, reason: str, *, corrupt: bool = False, closed: bool = False) -> None:
        self.saga_id = saga_id
        self.reason = reason
        self.corrupt = corrupt
        self.closed = closed


class Append:
    """Add records to an instance's history.

    Attributes:
        first: the number of the first of them; it must be the next one.
        ats: when each of them was decided, unix seconds; some wait for others to be appended with.
        token: of the instance's grant; what one says that was not granted to the journal's own opening is not heard.
        forced: they must be on disk before `then` leaves; else they go with the next batch that must.
        then: what to tell whom once they are on disk.
        sender: is told AppendRefused if they do not fit.
    """

    __slots__ = ("ats", "first", "forced", "records", "saga_id", "sender", "then", "token")

    def __init__(
        self,
        saga_id: SagaId,
        first: int,
        records: tuple[Record, ...],
        ats: tuple[float, ...],
        *,
        token: int,
        forced: bool,
        then: Then,
        sender: Address,
    ) -> None:
        self.saga_id = saga_id
        self.first = first
        self.records = records
        self.ats = ats
        self.token = token
        self.forced = forced
        self.then = then
        self.sender = sender


class AppendRefused:
    """The records do not continue the history: somebody else has written to it."""

    __slots__ = ("first", "wanted")

    def __init__(self, first: int, wanted: int) -> None:
        self.first = first
        self.wanted = wanted


class ReadBack:
    """Tell an instance's history, after whatever was appended to it before this message."""

    __slots__ = ("reply_to", "saga_id")

    def __init__(self, saga_id: SagaId, reply_to: Address) -> None:
        self.saga_id = saga_id
        self.reply_to = reply_to


class Find:
    """Set the future to the History of the instance that a saga's key belongs to, as it is on disk.

    None if there is no such instance; JournalUnavailable if the store can't be read now.
    """

    __slots__ = ("future", "key", "saga")

    def __init__(self, saga: str, key: str, future: "Future[Any]") -> None:
        self.saga = saga
        self.key = key
        self.future = future


class History:
    """An instance's records; `problem` says why they can't be trusted, if they can't."""

    __slots__ = ("instance", "problem", "records", "saga_id")

    def __init__(self, saga_id: SagaId, instance: Instance | None, records: tuple[Record, ...], problem: str) -> None:
        self.saga_id = saga_id
        self.instance = instance
        self.records = records
        self.problem = problem


class Watch:
    """Tell an instance's history once it is not open any more; another node runs it."""

    __slots__ = ("reply_to", "saga_id")

    def __init__(self, saga_id: SagaId, reply_to: Address) -> None:
        self.saga_id = saga_id
        self.reply_to = reply_to


class Relay:
    """Ask something of an instance that is not run here; the future gets the answer, or that it is not open."""

    __slots__ = ("event", "future", "saga_id")

    def __init__(self, saga_id: SagaId, event: CancelAsked | Intervention, future: "Future[Any]") -> None:
        self.saga_id = saga_id
        self.event = event
        self.future = future


class Relayed:
    """What a caller at another node asks of an instance that is run here."""

    __slots__ = ("event", "future", "saga_id")

    def __init__(self, saga_id: SagaId, event: CancelAsked | Intervention, future: "Future[Any]") -> None:
        self.saga_id = saga_id
        self.event = event
        self.future = future


class RelayAnswered:
    """Such a request has its answer."""

    __slots__ = ("future", "request_id")

    def __init__(self, request_id: str, future: "Future[Any]") -> None:
        self.request_id = request_id
        self.future = future


class ListOpen:
    """Tell which instances are open and ours, those whose ids sort after `after`, a page of them.

    Who asks is told Adopted from then on.

    Attributes:
        asker: which incarnation of it; the page says it back.
    """

    __slots__ = ("after", "asker", "limit", "reply_to")

    def __init__(self, after: str, limit: int, reply_to: Address, asker: int) -> None:
        self.after = after
        self.limit = limit
        self.reply_to = reply_to
        self.asker = asker


class OpenPage:
    """A page of open instances.

    Attributes:
        asker: who has asked for it: another journal may have answered an earlier coordinator.
        counts: with the first page, how many instances are in each state; None with the others.
    """

    __slots__ = ("asker", "counts", "grants", "last")

    def __init__(self, asker: int, grants: Sequence[Grant], counts: dict[str, int] | None, *, last: bool) -> None:
        self.asker = asker
        self.grants = grants
        self.counts = counts
        self.last = last


class Adopted:
    """Open instances that another node had and that are ours now."""

    __slots__ = ("grants",)

    def __init__(self, grants: Sequence[Grant]) -> None:
        self.grants = grants


class Quarantine:
    """Put an instance aside: it is neither open nor ended until a person has looked."""

    __slots__ = ("saga_id",)

    def __init__(self, saga_id: SagaId) -> None:
        self.saga_id = saga_id


class Leave:
    """Write what waits, and let other nodes adopt what is open; the future is set then. Nothing may come after it."""

    __slots__ = ("future",)

    def __init__(self, future: "Future[Any]") -> None:
        self.future = future


class Count:
    """Set the future to how many instances are in each state."""

    __slots__ = ("future",)

    def __init__(self, future: "Future[Any]") -> None:
        self.future = future
