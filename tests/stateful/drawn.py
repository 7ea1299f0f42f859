"""Drawn sagas as real ones: the plans of `plans` in a simulated system, with services that do something.

Each service writes a row for what it does and marks the row when it undoes it, in its own
database; so an effect that was lost, doubled or left over is to be seen there, by SQL, whatever
the engine believes. A history is a pure function of the plan's spec, the schedule and the number
of instances, and all three are plain values.
"""

from collections import defaultdict
from functools import partial
from typing import Final

import msgspec

from amends import Done, Refused, Saga, Service, handles, undoes
from amends.protocol.messages import Message, SagaId
from amends.protocol.records import Direction, Intervened
from amends.protocol.saga import Kind
from amends.protocol.state import State, Status
from amends.testing import Schedule, SimulatedSystem
from tests.stateful.asking import Caller, everyone_was_told_the_truth, let_it_end, retry, say_how_to_replay
from tests.stateful.plans import Act, PlanSpec, build

ASKED_S: Final = {"o1": (0.0, 0.3), "o2": (0.5, 0.5), "o3": (2.0,)}
"""When each key is asked for, in virtual seconds; the first one is asked for again when all is over or stuck."""

BY_HAND: Final = -1
"""The result of a step that a person did by other means."""

_TABLE: Final = """
create table effects (
    id integer primary key, saga_id text not null, step text not null, seen text not null,
    undone integer not null default 0
)
"""


class Acting(Service, name="acting"):
    """A service with one command.

    Args:
        refusing: the steps it says no to.
    """

    def __init__(self, refusing: frozenset[str]) -> None:
        super().__init__()
        self.refusing = refusing

    @handles(Act)
    def act(self, command: Act) -> Done[int] | Refused:
        message = self.address.in_hand
        assert isinstance(message, Message)
        self.db.execute(
            "insert into effects (saga_id, step, seen) values (?, ?, ?)",
            (message.saga_id, command.step, msgspec.json.encode(command.seen).decode()),
        )
        # Only now, so that what it wrote has to be taken back.
        if command.step in self.refusing:
            return Refused(f"{command.step} says no")
        return Done(int(self.db.execute("select last_insert_rowid()").get))

    @undoes(Act)
    def take_back(self, command: Act, result: int) -> None:
        self.db.execute("update effects set undone = undone + 1 where id = ?", (result,))


class North(Acting, name="north", migrations=(_TABLE,)):
    """One of the two."""


class South(Acting, name="south", migrations=(_TABLE,)):
    """The other one."""


class Row(msgspec.Struct, frozen=True):
    """What a service has written of one effect."""

    id: int
    seen: dict[str, int]
    undone: int


def to_json(spec: PlanSpec) -> str:
    """A spec as one line."""
    return msgspec.json.encode(spec).decode()


def from_json(text: str) -> PlanSpec:
    """What `to_json` wrote."""
    return msgspec.json.decode(text, type=PlanSpec)


def run(spec: PlanSpec, schedule: Schedule, *, instances: int = 2) -> SimulatedSystem:
    """A whole history: trouble until all is over or stuck, then none; every checker holds, the services' tables agree.

    Args:
        instances: from 1 to 3; they start one after the other, and most are asked for more than once.
    """
    broken = {step.name for step in spec.steps if step.raises}
    saga = build(spec, broken).saga
    refusing = frozenset(step.name for step in spec.steps if step.refuses)
    system = SimulatedSystem(sagas=[saga], services=[North.spec(refusing), South.spec(refusing)], schedule=schedule)
    try:
        with system:
            callers = _ask(system, saga, instances)
            system.run_until_quiet()
            callers.append(Caller(system, saga, 1, "o1"))
            callers[-1].ask()
            system.run_until_quiet()
            broken.clear()
            let_it_end(system, callers, partial(_help, system, spec))
            system.check()
            everyone_was_told_the_truth(system, callers)
            _the_services_agree(system, spec)
    except Exception as error:
        say_how_to_replay(error, f"run(from_json({to_json(spec)!r}), schedule, instances={instances})", system)
        raise
    return system


def _ask(system: SimulatedSystem, saga: type[Saga], instances: int) -> list[Caller]:
    callers = []
    for number, (key, times_s) in enumerate(list(ASKED_S.items())[:instances], start=1):
        for after_s in times_s:
            callers.append(Caller(system, saga, number, key))
            callers[-1].ask(after_s)
    return callers


def _help(system: SimulatedSystem, spec: PlanSpec, saga_id: SagaId, state: State, step: str) -> None:
    """A person tries it again, and if that is no use does it by other means; now and then an undo is let be."""
    undoing = state.steps[step].status is Status.UNDOING
    refuses = any(drawn.name == step and drawn.refuses for drawn in spec.steps)
    if undoing and step.endswith("3"):
        system.skip(saga_id, step, by="ann", reason="nobody minds")
    elif refuses and not undoing and state.direction is Direction.FORWARD:
        system.supply(saga_id, step, BY_HAND, by="ann", reason="done by phone")
    else:
        retry(system, saga_id, step)


def _the_services_agree(system: SimulatedSystem, spec: PlanSpec) -> None:
    """What stands in the services' own tables is what the journal says of each instance, and nothing else does."""
    rows = _rows(system)
    for saga_id, known in system.world.instances.items():
        assert known.state is not None
        assert known.state.ended is not None
        by_hand = {r.step for r in known.records if isinstance(r, Intervened) and r.action != "retry"}
        own = rows.pop(saga_id, {})
        for step in spec.steps:
            found = own.get(step.name, [])
            where = f"{known.who}: {step.name} in {step.service}: {found}"
            if step.name not in by_hand:
                _as_it_ended(found, step.kind, where, completed=known.state.ended.completed)
            for row in found:
                wanted = {name: [r.id for r in own.get(name, [])] for name in row.seen if name not in by_hand}
                assert wanted == {name: [row.seen[name]] for name in wanted}, f"{where}, wanted {wanted}"
    assert not rows, f"done for no instance: {rows}"


def _as_it_ended(found: list[Row], kind: Kind, where: str, *, completed: bool) -> None:
    undone = [row.undone for row in found]
    if completed:
        assert undone == [0], f"completed, but {where}"
    elif kind is Kind.COMPENSATABLE:
        assert undone in ([], [1]), f"compensated, but {where}"
    else:
        assert undone == [], f"compensated, but {where}"


def _rows(system: SimulatedSystem) -> dict[str, dict[str, list[Row]]]:
    """Everything in the services' tables, by instance and step."""
    rows: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for service in (North, South):
        for values in system.query(service.name, "select saga_id, step, id, seen, undone from effects"):
            saga_id, step, id_, seen, undone = map(str, values)
            found = Row(int(id_), msgspec.json.decode(seen, type=dict[str, int]), int(undone))
            rows[saga_id][step].append(found)
    return rows
