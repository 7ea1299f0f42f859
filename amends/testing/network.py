"""The virtual network: a message may be lost, doubled, or late, also later than the process that sent it lives.

While no process runs, what arrives waits for the next one, as in a broker's queue; so a
command of an earlier process may meet a later one's fence.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from amends.actors.transport.port import Delivery
from amends.protocol.messages import Message, Reply, SagaId
from amends.supervisor.mailbox import Address
from amends.testing.facts import PHASES, Answered, Sent
from amends.testing.life import Life
from amends.testing.schedule import LATE, lateness_s
from amends.testing.world import World

_MESSAGE: Final = (*LATE, "lost", "doubled", "crash", "cancel")
_REPLY: Final = (*LATE, "lost", "doubled", "crash")
_AGAIN_S: Final = 1.0
"""How much later than the first the second of a doubled message arrives."""


class Network:
    """What is on its way between sagas and services, whichever process sent it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._reach: Mapping[str, Address] | None = None
        self._sagas: Mapping[SagaId, Address] = {}
        self._waiting: list[Message | Reply] = []

    def connect(self, services: Mapping[str, Address], sagas: Mapping[SagaId, Address]) -> None:
        """A process runs: what arrives is for it."""
        self._reach, self._sagas = services, sagas
        waiting, self._waiting = self._waiting, []
        for message in waiting:
            self._world.agenda.put(0.0, lambda message=message: self._arrive(message))  # type: ignore[misc]

    def disconnect(self) -> None:
        """No process runs: what arrives waits."""
        self._reach = None

    def carry(self, message: Message | Reply, fate: str) -> None:
        """It has left."""
        if fate in ("lost", "crash"):
            return
        self._world.agenda.put(lateness_s(fate), lambda: self._arrive(message))
        if fate == "doubled":
            self._world.agenda.put(_AGAIN_S, lambda: self._arrive(message))

    def _arrive(self, message: Message | Reply) -> None:
        if self._reach is None:
            self._waiting.append(message)
            return
        if isinstance(message, Message):
            self._reach[message.service].tell(message)
            return
        address = self._sagas.get(message.saga_id)
        if address is not None:
            address.tell(message)


class Wire:
    """The transport of one process: what its actors send leaves when their turn has settled.

    Args:
        look_at: sees what a service has done, before its reply leaves.
        cancel: asks to cancel an instance, as its caller would.
    """

    name = "network"
    full = ""

    def __init__(
        self, network: Network, life: Life, look_at: Callable[[str], None], cancel: Callable[[SagaId], object]
    ) -> None:
        self._network = network
        self._life = life
        self._world = life.world
        self._look_at = look_at
        self._cancel = cancel

    def to_service(self, message: Message) -> Iterable[Delivery]:
        return ((self, message),)

    def to_saga(self, reply: Reply) -> Iterable[Delivery]:
        return ((self, reply),)

    def tell(self, message: object) -> None:
        """As an address: the message leaves now."""
        if self._life.ended:
            return
        if isinstance(message, Message):
            fate = self._send(message)
        else:
            assert isinstance(message, Reply)
            fate = self._reply(message)
        self._network.carry(message, fate)
        if fate == "crash":
            self._life.end()

    def _send(self, message: Message) -> str:
        world, who = self._world, self._world.who(message.saga_id)
        world.see(Sent(world.now_s, who, message))
        fate = world.meet(f"{who} > {message.service}: {PHASES[type(message)]} {message.step}", _MESSAGE)
        if fate == "cancel":
            self._cancel(message.saga_id)
        return fate

    def _reply(self, reply: Reply) -> str:
        world, who, service = self._world, self._world.who(reply.saga_id), self._life.runtime.current
        self._look_at(service)
        world.see(Answered(world.now_s, who, service, reply))
        return world.meet(f"{service} > {who}: {reply.phase} {reply.step}", _REPLY)
