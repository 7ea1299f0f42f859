"""A system without sagas: services that other processes, or callers outside, ask."""

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from amends import PlanError, Service, System, answers
from amends.protocol.messages import SagaId
from tests.actors.patience import until
from tests.actors.trip import BookTrip, Trip

ID = SagaId("0192f0c1")


class HowMany(msgspec.Struct, frozen=True):
    """A query."""


class Shelf(Service, name="shelf", migrations=("create table things (id integer); insert into things values (1)",)):
    """Answers, and serves nothing."""

    @answers(HowMany)
    def how_many(self, query: HowMany) -> int:
        return int(self.db.execute("select count(*) from things").get)


@pytest.fixture
def shelves(tmp_path: Path, nobody_left: None) -> Iterator[System]:
    """A system with one service, in a folder that is not there yet."""
    with System(tmp_path / "new", sagas=[], services=[Shelf]) as system:
        yield system


def test_services_alone_have_no_journal(shelves: System, tmp_path: Path) -> None:
    """Only their own databases are made; and nobody waits for a journal to be there."""
    status = shelves.status()
    assert (status.open, status.completed, status.recovered) == (0, 0, True)
    assert set(status.mailboxes) == {"dead-letters", "timers", "shelf"}
    assert shelves.ask("shelf", HowMany()) == 1
    shelves.drain(timeout_s=0.0)
    shelves.stop()
    assert {path.name for path in (tmp_path / "new").iterdir() if path.suffix == ".db"} == {"shelf.db"}


def test_service_that_fails_comes_back(shelves: System) -> None:
    """The services are supervised as those beside sagas are."""
    shelves.kill("shelf")
    until(lambda: shelves.status().restarts == 1)
    assert shelves.ask("shelf", HowMany()) == 1
    shelves.kill("journal")  # there is none, as there is none of any other name


@pytest.mark.parametrize(
    "act",
    [
        lambda system: system.cancel(ID),
        lambda system: system.retry(ID, "seat", by="me", reason="why not"),
        lambda system: system.supply(ID, "seat", 1, by="me", reason="why not"),
        lambda system: system.skip(ID, "seat", by="me", reason="why not"),
    ],
)
def test_what_is_about_instances_is_refused(shelves: System, act: Callable[[System], object]) -> None:
    """There are none, and whoever asks is told that instead of waiting."""
    with pytest.raises(PlanError, match="has services only; wanted one that runs sagas"):
        act(shelves)


def test_no_saga_is_started(shelves: System) -> None:
    """As any saga that a system does not have."""
    with pytest.raises(PlanError, match="'book-trip' version 1 is not one of this system's"):
        shelves.start(BookTrip, Trip("a"))
