"""Taking: what comes from a queue is read and left with whom it is for, the same over every broker.

A command is done with once the service's turn that took it has settled, a reply as soon as it
is in its saga's mailbox: a node has asked for each of them, so there are never more than it
can hold, and what a saga loses in a crash it asks for again.
"""

from collections.abc import Callable, Mapping
from functools import partial

from amends.actors.transport.counters import Counters
from amends.actors.transport.wire import Envelope, decode_message, decode_reply
from amends.protocol.errors import InputError
from amends.protocol.messages import SagaId
from amends.supervisor.mailbox import Address, Inbox

Receipt = Callable[[], None]
Take = Callable[[Envelope, Receipt], None]
"""Leaves what came with its reader, or raises InputError; the receipt may be called in any thread."""


class Taking:
    """What one process takes.

    Args:
        sagas: its open instances; it changes while the line is open.
    """

    def __init__(self, sagas: Mapping[SagaId, Address], counters: Counters) -> None:
        self._sagas = sagas
        self._counters = counters
        self._paused = False

    def pause(self) -> None:
        """Give services nothing more."""
        self._paused = True

    def for_service(self, name: str, inbox: Inbox) -> Take:
        """Takes the messages of a service."""
        return partial(self._take_message, name, inbox)

    def for_node(self) -> Take:
        """Takes the replies to a node."""
        return self._take_reply

    def _take_message(self, name: str, inbox: Inbox, envelope: Envelope, receipt: Receipt) -> None:
        if self._paused:
            # Without a receipt the broker gives no more than it may, and has all of it back when the line is closed.
            return
        message = decode_message(envelope)
        if message.service != name:
            raise InputError(str(envelope.kind), "$.service", f"found another service's name, this one is {name!r}")
        inbox.deliver(message, receipt)

    def _take_reply(self, envelope: Envelope, receipt: Receipt) -> None:
        reply = decode_reply(envelope)
        address = self._sagas.get(reply.saga_id)
        if address is None:
            self._counters.unknown += 1
        else:
            address.tell(reply)
        receipt()
