"""Every error amends raises on purpose.

A business no is a value (`Refused`), never an exception. What stands here means that
something was asked wrongly, can't be taken now, or that we do not know. A message names
the thing, the value found and the value wanted; the same facts are attributes.
"""


class AmendsError(Exception):
    """The root of every error amends raises on purpose."""


class PlanError(AmendsError):
    """A saga's plan can't work; the message names the saga and the step."""


class InputError(AmendsError):
    """An input does not fit the type a saga or command declares.

    Attributes:
        where: the saga or command the value was meant for.
        path: the field, as in `$.items[0].quantity`; `$` is the value itself.
        problem: what was found and what is wanted.
    """

    def __init__(self, where: str, path: str, problem: str) -> None:
        super().__init__(f"{where}: {path}: {problem}")
        self.where = where
        self.path = path
        self.problem = problem


class KeyConflict(AmendsError):  # noqa: N818 - the name the design gives it
    """A key was used before for the same saga, with a different input."""

    def __init__(self, saga: str, key: str, saga_id: str) -> None:
        super().__init__(
            f"saga {saga!r}: key {key!r} belongs to instance {saga_id} which was started with a different input; "
            "send the same input again or use a key of its own"
        )
        self.saga = saga
        self.key = key
        self.saga_id = saga_id


class Overloaded(AmendsError):  # noqa: N818 - the name the design gives it
    """Nothing more can be admitted now: nothing was recorded, the start can be sent again later.

    Attributes:
        open_instances, limit: how many are open, and how many may be.
    """

    def __init__(self, open_instances: int, limit: int) -> None:
        super().__init__(f"{open_instances} instances are open and the limit is {limit}; start this one again later")
        self.open_instances = open_instances
        self.limit = limit


class BrokerUnavailable(Overloaded):
    """The broker is slow or gone, and what was said before has not left yet: new work is refused, accepted work waits.

    Nothing was recorded, the start can be sent again later.
    """

    def __init__(self, reason: str, open_instances: int, limit: int) -> None:
        AmendsError.__init__(self, f"no new instance is taken for now: {reason}; start this one again later")
        self.reason = reason
        self.open_instances = open_instances
        self.limit = limit


class SystemStopped(AmendsError):  # noqa: N818 - reads as the fact it reports
    """The system is stopping or has stopped; what was accepted goes on at the next start."""


class StorageError(AmendsError):
    """A database file can't be used, or not any more; the message names the file and why. Nothing in it was changed.

    A journal's file that is damaged is copied before anything is tried with it; the message names the copy too.
    """


class JournalHeld(StorageError):  # noqa: N818 - reads as the fact it reports
    """Another process has this journal open.

    Attributes:
        path: the journal's file.
        holder: who holds it, as "host pid".
    """

    def __init__(self, path: str, holder: str) -> None:
        super().__init__(f"{path}: held by {holder}; one process at a time may open a journal, stop that one first")
        self.path = path
        self.holder = holder


class JournalUnavailable(AmendsError):  # noqa: N818 - reads as the fact it reports
    """The journal can't be used now (a full disk, say): new work is refused, accepted work waits."""


class RecordCorrupt(AmendsError):  # noqa: N818 - reads as the fact it reports
    """A record's checksum or form is wrong: its instance is quarantined, the others run."""

    def __init__(self, saga_id: str, seq: int, problem: str) -> None:
        super().__init__(f"instance {saga_id}, record {seq}: {problem}")
        self.saga_id = saga_id
        self.seq = seq
        self.problem = problem


class HandlerError(AmendsError):
    """A handler is declared wrongly, or answered with something that is not an answer."""


class DatabaseError(AmendsError):
    """What a service's database says against a statement.

    Attributes:
        code: its own name for that: SQLite's result code, PostgreSQL's SQLSTATE; empty if it has none.
        violates: the constraint that a row violates, "unique", "not null", "check" or "foreign key"; None if none is.
    """

    def __init__(self, text: str, code: str, violates: str | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.violates = violates
