"""What a system tells of itself when it is asked how it goes."""

import msgspec

from amends.actors.transport.counters import LineStatus
from amends.protocol.messages import SagaId
from amends.supervisor.mailbox import Mailbox


class QueueStatus(msgspec.Struct, frozen=True):
    """One actor's queue, since the system was opened.

    Attributes:
        waiting: messages in it now.
        waits: messages whose wait was measured, one a turn at most; see `supervisor.mailbox`.
        waited_s, longest_s: how long they waited before the actor took them, summed and at most.
    """

    waiting: int
    waits: int
    waited_s: float
    longest_s: float

    @property
    def mean_s(self) -> float:
        return self.waited_s / self.waits if self.waits else 0.0


class Status(msgspec.Struct, frozen=True):
    """A system at one moment.

    Attributes:
        open: instances that are run here.
        completed, compensated, quarantined: those in the journal when it was opened, and those that ended here since.
        stuck: why, by step, by instance; a person should look at each.
        unreadable: why an open instance is not run, by instance.
        restarts, retries, undone, dead_letters, stuck_turns: since the system was opened; `undone` counts steps.
        mailboxes: the queue of each actor but the instances.
        recovered: whether every instance found open at the start is running again.
        blocked: why an actor (the journal, a service) can't work now, as for a database that is away, by name.
        line: of the broker's; None without one.
    """

    open: int
    completed: int
    compensated: int
    quarantined: int
    stuck: dict[SagaId, dict[str, str]]
    unreadable: dict[SagaId, str]
    restarts: int
    retries: int
    undone: int
    dead_letters: int
    stuck_turns: int
    mailboxes: dict[str, QueueStatus]
    recovered: bool
    blocked: dict[str, str]
    line: LineStatus | None


def queue_status(mailbox: Mailbox) -> QueueStatus:
    """The queue of one actor."""
    return QueueStatus(len(mailbox), mailbox.waits, mailbox.waited_s, mailbox.longest_s)


def blocked(mailbox: Mailbox) -> str:
    """Why its actor can't work now; empty if it can."""
    actor = mailbox.actor
    return "it has failed, and is about to be started again" if actor is None else actor.blocked
