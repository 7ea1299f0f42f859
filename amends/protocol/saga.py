"""The plan: what has to happen, in which order, and which part of it is the point of no return.

A `Saga` subclass is a plan and never an instance of one: its methods build commands from the
input and earlier results and from nothing else, for they run again after a crash. Everything
that can be wrong with a plan is found when the class is defined, or when a system is built
with its services, and named. How a step is undone is the service's business.
"""

import hashlib
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, ClassVar, TypeVar, get_type_hints

import msgspec

from amends.protocol import codec
from amends.protocol.errors import PlanError
from amends.protocol.retry import Retry

R = TypeVar("R")

UNDO_RESERVE = 0.2
"""The part of a deadline kept for undoing when a saga does not say."""


class Kind(StrEnum):
    """What a step's failure means: it can be undone, it decides, or it must succeed in the end."""

    COMPENSATABLE = "compensatable"
    PIVOT = "pivot"
    RETRIABLE = "retriable"


COMPENSATABLE, PIVOT, RETRIABLE = Kind


class Results(Mapping[str, msgspec.Raw]):
    """The results of the steps that came before, as JSON by step name."""

    def __init__(self, where: str, raw: Mapping[str, msgspec.Raw]) -> None:
        self._where = where
        self._raw = raw

    def of(self, step: str, kind: type[R]) -> R:
        """The result of `step` as a `kind`."""
        return codec.decode(kind, self[step], f"{self._where}: result of {step!r}")

    def __getitem__(self, step: str) -> msgspec.Raw:
        if step not in self._raw:
            raise PlanError(
                f"{self._where}: asks for the result of {step!r}, which is not certain to be there; "
                f"wanted one of {sorted(self._raw)} (add an `after`)"
            )
        return self._raw[step]

    def __contains__(self, step: object) -> bool:
        return step in self._raw

    def __iter__(self) -> Iterator[str]:
        return iter(self._raw)

    def __len__(self) -> int:
        return len(self._raw)

    def __repr__(self) -> str:
        return f"Results({', '.join(self._raw)})"


Build = Callable[[Any, Any, Results], Any]


class Step:
    """One step as it is declared; `step`, `pivot` and `retriable` make it.

    Attributes:
        name: the method's name.
        to: the service it is sent to.
        after: names of the steps that must be done before it is sent.
        timeout_s: how long one attempt may take, in seconds.
    """

    name: str = ""

    def __init__(
        self, kind: Kind, build: Build, to: str, after: Sequence["Step"], timeout_s: float, retry: Retry
    ) -> None:
        self.kind = kind
        self.build = build
        self.to = to
        self.needs = tuple(after)
        self.timeout_s = timeout_s
        self.retry = retry

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name


Declare = Callable[[Build], Step]
_RETRY = Retry()


def _declare(kind: Kind, to: str, after: Sequence[Step], timeout_s: float, retry: Retry) -> Declare:
    return lambda build: Step(kind, build, to, after, timeout_s, retry)


def step(*, to: str, after: Sequence[Step] = (), timeout_s: float = 5.0, retry: Retry = _RETRY) -> Declare:
    """A compensatable step: done before the decision, undone if the instance goes back."""
    return _declare(COMPENSATABLE, to, after, timeout_s, retry)


def pivot(*, to: str, after: Sequence[Step] = (), timeout_s: float = 5.0, retry: Retry = _RETRY) -> Declare:
    """The go/no-go step: sent once every compensatable step is done; its answer is the decision."""
    return _declare(PIVOT, to, after, timeout_s, retry)


def retriable(*, to: str, after: Sequence[Step] = (), timeout_s: float = 5.0, retry: Retry = _RETRY) -> Declare:
    """A step sent only after the decision to go forward; it must succeed in the end."""
    return _declare(RETRIABLE, to, after, timeout_s, retry)


class PlannedStep(msgspec.Struct, frozen=True):
    """A checked step.

    Attributes:
        needs: steps that must be done before it is sent (all compensatable ones, for a pivot).
        dependents: compensatable steps that, directly or not, come after it; they are undone first.
        followers: steps that need it and may be ready once it is done.
        visible: steps whose results its method may use: those certain to be done by then.
        where: what errors call it.
    """

    name: str
    kind: Kind
    to: str
    command: type
    build: Build
    needs: tuple[str, ...]
    dependents: tuple[str, ...]
    followers: tuple[str, ...]
    visible: frozenset[str]
    timeout_s: float
    retry: Retry
    where: str


class Plan(msgspec.Struct, frozen=True):
    """A checked saga; `steps` stand in an order in which each comes after those it needs.

    Attributes:
        digest: what `digest_of` makes of its steps.
    """

    name: str
    version: int
    saga: "type[Saga]"
    input: type
    deadline_s: float | None
    undo_reserve_s: float
    steps: dict[str, PlannedStep]
    pivot: str | None
    before_decision: tuple[str, ...]
    compensatable: tuple[str, ...]
    digest: str

    def forward_until(self, started_at: float) -> float | None:
        """When (unix seconds) an undecided instance must turn back, if it has a deadline."""
        return None if self.deadline_s is None else started_at + self.deadline_s - self.undo_reserve_s


class Saga:
    """The base of every plan.

    Class keywords:
        name: what the journal and the logs call it.
        version: raise it when steps change (their names, kinds, services, commands or order), and keep the old class
            beside the new one: an open instance runs on the plan it began with, and on no other.
        deadline_s: the time from start to end, in seconds; None is none. Near it an undecided instance turns back.
        undo_reserve_s: the part of it kept for undoing; a fifth if not said.
    """

    plan: ClassVar[Plan]
    input: Any

    def __init_subclass__(
        cls,
        *,
        name: str,
        version: int = 1,
        deadline_s: float | None = None,
        undo_reserve_s: float | None = None,
        **rest: Any,
    ) -> None:
        super().__init_subclass__(**rest)
        # A type named in a function's body is found among that function's locals.
        local_names = dict(sys._getframe(1).f_locals)
        reserve_s = (deadline_s or 0.0) * UNDO_RESERVE if undo_reserve_s is None else undo_reserve_s
        cls.plan = _plan(cls, name, version, deadline_s, reserve_s, local_names)


def _plan(
    saga: type[Saga],
    name: str,
    version: int,
    deadline_s: float | None,
    reserve_s: float,
    local_names: dict[str, Any],
) -> Plan:
    if deadline_s is not None and not 0 <= reserve_s < deadline_s:
        raise PlanError(f"saga {name!r}: undo_reserve_s is {reserve_s}, wanted from 0 to below deadline_s={deadline_s}")
    if version < 1:
        raise PlanError(f"saga {name!r}: version is {version}, wanted 1 or more")
    declared = {s.name: s for base in reversed(saga.__mro__) for s in vars(base).values() if isinstance(s, Step)}
    if not declared:
        raise PlanError(f"saga {name!r}: has no step; decorate at least one method with @step, @pivot or @retriable")
    hints = _hints(saga, name, "input", local_names)
    if "input" not in hints or hints["input"] is Any:
        raise PlanError(f"saga {name!r}: declares no input; write `input: TheType` in the class")
    problem = codec.problem_with(hints["input"])
    if problem:
        raise PlanError(f"saga {name!r}: input: {problem}")
    _check_kinds(name, declared)
    ordered = _in_order(name, declared)
    before = tuple(s.name for s in ordered if s.kind is not RETRIABLE)
    compensatable = tuple(s.name for s in ordered if s.kind is COMPENSATABLE)
    needs = {
        s.name: compensatable if s.kind is PIVOT else tuple(dict.fromkeys(n.name for n in s.needs)) for s in ordered
    }
    ancestors = _ancestors(needs)
    steps = {
        s.name: PlannedStep(
            name=s.name,
            kind=s.kind,
            to=s.to,
            command=_command_type(name, s, local_names),
            build=s.build,
            needs=needs[s.name],
            dependents=tuple(c for c in compensatable if s.name in ancestors[c]),
            followers=tuple(n for n, direct in needs.items() if s.name in direct),
            visible=frozenset(ancestors[s.name] | (set(before) if s.kind is RETRIABLE else set())),
            timeout_s=s.timeout_s,
            retry=s.retry,
            where=f"saga {name!r}: step {s.name!r}",
        )
        for s in ordered
    }
    pivot_name = next((s.name for s in ordered if s.kind is PIVOT), None)
    digest = digest_of(steps.values())
    return Plan(
        name, version, saga, hints["input"], deadline_s, reserve_s, steps, pivot_name, before, compensatable, digest
    )


def digest_of(steps: Iterable[PlannedStep]) -> str:
    """16 hexadecimal digits for all that an instance which has begun depends on.

    That is, of each step: its name, under which records and fences know it; its kind, by which it is undone or goes on;
    its service, which alone knows what it did; its command's name, since the same key with another command is refused;
    and what it comes after. Timeouts, retries and the deadline are left out: with other numbers an instance asks or
    turns back at another moment, and everything it did still means the same. So is the order in which a class lists
    steps that do not need each other.
    """
    facts = sorted((s.name, s.kind.value, s.to, s.command.__name__, sorted(s.needs)) for s in steps)
    return hashlib.sha256(codec.encode(facts)).hexdigest()[:16]


def _check_kinds(saga: str, declared: Mapping[str, Step]) -> None:
    pivots = [s.name for s in declared.values() if s.kind is PIVOT]
    if len(pivots) > 1:
        raise PlanError(f"saga {saga!r}: steps {pivots} are all pivots; a saga has at most one point of no return")
    for s in declared.values():
        if not s.timeout_s > 0:
            raise PlanError(f"saga {saga!r}: step {s.name!r} has timeout_s={s.timeout_s}, wanted more than 0")
        for need in s.needs:
            if not isinstance(need, Step):
                raise PlanError(
                    f"saga {saga!r}: step {s.name!r}: after has {need!r}, wanted steps, as in `after=[create]`"
                )
            if declared.get(need.name) is not need:
                raise PlanError(
                    f"saga {saga!r}: step {s.name!r} comes after {need.name!r}, which is no step of this saga"
                )
            if need.kind is RETRIABLE and s.kind is not RETRIABLE:
                raise PlanError(
                    f"saga {saga!r}: step {s.name!r} comes before the decision and can't wait for the retriable "
                    f"step {need.name!r}, which is only sent after it"
                )
            if need.kind is PIVOT and s.kind is not RETRIABLE:
                raise PlanError(
                    f"saga {saga!r}: step {s.name!r} comes after the pivot and can be undone; "
                    "make it retriable or move it before"
                )


def _in_order(saga: str, declared: Mapping[str, Step]) -> list[Step]:
    """Topological order, or PlanError with the circle. `after` lists only earlier names, but lists can be changed."""
    ordered: list[Step] = []
    waiting = dict(declared)
    while waiting:
        ready = [s for s in waiting.values() if not any(n.name in waiting for n in s.needs)]
        if not ready:
            raise PlanError(f"saga {saga!r}: steps {sorted(waiting)} wait for each other in a circle")
        for s in ready:
            del waiting[s.name]
        ordered += ready
    return sorted(ordered, key=lambda s: (s.kind is RETRIABLE, s.kind is PIVOT))


def _ancestors(needs: Mapping[str, Iterable[str]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name, direct in needs.items():  # in topological order, so those it needs are there
        found[name] = set(direct).union(*(found[n] for n in direct))
    return found


def _hints(owner: Any, saga: str, what: str, local_names: dict[str, Any]) -> dict[str, Any]:
    try:
        return get_type_hints(owner, localns=local_names)
    except NameError as error:
        raise PlanError(f"saga {saga!r}: {what}: the annotation names an unknown type: {error}") from None


def _command_type(saga: str, declared: Step, local_names: dict[str, Any]) -> type:
    command = _hints(declared.build, saga, f"step {declared.name!r}", local_names).get("return")
    if not isinstance(command, type) or command in (object, type(None)):
        raise PlanError(
            f"saga {saga!r}: step {declared.name!r} returns {command!r}; annotate the command's class, "
            "as in `-> ReserveStock`"
        )
    return command


class Handling(msgspec.Struct, frozen=True):
    """What a service says of one command: the type of its result, and whether it can be undone."""

    result: Any
    undoable: bool


Contracts = Mapping[str, Mapping[str, tuple[type, Handling]]]
"""By service and command name: the command's class and what the service says of it."""


def check_with_services(plan: Plan, contracts: Contracts, unseen: Collection[str] = ()) -> None:
    """PlanError unless every step's command has a handler, and an undo where it needs one.

    Args:
        unseen: services that exist, but nothing else is known of them.
    """
    for planned in plan.steps.values():
        where = planned.where
        if planned.to in unseen:
            continue
        if planned.to not in contracts:
            raise PlanError(f"{where}: unknown service {planned.to!r}; wanted one of {sorted([*contracts, *unseen])}")
        handled = contracts[planned.to]
        command = planned.command.__name__
        if command not in handled or handled[command][0] is not planned.command:
            raise PlanError(f"{where}: service {planned.to!r} does not handle {command}; it handles {sorted(handled)}")
        if planned.kind is COMPENSATABLE and not handled[command][1].undoable:
            raise PlanError(
                f"{where}: service {planned.to!r} can't undo {command}; give it an @undoes({command}), "
                "or make the step the pivot or retriable"
            )
