"""SimulatedSystem: a `System` in which nothing is chance.

The same actors run in one thread on virtual time, real SQLite databases in memory (or in a
folder) on a virtual disk, and a virtual network; what goes wrong is said by a `Schedule` or by
the test itself. Whoever waits for something lets the world go on until it is there. Everything
seen is in `trace`, and checkers look at all of it.
"""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from amends.actors.handle import Handle
from amends.actors.journal.journal import Journal
from amends.actors.service import Service, ServiceSpec
from amends.actors.storage.folder import Folder
from amends.actors.system import RETENTION_S, System
from amends.actors.transport.port import Transport
from amends.actors.tree import Ground, Runtimes
from amends.protocol.errors import AmendsError, SystemStopped
from amends.protocol.events import CancelAnswer, Intervention
from amends.protocol.messages import SagaId
from amends.protocol.saga import Plan, PlannedStep, Saga
from amends.protocol.state import Outcome
from amends.supervisor.mailbox import Address
from amends.supervisor.runtime import Clock
from amends.testing import facts
from amends.testing.agenda import Stalled
from amends.testing.checkers import CHECKERS, Checker
from amends.testing.disk import MemoryDisk, Value, VirtualDisk
from amends.testing.facts import Fact, Told
from amends.testing.handlers import SimulatedService, Stage, StagedSpec
from amends.testing.life import Life
from amends.testing.network import Network, Wire
from amends.testing.schedule import Schedule
from amends.testing.world import World

PATIENCE_S: Final = 4 * 3600.0
"""Virtual seconds after which what was waited for is not expected any more."""

_LINES: Final = 60
"""The end of a trace that a failure shows."""

_LOOK_EVERY_S: Final = 1.0
"""How often supervisors look; more often would only be more turns in which nothing is seen."""

_DOWN_S: Final = 1.0
"""How long a process that died by fate stays down, in virtual seconds."""


_observers: "ContextVar[list[SimulatedSystem] | None]" = ContextVar("amends_simulated", default=None)


@contextmanager
def observed() -> "Iterator[list[SimulatedSystem]]":
    """The list of all simulated systems made inside, in order, those of a history that failed included."""
    made: list[SimulatedSystem] = []
    token = _observers.set(made)
    try:
        yield made
    finally:
        _observers.reset(token)


class HistoryFailed(AssertionError):  # noqa: N818 - reads as the fact it reports
    """A checker found something; the message has the schedule that shows it again, and the trace."""


class SimulatedHandle(Handle):
    """A handle that lets the world go on when it is awaited, too."""

    def __await__(self) -> Generator[Any, None, Outcome]:
        self.result()
        return super().__await__()


class SimulatedSystem(System):
    """Sagas and services in a world of a test's own making.

    Args:
        sagas, services, max_open, retention_s: as of `System`.
        schedule: what goes another way than usual; nothing if it is not given.
        folder: keeps everything in real SQLite files there, instead of in memory.
        checkers: what is looked for; each a class of `amends.testing.checkers` or of a test's own.

    Use it as a context, or `open` and `stop` it.
    """

    handle_type = SimulatedHandle

    def __init__(
        self,
        *,
        sagas: Sequence[type[Saga]],
        services: Sequence[type[Service] | ServiceSpec],
        schedule: Schedule | None = None,
        folder: Path | None = None,
        max_open: int = 10_000,
        retention_s: float = RETENTION_S,
        checkers: Sequence[type[Checker]] = CHECKERS,
    ) -> None:
        super().__init__(
            folder or "simulated", sagas=sagas, services=services, max_open=max_open, retention_s=retention_s
        )
        specs = self._plot.specs
        self._said = {name: SimulatedService(name, spec.service.handlers) for name, spec in specs.items()}
        self._plans = {name: self._watched(plan) for name, plan in self._plans.items()}
        staged = {name: self._staged(spec) for name, spec in specs.items()}
        self._plot = replace(self._plot, specs=staged, plans=self._plans)
        self.world = World(schedule or Schedule(), self._plans, specs)
        self.world.watch(checkers)
        self._storage = self._disk = VirtualDisk(self.world, Folder(folder) if folder else MemoryDisk())
        self._network = Network(self.world)
        self._was_told = False
        made = _observers.get()
        if made is not None:
            made.append(self)

    # Life.

    def open(self) -> Self:
        self._disk.life = Life(self.world, self.run_until, self._turn_over)
        super().open()
        self._network.connect(self._running.mailboxes, self._running.sagas)
        return self

    def stop(self, timeout_s: float = 10.0) -> None:
        if self._tree is not None:
            super().stop(timeout_s)
            self._network.disconnect()
            self._raise_problem()

    def crash(self) -> None:
        """The process dies; what was not committed is lost, and whoever waits is told SystemStopped."""
        self.world.asked("crash")
        self._bury()
        self._raise_problem()

    def restart(self) -> None:
        """A new process opens what the last one left, which was crashed or stopped."""
        self.world.asked("restart")
        self.open()

    def close(self) -> None:
        """Let go of everything; unlike with `stop` nothing more happens meanwhile."""
        if self._tree is not None:
            self._bury()
        if not self._was_told:
            self._raise_problem()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # What has been raised already is not to be hidden behind what follows from it.
        with suppress(*((HistoryFailed,) if kind is not None else ())):
            self.close()

    # Time.

    @property
    def now_s(self) -> float:
        """Virtual seconds since the beginning."""
        return self.world.now_s

    def run_until_quiet(self, within_s: float = PATIENCE_S) -> None:
        """Let everything happen until every instance has ended, or waits for a person; Stalled after `within_s`."""
        self.run_until(self._is_quiet, within_s, "every instance has ended or is stuck")

    def advance(self, seconds: float) -> None:
        """Let that much time pass, with all that happens in it."""
        until_s = self.world.now_s + seconds
        while self.world.agenda.next_s <= until_s:
            self._step()
        self.world.agenda.now_s = max(self.world.agenda.now_s, until_s)

    def run_until(self, so: Callable[[], bool], within_s: float | None = None, what: str = "") -> None:
        """Let the world go on until something is so."""
        limit_s = PATIENCE_S if within_s is None else within_s
        until_s = self.world.now_s + limit_s
        while not so():
            if self.world.agenda.next_s > until_s:
                self.world.agenda.now_s = until_s
                still = "; ".join(known.lags for known in self.world.instances.values() if known.lags)
                raise Stalled(
                    f"{what or 'what is waited for'}: not within {limit_s} virtual seconds"
                    + (f"; still open: {still}" if still else "")
                )
            self._step()

    def calm(self) -> None:
        """From here on no fate is met; what a test said of its services stays."""
        self.world.fates.calm = True

    # What a test says and sees.

    def service(self, name: str) -> SimulatedService:
        """The service of that name, to say what goes wrong in it."""
        if name not in self._said:
            raise AmendsError(f"service is {name!r}, wanted one of {sorted(self._said)}")
        return self._said[name]

    def effects(self, handle: Handle | None = None) -> list[str]:
        """What handlers have done for good, in order, as "service.method": of one instance, or of all."""
        return [
            fact.name
            for fact in self.world.facts
            if isinstance(fact, facts.Effect) and (handle is None or fact.saga_id == handle.saga_id)
        ]

    def query(self, service: str, sql: str, *values: Value) -> list[tuple[Value, ...]]:
        """What a query finds in a service's database, of what is committed.

        A statement that writes is committed at once: for setting a scene.
        """
        self.service(service)
        return self._disk.query(service, sql, values)

    @property
    def trace(self) -> str:
        """All that happened, a line each: virtual seconds, who, what."""
        return "\n".join(facts.lines(self.world.facts))

    @property
    def facts(self) -> list[Fact]:
        """All that happened."""
        return self.world.facts

    @property
    def schedule(self) -> Schedule:
        """The schedule that gives this history again, without a seed."""
        return self.world.fates.recorded

    def check(self) -> None:
        """Everything has come to rest: HistoryFailed unless every instance has ended, and all is as it must be."""
        self.world.at_rest()
        unmet = self.world.fates.unmet
        if unmet:
            wrong = AssertionError(
                f"the schedule speaks of {unmet}, and this history has no such place, or no such fate"
            )
            self.world.problem = self.world.problem or wrong
        self._raise_problem()

    # Callers, whose questions and answers are facts too.

    def submit(self, saga: type[Saga], value: Any, *, key: str | None = None) -> Handle:
        handle = super().submit(saga, value, key=key)
        self.world.asked("start", key or saga.plan.name)
        handle.on_answer(
            lambda accepted: self._told(accepted, None, "accepted", key or saga.plan.name),
            lambda outcome: self._told(outcome, _saga_id(handle), "outcome", key or saga.plan.name),
        )
        return handle

    def kill(self, name: str) -> None:
        self.world.asked("kill", self.world.who(name))
        super().kill(name)

    def _ask_cancel(self, saga_id: SagaId) -> "Future[CancelAnswer]":
        future = super()._ask_cancel(saga_id)
        self.world.asked("cancel", self.world.who(saga_id))
        future.add_done_callback(lambda answer: self._told(answer, saga_id, "cancel"))
        return future

    def _intervene(self, saga_id: SagaId, event: Intervention) -> None:
        what = type(event).__name__.lower()
        self.world.asked(f"{what} {event.step} of", self.world.who(saga_id))
        super()._intervene(saga_id, event)
        self.world.see(Told(self.now_s, self.world.who(saga_id), saga_id, what, None))

    def _told(self, future: "Future[Any]", saga_id: SagaId | None, what: str, who: str = "") -> None:
        value = future.exception() or future.result()
        if what == "accepted" and isinstance(value, str):
            saga_id = SagaId(value)
        self.world.see(Told(self.now_s, self.world.who(saga_id) if saga_id else who, saga_id, what, value))

    # Inside.

    def _ground(self) -> Ground:
        life = self._disk.life
        runtimes = Runtimes(life.runtime, life.runtime, life.runtime, _LOOK_EVERY_S)
        return Ground(runtimes, self._disk, self._connect, life.new_future)

    def _connect(
        self, services: Mapping[str, Address], sagas: Mapping[SagaId, Address], timers: Address, clock: Clock
    ) -> Transport:
        return Wire(self._network, self._disk.life, self._look_at, self._ask_cancel)

    def _staged(self, spec: ServiceSpec) -> ServiceSpec:
        said = self._said[spec.service.name]
        return StagedSpec(
            spec.service,
            spec.arguments,
            spec.keywords,
            lambda: Stage(self.world, self._disk.life, said),
        )

    def _watched(self, plan: Plan) -> Plan:
        """The plan, with each method watched for what it raises."""

        def watch(step: PlannedStep) -> PlannedStep:
            def build(*arguments: Any) -> Any:
                instance = SagaId(self._disk.life.runtime.current)
                with self.world.told_if_raised(instance, f"{plan.saga.__name__}.{step.name}"):
                    return step.build(*arguments)

            return msgspec.structs.replace(step, build=build)

        return msgspec.structs.replace(plan, steps={name: watch(step) for name, step in plan.steps.items()})

    def _step(self) -> None:
        self.world.agenda.step()
        tree = self._tree
        if tree is not None and (self._disk.life.ended or tree.gave_up):
            self._bury()
            self.world.agenda.put(_DOWN_S, self.restart)
        self._raise_problem()

    def _bury(self) -> None:
        """Nothing of the process is left but what is on disk."""
        tree, self._tree = self._tree, None
        if tree is None:
            raise SystemStopped(f"{self._storage.name}: the system is not open")
        self._disk.life.end()
        self._network.disconnect()
        tree.abandon(SystemStopped(f"{self._storage.name}: the process is gone"))
        for name in self._said:
            self._look_at(name)

    def _turn_over(self, actor: str) -> None:
        if actor in self._said:
            self._look_at(actor)

    def _look_at(self, service: str) -> None:
        for effect in self._disk.new_effects(service):
            self.world.see(effect)

    def _is_quiet(self) -> bool:
        if self.world.agenda.busy:
            return False
        # Asked of what is on disk: while actors restart, nobody in the process may know of an open instance.
        tree = self._tree
        if tree is None:
            return True
        # Letters wait without a turn to come where an actor is being restarted.
        if tree.callers.starting or any(len(mailbox) for mailbox in tree.mailboxes.values()):
            return False
        journal = tree.mailboxes.get("journal")
        if journal is not None and isinstance(journal.actor, Journal) and journal.actor.unwritten:
            return False
        return not any(known.moves for known in self.world.instances.values())

    def _raise_problem(self) -> None:
        problem = self.world.problem
        if problem is not None:
            self._was_told = True
            raise HistoryFailed(failure(problem, self.world)) from problem


def failure(problem: BaseException, world: World) -> str:
    """What was found, what led there, and how to see it again."""
    seed = world.fates.seed
    told = [
        str(problem) if isinstance(problem, AssertionError) else f"{type(problem).__name__}: {problem}",
        *([f"seed {seed}"] if seed is not None else []),
        "",
        *facts.last(facts.lines(world.facts), _LINES),
        "",
        f"the same again: Schedule.from_json({world.fates.recorded.to_json()!r})",
    ]
    return "\n".join(told)


def _saga_id(handle: Handle) -> SagaId | None:
    return handle.saga_id if handle.was_accepted else None
