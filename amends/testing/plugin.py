"""The pytest plugin: simulated systems for tests, and what happened in them when a test fails.

A line in a `conftest.py` switches it on: `pytest_plugins = ["amends.testing.plugin"]`.
`simulated` opens systems and closes them at the end of the test. Those with a `FaultPlan` and
no schedule of their own draw their fates from one seed a run, which the header and every
failure show and `--amends-seed` gives again.
"""

from collections.abc import Generator, Iterator
from contextlib import ExitStack
from random import SystemRandom
from typing import Any, Final, Protocol

import pytest

from amends.testing.facts import last, lines
from amends.testing.schedule import FaultPlan, Schedule
from amends.testing.system import SimulatedSystem

_LINES: Final = 40
"""The end of each system's trace that a failing test shows."""


class OpenSimulated(Protocol):
    """What the fixture `simulated` is: makes an open system, closed at the end of the test.

    Args:
        faults: how often things go wrong, drawn from the run's seed.
        schedule: instead, exactly what goes wrong.
        rest: as of `SimulatedSystem`.
    """

    def __call__(
        self, *, faults: FaultPlan | None = None, schedule: Schedule | None = None, **rest: Any
    ) -> SimulatedSystem: ...


_seed = pytest.StashKey[int]()
_made = pytest.StashKey[list[SimulatedSystem]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--amends-seed`."""
    group = parser.getgroup("amends", "simulated sagas")
    group.addoption(
        "--amends-seed",
        type=int,
        metavar="N",
        help="the seed of simulated systems with a FaultPlan; drawn if not given",
    )


def pytest_configure(config: pytest.Config) -> None:
    """One seed a run."""
    given: int | None = config.getoption("--amends-seed")
    config.stash[_seed] = SystemRandom().randrange(10**9) if given is None else given


def pytest_report_header(config: pytest.Config) -> str:
    """What gives the same run again."""
    return f"amends: --amends-seed={config.stash[_seed]}"


@pytest.fixture
def simulated(request: pytest.FixtureRequest) -> Iterator[OpenSimulated]:
    """Makes open simulated systems, as `simulated(sagas=[...], services=[...])`, and closes them after the test."""
    made = request.node.stash[_made] = list[SimulatedSystem]()
    seed = request.config.stash[_seed]

    def make(*, faults: FaultPlan | None = None, schedule: Schedule | None = None, **rest: Any) -> SimulatedSystem:
        if schedule is None and faults is not None:
            schedule = Schedule(seed=seed, faults=faults)
        system = SimulatedSystem(schedule=schedule, **rest)
        made.append(system)
        opened.callback(system.close)
        return system.open()

    with ExitStack() as opened:
        yield make
    made.clear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that fails says what happened in its systems."""
    report = yield
    systems = item.stash.get(_made, None)
    if report.failed and systems:
        told = "\n\n".join(_told(system) for system in systems)
        seed = f"all tests with the same seed: pytest --amends-seed={item.config.stash[_seed]}"
        report.sections.append(("amends: what happened", f"{told}\n{seed}"))
    return report


def _told(system: SimulatedSystem) -> str:
    again = f"the same again: schedule=Schedule.from_json({system.schedule.to_json()!r})"
    return "\n".join([*last(lines(system.facts), _LINES), "", again])
