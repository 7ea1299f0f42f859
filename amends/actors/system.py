"""System: one place, the actors that work on it, and the door to them.

It checks plans against services, and is the only place that names stores, transports and
runtimes; what is built of them is `tree`'s business.
"""

import atexit
import os
import socket
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Final, Self

import msgspec

from amends.actors.asking import Question
from amends.actors.callers import (
    NO_INSTANCES,
    AskStatus,
    AwaitIdle,
    CoordinatorStatus,
    Drain,
    Submit,
    ToInstance,
)
from amends.actors.finding import Found, found
from amends.actors.given import plans_of, specs_of
from amends.actors.handle import Handle
from amends.actors.journal.messages import Find, History
from amends.actors.journal.store import LEASE_S
from amends.actors.saga import Cancel, Intervene
from amends.actors.service import Service, ServiceSpec
from amends.actors.status import Status, blocked, queue_status
from amends.actors.storage.folder import Folder
from amends.actors.storage.port import Storage
from amends.actors.transport.in_process import InProcess
from amends.actors.transport.port import Broker, Line, Transport
from amends.actors.tree import Ground, Plot, Runtimes, Tree
from amends.protocol import codec
from amends.protocol.errors import AmendsError, InputError, PlanError, SystemStopped
from amends.protocol.events import CancelAnswer, Intervention, RetryNow, Skip, SupplyResult
from amends.protocol.messages import SagaId
from amends.protocol.saga import Plan, Saga
from amends.protocol.state import Outcome
from amends.supervisor.actor import Kill
from amends.supervisor.baton import Baton
from amends.supervisor.mailbox import Address, DeadLetter, Mailbox
from amends.supervisor.runtime import Clock, SystemClock
from amends.supervisor.runtimes.pool import Pool
from amends.supervisor.runtimes.threads import Threads

RETENTION_S: Final = 30 * 86_400.0
_LEASE_S_MIN: Final = 0.5
_NODE_MAX: Final = 100
_HOST_MAX: Final = 60

Wrap = Callable[[Transport, Address, Clock], Transport]
"""Makes a transport around another, given the timers and the clock; see `amends.testing.unreliable`."""


class System:
    """Sagas and services on the databases of one place; without sagas it needs, and opens, no journal.

    Args:
        place: a folder where `journal.db` and a `<service>.db` each are, or will be made; or a PostgreSQL database, as
            `postgresql://user:password@host:5432/database?schema=shop`, with the journal in that schema and each
            service's tables in `shop_<service>`, which needs the extra `amends[postgres]`.
        sagas: the plans it runs; several versions of one may stand side by side.
        services: classes, or `MyService.spec(...)` for those with constructor arguments.
        max_open: instances that may be open at once; a start beyond that is refused with Overloaded.
        retention_s: how long an ended instance, and a service's memory of a step, is kept, in seconds; longer than
            any instance may be open.
        transport: wraps the transport, as to lose messages in a drill.
        journal: another PostgreSQL database that keeps the journal, in the same form.
        node: the name of this process among those that share a journal or a broker, which no other one may have; the
            next process of that name goes on where it stopped. A process that shares none needs no name.
        lease_s: how long this node may be away from a journal that it shares before the others adopt what it had, in
            seconds; it renews that right six times as often.
        broker: carries messages between this process and others; without one everything is in this process.
        elsewhere: services that other processes have, reached by the broker: classes, or the names of those that are
            not written in Python, whose commands are then not checked.

    Raises PlanError at once if a plan does not fit the services, and InputError if the node's name is none; opens files
    only with `open` or `with`.
    """

    handle_type: ClassVar[type[Handle]] = Handle

    def __init__(
        self,
        place: str | Path,
        *,
        sagas: Sequence[type[Saga]],
        services: Sequence[type[Service] | ServiceSpec],
        max_open: int = 10_000,
        retention_s: float = RETENTION_S,
        transport: Wrap | None = None,
        journal: str | None = None,
        node: str = "",
        lease_s: float = LEASE_S,
        broker: Broker | None = None,
        elsewhere: Sequence[type[Service] | str] = (),
    ) -> None:
        if not (node.isprintable() and len(node) <= _NODE_MAX):
            raise InputError("System", "node", f"found {node!r}, wanted a name of at most {_NODE_MAX} characters")
        if not lease_s >= _LEASE_S_MIN:
            raise InputError("System", "lease_s", f"found {lease_s!r}, wanted at least {_LEASE_S_MIN} seconds")
        self._storage = _storage(place, journal, node, lease_s)
        specs = specs_of(services)
        if elsewhere and broker is None:
            raise PlanError("elsewhere: services of other processes are reached by a broker; wanted one")
        self._plans = plans_of(sagas, specs, elsewhere)
        if node and journal and specs and broker is None and not _is_url(place):
            raise PlanError(
                f"node {node!r}: others that share its journal go on with its instances when it is gone, and its "
                "services are in a folder that only it has; keep them on the server too, or reach them by a broker"
            )
        self._plot = Plot(specs, self._plans, max_open, retention_s)
        self._wrap = transport
        self._node = node
        self._broker = broker
        self._line: Line | None = None
        self._pid = 0
        self._tree: Tree | None = None

    # Life.

    def open(self) -> Self:
        """Start the actors; open instances of an earlier process go on by themselves."""
        if self._tree is not None:
            raise AmendsError(f"{self._storage.name}: this system is open already")
        tree = Tree(self._plot, self._ground())
        # Opened here once, so that a file that can't be is the caller's error and not an actor's.
        store = self._storage.open_store() if self._plans else None
        try:
            if store is not None:
                store.counts()
            tree.check_databases()
        except AmendsError:
            if store is not None:
                store.close()
            raise
        tree.start(store)
        if self._line is not None:
            self._line.open()
        self._tree = tree
        self._pid = os.getpid()
        _open_systems.add(self)
        return self

    def _ground(self) -> Ground:
        clock = SystemClock()
        # A server is waited for in the middle of every turn, and not only where it ends.
        baton = Baton() if isinstance(self._storage, Folder) else None
        runtimes = Runtimes(Pool(clock, baton=baton), Threads(clock, baton), Pool(clock, "amends-supervisors"))
        return Ground(runtimes, self._storage, self._connect)

    def _connect(
        self, services: Mapping[str, Mailbox], sagas: Mapping[SagaId, Address], timers: Address, clock: Clock
    ) -> Transport:
        transport: Transport = InProcess(services, sagas)
        if self._broker is not None:
            transport = self._line = self._broker.connect(self._name(clock), services, sagas, clock)
        return transport if self._wrap is None else self._wrap(transport, timers, clock)

    def _name(self, clock: Clock) -> str:
        """The node's; services alone need none."""
        return (self._node or f"{socket.gethostname()[:_HOST_MAX]}-{clock.new_id()}") if self._plans else ""

    def stop(self, timeout_s: float = 10.0) -> None:
        """End every turn, close every file. What was accepted and has not ended goes on at the next start."""
        tree, self._tree = self._tree, None
        if tree is not None and self._pid == os.getpid():
            _open_systems.discard(self)
            tree.stop(timeout_s)
            if self._line is not None:
                # After the actors: what their last turns told is to be sent.
                self._line.close(timeout_s)

    def drain(self, timeout_s: float | None = None) -> None:
        """Refuse new instances and wait until none is open; TimeoutError if that takes longer."""
        if self._running.coordinator is not None:
            future = self._running.new_future()
            self._coordinator.tell(Drain(future))
            future.result(timeout_s)

    def wait_until_idle(self, timeout_s: float | None = None) -> None:
        """Wait for a moment when no instance is open, those found at the start among them; TimeoutError after that.

        New ones are taken all the while. An instance that is stuck is open.
        """
        if self._running.coordinator is not None:
            self._ask("coordinator", AwaitIdle, timeout_s)

    def pause(self) -> None:
        """Take nothing more from the broker for the services here: what has come is served, the rest waits for others.

        For a process that is about to stop; sagas here go on as long as their services are elsewhere.
        """
        _ = self._running
        if self._line is not None:
            self._line.pause()

    @property
    def calls_outside(self) -> int:
        """Calls to the world outside that services have under way."""
        return self._running.calls_outside

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
            Overloaded: too many instances are open; BrokerUnavailable, which is one: the broker takes no more for now.
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
        plan = self._plan_of(saga)
        data = codec.checked(plan.input, value, f"saga {plan.name!r}")
        accepted, outcome = running.new_future(), running.new_future()
        saga_id = SagaId(running.clock.new_id())
        self._coordinator.tell(Submit(saga_id, plan, key, data, accepted, outcome))
        return self.handle_type(key, accepted, outcome, self._ask_cancel)

    def run(self, saga: type[Saga], value: Any, *, key: str | None = None, timeout_s: float | None = None) -> Outcome:
        """`start` and wait for the outcome."""
        return self.start(saga, value, key=key).result(timeout_s)

    def cancel(self, saga_id: SagaId, timeout_s: float | None = None) -> CancelAnswer:
        """Undo an instance if it is not decided yet."""
        return self._ask_cancel(saga_id).result(timeout_s)

    def find(self, saga: type[Saga], key: str, timeout_s: float = 10.0) -> Found | None:
        """What became of a key, as it is on disk; None if no instance of that saga has it, or not any more.

        Whatever a caller was told before is in it. It works while the journal can't be written, too.

        Raises:
            JournalUnavailable: the journal can't be read.
            AmendsError: the instance is damaged, or of a version of its plan that this system does not have.
            TimeoutError: the journal did not answer in time.
        """
        plan = self._plan_of(saga)
        history: History | None = self._ask("journal", lambda future: Find(plan.name, key, future), timeout_s)
        return None if history is None else found(self._plans, history)

    def _plan_of(self, saga: type[Saga]) -> Plan:
        plan = self._plans.get((saga.plan.name, saga.plan.version))
        if plan is None or plan.saga is not saga:
            raise PlanError(f"saga {saga.plan.name!r} version {saga.plan.version} is not one of this system's")
        return plan

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

    def ask(self, service: str, query: Any, timeout_s: float = 10.0) -> Any:
        """What a service answers to a query that it declares with `@answers`.

        It sees what the service has committed, all that it was told before among it. For callers outside: a saga's
        steps may depend on nothing but its input and their results.

        Raises PlanError if the service does not answer such a query, TimeoutError, or what the method raises.
        """
        spec = self._plot.specs.get(service)
        if spec is None:
            raise PlanError(f"ask: unknown service {service!r}; wanted one of {sorted(self._plot.specs)}")
        if type(query) not in spec.service.queries:
            known = sorted(kind.__name__ for kind in spec.service.queries)
            raise PlanError(f"ask: service {service!r} does not answer {type(query).__name__}; it answers {known}")
        return self._ask(service, lambda future: Question(query, future), timeout_s)

    def _ask(self, name: str, question: Callable[["Future[Any]"], object], timeout_s: float | None) -> Any:
        """Put a question to the actor of that name; it outlives whoever reads there."""
        running = self._running
        future = running.new_future()
        asking = running.callers.asking
        asking[future] = None
        running.mailboxes[name].tell(question(future))
        try:
            return future.result(timeout_s)
        finally:
            future.cancel()  # nobody waits any more for what has not come
            del asking[future]

    def status(self, timeout_s: float = 10.0) -> Status:
        """What is going on now."""
        running = self._running
        told, counters = NO_INSTANCES, running.counters
        if running.coordinator is not None:
            future: Future[CoordinatorStatus] = running.new_future()
            running.coordinator.tell(AskStatus(future))
            told = future.result(timeout_s)
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
            undone=counters.undone,
            dead_letters=counters.dead_letters,
            stuck_turns=counters.stuck_turns,
            mailboxes={name: queue_status(mailbox) for name, mailbox in running.mailboxes.items()},
            recovered=told.recovered,
            blocked={name: why for name, mailbox in running.mailboxes.items() if (why := blocked(mailbox))},
            line=None if self._line is None else self._line.status(),
        )

    @property
    def gave_up(self) -> str:
        """Why its supervisors gave up, after which nothing runs until it is opened again; empty if they did not."""
        tree = self._tree
        return "" if tree is None else tree.gave_up

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
        future = self._running.new_future()
        self._coordinator.tell(ToInstance(saga_id, Cancel(future), future))
        return future

    def _intervene(self, saga_id: SagaId, event: Intervention) -> None:
        future: Future[str | None] = self._running.new_future()
        self._coordinator.tell(ToInstance(saga_id, Intervene(event, future), future))
        problem = future.result()
        if problem:
            raise AmendsError(problem)

    @property
    def _coordinator(self) -> Mailbox:
        coordinator = self._running.coordinator
        if coordinator is None:
            raise PlanError(f"{self._storage.name}: this system has services only; wanted one that runs sagas")
        return coordinator

    @property
    def _running(self) -> Tree:
        tree = self._tree
        if tree is None:
            raise SystemStopped(f"{self._storage.name}: the system is not open")
        if self._pid != os.getpid():
            raise SystemStopped(
                f"{self._storage.name}: the system belongs to process {self._pid}; open one after the fork"
            )
        if tree.gave_up:
            raise SystemStopped(f"{self._storage.name}: its supervisors gave up: {tree.gave_up}; open it again")
        return tree


def _is_url(place: str | Path) -> bool:
    return "://" in str(place)


def _storage(place: str | Path, journal: str | None, node: str, lease_s: float) -> Storage:
    if not _is_url(place) and journal is None:
        return Folder(Path(place))
    try:
        from amends.actors.storage.postgres import JournalOnServer, Server  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise AmendsError(f"{error}; a database on a server needs `pip install 'amends[postgres]'`") from error
    if _is_url(place):
        return Server(str(place), journal, node, lease_s)
    assert journal is not None
    return JournalOnServer(Path(place), journal, node, lease_s)


_open_systems: "weakref.WeakSet[System]" = weakref.WeakSet()


@atexit.register
def _stop_open_systems() -> None:
    """A program that ends without `stop` ends cleanly all the same."""
    for system in list(_open_systems):
        system.stop(timeout_s=2.0)
