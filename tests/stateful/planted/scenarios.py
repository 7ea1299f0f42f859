"""Where planted bugs are looked for: families of whole histories, each a function of a number and a schedule.

Most show in drawn sagas (`drawn`); a few need something that those never do.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import Final

import msgspec

from amends import Done, Refused, handles
from amends.protocol.records import Direction
from amends.protocol.saga import Kind
from amends.testing import FaultPlan, Schedule, SimulatedSystem
from amends.testing.explore import Scenario
from tests.stateful import drawn
from tests.stateful.asking import Caller, everyone_was_told_the_truth, is_up, let_it_end, stuck_steps
from tests.stateful.plans import SERVICES, SHAPES, Act, PlanSpec, StepSpec, build
from tests.stateful.planted.outside import outside

_RATES: Final = (0.0, 0.0, 0.01, 0.05)
_LATE: Final = (0.0, 0.1, 0.3)
_MOST: Final = 4


def trouble(number: int) -> Schedule:
    """How much goes wrong in a history: calm and all kinds of trouble take turns."""
    random = Random(number)
    kinds = [name for name in FaultPlan.__struct_fields__ if name not in ("late", "most")]
    rates = {name: random.choice(_RATES) for name in kinds}
    plan = FaultPlan(late=random.choice(_LATE), most=random.randrange(_MOST + 1), **rates)
    return Schedule(seed=number, faults=plan)


def trouble_without_hanging(number: int) -> Schedule:
    """The same, but every turn comes to its end."""
    schedule = trouble(number)
    return msgspec.structs.replace(schedule, faults=msgspec.structs.replace(schedule.faults, hangs=0.0))


@dataclass(frozen=True, slots=True)
class Case:
    """One scenario of a family: a function of a schedule, and how to call it."""

    text: str
    run: Scenario


@dataclass(frozen=True, slots=True)
class Family:
    """Scenarios of one kind.

    Attributes:
        case: of a number.
        schedule: of a number.
        calm_cases: how many of its cases are tried with a few deviations from a history without trouble.
    """

    case: Callable[[int], Case]
    schedule: Callable[[int], Schedule] = trouble
    calm_cases: int = 1


# Drawn sagas.


def spec_of(number: int) -> PlanSpec:
    """One of the shapes, with or without a step that says no, patient or not."""
    random = Random(number)
    shape = SHAPES[list(SHAPES)[number % len(SHAPES)]]
    may_refuse = [s.name for s in shape.steps if s.kind is not Kind.RETRIABLE]
    refusing = random.choice([*may_refuse, None]) if may_refuse else None
    steps = [
        replace(s, refuses=s.name == refusing, attempts=random.randint(1, 3), service=random.choice(SERVICES))
        for s in shape.steps
    ]
    return PlanSpec(tuple(steps), random.choice([None, 1.0, 5.0]))


def drawn_saga(number: int) -> Case:
    """One or two instances of a drawn saga."""
    spec, instances = spec_of(number), 1 + number // len(SHAPES) % 2

    def run(schedule: Schedule) -> SimulatedSystem:
        return drawn.run(spec, schedule, instances=instances)

    return Case(f"drawn.run(from_json({drawn.to_json(spec)!r}), schedule, instances={instances})", run)


def no_room(number: int) -> Schedule:
    """Disks have no room now and then, and actors fail meanwhile."""
    faults = FaultPlan(late=0.1, unavailable=0.1, refused=0.05, full=0.15, killed=0.1, most=10)
    return Schedule(seed=number, faults=faults)


# An instance that has failed too often is tried again slowly, and then as often as before.
_TURNS: Final = {"o1": 8, **dict.fromkeys(("north", "south", "timers", "journal", "coordinator"), 80)}


def failing_actor(number: int) -> Schedule:
    """One actor fails again and again, whatever it does."""
    random = Random(number)
    who, turns = random.choice(list(_TURNS.items()))
    return Schedule({f"turn of {who} #{turn}": "kill" for turn in range(1, turns) if random.random() < 0.9})


def trouble_or_late(number: int) -> Schedule:
    """All kinds of trouble, or much that is late, by turns."""
    return late_messages(number) if number % 2 else trouble(number)


# An undo that never works.

_UNDO_FAILS: Final = PlanSpec(
    (
        StepSpec("top", Kind.COMPENSATABLE),
        StepSpec("left", Kind.COMPENSATABLE, ("top",), "south"),
        StepSpec("right", Kind.COMPENSATABLE, ("top",)),
        StepSpec("p", Kind.PIVOT, refuses=True),
    )
)


def undo_fails(schedule: Schedule) -> SimulatedSystem:
    """All others are undone meanwhile, and this one when it works again."""
    system, caller = _troubled(drawn.South, schedule)
    with system:
        system.service("south").raises(Act, undo=True)
        caller.ask()
        system.advance(30.0)
        system.calm()
        system.run_until_quiet()
        _only_stuck_ones_are_left(system)
        system.service("south").recovers()
        let_it_end(system, [caller])
        system.check()
        everyone_was_told_the_truth(system, [caller])
    return system


def _only_stuck_ones_are_left(system: SimulatedSystem) -> None:
    left = {step for (step,) in system.query("north", "select step from effects where undone = 0")}
    stuck = {step for _, state, step in stuck_steps(system) if state.direction is Direction.BACK}
    assert not stuck or left <= stuck, f"a failing undo keeps others waiting: left are {left}, stuck only {stuck}"


# A handler that ends its actor.


class Exiting(drawn.Acting, name="south", migrations=drawn.South.migrations):
    """Whatever it is told, it leaves the way no handler should."""

    @handles(Act)
    def act(self, command: Act) -> Done[int] | Refused:
        raise SystemExit


def handler_exits(schedule: Schedule) -> SimulatedSystem:
    """After a few victims the message is a dead letter, and the instance goes back."""
    system, caller = _troubled(Exiting, schedule)
    with system:
        caller.ask()
        system.advance(60.0)
        system.calm()
        system.run_until_quiet()
        let_it_end(system, [caller])
        system.check()
    return system


def _troubled(south: type[drawn.Acting], schedule: Schedule) -> tuple[SimulatedSystem, Caller]:
    """A saga that goes back, and `south` has a part in it."""
    saga = build(_UNDO_FAILS, ()).saga
    refusing = frozenset(step.name for step in _UNDO_FAILS.steps if step.refuses)
    services = [drawn.North.spec(refusing), south.spec(refusing)]
    system = SimulatedSystem(sagas=[saga], services=services, schedule=schedule)
    return system, Caller(system, saga, 1, "o1")


# Processes that die while much is on its way.

_WIDE: Final = PlanSpec(tuple(replace(step, service="north") for step in SHAPES["wide"].steps))
_DIES_S: Final = (0.1, 2.5)
_LIVES_S: Final = 25.0


def processes_die(schedule: Schedule) -> SimulatedSystem:
    """What an earlier process sent arrives beside what a later one sends."""
    saga = build(_WIDE, ()).saga
    nobody: frozenset[str] = frozenset()
    services = [drawn.North.spec(nobody), drawn.South.spec(nobody)]
    system = SimulatedSystem(sagas=[saga], services=services, schedule=schedule)
    with system:
        caller = Caller(system, saga, 1, "o1")
        caller.ask()
        for at_s in _DIES_S:
            system.advance(at_s)
            if is_up(system):
                system.crash()
                system.restart()
        system.advance(_LIVES_S)
        let_it_end(system, [caller])
        system.check()
        everyone_was_told_the_truth(system, [caller])
    return system


def late_messages(number: int) -> Schedule:
    """Many messages and turns are late, some messages are lost."""
    return Schedule(seed=number, faults=FaultPlan(late=0.3, lost=0.1, doubled=0.1, most=6))


def _one(run: Scenario) -> Callable[[int], Case]:
    return lambda number: Case(f"{run.__name__}(schedule)", run)


def _outside(number: int) -> Case:
    return Case(f"outside(schedule, refuses={bool(number % 2)})", partial(outside, refuses=bool(number % 2)))


SCENARIOS: Final[dict[str, Family]] = {
    "drawn": Family(drawn_saga, calm_cases=10),
    "an undo fails": Family(_one(undo_fails)),
    "a handler exits": Family(_one(handler_exits), trouble_without_hanging, calm_cases=0),
    "no room": Family(drawn_saga, no_room, calm_cases=0),
    "processes die": Family(_one(processes_die), late_messages),
    "actors keep failing": Family(drawn_saga, failing_actor, calm_cases=0),
    "outside": Family(_outside, trouble_or_late, calm_cases=2),
}
"""By name."""
