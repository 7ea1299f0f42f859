"""What waits for the next commit of a journal."""

from amends.actors.journal.messages import Open
from amends.actors.journal.store import Instance, Stored
from amends.supervisor.mailbox import Address


class Pending:
    """The next batch, and whom to tell what once it is written.

    Attributes:
        in_doubt: an attempt to write it may have succeeded.
    """

    __slots__ = ("ends", "forced", "in_doubt", "instances", "opened", "records", "since_s", "then")

    def __init__(self) -> None:
        self.opened: list[Open] = []
        self.instances: list[Instance] = []
        self.records: list[Stored] = []
        self.ends: list[tuple[str, float, str]] = []
        self.then: list[tuple[Address, object]] = []
        self.forced = False
        self.in_doubt = False
        self.since_s = 0.0

    def __bool__(self) -> bool:
        return bool(self.records or self.ends or self.then)
