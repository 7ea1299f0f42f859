"""A random walk through a world: the same faults as the Hypothesis rules, many times faster.

A walk is a function of the plan and a seed, so these two replay it; a failure also tells its way.
"""

from collections.abc import Callable
from random import Random

from tests.stateful.checkers import in_the_end
from tests.stateful.plans import SERVICES, PlanSpec
from tests.stateful.world import CrashPoint, World

STEPS = 40
Act = Callable[[], object]


def walk(spec: PlanSpec, seed: str) -> World:
    """Faults for a while, then none; every checker holds."""
    random = Random(seed)
    doomed = (CrashPoint(random.choice(list(CrashPoint))), 9) if random.random() < 0.1 else None
    world = World(spec, doomed)
    # Not every walk meets every fault: a cancel in each would leave little else to see.
    kinds = [kind for kind in ("network", "crash", "down", "cancel", "person", "time") if random.random() < 0.5]
    trail = [f"doomed={doomed}"]
    try:
        for _ in range(random.randrange(STEPS)):
            _one_step(world, random, kinds, trail)
        world.settle()
        in_the_end(world)
    except Exception as error:
        error.add_note(f"walk({spec!r}, {seed!r}) went: {' '.join(trail)}")
        raise
    return world


def _one_step(world: World, random: Random, kinds: list[str], trail: list[str]) -> None:
    pick = random.randrange(8)
    acts: list[tuple[int, str, Act]] = []

    def may(weight: int, name: str, act: Act, *, when: object = True) -> None:
        if when:
            acts.append((weight, name, act))

    may(20, f"deliver({pick})", lambda: world.deliver(pick), when=world.in_flight)
    may(2, f"fire({pick})", lambda: world.fire(pick), when=world.wakes)
    may(1, "repair", world.broken.clear, when=world.broken)
    if "time" in kinds:
        may(8, f"fire({pick})", lambda: world.fire(pick), when=world.wakes)
    if "network" in kinds and world.in_flight:
        may(3, f"lose({pick})", lambda: world.lose(pick))
        may(3, f"double({pick})", lambda: world.double(pick))
        may(3, f"hide({pick})", lambda: world.deliver(pick, answers=False))
    if "crash" in kinds:
        point, lost = random.choice(list(CrashPoint)), random.randrange(10)
        may(4, f"crash({point.name}, {lost})", lambda: world.crash(point, lost))
    if "down" in kinds:
        service = random.choice(SERVICES)
        may(3, f"toggle({service})", lambda: world.toggle(service))
    if "cancel" in kinds:
        may(1, "cancel", world.cancel)
    if "person" in kinds and world.state.stuck:
        step = random.choice(world.state.stuck)
        may(5, f"retry_now({step})", lambda: world.retry_now(step))
        may(5, f"supply({step})", lambda: world.supply(step))
        may(5, f"skip({step})", lambda: world.skip(step))
    if acts:
        _, name, act = random.choices(acts, weights=[weight for weight, _, _ in acts])[0]
        trail.append(name)
        act()
