"""What an operator reads of a journal: of a system that runs, of one that has stopped, of a damaged file."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import apsw
import pytest

from amends import AmendsError, Refused, StorageError, Unavailable
from amends.console import journal
from amends.console.progress import StepProgress, WentBack
from amends.console.reading import reading
from amends.protocol.records import FORWARD, Decided, Ended, StepDone
from tests.actors.conftest import OpenSystem
from tests.actors.patience import Gate, until
from tests.actors.trip import LONG_S, BookTrip, LossyTrip, Script, Trip
from tests.console.histories import RESULT, started, write


def statuses(where: Path, key: str) -> dict[str, str]:
    """Of every step of the trip."""
    told = journal.progress(where, key=key, sagas=[BookTrip])
    assert told is not None
    return {step.step: step.status for step in told.steps}


def the_step(where: Path, key: str, name: str) -> StepProgress:
    """One step of the trip of that key."""
    told = journal.progress(where, key=key)
    assert told is not None
    return next(step for step in told.steps if step.step == name)


def stuck_step(where: Path, key: str, name: str) -> StepProgress | None:
    """The step, once it is on disk that it is stuck."""
    told = journal.progress(where, key=key)
    assert told is not None
    return next((step for step in told.steps if step.step == name and step.stuck), None)


# One instance.


def test_completed(booking: OpenSystem, tmp_path: Path) -> None:
    """All steps are done, and the total time is that from start to end."""
    booking().run(BookTrip, Trip("a"), key="a", timeout_s=LONG_S)
    told = journal.progress(tmp_path, key="a")
    assert told is not None
    assert (told.saga, told.key, told.state, told.direction, told.why) == ("book-trip", "a", "completed", FORWARD, None)
    assert [(step.step, step.status, step.attempts) for step in told.steps] == [
        ("seat", "done", 1),
        ("fare", "done", 1),
        ("ticket", "done", 1),
    ]
    assert told.ended_at is not None
    assert told.duration_s == told.ended_at - told.started_at


def test_compensated_says_why(booking: OpenSystem, tmp_path: Path) -> None:
    """The step and the reason of going back, and what became of each step."""
    booking(Script(fare=lambda service, name: Refused("no money"))).run(BookTrip, Trip("a"), key="a", timeout_s=LONG_S)
    told = journal.progress(tmp_path, key="a")
    assert told is not None
    assert (told.state, told.why) == ("compensated", WentBack("fare", "no money"))
    assert statuses(tmp_path, "a") == {"seat": "undone", "fare": "refused", "ticket": "waiting"}
    assert the_step(tmp_path, "a", "fare").refused == "no money"
    assert the_step(tmp_path, "a", "seat").undone_at is not None


def test_retried_says_why_attempts_failed(booking: OpenSystem, tmp_path: Path) -> None:
    """Every failed attempt has its reason, in order."""
    answers = iter([Unavailable("closed"), Unavailable("still closed"), None])
    booking(Script(seat=lambda service, name: next(answers))).run(BookTrip, Trip("a"), key="a", timeout_s=LONG_S)
    seat = the_step(tmp_path, "a", "seat")
    assert [(failure.phase, failure.reason) for failure in seat.failures] == [("do", "closed"), ("do", "still closed")]
    assert (seat.status, seat.attempts, seat.retries) == ("done", 3, 2)


def test_stuck_then_helped_by_a_person(booking: OpenSystem, tmp_path: Path) -> None:
    """A stuck step says why while it is; afterwards who did what about it."""
    gate = Gate()
    system = booking(Script(ticket=gate))
    handle = system.start(BookTrip, Trip("a"), key="a")
    until(lambda: stuck_step(tmp_path, "a", "ticket") is not None)
    assert the_step(tmp_path, "a", "ticket").stuck == "the gate is shut"
    told = journal.progress(tmp_path, key="a")
    assert told is not None
    system.supply(told.saga_id, "ticket", "by hand", by="ann", reason="printed elsewhere")
    handle.result(LONG_S)
    ticket = the_step(tmp_path, "a", "ticket")
    assert (ticket.status, ticket.stuck, ticket.was_stuck) == ("done", None, True)
    assert [(act.action, act.by, act.reason) for act in ticket.interventions] == [
        ("supply", "ann", "printed elsewhere")
    ]


def test_an_undo_that_fails_is_told_apart(booking: OpenSystem, tmp_path: Path) -> None:
    """Attempts and failures of the undo are not those of the step."""
    shut = iter([Unavailable("not now")])
    script = Script(
        fare=lambda service, name: Refused("no money"), **{"free seat": lambda service, name: next(shut, None)}
    )
    booking(script).run(BookTrip, Trip("a"), key="a", timeout_s=LONG_S)
    seat = the_step(tmp_path, "a", "seat")
    assert [(failure.phase, failure.reason) for failure in seat.failures] == [("undo", "not now")]
    assert (seat.status, seat.attempts, seat.undo_attempts) == ("undone", 1, 2)


def test_open_after_the_system_stopped_and_resumed(booking: OpenSystem, tmp_path: Path) -> None:
    """What is open stays open between two systems, and the second one's beginning is counted."""
    gate = Gate()
    system = booking(Script(ticket=gate))
    system.start(BookTrip, Trip("a"), key="a")
    until(lambda: stuck_step(tmp_path, "a", "ticket") is not None)
    system.stop()
    told = journal.progress(tmp_path, key="a")
    assert told is not None
    assert (told.state, told.duration_s, told.resumed) == ("open", None, 0)
    gate.is_open = True
    booking(Script(ticket=gate)).start(BookTrip, Trip("a"), key="a").result(LONG_S)
    told = journal.progress(tmp_path, key="a")
    assert told is not None
    assert (told.state, told.resumed) == ("completed", 1)


def test_nothing_of_inputs_and_results_is_told(tmp_path: Path) -> None:
    """They may carry what must not be read."""
    write(tmp_path, "a", [started("a"), (1.0, StepDone("seat", RESULT)), (1.0, Decided(FORWARD))])
    told = journal.progress(tmp_path, key="a", sagas=[BookTrip])
    assert "nobody is to read" not in repr(told)


def test_a_step_keeps_the_time_of_its_answer(booking: OpenSystem, tmp_path: Path) -> None:
    """Though it is written together with later ones: the seat was taken before the fare was begun."""
    began_at: list[float] = []
    booking(Script(fare=lambda service, name: began_at.append(time.time()))).run(
        BookTrip, Trip("a"), key="a", timeout_s=LONG_S
    )
    answered_at = the_step(tmp_path, "a", "seat").answered_at
    assert answered_at is not None
    assert answered_at <= began_at[0] <= (the_step(tmp_path, "a", "fare").answered_at or 0.0)


# Which instance.


def test_an_unknown_key_is_none(booking: OpenSystem, tmp_path: Path) -> None:
    """So is an unknown id."""
    booking()
    assert journal.progress(tmp_path, key="a") is None
    assert journal.progress(tmp_path, saga_id="a") is None


def test_a_key_of_two_sagas_names_them(booking: OpenSystem, tmp_path: Path) -> None:
    """Whoever means one of them says which."""
    system = booking()
    for saga in (BookTrip, LossyTrip):
        system.run(saga, Trip("a"), key="a", timeout_s=LONG_S)
    with pytest.raises(AmendsError, match=r"key 'a': belongs to instances of the sagas \['book-trip', 'lossy-trip'\]"):
        journal.progress(tmp_path, key="a")
    told = journal.progress(tmp_path, key="a", saga="lossy-trip")
    assert told is not None
    assert told.saga == "lossy-trip"
    assert [i.saga for i in journal.instances(tmp_path, key="a")] == ["lossy-trip", "book-trip"]


def test_neither_key_nor_id_is_refused(tmp_path: Path) -> None:
    """The message says what is wanted."""
    with pytest.raises(AmendsError, match="wanted one of them"):
        journal.progress(tmp_path)


def test_instances_newest_first(booking: OpenSystem, tmp_path: Path) -> None:
    """All of them, those in one state, or so many."""
    system = booking(Script(fare=lambda service, name: Refused("no money") if name == "b" else None))
    for name in "abc":
        system.run(BookTrip, Trip(name), key=name, timeout_s=LONG_S)
    assert [i.key for i in journal.instances(tmp_path)] == ["c", "b", "a"]
    assert [i.key for i in journal.instances(tmp_path, state="completed")] == ["c", "a"]
    assert [i.key for i in journal.instances(tmp_path, saga="book-trip", limit=1)] == ["c"]
    assert journal.instances(tmp_path, saga="another") == []
    with pytest.raises(AmendsError, match="state is 'done', wanted one of"):
        journal.instances(tmp_path, state="done")


# The file.


def test_reading_while_the_system_works(booking: OpenSystem, tmp_path: Path) -> None:
    """Nobody is kept waiting or made to fail by a reader, and what is read is of one moment."""
    system = booking(Script(fare=lambda service, name: Refused("no money") if name.endswith("3") else None))
    names = [f"trip-{n}" for n in range(60)]

    def read() -> None:
        while len([i for i in journal.instances(tmp_path) if i.state != "open"]) < len(names):
            told = journal.timings(tmp_path)
            for saga in told.sagas:
                assert saga.completed.count == saga.states.get("completed", 0)
                assert saga.compensated.count == saga.states.get("compensated", 0)

    with ThreadPoolExecutor(1) as reader:
        reading = reader.submit(read)
        for handle in [system.submit(BookTrip, Trip(name), key=name) for name in names]:
            handle.result(LONG_S)
        reading.result(LONG_S)
    assert system.status().restarts == 0


def test_reading_changes_nothing(booking: OpenSystem, tmp_path: Path) -> None:
    """Of a journal at rest every byte and its time stay as they were, and the next system opens it."""
    system = booking()
    system.run(BookTrip, Trip("a"), key="a", timeout_s=LONG_S)
    system.stop()
    path = tmp_path / "journal.db"
    before = path.read_bytes(), path.stat().st_mtime_ns
    for where in (tmp_path, path, str(path)):
        journal.progress(where, key="a")
        journal.instances(where)
        journal.timings(where)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert booking().status().completed == 1


def test_the_writer_may_close_the_file_beside_a_reader(booking: OpenSystem, tmp_path: Path) -> None:
    """A system that stops while somebody reads has lost nothing."""
    system = booking()
    system.run(BookTrip, Trip("a"), key="a", timeout_s=LONG_S)
    with reading(tmp_path) as read:
        system.stop()
        assert list(read.counts()) == [("book-trip", "completed", 1)]
    assert [i.state for i in journal.instances(tmp_path)] == ["completed"]
    assert booking().status().completed == 1


def test_what_a_killed_program_left_is_read(booking: OpenSystem, tmp_path: Path) -> None:
    """Its write-ahead log counts, though nobody has moved it into the file."""
    booking().run(BookTrip, Trip("a"), key="a", timeout_s=LONG_S)
    left = tmp_path / "left"
    left.mkdir()
    for name in ("journal.db", "journal.db-wal"):
        (left / name).write_bytes((tmp_path / name).read_bytes())
    assert (left / "journal.db-wal").stat().st_size > 0
    assert [i.state for i in journal.instances(left)] == ["completed"]


def test_no_journal_there(tmp_path: Path) -> None:
    """The message names the file; none is made."""
    with pytest.raises(StorageError, match=r"journal\.db: is not there"):
        journal.instances(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_another_file_is_no_journal(tmp_path: Path) -> None:
    """Whether it is a service's database, another program's, or none at all."""
    other = tmp_path / "other.db"
    apsw.Connection(str(other)).execute("create table t (a)")
    with pytest.raises(StorageError, match=r"other\.db: is no journal; its application id is 0"):
        journal.instances(other)
    text = tmp_path / "notes.txt"
    text.write_text("no database at all, but as long as the head of one would be, and then some more " * 2)
    with pytest.raises(StorageError, match=r"notes\.txt: can't be read"):
        journal.timings(text)


def test_a_newer_journal_is_not_guessed_at(booking: OpenSystem, tmp_path: Path) -> None:
    """It says which version it found."""
    booking().stop()
    db = apsw.Connection(str(tmp_path / "journal.db"))
    db.execute("update amends_versions set version = 99")
    db.close()
    with pytest.raises(StorageError, match="is of version 99"):
        journal.instances(tmp_path)


# Damage.


def change(where: Path, sql: str) -> None:
    """As a flipped bit might."""
    db = apsw.Connection(str(where / "journal.db"))
    db.execute(sql)
    db.close()


def test_a_damaged_history_says_so_and_shows_its_sound_beginning(tmp_path: Path) -> None:
    """Nothing behind the damage is believed."""
    write(tmp_path, "a", [started("a"), (1.0, StepDone("seat", RESULT)), (2.0, StepDone("fare", RESULT))])
    change(tmp_path, "update records set body = replace(body, 'fare', 'fake') where seq = 2")
    told = journal.progress(tmp_path, key="a")
    assert told is not None
    assert told.damage.startswith("instance a, record 2: checksum")
    assert [step.step for step in told.steps] == ["seat"]


def test_an_end_that_is_lost_is_damage(tmp_path: Path) -> None:
    """Checksums can't tell it; the list of instances does."""
    write(tmp_path, "a", [started("a"), (1.0, Decided(FORWARD)), (2.0, Ended(completed=True))])
    change(tmp_path, "delete from records where seq = 2")
    told = journal.progress(tmp_path, key="a")
    assert told is not None
    assert told.damage == "instance a: is listed as completed, its records tell that it is open"


def test_quarantined_is_shown_as_that(booking: OpenSystem, tmp_path: Path) -> None:
    """With what is wrong, after the system itself has found it."""
    gate = Gate()
    system = booking(Script(ticket=gate))
    system.start(BookTrip, Trip("a"), key="a")
    until(lambda: stuck_step(tmp_path, "a", "ticket") is not None)
    system.stop()
    change(tmp_path, "update records set body = replace(body, 'seat', 'seal') where type = 'step_done'")
    second = booking(Script(ticket=gate))
    until(lambda: bool(journal.instances(tmp_path, state="quarantined")))
    second.stop()
    told = journal.progress(tmp_path, key="a")
    assert told is not None
    assert told.state == "quarantined"
    assert "checksum" in told.damage
    assert journal.timings(tmp_path).unreadable == 1


def test_histories_of_plans_that_are_not_at_hand_are_read(tmp_path: Path, booking: OpenSystem) -> None:
    """A class that does not fit, of another version say, is as good as none."""
    write(tmp_path, "a", [started("a"), (1.0, StepDone("a-step-of-old", RESULT))])
    told = journal.progress(tmp_path, key="a", sagas=[BookTrip])
    assert told is not None
    assert [step.step for step in told.steps] == ["a-step-of-old"]
