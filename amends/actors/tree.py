"""The tree: the actors of one open system, in the order in which they start.

Dead letters, timers, journal, services, coordinator (which keeps the saga instances); when one
of them has to restart, those after it do too, since they built on what it said. Without sagas
there is neither a journal nor a coordinator. The ground they stand on (runtimes, storage,
transport) is chosen by `system`.
"""

from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from amends.actors.callers import Callers, Unheard
from amends.actors.continuing import Plans
from amends.actors.coordinator import Coordinator
from amends.actors.database.port import Database
from amends.actors.journal.journal import Journal
from amends.actors.journal.messages import Count, Leave
from amends.actors.journal.store import PlanId, Store
from amends.actors.saga import Surroundings
from amends.actors.service import ServiceHome, ServiceSpec
from amends.actors.storage.port import Storage
from amends.actors.timers import Timers
from amends.actors.transport.port import Transport
from amends.protocol.errors import SystemStopped
from amends.protocol.messages import SagaId
from amends.supervisor.actor import Actor, Failed, spawn
from amends.supervisor.child import ChildSpec
from amends.supervisor.dead_letters import KEPT, DeadLetters
from amends.supervisor.intensity import RestartWindow
from amends.supervisor.mailbox import Address, DeadLetter, Mailbox
from amends.supervisor.runtime import Clock, Runtime
from amends.supervisor.strategy import Strategy
from amends.supervisor.supervisor import LOOK_EVERY_S, Supervisor
from amends.supervisor.telemetry import Counters

_DAY_S: Final = 86_400.0
_LEAVE_S: Final = 2.0
ROOT_WINDOW: Final = RestartWindow(intensity=20, period_s=60.0)
"""Restarts among all children of the root before the system gives up.

The longest wait between two of them is 2 s, so the period is long enough to reach it: a child that can't start at all
must not keep callers waiting for ever.
"""

SERVICES_WINDOW: Final = RestartWindow(intensity=100, period_s=30.0)
"""Restarts among all services before they are the root's business."""

OWN_NAMES: Final = ("root", "services", "dead-letters", "timers", "journal", "coordinator")
"""The names of the actors every system has; no service may have one of them."""

Connect = Callable[[Mapping[str, Mailbox], Mapping[SagaId, Address], Address, Clock], Transport]
"""Makes the transport, given the services, the open instances, the timers and the clock."""


@dataclass(frozen=True, slots=True)
class Runtimes:
    """Who gives turns to whom.

    Attributes:
        many: the coordinator, the timers and all saga instances.
        waiting: services and the journal, which wait for the disk.
        watching: supervisors, which must be able to act while all others hang.
        look_every_s: how often those look by themselves, in seconds.
    """

    many: Runtime
    waiting: Runtime
    watching: Runtime
    look_every_s: float = LOOK_EVERY_S


@dataclass(frozen=True, slots=True)
class Ground:
    """What a tree stands on: all that is time, chance, disk or network to it.

    Attributes:
        new_future: makes the futures that callers outside wait on.
    """

    runtimes: Runtimes
    storage: Storage
    connect: Connect
    new_future: Callable[[], "Future[Any]"] = Future


@dataclass(frozen=True, slots=True)
class Plot:
    """What a tree is planted with.

    Attributes:
        retention_s: how long ended instances and a service's memory of a step are kept, in seconds.
    """

    specs: Mapping[str, ServiceSpec]
    plans: Plans
    max_open: int
    retention_s: float

    @property
    def expiry_s(self) -> float:
        """How long a command may be on its way, in seconds: never longer than its step is remembered."""
        return min(_DAY_S, self.retention_s / 2)


class Tree:
    """The actors of one open system.

    Attributes:
        coordinator: None where no sagas are run.
    """

    def __init__(self, plot: Plot, ground: Ground) -> None:
        self._plot = plot
        self._storage = ground.storage
        self._runtimes = runtimes = ground.runtimes
        self.clock = runtimes.many.clock
        self.new_future = ground.new_future
        self.counters = Counters()
        self.dead_letters: deque[DeadLetter] = deque(maxlen=KEPT)
        self.sagas: dict[SagaId, Mailbox] = {}
        self.callers = Callers()
        self.gave_up = ""
        self.mailboxes: dict[str, Mailbox] = {}
        self._homes: list[ServiceHome] = []
        self._dead = self._mailbox("dead-letters", runtimes.many)
        self._timers = self._mailbox("timers", runtimes.many)
        self._journal = self._mailbox("journal", runtimes.waiting) if plot.plans else None
        self.coordinator = self._mailbox("coordinator", runtimes.many) if plot.plans else None
        self._services = {name: self._mailbox(name, runtimes.waiting) for name in plot.specs}
        self._root = Mailbox("root", runtimes.watching, keeper=self)
        self._transport = ground.connect(self._services, self.sagas, self._timers, self.clock)

    name = "system"

    def tell(self, message: object) -> None:
        """As the root's keeper: it failed, so nothing here runs any more."""
        if isinstance(message, Failed):
            self.gave_up = message.error
            self._give_up(SystemStopped(f"{self._storage.name}: its supervisors gave up: {message.error}"))

    @property
    def calls_outside(self) -> int:
        """Calls of services to the world outside that have not come back, or whose answers were not written down."""
        return sum(len(home.under_way.calls) for home in self._homes)

    def check_databases(self) -> None:
        """StorageError if a service's database can't be opened, before any actor tries."""
        for name, spec in self._plot.specs.items():
            self._storage.open_service(name, spec.service.scripts()).close()

    def start(self, store: Store | None) -> None:
        """Start the tree from its root, on a journal that is open already, if it has one."""
        services = [self._child(name, spec) for name, spec in self._plot.specs.items()]
        children = [
            ChildSpec(self._dead, lambda: DeadLetters(self.dead_letters, self.counters)),
            ChildSpec(self._timers, Timers),
            ChildSpec(
                Mailbox("services", self._runtimes.watching),
                lambda: Supervisor(
                    services,
                    strategy=Strategy.ONE_FOR_ONE,
                    window=SERVICES_WINDOW,
                    counters=self.counters,
                    look_every_s=self._runtimes.look_every_s,
                ),
            ),
        ]
        if self._journal is not None and self.coordinator is not None:
            stores = iter((store,))

            def open_store() -> Store:
                return next(stores, None) or self._storage.open_store()

            plans = [PlanId(plan.name, plan.version, plan.digest) for plan in self._plot.plans.values()]

            def make_journal() -> Actor:
                return Journal(open_store, plans, self._plot.retention_s)

            children.insert(2, ChildSpec(self._journal, make_journal))
            children.append(ChildSpec(self.coordinator, self._make_coordinator))
        spawn(
            self._root,
            lambda: Supervisor(
                children,
                strategy=Strategy.REST_FOR_ONE,
                window=ROOT_WINDOW,
                counters=self.counters,
                others=(self._runtimes.many,),
                look_every_s=self._runtimes.look_every_s,
            ),
        )

    def stop(self, timeout_s: float) -> None:
        """Write down what waits to be, end every turn, let go of every file."""
        if self._journal is not None and not self.gave_up:
            written = self.new_future()
            self._journal.tell(Count(written))
            # A journal that hangs keeps what it has on disk; the rest is sent again at the next start.
            with suppress(TimeoutError):
                written.result(timeout_s)
        self._runtimes.watching.stop(timeout_s)
        self._runtimes.many.stop(timeout_s)
        if self._journal is not None and not self.gave_up:
            left = self.new_future()
            self._journal.tell(Leave(left))
            # Nobody restarts it any more if it fails with this in hand; its lease will lapse.
            with suppress(TimeoutError):
                left.result(min(timeout_s, _LEAVE_S))
        self._runtimes.waiting.stop(timeout_s)
        self.abandon(SystemStopped(f"{self._storage.name}: the system was stopped; its open instances go on later"))

    def abandon(self, error: SystemStopped) -> None:
        """End every actor as it is, in a turn or not, and tell `error` to all who wait."""
        # Those that build on others first; who has been retired already is not again.
        for mailbox in (self._root, self.coordinator, *self._services.values(), *self.mailboxes.values()):
            if mailbox is not None and mailbox.actor is not None:
                mailbox.actor.retire()
        self._give_up(error)

    def _give_up(self, error: SystemStopped) -> None:
        self.callers.give_up(error)
        if self.coordinator is not None:
            # What the coordinator has not read yet, it never will.
            self.coordinator.dead = Unheard(error)
            self.coordinator.close()

    def _mailbox(self, name: str, runtime: Runtime) -> Mailbox:
        dead = self.mailboxes.get("dead-letters")
        mailbox = self.mailboxes[name] = Mailbox(name, runtime, dead=dead)
        return mailbox

    def _child(self, name: str, spec: ServiceSpec) -> ChildSpec:
        def open_database() -> Database:
            return self._storage.open_service(name, spec.service.scripts())

        home = ServiceHome(open_database, self._transport, self._plot.retention_s)
        self._homes.append(home)

        def make() -> Actor:
            service = spec.make()
            service.settle_in(home)
            return service

        return ChildSpec(self._services[name], make, turn_limit_s=spec.service.handler_timeout_s)

    def _make_coordinator(self) -> Actor:
        return Coordinator(
            self._plot.plans,
            self._around(),
            self.sagas,
            self.callers,
            self._runtimes.many,
            self._dead,
            self._plot.max_open,
        )

    def _around(self) -> Surroundings:
        assert self._journal is not None
        assert self.coordinator is not None
        return Surroundings(
            self._plot.plans,
            self._journal,
            self.coordinator,
            self._timers,
            self._transport,
            self.counters,
            self._plot.expiry_s,
        )
