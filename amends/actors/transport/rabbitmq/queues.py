"""The queues: their names and what they are declared with, which `docs/wire-format.md` repeats for other languages.

Whoever sends to a service declares its queue, so a command waits there for a service that was
never up. A node's queue is its own: it goes when nobody has read it for long, and what it held
is asked for again.
"""

from dataclasses import dataclass, field
from typing import Any, Final

DELIVERY_LIMIT: Final = 20
"""How often a message is delivered again before the broker takes it for a killer of services."""

NODE_TTL_S: Final = 3600.0
"""How long the queue of a node that has gone is kept, in seconds."""

DEAD_LETTERS_MAX: Final = 100_000
"""How many dead letters are kept; the oldest go first."""


@dataclass(frozen=True, slots=True)
class Queues:
    """The names that begin with one prefix.

    Attributes:
        as_they_are: queues that exist with other arguments; they are used so, and not declared again.
    """

    prefix: str
    as_they_are: set[str] = field(default_factory=set)

    @property
    def dead_letters(self) -> str:
        return f"{self.prefix}.dead-letters"

    def service(self, name: str) -> str:
        """Where the messages of a service wait."""
        return f"{self.prefix}.service.{name}"

    def node(self, name: str) -> str:
        """Where the replies to a node wait."""
        return f"{self.prefix}.node.{name}"

    def owner(self, queue: str) -> str:
        """What exists as long as somebody reads a queue that is his alone."""
        return f"{queue}.owner"

    def arguments(self, queue: str) -> dict[str, Any]:
        """What a queue is declared with."""
        if queue == self.dead_letters:
            return {"x-queue-type": "quorum", "x-max-length": DEAD_LETTERS_MAX}
        arguments = {
            "x-queue-type": "quorum",
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": self.dead_letters,
        }
        if queue.startswith(self.service("")):
            return arguments | {"x-delivery-limit": DELIVERY_LIMIT}
        return arguments | {"x-expires": int(NODE_TTL_S * 1000)}

    def refused(self, reason: str) -> None:
        """A channel was closed; if that was over the arguments of a queue, it is used as it is while it exists."""
        _, _, rest = reason.partition("queue '")
        queue = rest.partition("'")[0]
        if "inequivalent arg" in reason:
            self.as_they_are.add(queue)
        elif "NOT_FOUND" in reason:
            self.as_they_are.discard(queue)
