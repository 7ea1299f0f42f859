"""Several nodes on one journal, in one simulated world: virtual time, disk and network for all of them.

The services run in a process of their own. A node may crash, be paused for longer than its lease
(all it would do waits, and then happens, as after SIGCONT), or be cut off from the journal; what
it sends is on the network like everything else.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import msgspec

from amends import Saga
from amends.actors.journal.store import Blocked
from amends.actors.service import Service, ServiceSpec
from amends.actors.storage.port import Storage
from amends.actors.system import System
from amends.actors.transport.port import Delivery, Transport
from amends.protocol.errors import StorageError
from amends.protocol.messages import Message, Reply, SagaId
from amends.supervisor.mailbox import Address, Mailbox
from amends.supervisor.runtime import Clock
from amends.testing import Schedule, SimulatedSystem
from amends.testing.agenda import Stalled
from amends.testing.checkers import Checker
from amends.testing.facts import Sent
from amends.testing.life import Life, SimulatedRuntime
from amends.testing.network import Network, Wire
from amends.testing.system import PATIENCE_S
from amends.testing.world import World
from tests.stateful.shared_journal import Opening, SharedJournal

DOWN_S = 1.0
"""How long a node or the services are down after a crash, in virtual seconds."""


class PausingRuntime(SimulatedRuntime):
    """Gives turns, but for while its process is paused: then they wait."""

    def __init__(self, world: World, life: Life) -> None:
        super().__init__(world, life)
        self.paused = False
        self._held: list[Mailbox] = []

    def _turn(self, mailbox: Mailbox) -> None:
        if self.paused:
            self._held.append(mailbox)
        else:
            super()._turn(mailbox)

    def go_on(self) -> None:
        """What has waited happens now."""
        self.paused = False
        held, self._held = self._held, []
        for mailbox in held:
            self._world.agenda.put(0.0, lambda mailbox=mailbox: super(PausingRuntime, self)._turn(mailbox))  # type: ignore[misc]


class End:
    """A node's place in the world: its process, and its end of the journal and of the network.

    It stands where a system of its own has a disk and a network.
    """

    name = "shared"
    life: Life

    def __init__(self, name: str, journal: SharedJournal, network: "Wires") -> None:
        self._name = name
        self._journal = journal
        self._network = network
        self.cut_off = False

    # As a storage.

    def open_store(self) -> Opening:
        return Opening(self._journal, self._name, self)

    def open_service(self, service: str, scripts: Any) -> Any:
        raise StorageError("its services are elsewhere")

    def new_effects(self, service: str) -> list[Any]:
        return []

    # As a network.

    def connect(self, services: Mapping[str, Address], sagas: Mapping[SagaId, Address]) -> None:
        self._network.nodes[self._name] = sagas

    def disconnect(self) -> None:
        self._network.nodes.pop(self._name, None)


class Wires(Network):
    """The network, on which a reply goes to the node that asked; while that is away it is lost."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.nodes: dict[str, Mapping[SagaId, Address]] = {}

    def _arrive(self, message: Message | Reply) -> None:
        if isinstance(message, Reply):
            address = self.nodes.get(message.reply_to, {}).get(message.saga_id)
            if address is not None:
                address.tell(message)
        else:
            super()._arrive(message)


class NodeWire(Wire):
    """A node's transport, which says where its replies are to go."""

    node = ""

    def to_service(self, message: Message) -> list[Delivery]:
        return [(self, msgspec.structs.replace(message, reply_to=self.node))]


class _ByWire:
    """In place of a broker: what makes the transport is the node itself."""

    def connect(self, *_: Any) -> Any:
        raise AssertionError


class Node(SimulatedSystem):
    """A process that runs sagas, whose services are elsewhere."""

    def __init__(
        self, cluster: "Cluster", name: str, sagas: Sequence[type[Saga]], elsewhere: Sequence[type[Service]]
    ) -> None:
        System.__init__(self, "simulated", sagas=sagas, services=[], node=name, broker=_ByWire(), elsewhere=elsewhere)
        self.name = name
        self._cluster = cluster
        self._said = {}
        self.world = cluster.world
        self._plans = {name: self._watched(plan) for name, plan in self._plans.items()}
        self._plot = replace(self._plot, plans=self._plans)
        self.end = End(name, cluster.journal, cluster.wires)
        self._storage: Storage = self.end
        self._disk = self._network = self.end  # type: ignore[assignment]  # as it says of itself
        self._was_told = False

    @property
    def is_well(self) -> bool:
        """Whether it is up, goes on, and reaches the journal."""
        return self._tree is not None and not (self.runtime.paused or self.end.cut_off)

    def open(self) -> Self:
        life = Life(self.world, self._cluster.run_until, lambda _: None)
        life.runtime = self.runtime = PausingRuntime(self.world, life)
        self.end.life = life
        System.open(self)
        self.end.connect({}, self._running.sagas)
        return self

    def _connect(
        self, services: Mapping[str, Address], sagas: Mapping[SagaId, Address], timers: Address, clock: Clock
    ) -> Transport:
        wire = NodeWire(self._network, self.end.life, lambda _: None, self._ask_cancel)
        wire._network = self._cluster.wires
        wire.node = self.name
        return wire

    def run_until(self, so: Callable[[], bool], within_s: float | None = None, what: str = "") -> None:
        self._cluster.run_until(so, within_s, what)

    def _step(self) -> None:
        self._cluster.step()


class Cluster:
    """Some nodes, and a process with the services."""

    def __init__(
        self,
        sagas: Sequence[type[Saga]],
        services: Sequence[ServiceSpec],
        schedule: Schedule,
        checkers: Sequence[type[Checker]],
        names: Sequence[str] = ("one", "two"),
    ) -> None:
        self.home = SimulatedSystem(sagas=[], services=services, schedule=schedule, checkers=())
        self.world = world = self.home.world
        world.plans = {(saga.plan.name, saga.plan.version): saga.plan for saga in sagas}
        self.journal = SharedJournal(world)
        self._see, world.see = world.see, self._see_owners  # type: ignore[method-assign]  # the zombie's letters are left out
        world.watch(checkers)
        self.home._network = self.wires = Wires(world)
        self.home.run_until = self.run_until  # type: ignore[method-assign]  # all of them go on
        self.nodes = {name: Node(self, name, sagas, [spec.service for spec in services]) for name in names}

    def _see_owners(self, fact: Any) -> None:
        """What a node sends that has lost the instance is not held against anybody: fences refuse it."""
        zombie = (
            isinstance(fact, Sent) and self.journal.grants.get(fact.message.saga_id, (0, 0))[1] > fact.message.token
        )
        if zombie:
            self.world.facts.append(fact)
        else:
            self._see(fact)

    def open(self) -> None:
        """Start them all."""
        self.home.open()
        for node in self.nodes.values():
            node.open()

    # Trouble.

    def crash(self, name: str) -> None:
        """It is killed, and started again a while later."""
        self.nodes[name].end.life.end()

    def pause(self, name: str, seconds: float) -> None:
        """As SIGSTOP does, and SIGCONT after that time."""
        runtime = self.nodes[name].runtime
        runtime.paused = True
        self.world.agenda.put(seconds, runtime.go_on)

    def cut_off(self, name: str, seconds: float) -> None:
        """It can't reach the journal for that long."""
        end = self.nodes[name].end
        end.cut_off = True

        def mend() -> None:
            end.cut_off = False

        self.world.agenda.put(seconds, mend)

    # Time.

    def step(self) -> None:
        """What is due next happens."""
        self.world.agenda.step()
        for system in (self.home, *self.nodes.values()):
            tree = system._tree
            if tree is not None and (system._disk.life.ended or tree.gave_up):
                system._bury()
                self.world.agenda.put(DOWN_S, lambda system=system: self._restart(system))  # type: ignore[misc]
        self.home._raise_problem()

    def _restart(self, system: SimulatedSystem) -> None:
        try:
            system.open()
        except Blocked:
            # The journal can't be reached; whoever started the program starts it again.
            system._disk.life.end()
            self.world.agenda.put(DOWN_S, lambda: self._restart(system))

    def run_until(self, so: Callable[[], bool], within_s: float | None = None, what: str = "") -> None:
        """Let the world go on until something is so."""
        until_s = self.world.now_s + (PATIENCE_S if within_s is None else within_s)
        while not so():
            if self.world.agenda.next_s > until_s:
                self.world.agenda.now_s = until_s
                still = "; ".join(known.lags for known in self.world.instances.values() if known.lags)
                raise Stalled(f"{what or 'what is waited for'} has not come; still open: {still}")
            self.step()

    def close(self) -> None:
        """Let go of everything."""
        for system in (*self.nodes.values(), self.home):
            if system._tree is not None:
                system._bury()
