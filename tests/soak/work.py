"""Pieces of work for a soak: each a function of a seed that fits into some seconds, and tells what it did."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random
from time import perf_counter
from typing import Final

from amends.testing import Schedule, SimulatedSystem
from amends.testing.explore import deviations, failure_of, minimise
from amends.testing.recording import Recording
from amends.testing.system import observed
from tests.soak.coverage import Transition, counted
from tests.soak.real import trouble
from tests.soak.scenarios import random_saga, shapes
from tests.stateful.histories import plan_of
from tests.stateful.node_history import History

HISTORIES: Final = 400
"""Of one piece of random work."""

CLUSTERS: Final = 100
"""The same, of nodes that share a journal."""

_SCENARIOS: Final = "tests.soak.scenarios"


@dataclass
class Tally:
    """What was done.

    Attributes:
        histories, steps: of simulated work; steps are turns, arrivals and alarms.
        tries: of real trouble, by kind.
        fates: how often each was met.
        failures: simulated histories that can be run again.
        problems: what real trouble has shown.
    """

    histories: int = 0
    steps: int = 0
    seconds: float = 0.0
    tries: Counter[str] = field(default_factory=Counter)
    fates: Counter[str] = field(default_factory=Counter)
    transitions: Counter[Transition] = field(default_factory=Counter)
    failures: list[Recording] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        """Take over what another piece has done."""
        self.histories += other.histories
        self.steps += other.steps
        self.seconds += other.seconds
        self.tries += other.tries
        self.fates += other.fates
        self.transitions += other.transitions
        self.failures += other.failures
        self.problems += other.problems


def random_sagas(seed: int) -> Tally:
    """Histories of sagas of random shape."""
    random = Random(f"sagas {seed}")
    return _run(
        Recording(f"{_SCENARIOS}:saga", _random_schedule(random), random_saga(random)) for _ in range(HISTORIES)
    )


def random_shops(seed: int) -> Tally:
    """Histories of the shop, and of calls to the world outside."""
    random = Random(f"shops {seed}")
    tally = _run(
        Recording(f"{_SCENARIOS}:shop", _random_schedule(random), {"orders": random.randint(1, 6)})
        for _ in range(HISTORIES // 8)
    )
    tally.add(
        _run(
            Recording(f"{_SCENARIOS}:stays", _random_schedule(random), {"credit": random.random() < 0.5})
            for _ in range(HISTORIES // 8)
        )
    )
    return tally


def pairs(seed: int) -> Tally:
    """Every schedule that has one more deviation than a certain one with a single deviation; seeds count through all.

    A seed beyond the last is empty work.
    """
    for arguments in shapes():
        recording = Recording(f"{_SCENARIOS}:saga", Schedule(), arguments)
        singles = list(deviations(recording.run()))
        if seed < len(singles):
            single = singles[seed]
            try:
                further = list(deviations(recording.run(single), single))
            except Exception:  # noqa: BLE001 - it is run once more below, and told there
                further = []
            return _run(Recording(recording.scenario, schedule, arguments) for schedule in [single, *further])
        seed -= len(singles)
    return Tally()


def clusters(seed: int) -> Tally:
    """Histories of two nodes on one journal; each is its number's to say."""
    tally = Tally()
    began = perf_counter()
    for number in range(seed * CLUSTERS, (seed + 1) * CLUSTERS):
        history = History(number)
        try:
            history.run_and_close()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what a soak looks for
            notes = "; ".join(getattr(error, "__notes__", ()))
            tally.problems.append(f"a cluster: {type(error).__name__}: {error} ({notes})")
        tally.histories += 1
        tally.steps += history.cluster.world.agenda.steps
    tally.seconds = perf_counter() - began
    return tally


def real_trouble(seed: int) -> Tally:
    """What simulation can't see."""
    tries, problems = trouble(seed)
    return Tally(tries=tries, problems=problems)


def done(kind: Callable[[int], Tally], seed: int) -> Tally:
    """One piece of work; if it breaks, that is what it has found."""
    try:
        return kind(seed)
    except Exception as error:  # noqa: BLE001 - a soak goes on
        return Tally(problems=[f"{kind.__name__}, seed {seed}: {type(error).__name__}: {error}"])


def _random_schedule(random: Random) -> Schedule:
    seed = random.getrandbits(48)
    return Schedule(seed=seed, faults=plan_of(seed))


def _run(recordings: Iterable[Recording]) -> Tally:
    tally = Tally()
    began = perf_counter()
    with counted() as transitions:
        for recording in recordings:
            with observed() as systems:
                failure = failure_of(recording.run, recording.schedule)
            tally.histories += 1
            for system in systems:
                _count(tally, system)
            if failure is not None:
                tally.failures.append(_smallest(recording, failure))
    tally.transitions = transitions
    tally.seconds = perf_counter() - began
    return tally


def _count(tally: Tally, system: SimulatedSystem) -> None:
    tally.steps += system.world.agenda.steps
    tally.fates.update(system.schedule.deviations.values())


def _smallest(recording: Recording, failure: BaseException) -> Recording:
    smallest = minimise(recording.run, recording.schedule)
    found = "\n".join([str(failure), *getattr(failure, "__notes__", ())])
    return Recording(recording.scenario, smallest, recording.arguments, found)
