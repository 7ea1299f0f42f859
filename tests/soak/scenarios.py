"""What recordings of a soak name: scenarios whose arguments are plain JSON."""

from random import Random
from typing import Any

import msgspec

from amends.testing import Schedule, SimulatedSystem
from tests.stateful import abroad, drawn, histories
from tests.stateful.plans import SHAPES, PlanSpec, drawn_spec


def saga(schedule: Schedule, *, spec: dict[str, Any], instances: int) -> SimulatedSystem:
    """Some instances of one saga, whose shape is `spec`."""
    return drawn.run(msgspec.convert(spec, PlanSpec), schedule, instances=instances)


def shop(schedule: Schedule, *, orders: int) -> SimulatedSystem:
    """The shop, with a few orders."""
    return histories.shop_history(schedule, orders)


def stays(schedule: Schedule, *, credit: bool) -> SimulatedSystem:
    """Sagas whose steps are calls to the world outside."""
    return abroad.run(schedule, credit=credit)


def random_saga(random: Random) -> dict[str, Any]:
    """Arguments of `saga`."""
    return {"spec": msgspec.to_builtins(drawn_spec(random.choice)), "instances": random.choice((1, 1, 2, 3))}


def shapes() -> list[dict[str, Any]]:
    """Arguments of `saga` for every shape, all going well, and one with each step that may say no saying it."""
    found = []
    for shape in SHAPES.values():
        whole = msgspec.to_builtins(shape)
        found.append({"spec": whole, "instances": 1})
        for number, step in enumerate(whole["steps"]):
            if step["kind"] != "retriable":
                steps = [*whole["steps"][:number], {**step, "refuses": True}, *whole["steps"][number + 1 :]]
                found.append({"spec": {**whole, "steps": steps}, "instances": 1})
    return found
