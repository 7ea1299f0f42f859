"""What a line has done since it was made, and what is told of it; written in its own thread, but for `dropped`."""

import msgspec


class Counters:
    """How often things happened.

    Attributes:
        published: messages handed to the broker, those handed over again among them.
        confirmed: those the broker has taken charge of.
        republished: those handed over again, since a connection ended or the broker declined.
        returned: those that found no queue.
        dropped: those that did not fit into the buffer, or asked again for what may still be in it.
        delivered, redelivered: messages that came, and those of them that had come to somebody before.
        unreadable: messages that went to the dead letters.
        unknown: replies for an instance that is not open here.
        connections: connections that were made.
    """

    __slots__ = (
        "confirmed",
        "connections",
        "delivered",
        "dropped",
        "published",
        "redelivered",
        "republished",
        "returned",
        "unknown",
        "unreadable",
    )

    def __init__(self) -> None:
        self.published = 0
        self.confirmed = 0
        self.republished = 0
        self.returned = 0
        self.dropped = 0
        self.delivered = 0
        self.redelivered = 0
        self.unreadable = 0
        self.unknown = 0
        self.connections = 0


class LineStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A line at one moment; the counts are explained at `Counters`.

    Attributes:
        ready: it is connected, and all queues are read.
        full: why no new instance is begun now; empty if one is.
        waiting: messages that the broker has not taken charge of.
    """

    ready: bool
    full: str
    waiting: int
    published: int
    confirmed: int
    republished: int
    returned: int
    dropped: int
    delivered: int
    redelivered: int
    unreadable: int
    unknown: int
    connections: int


def counted(counters: Counters) -> dict[str, int]:
    """The counts, by name."""
    return {name: getattr(counters, name) for name in Counters.__slots__}
