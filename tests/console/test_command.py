"""`look` as a person uses it."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from amends import Refused
from amends.actors.status import QueueStatus
from amends.console import show
from amends.console.command import look_command
from amends.protocol.records import FORWARD, Decided, StepDone, StepStuck
from tests.actors.conftest import OpenSystem
from tests.actors.trip import LONG_S, BookTrip, Script, Trip
from tests.console.histories import RESULT, START_AT, started, write


def look(*arguments: str) -> str:
    """What it prints."""
    told = CliRunner().invoke(look_command([BookTrip]), arguments)
    assert told.exit_code == 0, told.output
    return told.output


@pytest.fixture
def folder(booking: OpenSystem, tmp_path: Path) -> Path:
    """A folder with two trips, one of them without money."""
    system = booking(Script(fare=lambda service, name: Refused("no [money]") if name == "b" else None))
    for name in "ab":
        system.run(BookTrip, Trip(name), key=name, timeout_s=LONG_S)
    return tmp_path


def test_one_key(folder: Path) -> None:
    """How it ended, why, and what became of every step; brackets in a reason are no markup."""
    told = look("--data", str(folder), "b")
    assert "book-trip b: compensated after" in told
    assert "went back because of step fare: no [money]" in told
    assert "refused: no [money]" in told
    assert [line.split()[1:4] for line in told.splitlines() if line.startswith("│")] == [
        ["seat", "│", "undone"],
        ["fare", "│", "refused"],
        ["ticket", "│", "waiting"],
    ]


def test_no_key(folder: Path) -> None:
    """The instances, newest first, and the timings."""
    told = look("--data", str(folder))
    assert told.index("│ b ") < told.index("│ a ")
    assert "book-trip: 1 compensated, 1 completed" in told
    assert "fare refused: no [money] (1)" in told


def test_an_unknown_key_is_an_error(folder: Path) -> None:
    """A sentence that names it, and exit status 1."""
    told = CliRunner().invoke(look_command(), ["--data", str(folder), "zzz"])
    assert told.exit_code == 1
    assert "no instance of any saga has the key 'zzz'" in told.output


def test_a_folder_without_a_journal_is_an_error(tmp_path: Path) -> None:
    """A sentence and no traceback."""
    told = CliRunner().invoke(look_command(), ["--data", str(tmp_path)])
    assert (told.exit_code, told.output.startswith("Error: ")) == (1, True)
    assert "journal.db: is not there" in told.output


def test_what_a_person_should_look_at(tmp_path: Path) -> None:
    """A stuck step says so; inputs and results are not printed."""
    history = [
        started("a"),
        (1.0, StepDone("seat", RESULT)),
        (2.0, StepDone("fare", RESULT)),
        (2.0, Decided(FORWARD)),
        (3.0, StepStuck("ticket", 2, START_AT, "no paper")),
    ]
    write(tmp_path, "a", history)
    told = look("--data", str(tmp_path), "a")
    assert "stuck: no paper" in told
    assert "3.00 s: do failed: no paper" in told
    assert "nobody is to read" not in told


def test_queues_slowest_first() -> None:
    """The bottleneck is on top."""
    console = Console(width=80)
    with console.capture() as captured:
        console.print(show.queues({"quick": QueueStatus(1, 4, 0.2, 0.1), "slow": QueueStatus(7, 2, 3.0, 2.0)}))
    rows = [line for line in captured.get().splitlines() if line.startswith("│")]
    assert [row.split()[1] for row in rows] == ["slow", "quick"]
    assert "1.50 s" in rows[0]
