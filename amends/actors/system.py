"""System: one folder, the actors that work on it, and the door to them.

It checks plans against services, builds the tree of supervisors, and is the only place that
names stores, transports and runtimes. The tree, in the order of starting: dead letters,
timers, journal, services, coordinator (which keeps the saga instances); when one of them has
to restart, those after it do too, since they built on what it said.
"""

import atexit
import os
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from amends.actors.coordinator import AskStatus, Callers, Coordinator, CoordinatorStatus, Drain, Submit, ToInstance
from amends.actors.handle import Handle
from amends.actors.journal.journal import Journal
from amends.actors.journal.messages import Count
from amends.actors.journal.sqlite import SqliteStore
from amends.actors.journal.store import Store
from amends.actors.saga import Cancel, Intervene, Surroundings
from amends.actors.service import Service, ServiceHome, ServiceSpec
from amends.actors.timers import Timers
from amends.actors.transport.in_process import InProcess
from amends.actors.transport.port import Transport
from amends.protocol import codec
from amends.protocol.errors import AmendsError, PlanError, SystemStopped
from amends.protocol.events import CancelAnswer, Intervention, RetryNow, Skip, SupplyResult
from amends.protocol.messages import SagaId
from amends.protocol.saga import Contracts, Plan, Saga, check_with_services
from amends.protocol.state import Outcome
from amends.supervisor.actor import Actor, Failed, Kill, spawn
from amends.supervisor.child import ChildSpec
from amends.supervisor.dead_letters import DeadLetters
from amends.supervisor.intensity import RestartWindow
from amends.supervisor.mailbox import Address, Caller, DeadLetter, Mailbox
from amends.supervisor.runtime import Clock, Runtime, SystemClock
from amends.supervisor.runtimes.pool import Pool
from amends.supervisor.runtimes.threads import Threads
from amends.supervisor.strategy import Strategy
from amends.supervisor.supervisor import Supervisor
from amends.supervisor.telemetry import Counters

DAY_S: Final = 86_400.0
RETENTION_S: Final = 30 * DAY_S
EXPIRY_S: Final = DAY_S
_ROOT_WINDOW: Final = RestartWindow(intensity=20, period_s=30.0)
_SERVICES_WINDOW: Final = RestartWindow(intensity=100, period_s=30.0)

Wrap = Callable[[Transport, Address, Clock], Transport]
"""Makes a transport around another, given the timers and the clock; see `amends.testing.unreliable`."""


class Status(msgspec.Struct, frozen=True):
    """A system at one moment.

    Attributes:
        open: instances that are running; completed, compensated, quarantined: all in the journal.
        stuck: why, by step, by instance; a person should look at each.
        unreadable: why an open instance is not run, by instance.
        restarts, retries, dead_letters, stuck_turns: since the system was opened.
        mailboxes: messages waiting, by actor.
        recovered: whether every instance found open at the start is running again.
    """

    open: int
    completed: int
    compensated: int
    quarantined: int
    stuck: dict[SagaId, dict[str, str]]
    unreadable: dict[SagaId, str]
    restarts: int
    retries: int
    dead_letters: int
    stuck_turns: int
    mailboxes: dict[str, int]
    recovered: bool


class System:
    """Sagas and services on the databases of one folder.

    Args:
        folder: where `journal.db` and a `<service>.db` each are, or will be made.
        sagas: the plans it runs; several versions of one may stand side by side.
        services: classes, or `MyService.spec(...)` for those with constructor arguments.
        max_open: instances that may be open at once; a start beyond that is refused with Overloaded.
        retention_s: how long an ended instance, and a service's memory of a step, is kept, in seconds; longer than
            any instance may be open.
        transport: wraps the transport, as to lose messages in a drill.
        open_store: opens another journal store than the folder's SQLite file.

    Raises PlanError at once if a plan does not fit the services; opens files only with `open` or `with`.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        sagas: Sequence[type[Saga]],
        services: Sequence[type[Service] | ServiceSpec],
        max_open: int = 10_000,
        retention_s: float = RETENTION_S,
        transport: Wrap | None = None,
        open_store: Callable[[], Store] | None = None,
    ) -> None:
        self._folder = Path(folder)
        self._specs = {spec.service.name: spec for spec in map(_spec, services)}
        if len(self._specs) < len(services):
            raise PlanError(f"services {[_spec(s).service.name for s in services]}: each name may stand once")
        self._plans = _plans(sagas, self._specs)
        self._max_open = max_open
        self._retention_s = retention_s
        self._wrap = transport
        self._open_store = open_store or (lambda: SqliteStore(self._folder / "journal.db"))
        self._pid = 0
        self._tree: _Tree | None = None

    # Life.

    def open(self) -> Self:
        """Start the actors; open instances of an earlier process go on by themselves."""
        if self._tree is not None:
            raise AmendsError(f"{self._folder}: this system is open already")
        self._folder.mkdir(parents=True, exist_ok=True)
        tree = _Tree(self._specs, self._plans, self._folder, self._retention_s, self._max_open, self._wrap)
        # Opened here once, so that a journal that can't be is the caller's error and not an actor's.
        first = self._open_store()
        try:
            first.counts()
        except AmendsError:
            first.close()
            raise
        stores = iter((first,))
        tree.start(lambda: next(stores, None) or self._open_store())
        self._tree = tree
        self._pid = os.getpid()
        _open_systems.add(self)
        return self

    def stop(self, timeout_s: float = 10.0) -> None:
        """End every turn, close every file. What was accepted and has not ended goes on at the next start."""
        tree, self._tree = self._tree, None
        if tree is not None and self._pid == os.getpid():
            _open_systems.discard(self)
            tree.stop(timeout_s)

    def drain(self, timeout_s: float | None = None) -> None:
        """Refuse new instances and wait until none is open; TimeoutError if that takes longer."""
        future: Future[Any] = Future()
        self._running.coordinator.tell(Drain(future))
        future.result(timeout_s)

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    # Sagas.

    def start(self, saga: type[Saga], value: Any, *, key: str | None = None) -> Handle:
        """Start an instance, once per key, and wait until that is on disk.

        Args:
            value: the saga's input, as its `input` type.
            key: the same key and input again give the same instance; without one each call starts a new one.

        Raises:
            InputError: the input does not fit; the field's path is in the message.
            KeyConflict: the key was used with a different input.
            Overloaded: too many instances are open.
            JournalUnavailable: the journal can't be written.
        """
        handle = self.submit(saga, value, key=key)
        handle.accepted()
        return handle

    def submit(self, saga: type[Saga], value: Any, *, key: str | None = None) -> Handle:
        """`start` without the wait, for event loops and for many at once.

        The handle's `accepted`, `result` and `await` raise what `start` would have raised, but for InputError, which
        comes at once.
        """
        running = self._running
        plan = self._plans.get((saga.plan.name, saga.plan.version))
        if plan is None or plan.saga is not saga:
            raise PlanError(f"saga {saga.plan.name!r} version {saga.plan.version} is not one of this system's")
        data = codec.checked(plan.input, value, f"saga {plan.name!r}")
        accepted: Future[Any] = Future()
        outcome: Future[Any] = Future()
        saga_id = SagaId(running.clock.new_id())
        running.coordinator.tell(Submit(saga_id, plan, key, data, accepted, outcome))
        return Handle(key, accepted, outcome, self._ask_cancel)

    def run(self, saga: type[Saga], value: Any, *, key: str | None = None, timeout_s: float | None = None) -> Outcome:
        """`start` and wait for the outcome."""
        return self.start(saga, value, key=key).result(timeout_s)

    def cancel(self, saga_id: SagaId, timeout_s: float | None = None) -> CancelAnswer:
        """Undo an instance if it is not decided yet."""
        return self._ask_cancel(saga_id).result(timeout_s)

    # People.

    def retry(self, saga_id: SagaId, step: str, *, by: str, reason: str) -> None:
        """Try a stuck step, or its undo, at once. AmendsError if it is not stuck; who and why is journalled."""
        self._intervene(saga_id, RetryNow(step, by, reason))

    def supply(self, saga_id: SagaId, step: str, result: Any, *, by: str, reason: str) -> None:
        """Count a stuck step as done, with `result`."""
        self._intervene(saga_id, SupplyResult(step, by, reason, msgspec.Raw(codec.encode(result))))

    def skip(self, saga_id: SagaId, step: str, *, by: str, reason: str) -> None:
        """Go on without a stuck step, or without its undo."""
        self._intervene(saga_id, Skip(step, by, reason))

    def status(self, timeout_s: float = 10.0) -> Status:
        """What is going on now."""
        running = self._running
        future: Future[CoordinatorStatus] = Future()
        running.coordinator.tell(AskStatus(future))
        told, counters = future.result(timeout_s), running.counters
        ended = told.ended
        return Status(
            open=told.open + told.starting,
            completed=ended["completed"],
            compensated=ended["compensated"],
            quarantined=ended["quarantined"] + len(told.unreadable),
            stuck=told.stuck,
            unreadable=told.unreadable,
            restarts=counters.restarts,
            retries=counters.retries,
            dead_letters=counters.dead_letters,
            stuck_turns=counters.stuck_turns,
            mailboxes={name: len(mailbox) for name, mailbox in running.mailboxes.items()},
            recovered=told.recovered,
        )

    def dead_letters(self) -> list[DeadLetter]:
        """The last messages nobody could take, oldest first."""
        return list(self._running.dead_letters)

    def kill(self, name: str) -> None:
        """A drill: the actor of that name (a service, "journal", "coordinator", "timers", or a saga id) fails."""
        running = self._running
        mailbox = running.mailboxes.get(name) or running.sagas.get(SagaId(name))
        if mailbox is not None:
            mailbox.tell(Kill())

    def _ask_cancel(self, saga_id: SagaId) -> "Future[CancelAnswer]":
        future: Future[Any] = Future()
        self._running.coordinator.tell(ToInstance(saga_id, Cancel(future), future))
        return future

    def _intervene(self, saga_id: SagaId, event: Intervention) -> None:
        future: Future[str | None] = Future()
        self._running.coordinator.tell(ToInstance(saga_id, Intervene(event, future), future))
        problem = future.result()
        if problem:
            raise AmendsError(problem)

    @property
    def _running(self) -> "_Tree":
        tree = self._tree
        if tree is None:
            raise SystemStopped(f"{self._folder}: the system is not open")
        if self._pid != os.getpid():
            raise SystemStopped(f"{self._folder}: the system belongs to process {self._pid}; open one after the fork")
        if tree.gave_up:
            raise SystemStopped(f"{self._folder}: its supervisors gave up: {tree.gave_up}; open it again")
        return tree


class _Tree:
    """The actors of one open system."""

    def __init__(
        self,
        specs: Mapping[str, ServiceSpec],
        plans: Mapping[tuple[str, int], Plan],
        folder: Path,
        retention_s: float,
        max_open: int,
        wrap: Wrap | None,
    ) -> None:
        self.clock = SystemClock()
        self.pool = Pool(self.clock)
        self.threads = Threads(self.clock)
        # Supervisors must be able to act while every other thread hangs.
        self.watch = Pool(self.clock, "amends-supervisors")
        self.counters = Counters()
        self.dead_letters: deque[DeadLetter] = deque(maxlen=1000)
        self.sagas: dict[SagaId, Mailbox] = {}
        self.callers = Callers()
        self.gave_up = ""
        self.mailboxes: dict[str, Mailbox] = {}
        self._dead = self._mailbox("dead-letters", self.pool)
        self._timers = self._mailbox("timers", self.pool)
        self._journal = self._mailbox("journal", self.threads)
        self.coordinator = self._mailbox("coordinator", self.pool)
        self._services = {name: self._mailbox(name, self.threads) for name in specs}
        self._root = Mailbox("root", self.watch, keeper=self)
        transport: Transport = InProcess(self._services, self.sagas)
        self._transport = transport if wrap is None else wrap(transport, self._timers, self.clock)
        self._specs, self._plans = specs, plans
        self._folder, self._retention_s, self._max_open = folder, retention_s, max_open

    name = "system"

    def tell(self, message: object) -> None:
        """As the root's keeper: it failed, so nothing here runs any more."""
        if isinstance(message, Failed):
            self.gave_up = message.error
            self._give_up(SystemStopped(f"{self._folder}: its supervisors gave up: {message.error}"))

    def start(self, open_store: Callable[[], Store]) -> None:
        """Start the tree from its root."""
        services = Mailbox("services", self.watch)
        children = [
            ChildSpec(self._dead, lambda: DeadLetters(self.dead_letters, self.counters)),
            ChildSpec(self._timers, Timers),
            ChildSpec(self._journal, lambda: Journal(open_store, self._retention_s)),
            ChildSpec(
                services,
                lambda: Supervisor(
                    [self._child(name, spec) for name, spec in self._specs.items()],
                    strategy=Strategy.ONE_FOR_ONE,
                    window=_SERVICES_WINDOW,
                    counters=self.counters,
                ),
            ),
            ChildSpec(self.coordinator, self._make_coordinator),
        ]
        spawn(
            self._root,
            lambda: Supervisor(
                children,
                strategy=Strategy.REST_FOR_ONE,
                window=_ROOT_WINDOW,
                counters=self.counters,
                others=(self.pool,),
            ),
        )

    def stop(self, timeout_s: float) -> None:
        """Write down what waits to be, end every turn, let go of every file."""
        written: Future[Any] = Future()
        if not self.gave_up:
            self._journal.tell(Count(written))
            # A journal that hangs keeps what it has on disk; the rest is sent again at the next start.
            with suppress(TimeoutError):
                written.result(timeout_s)
        runtimes: tuple[Runtime, ...] = (self.watch, self.pool, self.threads)
        for runtime in runtimes:
            runtime.stop(timeout_s)
        for mailbox in (
            self._root,
            self.coordinator,
            *self._services.values(),
            self._journal,
            *self.mailboxes.values(),
        ):
            if mailbox.actor is not None:
                mailbox.actor.retire()
        self._give_up(SystemStopped(f"{self._folder}: the system was stopped; its open instances go on later"))

    def _give_up(self, error: SystemStopped) -> None:
        self.callers.give_up(error)
        # What the coordinator has not read yet, it never will.
        self.coordinator.dead = _Unheard(error)
        self.coordinator.close()

    def _mailbox(self, name: str, runtime: Runtime) -> Mailbox:
        dead = self.mailboxes.get("dead-letters")
        mailbox = self.mailboxes[name] = Mailbox(name, runtime, dead=dead)
        return mailbox

    def _child(self, name: str, spec: ServiceSpec) -> ChildSpec:
        home = ServiceHome(self._folder / f"{name}.db", self._transport, self._retention_s)

        def make() -> Actor:
            service = spec.make()
            service.settle_in(home)
            return service

        return ChildSpec(self._services[name], make, turn_limit_s=spec.service.handler_timeout_s)

    def _make_coordinator(self) -> Actor:
        return Coordinator(self._plans, self._around, self.sagas, self.callers, self.pool, self._dead, self._max_open)

    def _around(self, token: int) -> Surroundings:
        return Surroundings(
            self._plans,
            self._journal,
            self.coordinator,
            self._timers,
            self._transport,
            self.counters,
            token,
            EXPIRY_S,
        )


class _Unheard:
    """The address of messages that no coordinator will read: whoever waits for an answer is told so."""

    name = "unheard"

    def __init__(self, error: SystemStopped) -> None:
        self._error = error

    def tell(self, message: object) -> None:
        asked = message.message if isinstance(message, DeadLetter) else None
        if isinstance(asked, Submit):
            Caller(asked.accepted).tell(self._error)
            Caller(asked.outcome).tell(self._error)
        elif isinstance(asked, ToInstance | Drain | AskStatus):
            Caller(asked.future).tell(self._error)


def _spec(service: type[Service] | ServiceSpec) -> ServiceSpec:
    return service if isinstance(service, ServiceSpec) else ServiceSpec(service)


def _plans(sagas: Iterable[type[Saga]], specs: Mapping[str, ServiceSpec]) -> dict[tuple[str, int], Plan]:
    contracts: Contracts = {
        name: {command: (h.command, h.handling) for command, h in spec.service.handlers.items()}
        for name, spec in specs.items()
    }
    plans: dict[tuple[str, int], Plan] = {}
    for saga in sagas:
        check_with_services(saga.plan, contracts)
        if (saga.plan.name, saga.plan.version) in plans:
            raise PlanError(f"saga {saga.plan.name!r} version {saga.plan.version}: two plans of that name and version")
        plans[saga.plan.name, saga.plan.version] = saga.plan
    return plans


_open_systems: "weakref.WeakSet[System]" = weakref.WeakSet()


@atexit.register
def _stop_open_systems() -> None:
    """A program that ends without `stop` ends cleanly all the same."""
    for system in list(_open_systems):
        system.stop(timeout_s=2.0)
