"""A random walk through a world: the same faults as the Hypothesis rules, many times faster.

A walk is a function of the plan and a seed, so these two replay it; a failure also tells its way.
"""

from collections.abc import Callable
from random import Random

from tests.stateful.checkers import in_the_end
from tests.stateful.plans import SERVICES, PlanSpec
from tests.stateful.world import CrashPoint, World

Act = Callable[[], object]

STEPS = 50
WHILE = 8
WEIGHTS = {
    "deliver": (5, 20),
    "fire": (1, 5, 20),
    "lose": (0, 1, 10),
    "double": (0, 3),
    "hide": (0, 3),
    "crash": (0, 1, 4),
    "toggle": (0, 3),
    "cancel": (0, 0, 1),
    "repair": (1,),
    "person": (0, 5),
}
"""How often each may happen: one of each is drawn for a while, so that calm and all kinds of trouble take turns."""


def walk(spec: PlanSpec, seed: str) -> World:
    """Faults for a while, then none; every checker holds."""
    random = Random(seed)
    doomed = (random.choice(list(CrashPoint)), 9) if random.random() < 0.1 else None
    world = World(spec, doomed)
    trail = [f"doomed={doomed}"]
    try:
        if random.random() < 0.3:
            # Much of what can go wrong begins with a crash in the middle of a run that went well.
            _run_and_crash(world, random.randrange(20), random.randrange(12), trail)
        for number in range(random.randrange(STEPS)):
            if number % WHILE == 0:
                weights = {name: random.choice(choices) for name, choices in WEIGHTS.items()}
            acts = possible(world, random)
            name = random.choices(list(acts), [weights[name] for name in acts])[0]
            said, act = acts[name]
            trail.append(f"{name}{said}")
            act()
        world.settle()
        in_the_end(world)
    except Exception as error:
        error.add_note(f"walk({spec!r}, {seed!r}) went: {' '.join(trail)}")
        raise
    return world


def _run_and_crash(world: World, deliveries: int, lost: int, trail: list[str]) -> None:
    trail.append(f"ran({deliveries}) crash(NOW, {lost})")
    for _ in range(deliveries):
        if world.in_flight:
            world.deliver()
    world.crash(CrashPoint.NOW, lost)


def possible(world: World, random: Random) -> dict[str, tuple[tuple[object, ...], Act]]:
    """What may happen next, by name: with what, and the act itself."""
    pick, lost = random.randrange(8), random.randrange(10)
    point, service = random.choice(list(CrashPoint)), random.choice(SERVICES)
    acts: dict[str, tuple[tuple[object, ...], Act]] = {
        "crash": ((point.name, lost), lambda: world.crash(point, lost)),
        "toggle": ((service,), lambda: world.toggle(service)),
        "cancel": ((), world.cancel),
        "repair": ((), world.broken.clear),
    }
    if world.in_flight:
        acts["deliver"] = ((pick,), lambda: world.deliver(pick))
        acts["lose"] = ((pick,), lambda: world.lose(pick))
        acts["double"] = ((pick,), lambda: world.double(pick))
        acts["hide"] = ((pick,), lambda: world.deliver(pick, answers=False))
    if world.wakes:
        acts["fire"] = ((pick,), lambda: world.fire(pick))
    if world.state.stuck:
        step, what = random.choice(world.state.stuck), random.choice((world.retry_now, world.supply, world.skip))
        acts["person"] = ((what.__name__, step), lambda: what(step))
    return acts
