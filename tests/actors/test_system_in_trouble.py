"""The system when people have to act, handlers fail, and actors or messages are lost."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from amends import (
    AmendsError,
    Compensated,
    Completed,
    Done,
    InputError,
    PlanError,
    Refused,
    Service,
    StorageError,
    System,
)
from amends.actors.tree import OWN_NAMES
from amends.testing.unreliable import unreliable
from tests.actors.conftest import OpenSystem
from tests.actors.patience import Gate, refuse_some, until
from tests.actors.trip import (
    COMPLETED,
    FARE_REFUSED,
    LONG_S,
    BookTrip,
    HastyTrip,
    LossyTrip,
    Script,
    Seats,
    Trip,
    all_or_nothing,
    effects,
    rows_of,
)

NAMES = [f"trip-{n}" for n in range(60)]

# People.


def stuck_trip(booking: OpenSystem, what: str, gate: Callable[..., Any]) -> tuple[System, Any]:
    """A trip that waits, stuck, for a person."""
    system = booking(Script(**{what: gate}))
    handle = system.start(BookTrip, Trip("a"), key="k")
    until(lambda: handle.saga_id in system.status().stuck)
    return system, handle


def test_retry_a_stuck_step(booking: OpenSystem, tmp_path: Path) -> None:
    """A person who has repaired the cause has it tried at once; who and why is journalled."""
    gate = Gate()
    system, handle = stuck_trip(booking, "ticket", gate)
    assert system.status().stuck[handle.saga_id] == {"ticket": "the gate is shut"}
    gate.is_open = True
    system.retry(handle.saga_id, "ticket", by="ann", reason="paper is in")
    assert isinstance(handle.result(LONG_S), Completed)
    assert effects(tmp_path) == COMPLETED
    assert system.status().stuck == {}
    assert intervened(tmp_path) == [("ticket", "retry", "ann", "paper is in")]


def test_supply_the_result_of_a_stuck_step(booking: OpenSystem, tmp_path: Path) -> None:
    """A person has done it by hand, and the saga goes on with that result."""
    system, handle = stuck_trip(booking, "ticket", Gate())
    system.supply(handle.saga_id, "ticket", "handwritten", by="ann", reason="printer is broken")
    outcome = handle.result(LONG_S)
    assert outcome.results.of("ticket", str) == "handwritten"
    assert effects(tmp_path)["tickets"] == []
    assert intervened(tmp_path) == [("ticket", "supply", "ann", "printer is broken")]


def test_skip_a_stuck_step(booking: OpenSystem, tmp_path: Path) -> None:
    """A person says that it is not needed."""
    system, handle = stuck_trip(booking, "ticket", Gate())
    system.skip(handle.saga_id, "ticket", by="ann", reason="she walks")
    assert isinstance(handle.result(LONG_S), Completed)
    assert intervened(tmp_path) == [("ticket", "skip", "ann", "she walks")]


def test_skip_a_stuck_undo(booking: OpenSystem, tmp_path: Path) -> None:
    """An undo that never works is given up by a person, and the trip ends compensated."""
    script = Script(fare=lambda service, name: Refused("no money"))
    script.acts["free seat"] = Gate()
    system = booking(script)
    handle = system.start(BookTrip, Trip("a"))
    until(lambda: handle.saga_id in system.status().stuck)
    system.skip(handle.saga_id, "seat", by="ann", reason="the train has left")
    assert handle.result(LONG_S) == Compensated("fare", "no money")


def test_acts_that_do_not_fit(booking: OpenSystem) -> None:
    """What can't be acted on is refused with a reason."""
    gate = Gate()
    system, handle = stuck_trip(booking, "ticket", gate)
    with pytest.raises(AmendsError, match="step 'seat' is done and not stuck"):
        system.retry(handle.saga_id, "seat", by="ann", reason="")
    with pytest.raises(AmendsError, match="wanted one of"):
        system.skip(handle.saga_id, "hotel", by="ann", reason="")
    with pytest.raises(AmendsError, match="is not open"):
        system.skip("no-such-id", "ticket", by="ann", reason="")  # type: ignore[arg-type]
    gate.is_open = True
    handle.result(LONG_S)


def test_act_survives_a_restart(booking: OpenSystem, tmp_path: Path) -> None:
    """What a person did is on disk when the call returns."""
    system, handle = stuck_trip(booking, "ticket", Gate())
    system.supply(handle.saga_id, "ticket", "handwritten", by="ann", reason="printer")
    system.stop()
    outcome = booking().run(BookTrip, Trip("a"), key="k", timeout_s=LONG_S)
    assert isinstance(outcome, Completed)
    assert outcome.results.of("ticket", str) == "handwritten"


def intervened(folder: Path) -> list[tuple[str, str, str, str]]:
    """Who did what, as the journal tells it."""
    found = rows_of(folder / "journal.db", "select body from records where type = 'intervened'")
    bodies = [msgspec.json.decode(body) for (body,) in found]
    return [(b["step"], b["action"], b["by"], b["reason"]) for b in bodies]


# Handlers that fail.


@pytest.mark.parametrize(
    "act",
    [
        lambda service, name: 1 / 0,
        lambda service, name: "yes",
        lambda service, name: Done(["no", "number"]),
        lambda service, name: service.db.execute("insert into nowhere values (1)"),
        lambda service, name: (
            service.db.execute("insert into effects (what, name) values ('half', ?)", (name,)) and "half"
        ),
    ],
)
def test_handler_that_fails_always(booking: OpenSystem, tmp_path: Path, act: Callable[..., Any]) -> None:
    """It is retried, then counts as unknown and is resolved: never; the trip is undone, and nothing half done stays."""
    system = booking(Script(fare=act))
    outcome = system.run(HastyTrip, Trip("a"), timeout_s=LONG_S)
    assert isinstance(outcome, Compensated)
    assert outcome.step == "fare"
    assert effects(tmp_path) == FARE_REFUSED


def test_handler_that_fails_once(booking: OpenSystem, tmp_path: Path) -> None:
    """One that works the next time is done once."""
    fails = iter([1 / 1, 1 / 2])
    system = booking(Script(fare=lambda service, name: 1 / 0 if next(fails, None) else None))
    assert isinstance(system.run(BookTrip, Trip("a"), timeout_s=LONG_S), Completed)
    assert effects(tmp_path) == COMPLETED


def test_handler_that_leaves_by_another_door(booking: OpenSystem, tmp_path: Path) -> None:
    """What is no Exception ends this incarnation of the service and nothing else."""
    exits = iter(range(2))

    def leave(service: object, name: str) -> None:
        if next(exits, None) is not None:
            raise SystemExit(3)

    system = booking(Script(fare=leave))
    assert isinstance(system.run(BookTrip, Trip("a"), timeout_s=LONG_S), Completed)
    assert system.status().restarts == 2
    assert effects(tmp_path) == COMPLETED


def test_handler_that_hangs(booking: OpenSystem, tmp_path: Path) -> None:
    """Its thread is given up after its timeout, the service starts again without it, and others are served."""
    release = threading.Event()
    hangs = iter([True])

    def hang(service: object, name: str) -> None:
        if name == "a" and next(hangs, False):
            release.wait()

    system = booking(Script(fare=hang))
    try:
        slow, other = (system.start(LossyTrip, Trip(name), key=name) for name in "ab")
        assert isinstance(other.result(LONG_S), Completed)
        assert isinstance(slow.result(LONG_S), Completed)
        assert system.status().stuck_turns == 1
    finally:
        release.set()
    assert effects(tmp_path, "a") == effects(tmp_path, "b") == COMPLETED


def test_handler_that_hangs_in_sql(booking: OpenSystem, tmp_path: Path) -> None:
    """A statement without end is interrupted, and its transaction does not keep the next incarnation from writing."""
    hangs = iter([True])
    endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n"

    def hang(service: Any, name: str) -> None:
        if next(hangs, False):
            service.db.execute("insert into effects (what, name) values ('half', ?)", (name,))
            service.db.execute(endless).fetchall()

    system = booking(Script(fare=hang))
    assert isinstance(system.run(LossyTrip, Trip("a"), timeout_s=LONG_S), Completed)
    assert effects(tmp_path) == COMPLETED


def test_handler_that_always_hangs(booking: OpenSystem, tmp_path: Path) -> None:
    """Each time its message is a dead letter, and the saga sends another one; in the end the trip is undone."""
    release = threading.Event()
    system = booking(Script(fare=lambda service, name: release.wait() and None))
    try:
        handle = system.start(HastyTrip, Trip("a"))
        until(lambda: any(letter.address == "fares" for letter in system.dead_letters()))
        assert isinstance(handle.result(LONG_S), Compensated)
    finally:
        release.set()
    assert effects(tmp_path)["fares"] == []


def test_one_that_always_hangs_beside_others(booking: OpenSystem, tmp_path: Path) -> None:
    """It hangs once for each time that its saga asks, and whoever came meanwhile is served before it hangs again."""
    release = threading.Event()
    served: list[str] = []

    def hang(service: object, name: str) -> None:
        served.append(name)
        if name == "bad":
            release.wait()

    system = booking(Script(fare=hang))
    try:
        bad = system.start(HastyTrip, Trip("bad"))
        until(lambda: "bad" in served)
        others = [system.start(BookTrip, Trip(f"good {number}")) for number in range(5)]
        assert all(isinstance(other.result(LONG_S), Completed) for other in others)
        assert isinstance(bad.result(LONG_S), Compensated)
    finally:
        release.set()
    until(lambda: system.status().stuck_turns == served.count("bad"))
    assert 0 < served.count("bad") <= HastyTrip.plan.steps["fare"].retry.attempts
    assert all(served.count(f"good {number}") == 1 for number in range(5))


def test_undo_that_fails_for_a_while(booking: OpenSystem, tmp_path: Path) -> None:
    """An undo is tried until it works, and done once."""
    fails = iter(range(5))
    script = Script(fare=lambda service, name: Refused("no money"))
    script.acts["free seat"] = lambda service, name: 1 / 0 if next(fails, None) is not None else None
    system = booking(script)
    assert isinstance(system.run(BookTrip, Trip("a"), timeout_s=LONG_S), Compensated)
    assert effects(tmp_path) == FARE_REFUSED


# Killed actors, lost messages.


@pytest.mark.parametrize("victim", ["seats", "journal", "coordinator", "timers", "dead-letters", "a saga"])
def test_killed_actors(booking: OpenSystem, tmp_path: Path, victim: str) -> None:
    """Whoever is killed in the middle of the work, every trip ends, each effect once, and every caller hears."""
    system = booking(Script(fare=refuse_some))
    handles = []
    for number, name in enumerate(NAMES):
        handles.append(system.submit(BookTrip, Trip(name), key=name))
        if number % 20 == 15:
            system.kill(handles[-3].saga_id if victim == "a saga" else victim)
    outcomes = [handle.result(LONG_S) for handle in handles]
    assert [isinstance(o, Compensated) for o in outcomes] == [n % 3 == 0 for n in range(len(NAMES))]
    assert all_or_nothing(tmp_path, NAMES) == []


@pytest.mark.parametrize("victim", ["journal", "coordinator"])
def test_killed_actors_and_starts_without_a_key(booking: OpenSystem, tmp_path: Path, victim: str) -> None:
    """A start that its caller can't repeat is made once all the same."""
    system = booking()
    handles = []
    for number, name in enumerate(NAMES):
        handles.append(system.submit(BookTrip, Trip(name)))
        if number % 20 == 15:
            system.kill(victim)
    for handle in handles:
        handle.result(LONG_S)
    system.drain(LONG_S)
    assert [name for name in NAMES if effects(tmp_path, name) != COMPLETED] == []
    assert rows_of(tmp_path / "journal.db", "select count(*) from instances") == [(len(NAMES),)]


@pytest.mark.parametrize("victim", ["journal", "coordinator"])
def test_killed_actors_while_callers_wait(booking: OpenSystem, victim: str) -> None:
    """Whoever waits for the end of all, or an answer to a cancel or an act, gets one, be it that nothing is known."""
    gate = Gate()
    system = booking(Script(ticket=gate))
    handles = [system.start(BookTrip, Trip(name)) for name in NAMES[:20]]

    def ask(number: int) -> object:
        try:
            handle = handles[number]
            if number % 2:
                return handle.cancel()
            system.skip(handle.saga_id, "ticket", by="ann", reason="")
        except AmendsError as error:
            return error
        return None

    with ThreadPoolExecutor(22) as threads:
        idle = [threads.submit(wait) for wait in (system.drain, system.wait_until_idle)]
        asked = [threads.submit(ask, number) for number in range(20)]
        for _ in range(3):
            system.kill(victim)
        for answer in asked:
            answer.result(LONG_S)
        gate.is_open = True
        for wait in idle:
            wait.result(LONG_S)
    assert all(handle.done() for handle in handles)


def test_count_of_the_ended_outlives_the_coordinator(booking: OpenSystem) -> None:
    """`status` counts what ended, whoever counted it first."""
    system = booking(Script(fare=refuse_some))
    for name in NAMES[:9]:
        system.run(BookTrip, Trip(name), timeout_s=LONG_S)
    system.kill("coordinator")
    until(lambda: system.status().restarts > 0)
    status = system.status()
    assert (status.completed, status.compensated) == (6, 3)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_messages_lost_doubled_and_delayed(booking: OpenSystem, tmp_path: Path, seed: int) -> None:
    """On a bad network every trip ends and each effect happens once."""
    network = unreliable(seed=seed, lost=0.15, doubled=0.2, delayed=0.3, delay_s=0.1)
    system = booking(Script(fare=refuse_some), transport=network)
    handles = [system.submit(LossyTrip, Trip(name), key=name) for name in NAMES]
    for handle in handles:
        handle.result(LONG_S)
    assert all_or_nothing(tmp_path, NAMES) == [], f"seed {seed}"


def test_service_database_that_is_not_ours(booking: OpenSystem, tmp_path: Path) -> None:
    """The system does not open; the error names the file, and nothing in it is changed."""
    (tmp_path / "fares.db").write_bytes(b"dear diary, " * 500)
    with pytest.raises(StorageError, match=r"fares\.db: is no SQLite database"):
        booking()
    assert (tmp_path / "fares.db").read_bytes() == b"dear diary, " * 500


@pytest.mark.parametrize("name", OWN_NAMES)
def test_service_with_the_name_of_a_systems_own_actor(tmp_path: Path, name: str) -> None:
    """It would take that actor's address, and the journal its file."""

    class Usurper(Service, name=name):
        """Wants to be somebody else."""

    with pytest.raises(PlanError, match=repr(name)):
        System(tmp_path, sagas=[], services=[Usurper])


def test_poisoned_instance_harms_no_other(booking: OpenSystem, tmp_path: Path) -> None:
    """An instance whose actor always fails is stuck, and the others run."""
    gate = Gate()
    system = booking(Script(ticket=lambda service, name: gate(service, name) if name == "poisoned" else None))
    poisoned = system.start(BookTrip, Trip("poisoned"))
    until(lambda: system.status().retries > 0)

    def kill_it() -> bool:
        system.kill(poisoned.saga_id)
        return poisoned.saga_id in system.status().stuck

    until(kill_it)
    assert isinstance(system.run(BookTrip, Trip("b"), timeout_s=LONG_S), Completed)


def test_services_that_no_other_node_could_reach_are_refused(tmp_path: Path) -> None:
    """Whoever adopted an instance would do its steps once more, in a folder of its own."""
    with pytest.raises(PlanError, match=r"node 'a'.*folder that only it has"):
        System(tmp_path, sagas=[], services=[Seats.spec(Script())], journal="postgresql://localhost/x", node="a")


def test_lease_that_nobody_could_keep_is_refused(tmp_path: Path) -> None:
    """The error names the field and what was found."""
    with pytest.raises(InputError, match=r"lease_s.*0\.1"):
        System(tmp_path, sagas=[], services=[], lease_s=0.1)


def test_node_whose_name_is_none_is_refused(tmp_path: Path) -> None:
    """The error names the field and what was found."""
    with pytest.raises(InputError, match=r"node.*'a\\nb'"):
        System(tmp_path, sagas=[], services=[], node="a\nb")
