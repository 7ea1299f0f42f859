"""Whether a program's plans fit what is open, asked before it is started."""

import re
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
from click.testing import CliRunner

from amends import StorageError
from amends.actors import postgres
from amends.console import journal
from amends.console.main import main
from amends.console.plans import PlanUse, Verdict, plans
from tests.actors.conftest import OpenSystem
from tests.actors.patience import Gate, until
from tests.actors.test_changed_plans import FareFirst, FreeTrip
from tests.actors.trip import LONG_S, BookTrip, LossyTrip, Script, Trip
from tests.console.histories import started, write
from tests.servers import admin, postgres_schema

OLD, NEW = BookTrip.plan.digest, FareFirst.plan.digest
ONE_OPEN = PlanUse("book-trip", 1, OLD, Verdict.FITS, 1, True)


@pytest.fixture(params=["file", "server"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A place for a journal, of each kind."""
    if request.param == "file":
        yield str(tmp_path)
        return
    with postgres_schema() as url:
        yield url


@pytest.fixture
def journals(where: str, booking: OpenSystem, tmp_path: Path) -> str:
    """A running system's journal: one instance that is open, one that has ended."""
    script = Script(ticket=lambda service, name: gate(service, name) if name == "open" else None)
    gate = Gate()
    system = booking(script, **({"journal": where} if where != str(tmp_path) else {}))
    system.run(BookTrip, Trip("a\\b"), key="a\\b", timeout_s=LONG_S)
    system.start(BookTrip, Trip("open"), key="open")
    until(lambda: bool(system.status().stuck))
    return where


def test_plans_that_fit_and_plans_that_do_not(journals: str) -> None:
    """Of what is open, beside a system that runs."""
    assert plans(journals, [BookTrip, LossyTrip]) == [ONE_OPEN]
    assert plans(journals, [FreeTrip, BookTrip]) == [ONE_OPEN]
    changed, *rest = plans(journals, [FareFirst])
    assert (changed.digest, changed.verdict, changed.is_left, rest) == (OLD, Verdict.BREAKS, True, [])
    (without_the_old,) = plans(journals, [FreeTrip])
    assert (without_the_old.verdict, without_the_old.is_left) == (Verdict.NO_PLAN, True)
    # Another node may have it: it is no saga of this program's.
    (of_others,) = plans(journals, [LossyTrip])
    assert (of_others.verdict, of_others.is_left) == (Verdict.NO_PLAN, False)


def test_everything_that_is_read_of_a_file_is_read_of_a_server(journals: str) -> None:
    """By key, by state, in whole."""
    told = journal.progress(journals, key="a\\b", saga="book-trip", sagas=[BookTrip])
    assert told is not None
    assert [(step.step, step.status) for step in told.steps] == [("seat", "done"), ("fare", "done"), ("ticket", "done")]
    assert journal.progress(journals, key="a\\b") is not None
    assert journal.progress(journals, key="nobody") is None
    assert [i.key for i in journal.instances(journals)] == ["open", "a\\b"]
    assert [i.key for i in journal.instances(journals, state="open", saga="book-trip", limit=1)] == ["open"]
    (saga,) = journal.timings(journals, sagas=[BookTrip]).sagas
    assert saga.states == {"open": 1, "completed": 1}
    assert [step.answered.count for step in saga.steps] == [2, 2, 1]


def test_look(journals: str) -> None:
    """The command, for both."""
    told = CliRunner().invoke(main, ["look", "--journal", journals, "open"])
    assert (told.exit_code, "book-trip open: open" in told.output) == (0, True)
    assert CliRunner().invoke(main, ["look"], env={"AMENDS_JOURNAL": journals}).exit_code == 0


@pytest.mark.parametrize(
    ("modules", "status", "told"),
    [
        (["tests.console.trips_node"], 0, "fits"),
        (["tests.actors.trip"], 0, "fits"),
        (["tests.actors.test_changed_plans"], 1, "would break"),
    ],
)
def test_command(journals: str, modules: list[str], status: int, told: str) -> None:
    """Exit status 1 stops a deployment that would leave something open; it says what to do."""
    found = CliRunner().invoke(main, ["plans", *modules, "--journal", journals])
    (row,) = (line for line in found.output.splitlines() if OLD in line)
    assert (found.exit_code, told in row) == (status, True), found.output
    assert ("keep its old class beside it" in found.output) == (status == 1)


def test_nothing_open(booking: OpenSystem, tmp_path: Path) -> None:
    """Then everything fits."""
    booking()
    told = CliRunner().invoke(main, ["plans", "tests.console.trips_node", "--journal", str(tmp_path)])
    assert (told.exit_code, told.output) == (0, "no instance is open\n")


def test_starts_that_can_not_be_read(tmp_path: Path) -> None:
    """They are listed, and nobody's plan is to blame."""
    for name in "abcd":
        write(tmp_path, name, [started(name)])
    db = apsw.Connection(str(tmp_path / "journal.db"))
    db.execute("update records set body = 'what?' where saga_id = 'b'")
    db.execute('update records set body = \'{"type":"step_never","step":"x"}\' where saga_id = \'c\'')
    db.execute("delete from records where saga_id = 'd'")
    db.close()
    found = plans(tmp_path, [BookTrip])
    assert [(use.verdict, use.open, use.is_left) for use in found] == [
        (Verdict.UNREADABLE, 3, False),
        (Verdict.FITS, 1, False),
    ]


# A server.


def test_reading_makes_no_schema() -> None:
    """The error names what was looked for."""
    with postgres_schema() as url, admin() as db:
        place = re.escape(postgres.target(url).name)
        with pytest.raises(StorageError, match=f"{place}: is not there; wanted a journal"):
            journal.instances(url)
        assert db.execute("select to_regnamespace(%s)", (postgres.target(url).schema,)).fetchall() == [(None,)]


def test_a_newer_journal_on_a_server_is_not_guessed_at(booking: OpenSystem) -> None:
    """As with a file."""
    with postgres_schema() as url:
        booking(journal=url).stop()
        with admin(postgres.target(url).schema) as db:
            db.execute("update amends_versions set version = 99")
        with pytest.raises(StorageError, match="is of version 99; this program reads up to"):
            journal.instances(url)


def test_server_that_is_not_there() -> None:
    """The error has no password."""
    with pytest.raises(StorageError, match="can't be read") as raised:
        journal.instances("postgresql://me:hidden@127.0.0.1:1/nowhere")
    assert "hidden" not in str(raised.value)
