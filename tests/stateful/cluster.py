"""Several nodes on one journal, in one simulated world: virtual time, disk and network for all of them.

The services run in a process of their own. A node may crash, be paused for longer than its lease
(all it would do waits, and then happens, as after SIGCONT), or be cut off from the journal; what
it sends is on the network like everything else. The journal is in memory and does what a store
on a server promises; that the one on PostgreSQL does is held by tests of its own.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import msgspec

from amends import Saga
from amends.actors.journal.memory import MemoryStore
from amends.actors.journal.store import LEASE_S, Batch, Blocked, Grant, Instance, Key, PlanId, Request, Stored
from amends.actors.service import Service, ServiceSpec
from amends.actors.storage.port import Storage
from amends.actors.system import System
from amends.actors.transport.port import Delivery, Transport
from amends.protocol import codec
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

DOWN_S = 1.0
"""How long a node or the services are down after a crash, in virtual seconds."""


class SharedJournal(MemoryStore):
    """What is on the server: instances, records, and whose they are, by the tokens of their grants and openings."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.until_s: dict[int, float] = {}
        self.names: dict[int, str] = {}
        self.grants: dict[str, tuple[int, int]] = {}
        self.requested: dict[str, Request] = {}
        self.answered: dict[str, str] = {}
        self.token = 0

    def begin(self, name: str) -> int:
        """A new opening, with all that earlier ones of its name have left open."""
        self.token += 1
        over = [node for node, whose in self.names.items() if whose == name]
        for saga_id, (node, _) in self.grants.items():
            if node in over:
                self.grants[saga_id] = self.token, self.token
        for node in over:
            self.end(node)
        self.names[self.token], self.until_s[self.token] = name, self.world.now_s + LEASE_S
        return self.token

    def end(self, node: int) -> None:
        """Its lease is over for good."""
        self.names.pop(node, None)
        self.until_s.pop(node, None)


class Opening:
    """The journal as one node has it open; it is its own `shared`.

    Attributes:
        cut_off: it can't be reached from this node.
    """

    path = "shared"
    renew_every_s = LEASE_S / 6

    def __init__(self, journal: SharedJournal, name: str, end: "End") -> None:
        self._journal = journal
        self._end = end
        self._reach()
        self.token = journal.begin(name)

    @property
    def shared(self) -> "Opening":
        return self

    def _reach(self) -> None:
        if self._end.cut_off or self._end.life.ended:
            raise Blocked("the server can't be reached")

    def _hold(self) -> None:
        self._reach()
        if self.token not in self._journal.names:
            raise StorageError("was granted to another process since")

    def write(self, batch: Batch) -> Collection[str]:
        self._hold()
        journal, world = self._journal, self._journal.world
        fate = world.meet("commit of journal", ("crash before", "crash after"))
        if fate == "crash before":
            self._end.life.end()
            raise Blocked("the process is gone")
        out = {
            i.saga_id for i in batch.instances if journal.find(i.saga, i.key) not in (None, journal.instance(i.saga_id))
        }
        journal.grants.update((i.saga_id, (self.token, self.token)) for i in batch.instances if i.saga_id not in out)
        kept = Batch(
            [i for i in batch.instances if i.saga_id not in out],
            [r for r in batch.records if r.saga_id not in out],
            [end for end in batch.ends if journal.grants[end[2]][0] == self.token],
        )
        journal.write(kept)
        for stored in kept.records:
            record = codec.decode_record(stored.saga_id, stored.seq, stored.schema, stored.body.encode())
            world.on_disk(SagaId(stored.saga_id), stored.seq, record)
        if fate == "crash after":
            self._end.life.end()
        return out

    def known(self, keys: Collection[Key]) -> dict[Key, str]:
        self._reach()
        return self._journal.known(keys)

    def find(self, saga: str, key: str) -> Instance | None:
        self._reach()
        return self._journal.find(saga, key)

    def instance(self, saga_id: str) -> Instance | None:
        self._reach()
        return self._journal.instance(saga_id)

    def history(self, saga_id: str) -> list[Stored]:
        self._reach()
        return self._journal.history(saga_id)

    def counts(self) -> dict[str, int]:
        self._reach()
        return self._journal.counts()

    def open_grants(self, after: str, limit: int) -> list[Grant]:
        self._reach()
        ours = [Grant(i, token) for i, (node, token) in self._journal.grants.items() if node == self.token]
        return [grant for grant in sorted(ours) if self._is_open(grant.saga_id) and grant.saga_id > after][:limit]

    def _is_open(self, saga_id: str) -> bool:
        instance = self._journal.instance(saga_id)
        return instance is not None and instance.state == "open"

    def prune(self, before_at: float, limit: int) -> int:
        return 0

    def close(self) -> None:
        """Its lease runs on."""

    # For other nodes.

    def _lapsed(self) -> list[int]:
        now_s = self._journal.world.now_s
        nodes = {node for node, _ in self._journal.grants.values()}
        return [node for node in nodes if self._journal.until_s.get(node, 0.0) < now_s]

    def _left(self, plans: Collection[PlanId]) -> list[str]:
        lapsed = self._lapsed()
        left = sorted(i for i, (node, _) in self._journal.grants.items() if node in lapsed and self._is_open(i))
        known = {(plan.saga, plan.version) for plan in plans}
        return [i for i in left if (found := self._journal.instance(i)) and (found.saga, found.version) in known]

    def renew(self) -> bool:
        self._hold()
        self._journal.until_s[self.token] = self._journal.world.now_s + LEASE_S
        return any(self._is_open(i) for i, (node, _) in self._journal.grants.items() if node in self._lapsed())

    def adopt(self, plans: Collection[PlanId], limit: int) -> list[Grant]:
        self._reach()
        found = self._left(plans)[:limit]
        for node in self._lapsed():
            self._journal.end(node)
        if found:
            self._journal.token += 1
        token = self._journal.token
        self._journal.grants.update((saga_id, (self.token, token)) for saga_id in found)
        return [Grant(saga_id, token) for saga_id in found]

    def leave(self) -> None:
        self._hold()
        self._journal.end(self.token)

    def no_longer_open(self, saga_ids: Collection[str]) -> list[str]:
        self._reach()
        return [saga_id for saga_id in saga_ids if not self._is_open(saga_id)]

    def post(self, request: Request) -> None:
        self._reach()
        self._journal.requested[request.request_id] = request

    def requests(self) -> list[Request]:
        self._reach()
        ours = {grant.saga_id for grant in self.open_grants("", 1_000)}
        asked = self._journal.requested.values()
        return [r for r in asked if r.saga_id in ours and r.request_id not in self._journal.answered]

    def answer(self, request_id: str, answer: str) -> None:
        self._reach()
        self._journal.answered.setdefault(request_id, answer)

    def answers(self, request_ids: Collection[str]) -> dict[str, str]:
        self._reach()
        told = self._journal.answered
        return {request_id: told[request_id] for request_id in request_ids if request_id in told}


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
