"""The pytest plugin, in runs of their own: what a user's test gets of it, and what a failing one shows."""

import re
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]

SAGA = """
import pytest
from amends import Done, Saga, Service, handles, step, undoes
from amends.testing import FaultPlan, Schedule
from dataclasses import dataclass

@dataclass
class Book:
    people: int

class Train(Service, name="train", migrations=["create table booked (people int)"]):
    @handles(Book)
    def book(self, command: Book) -> Done[None]:
        self.db.execute("insert into booked values (?)", (command.people,))
        return Done()
    @undoes(Book)
    def cancel(self, command: Book, result: None) -> None:
        self.db.execute("delete from booked")

class Trip(Saga, name="trip"):
    input: Book
    @step(to="train")
    def ride(self, trip: Book, done) -> Book:
        return trip

SHOP = {"sagas": [Trip], "services": [Train]}
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> "Run":
    """Runs a test file with the plugin."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    # Other plugins take most of the time such a run takes, and have no part in it.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    return Run(pytester)


class Run:
    """A run of pytest within this one."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester

    def __call__(self, tests: str, *arguments: str) -> pytest.RunResult:
        self.pytester.makepyfile(SAGA + tests)
        plugin = ("-p", "amends.testing.plugin", "-p", "no:cacheprovider")
        return self.pytester.runpytest_inprocess(*plugin, "-W", "error", *arguments)


def test_the_fixture_opens_a_system(run: Run) -> None:
    """`simulated` gives an open system, as many as a test likes, and takes what `SimulatedSystem` takes."""
    run(
        """
def test(simulated, tmp_path):
    one, other = simulated(**SHOP), simulated(**SHOP, folder=tmp_path)
    assert str(one.run(Trip, Book(1), key="a")) == str(other.run(Trip, Book(1), key="a"))
    assert (tmp_path / "journal.db").exists()
"""
    ).assert_outcomes(passed=1)


def test_the_fixture_closes_its_systems(run: Run) -> None:
    """After the test nothing runs any more."""
    run(
        """
kept = []
def test_one(simulated):
    kept.append(simulated(**SHOP))
    kept[0].start(Trip, Book(1), key="a")
def test_two():
    import pykka
    assert not pykka.ActorRegistry.get_all()
    with pytest.raises(Exception, match="not open"):
        kept[0].status()
"""
    ).assert_outcomes(passed=2)


FAILING = """
def test_it(simulated):
    system = simulated(**SHOP, schedule=Schedule({"train.book for a #1": "refuse"}))
    system.run(Trip, Book(1), key="a")
    assert system.effects() == ["train.book"]
"""


def test_a_failure_shows_what_happened(run: Run) -> None:
    """A failing test has a section with the end of the trace and the line that replays it."""
    result = run(FAILING)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*amends: what happened*",
            "*! refuse: train.book for a #1",
            "*train > a: do ride, attempt 1: refused, by fate",
            "",
            """the same again: schedule=Schedule.from_json('{"deviations":{"train.book for a #1":"refuse"}}')""",
        ]
    )


def test_a_pass_shows_nothing(run: Run) -> None:
    """A test that passes has no such section."""
    result = run("def test_it(simulated):\n    simulated(**SHOP).run(Trip, Book(1))\n", "-rP")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*what happened*")


DRAWN = """
def test_it(simulated):
    system = simulated(**SHOP, faults=FaultPlan(refused=0.5, unavailable=0.4, most=20))
    for n in range(8):
        system.submit(Trip, Book(1), key=str(n))
    system.run_until_quiet()
    pytest.fail("drawn " + system.schedule.to_json())
"""


def drawn(result: pytest.RunResult) -> str:
    """What the seed of that run has drawn."""
    found = re.search(r"Failed: drawn (.*)", result.stdout.str())
    assert found is not None
    return found[1]


def test_a_failing_run_prints_its_seed(run: Run) -> None:
    """Header and failure have the option that draws the same fates again; another seed draws others."""
    first = run(DRAWN)
    header = re.search(r"^amends: (--amends-seed=\d+)$", first.stdout.str(), re.MULTILINE)
    assert header is not None
    assert f"all tests with the same seed: pytest {header[1]}" in first.stdout.str()
    again, other = run(DRAWN, header[1]), run(DRAWN, "--amends-seed=1")
    assert drawn(again) == drawn(first) != drawn(other)


def test_a_schedule_needs_no_seed(run: Run) -> None:
    """Who gives a schedule gets that and nothing drawn."""
    run(
        """
def test_it(simulated):
    system = simulated(**SHOP, schedule=Schedule(), faults=FaultPlan(refused=1.0))
    assert str(system.run(Trip, Book(1))) == "Completed()"
    assert system.schedule == Schedule()
"""
    ).assert_outcomes(passed=1)


def test_what_is_found_after_the_last_step_fails_the_test(run: Run) -> None:
    """A test that has forgotten to look is told at its end."""
    run(
        """
from amends.testing.checkers import Checker
class Picky(Checker):
    def told(self, fact):
        assert fact.what != "accepted", "somebody was told so"
def test_it(simulated):
    system = simulated(**SHOP, checkers=[Picky])
    system.submit(Trip, Book(1))
    while system.world.problem is None:
        system.world.agenda.step()
"""
    ).assert_outcomes(passed=1, errors=1)
