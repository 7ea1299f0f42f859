"""The demos themselves, small: each ends by itself, with the result it promises and databases that add up."""

import io
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console

import amends
from amends import Compensated, Completed, Handle
from amends.demo import crash, duplicates, many
from amends.demo.audit import audit
from amends.demo.faults import FaultPlan
from amends.demo.workload import Settings, workload

# What costs no waiting: lost messages and hanging handlers are for the demo proper and the integration tests.
TROUBLE = FaultPlan(
    seed=1, declined=0.1, short_stock=0.05, bad_address=0.05, raises=0.05, doubled=0.1, delayed=0.05, killed=0.03
)


def settings(orders_count: int, plan: FaultPlan = TROUBLE) -> Settings:
    """A small run."""
    return Settings(orders_count=orders_count, seed=1, in_flight=20, stock_share=0.9, plan=plan)


@pytest.fixture
def console() -> Console:
    """A console that keeps what it is told."""
    return Console(file=io.StringIO(), width=200)


def printed(console: Console) -> str:
    """What it was told."""
    return cast("io.StringIO", console.file).getvalue()


def off(folder: Path) -> list[str]:
    """The checks that found something."""
    return [finding.check for finding in audit(folder) if finding.rows]


def test_many_orders_at_once_end_and_add_up(tmp_path: Path, console: Console) -> None:
    """Under faults, every order gets an outcome and nothing is left half done."""
    chosen = settings(60)
    assert many.run(tmp_path, workload(chosen), chosen, console)
    assert off(tmp_path) == []
    assert "60/60 ended" in printed(console)
    assert "card_declined" in printed(console)


def test_the_same_folder_may_be_used_again(tmp_path: Path, console: Console) -> None:
    """The orders are known by their numbers, the stock by what is in it: nothing happens twice."""
    chosen = settings(20)
    for _ in range(2):
        assert many.run(tmp_path, workload(chosen), chosen, console)
    assert off(tmp_path) == []


def test_duplicates_are_told_the_same_and_happen_once(tmp_path: Path, console: Console) -> None:
    """However many customers hand in the same order at the same moment."""
    chosen = settings(30)
    assert duplicates.run(tmp_path, workload(chosen), chosen, console, copies=3)
    assert off(tmp_path) == []
    assert "30 orders, each handed in 3 times: 0 told differently" in printed(console)


class Told:
    """A handle that has an outcome."""

    def __init__(self, key: str, saga_id: str, outcome: Completed | Compensated) -> None:
        self.key = key
        self.saga_id = saga_id
        self._outcome = outcome

    def result(self, timeout_s: float | None = None) -> Completed | Compensated:
        return self._outcome


def test_customers_who_are_told_differently_are_found() -> None:
    """By the outcome, by the reason and by the instance."""
    done: Any = Completed(cast("Any", None))
    no, other_no = Compensated("authorize", "card_declined"), Compensated("reserve", "short_stock")
    one = [Told("o-1", "a", done), Told("o-2", "b", done), Told("o-3", "c", no), Told("o-4", "d", done)]
    two = [Told("o-1", "a", done), Told("o-2", "b", no), Told("o-3", "c", other_no), Told("o-4", "e", done)]
    found = duplicates.disagreements(cast("list[list[Handle]]", [one, two]))
    assert [order_id for order_id, _ in found] == ["o-2", "o-3", "o-4"]


def test_a_program_that_is_killed_again_and_again_loses_nothing(
    tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real processes, real SIGKILLs, the last one in peace."""
    monkeypatch.setenv("PYTHONPATH", str(Path(amends.__file__).parent.parent))
    chosen = settings(120)
    assert crash.run(tmp_path, workload(chosen), chosen, console, kills=4)
    assert off(tmp_path) == []
    assert "killed 4 times" in printed(console)
    assert "done, 120 of 120 orders ended" in printed(console)


def test_a_worker_that_fails_is_not_mistaken_for_one_that_was_killed(
    tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The demo ends with it, and says so."""
    monkeypatch.setenv("PYTHONPATH", str(Path(amends.__file__).parent.parent))
    (tmp_path / "journal.db").write_text("no journal")
    chosen = settings(5)
    assert not crash.run(tmp_path, workload(chosen), chosen, console, kills=0)
    assert "FAILED with status 1" in printed(console)
    assert "journal.db" in capfd.readouterr().err
