"""Databases that were restored to different moments: what the fence makes good, and what it can't."""

from pathlib import Path

import apsw
import pytest

from amends import Compensated, Completed, Refused, System
from tests.actors.conftest import OpenSystem
from tests.actors.patience import Gate, until
from tests.actors.trip import COMPLETED, LONG_S, LossyTrip, Script, Trip, effects, rows_of

A = Trip("a")


def copy(source: Path, target: Path) -> None:
    """What `.backup` of SQLite's shell does, of a database that is open or not."""
    into = apsw.Connection(str(target))
    out_of = apsw.Connection(str(source), flags=apsw.SQLITE_OPEN_READONLY)
    with into.backup("main", out_of, "main") as backup:
        while not backup.done:
            backup.step()
    into.close()
    out_of.close()


def restore(saved: Path, place: Path) -> None:
    """The database as it was, without what was written after."""
    for file in place.parent.glob(f"{place.name}*"):
        file.unlink()
    copy(saved, place)


def finish(system: System) -> object:
    """What becomes of the trip."""
    return system.run(LossyTrip, A, key="a", timeout_s=LONG_S)


@pytest.fixture
def gate() -> Gate:
    """Holds the trip back until it is opened."""
    return Gate()


def test_older_journal(booking: OpenSystem, tmp_path: Path, gate: Gate) -> None:
    """What it does not know any more is asked again, and the fences answer: nothing happens twice."""
    system = booking(Script(seat=gate))
    system.start(LossyTrip, A, key="a")
    copy(tmp_path / "journal.db", tmp_path / "saved")
    gate.is_open = True
    assert isinstance(finish(system), Completed)
    system.stop()
    restore(tmp_path / "saved", tmp_path / "journal.db")
    assert isinstance(finish(booking()), Completed)
    assert effects(tmp_path) == COMPLETED


def test_older_journal_that_was_opened_since(booking: OpenSystem, tmp_path: Path, gate: Gate) -> None:
    """Its tokens are too old for the fences, which don't obey it until it is given higher ones."""
    system = booking(Script(seat=gate))
    system.start(LossyTrip, A, key="a")
    copy(tmp_path / "journal.db", tmp_path / "saved")
    for _ in range(3):
        system.stop()
        system = booking(Script(seat=gate))
    gate.is_open = True
    assert isinstance(finish(system), Completed)
    system.stop()
    restore(tmp_path / "saved", tmp_path / "journal.db")
    system = booking()
    until(lambda: any("is older than one already seen" in letter.reason for letter in system.dead_letters()))
    system.stop()
    rows_of(tmp_path / "journal.db", "update grants set token = token + 1000000")
    assert isinstance(finish(booking()), Completed)
    assert effects(tmp_path) == COMPLETED


def test_older_service_and_an_instance_that_goes_back(booking: OpenSystem, tmp_path: Path, gate: Gate) -> None:
    """To undo what the service does not know any more is to do nothing, and that is right."""
    system = booking(Script(fare=gate))
    copy(tmp_path / "seats.db", tmp_path / "saved")
    system.start(LossyTrip, A, key="a")
    until(lambda: system.status().retries > 0)
    system.stop()
    restore(tmp_path / "saved", tmp_path / "seats.db")
    assert finish(booking(Script(fare=lambda *_: Refused("no money")))) == Compensated("fare", "no money")
    assert effects(tmp_path) == {"seats": [], "fares": [], "tickets": []}


def test_older_service_and_an_instance_that_goes_on(booking: OpenSystem, tmp_path: Path, gate: Gate) -> None:
    """Nobody does again what the journal knows as done: the effect is lost, which is why they are saved together."""
    system = booking(Script(ticket=gate))
    copy(tmp_path / "seats.db", tmp_path / "saved")
    system.start(LossyTrip, A, key="a")
    until(lambda: bool(system.status().stuck) or system.status().retries > 0)
    system.stop()
    restore(tmp_path / "saved", tmp_path / "seats.db")
    gate.is_open = True
    assert isinstance(finish(booking()), Completed)
    assert effects(tmp_path) == COMPLETED | {"seats": []}
