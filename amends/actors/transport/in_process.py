"""Inside one process a message goes straight into the mailbox of its reader."""

from collections.abc import Iterable, Mapping

from amends.actors.transport.port import Delivery
from amends.protocol.messages import Message, Reply, SagaId
from amends.supervisor.mailbox import Address


class InProcess:
    """Tells services and sagas directly.

    Args:
        services: addresses by service name.
        sagas: addresses of the open instances; kept up to date by the coordinator.
    """

    full = ""

    def __init__(self, services: Mapping[str, Address], sagas: Mapping[SagaId, Address]) -> None:
        self._services = services
        self._sagas = sagas

    def to_service(self, message: Message) -> Iterable[Delivery]:
        return ((self._services[message.service], message),)

    def to_saga(self, reply: Reply) -> Iterable[Delivery]:
        address = self._sagas.get(reply.saga_id)
        # An instance that has ended is gone from the table, and no answer matters to it any more.
        return () if address is None else ((address, reply),)
