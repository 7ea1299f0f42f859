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


def for_service(name: str, inbox: Inbox) -> Take:
    """Takes the messages of a service."""
    return partial(_take_message, name, inbox)


def for_node(sagas: Mapping[SagaId, Address], counters: Counters) -> Take:
    """Takes the replies to a node."""
    return partial(_take_reply, sagas, counters)


def _take_message(name: str, inbox: Inbox, envelope: Envelope, receipt: Receipt) -> None:
    message = decode_message(envelope)
    if message.service != name:
        raise InputError(str(envelope.kind), "$.service", f"found another service's name, this one is {name!r}")
    inbox.deliver(message, receipt)


def _take_reply(sagas: Mapping[SagaId, Address], counters: Counters, envelope: Envelope, receipt: Receipt) -> None:
    reply = decode_reply(envelope)
    address = sagas.get(reply.saga_id)
    if address is None:
        counters.unknown += 1
    else:
        address.tell(reply)
    receipt()
