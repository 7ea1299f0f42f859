"""Random plans: what a drawn saga looks like, and how it becomes a real one.

A `PlanSpec` is a plain value, so that a failing example prints the plan it ran.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from types import new_class
from typing import Any, Protocol, TypeVar

import msgspec
from hypothesis import strategies as st

from amends.protocol.retry import Retry
from amends.protocol.saga import Kind, Plan, Results, Saga, Step, pivot, retriable, step

T = TypeVar("T")

SERVICES = ("north", "south")
SLOW_S = 60.0
_DECLARE = {Kind.COMPENSATABLE: step, Kind.PIVOT: pivot, Kind.RETRIABLE: retriable}


class Act(msgspec.Struct, frozen=True):
    """The command of every drawn step; it holds all the results its method could see."""

    step: str
    seen: dict[str, int]


@dataclass(frozen=True)
class StepSpec:
    """One drawn step.

    Attributes:
        refuses: its service says no when first asked.
        raises: its method raises until somebody repairs it.
    """

    name: str
    kind: Kind
    needs: tuple[str, ...] = ()
    service: str = SERVICES[0]
    attempts: int = 2
    refuses: bool = False
    raises: bool = False


@dataclass(frozen=True)
class PlanSpec:
    """One drawn plan; `chance` is the random number all its retries get."""

    steps: tuple[StepSpec, ...]
    deadline_s: float | None = None
    chance: float = 0.5


def build(spec: PlanSpec, broken: Collection[str]) -> Plan:
    """The plan of a Saga class made from `spec`; a method raises as long as its step is in `broken`."""
    declared: dict[str, Step] = {}
    for drawn in spec.steps:
        declare = _DECLARE[drawn.kind](
            to=drawn.service,
            after=[declared[name] for name in drawn.needs],
            timeout_s=1.0,
            retry=Retry(attempts=drawn.attempts, base_s=0.1, cap_s=1.0, slow_s=SLOW_S),
        )
        declared[drawn.name] = declare(_method(drawn.name, broken))
    body: dict[str, Any] = {"__annotations__": {"input": int}, **declared}
    keywords = {"name": "drawn", "deadline_s": spec.deadline_s}
    saga: type[Saga] = new_class("Drawn", (Saga,), keywords, lambda namespace: namespace.update(body))
    return saga.plan


def _method(name: str, broken: Collection[str]) -> Callable[[Saga, int, Results], Act]:
    def command(self: Saga, value: int, done: Results) -> Act:
        if name in broken:
            raise RuntimeError(name)
        return Act(name, {earlier: done.of(earlier, int) for earlier in sorted(done)})

    return command


def _spec(name: str, kind: Kind, needs: tuple[str, ...] = (), **more: Any) -> StepSpec:
    return StepSpec(name, kind, needs, **more)


C, P, R = Kind.COMPENSATABLE, Kind.PIVOT, Kind.RETRIABLE

CHAIN = PlanSpec((_spec("a", C), _spec("b", C, ("a",)), _spec("c", C, ("b",)), _spec("r", R)))
DIAMOND = PlanSpec(
    (
        _spec("top", C),
        _spec("left", C, ("top",)),
        _spec("right", C, ("top",), service="south"),
        _spec("bottom", C, ("left", "right")),
        _spec("p", P, service="south"),
        _spec("r1", R, ("p",)),
        _spec("r2", R, ("r1",)),
    )
)
WIDE = PlanSpec((*(_spec(f"c{n}", C) for n in range(4)), _spec("p", P, service="south"), _spec("r", R)))
TAIL = PlanSpec((_spec("r1", R), _spec("r2", R, ("r1",)), _spec("r3", R, ("r1",))))
BARE = PlanSpec((_spec("p", P), _spec("r", R)))
SHAPES = {"chain": CHAIN, "diamond": DIAMOND, "wide": WIDE, "tail": TAIL, "bare": BARE}
"""Hand-made plans for the tests that try every point of a run."""


class Pick(Protocol):
    """Chooses one of several: Hypothesis, or a seed."""

    def __call__(self, options: Sequence[T], /) -> T: ...


def drawn_spec(pick: Pick, *, flawless: bool = False) -> PlanSpec:
    """Sequences, diamonds, wide and deep ones, with and without a pivot and a retriable tail."""
    names: list[str] = []
    steps: list[StepSpec] = []

    def add(name: str, kind: Kind, may_need: list[str], shape: str) -> None:
        if shape == "sequence":
            needs = tuple(may_need[-1:])
        elif shape == "wide":
            needs = ()
        else:
            needs = tuple(earlier for earlier in may_need if pick((False, True)))
        trouble = "none" if flawless else pick(("none",) * 7 + ("refuses", "raises"))
        service, attempts = pick(SERVICES), pick((1, 2, 3))
        steps.append(StepSpec(name, kind, needs, service, attempts, trouble == "refuses", trouble == "raises"))
        names.append(name)

    shape = ""
    for number in range(pick(range(6))):
        shape = shape or pick(("sequence", "wide", "graph"))
        add(f"c{number}", C, list(names), shape)
    if pick((False, True)) or (not names and pick((False, True))):
        add("p", P, [], "wide")
    for number in range(pick(range(0 if names else 1, 4))):
        add(f"r{number}", R, names[:], pick(("sequence", "wide", "graph")))
    deadline_s = None if flawless else pick((None, None, 1.0, 5.0))
    return PlanSpec(tuple(steps), deadline_s, pick((0.0, 0.5, 0.99)))


@st.composite
def plans(draw: st.DrawFn, *, flawless: bool = False) -> PlanSpec:
    """The same, as Hypothesis draws them and makes them smaller."""
    return drawn_spec(lambda options: draw(st.sampled_from(options)), flawless=flawless)
