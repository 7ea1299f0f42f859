"""The port: where a message or a reply has to be left so that it arrives, at least once if all goes well.

A message may be lost, doubled, late or overtaken; sagas send again and fences make up for it.
"""

from collections.abc import Iterable
from typing import Protocol

from amends.protocol.messages import Message, Reply
from amends.supervisor.mailbox import Address

Delivery = tuple[Address, object]


class Transport(Protocol):
    """Says whom to tell what, so that the actor that sends keeps it in its outbox until its turn has settled."""

    def to_service(self, message: Message) -> Iterable[Delivery]:
        """What to leave where, for a service to get `message`."""
        ...

    def to_saga(self, reply: Reply) -> Iterable[Delivery]:
        """What to leave where, for a saga to get `reply`; nothing if it has ended."""
        ...
