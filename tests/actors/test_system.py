"""The system as its callers see it, with faults of every kind, on real files and threads."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from amends import (
    CancelAnswer,
    Compensated,
    Completed,
    Done,
    InputError,
    KeyConflict,
    Overloaded,
    PlanError,
    Refused,
    Results,
    Saga,
    Service,
    System,
    SystemStopped,
    handles,
    retriable,
    step,
)
from tests.actors.conftest import OpenSystem
from tests.actors.patience import Gate, refuse_some, until
from tests.actors.trip import (
    COMPLETED,
    FARE_REFUSED,
    LONG_S,
    BookTrip,
    Fares,
    LossyTrip,
    PrintTicket,
    Script,
    Seats,
    TakeSeat,
    Tickets,
    Trip,
    all_or_nothing,
    effects,
    rows_of,
)

NAMES = [f"trip-{n}" for n in range(60)]

# Callers.


def test_saga_completes(booking: OpenSystem, tmp_path: Path) -> None:
    """Every step happens once and the results are there to read."""
    outcome = booking().run(BookTrip, Trip("a"), timeout_s=LONG_S)
    assert isinstance(outcome, Completed)
    assert outcome.results.of("ticket", str) == "ticket of a"
    assert effects(tmp_path) == COMPLETED


def test_refusal_undoes_what_was_done(booking: OpenSystem, tmp_path: Path) -> None:
    """A business no ends compensated, with the step and the reason."""
    system = booking(Script(fare=lambda service, name: Refused("no money")))
    assert system.run(BookTrip, Trip("a"), timeout_s=LONG_S) == Compensated("fare", "no money")
    assert effects(tmp_path) == FARE_REFUSED


def test_many_threads(booking: OpenSystem, tmp_path: Path) -> None:
    """Callers in many threads each get the outcome of their own trip."""
    system = booking(Script(fare=refuse_some))
    with ThreadPoolExecutor(8) as threads:
        outcomes = list(
            threads.map(
                lambda name: system.run(BookTrip, Trip(name), key=name, timeout_s=LONG_S), NAMES, timeout=LONG_S
            )
        )
    assert [isinstance(o, Compensated) for o in outcomes] == [n % 3 == 0 for n in range(len(NAMES))]
    assert all_or_nothing(tmp_path, NAMES) == []


def test_many_asyncio_callers(booking: OpenSystem) -> None:
    """Many handles are awaited at once in one loop, which goes on turning meanwhile."""
    system = booking(Script(fare=refuse_some))

    async def main() -> list[Any]:
        return await asyncio.gather(*(system.submit(BookTrip, Trip(name), key=name) for name in NAMES))

    outcomes = asyncio.run(asyncio.wait_for(main(), LONG_S))
    assert sum(isinstance(o, Completed) for o in outcomes) == 40


def test_await_raises_what_kept_it_from_starting(booking: OpenSystem) -> None:
    """`await handle` raises KeyConflict as `start` does."""
    system = booking()
    system.start(BookTrip, Trip("a"), key="k")

    async def main() -> object:
        return await system.submit(BookTrip, Trip("b"), key="k")

    with pytest.raises(KeyConflict):
        asyncio.run(main())


def test_cancelled_task_leaves_the_saga_alone(booking: OpenSystem, tmp_path: Path) -> None:
    """Who stops waiting has not cancelled the trip, and can wait for it again."""
    gate = Gate()
    system = booking(Script(ticket=gate))
    handle = system.start(BookTrip, Trip("a"))

    async def main() -> Any:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(handle, 0.05)
        gate.is_open = True
        return await asyncio.wait_for(handle, LONG_S)

    assert isinstance(asyncio.run(main()), Completed)
    assert effects(tmp_path) == COMPLETED


def test_loop_that_is_gone_hears_nothing(booking: OpenSystem, caplog: pytest.LogCaptureFixture) -> None:
    """An outcome that comes after its loop was closed disturbs nobody."""
    gate = Gate()
    system = booking(Script(ticket=gate))
    handle = system.start(BookTrip, Trip("a"))

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(handle, 0.01)

    asyncio.run(main())
    gate.is_open = True
    handle.result(LONG_S)
    system.stop()
    assert [r for r in caplog.records if r.name != "amends"] == []


def test_result_timeout_changes_nothing(booking: OpenSystem) -> None:
    """A caller that gave up waiting may wait again."""
    gate = Gate()
    handle = booking(Script(ticket=gate)).start(BookTrip, Trip("a"))
    with pytest.raises(TimeoutError):
        handle.result(0.01)
    assert not handle.done()
    gate.is_open = True
    assert isinstance(handle.result(LONG_S), Completed)


def test_callback_that_raises_hurts_nobody(booking: OpenSystem) -> None:
    """A caller's broken callback keeps neither its own trip nor another from ending."""
    system = booking()
    handle = system.submit(BookTrip, Trip("a"))
    handle.add_done_callback(lambda future: 1 / 0)
    assert isinstance(handle.result(LONG_S), Completed)
    assert isinstance(system.run(BookTrip, Trip("b"), timeout_s=LONG_S), Completed)


# Keys.


def test_same_key_at_once_is_one_instance(booking: OpenSystem, tmp_path: Path) -> None:
    """However many ask at once, the trip happens once and all hear of it."""
    system = booking()
    with ThreadPoolExecutor(16) as threads:
        handles = list(threads.map(lambda _: system.start(BookTrip, Trip("a"), key="k"), range(64), timeout=LONG_S))
    assert len({handle.saga_id for handle in handles}) == 1
    assert all(isinstance(handle.result(LONG_S), Completed) for handle in handles)
    assert effects(tmp_path) == COMPLETED


def test_same_key_after_the_end(booking: OpenSystem, tmp_path: Path) -> None:
    """Asking again gives the outcome that is known, from the journal."""
    system = booking(Script(fare=lambda service, name: Refused("no money")))
    first = system.run(BookTrip, Trip("a"), key="k", timeout_s=LONG_S)
    assert system.run(BookTrip, Trip("a"), key="k", timeout_s=LONG_S) == first
    assert effects(tmp_path) == FARE_REFUSED


def test_same_key_after_a_restart(booking: OpenSystem, tmp_path: Path) -> None:
    """The key outlives the process, for trips that ended and for those that have not."""
    gate = Gate()
    system = booking(Script(ticket=lambda service, name: gate(service, name) if name == "open" else None))
    system.run(BookTrip, Trip("ended"), key="ended", timeout_s=LONG_S)
    open_id = system.start(BookTrip, Trip("open"), key="open").saga_id
    until(lambda: system.status().retries > 0)
    system.stop()
    system = booking()
    assert isinstance(system.run(BookTrip, Trip("ended"), key="ended", timeout_s=LONG_S), Completed)
    again = system.start(BookTrip, Trip("open"), key="open")
    assert again.saga_id == open_id
    assert isinstance(again.result(LONG_S), Completed)
    assert effects(tmp_path, "ended") == effects(tmp_path, "open") == COMPLETED


def test_same_key_with_another_input(booking: OpenSystem) -> None:
    """It is an error that names key and instance, whether the first one has ended or not."""
    system = booking()
    first = system.start(BookTrip, Trip("a"), key="k")
    with pytest.raises(KeyConflict) as conflict:
        system.start(BookTrip, Trip("b"), key="k")
    assert (conflict.value.key, conflict.value.saga_id) == ("k", first.saga_id)
    first.result(LONG_S)
    with pytest.raises(KeyConflict):
        system.start(BookTrip, Trip("b"), key="k")


# Admission and bad input.


def test_overloaded_at_the_limit(booking: OpenSystem) -> None:
    """One more than the limit is refused, and taken once another has ended."""
    gate = Gate()
    system = booking(Script(ticket=gate), max_open=3)
    handles = [system.start(BookTrip, Trip(name)) for name in "abc"]
    with pytest.raises(Overloaded) as refused:
        system.start(BookTrip, Trip("d"))
    assert (refused.value.open_instances, refused.value.limit) == (3, 3)
    gate.is_open = True
    for handle in handles:
        handle.result(LONG_S)
    assert isinstance(system.run(BookTrip, Trip("d"), timeout_s=LONG_S), Completed)


@pytest.mark.parametrize(
    ("value", "path"),
    [(Trip("a", seats="many"), "$.seats"), (Trip(7), "$.name"), ("a", "$")],  # type: ignore[arg-type]
)
def test_input_that_does_not_fit(booking: OpenSystem, tmp_path: Path, value: object, path: str) -> None:
    """The error has the field's path, and nothing is journalled."""
    system = booking()
    with pytest.raises(InputError) as refused:
        system.start(BookTrip, value)
    assert refused.value.path == path
    assert path in str(refused.value)
    system.stop()
    assert rows_of(tmp_path / "journal.db", "select * from instances") == []


def test_services_that_do_not_fit(tmp_path: Path) -> None:
    """A system can't be built on services that lack a step's, and no file is made."""
    with pytest.raises(PlanError, match=r"step 'ticket'.*unknown service 'tickets'"):
        System(tmp_path / "new", sagas=[BookTrip], services=[Seats.spec(Script()), Fares.spec(Script())])
    assert not (tmp_path / "new").exists()


def test_service_that_can_not_undo(tmp_path: Path) -> None:
    """A step before the decision needs an undo; the error names it."""

    class Hard(Service, name="seats"):
        @handles(TakeSeat)
        def take(self, command: TakeSeat) -> Done[str]:
            return Done("")

    with pytest.raises(PlanError, match=r"step 'seat'.*can't undo TakeSeat"):
        System(tmp_path, sagas=[BookTrip], services=[Hard, Fares.spec(Script()), Tickets.spec(Script())])


def test_saga_of_another_system(booking: OpenSystem) -> None:
    """A plan the system does not run is refused by name."""

    class Other(Saga, name="other"):
        input: Trip

        @retriable(to="tickets")
        def ticket(self, trip: Trip, done: Results) -> PrintTicket:
            return PrintTicket(trip.name)

    with pytest.raises(PlanError, match="'other' version 1"):
        booking().start(Other, Trip("a"))


def test_step_whose_method_raises_at_once(booking: OpenSystem, tmp_path: Path) -> None:
    """An instance that can't even begin ends compensated, and its caller hears of it."""

    class Broken(Saga, name="broken"):
        input: Trip

        @step(to="seats")
        def seat(self, trip: Trip, done: Results) -> TakeSeat:
            raise ZeroDivisionError

    system = System(tmp_path, sagas=[Broken], services=[Seats.spec(Script())])
    with system:
        outcome = system.run(Broken, Trip("a"), timeout_s=5)
        assert isinstance(outcome, Compensated)
        assert outcome.step == "seat"
        assert system.status().open == 0


def test_command_that_can_not_be_encoded(tmp_path: Path) -> None:
    """A step's method that builds what is no command is a plan's fault: that instance alone is stopped and shown."""

    class Odd(Saga, name="odd"):
        input: Trip

        @step(to="seats")
        def seat(self, trip: Trip, done: Results) -> TakeSeat:
            return TakeSeat(object()) if trip.name == "odd" else TakeSeat(trip.name)  # type: ignore[arg-type]

    with System(tmp_path, sagas=[Odd], services=[Seats.spec(Script())]) as system:
        odd = system.start(Odd, Trip("odd"))
        assert isinstance(system.run(Odd, Trip("a"), timeout_s=LONG_S), Completed)
        until(lambda: odd.done() or odd.saga_id in system.status().stuck)


# Cancel, drain, stop.


def test_cancel_before_the_decision(booking: OpenSystem, tmp_path: Path) -> None:
    """ACCEPTED is a promise: it ends compensated."""
    handle = booking(Script(fare=Gate())).start(LossyTrip, Trip("a"))
    assert handle.cancel(LONG_S) is CancelAnswer.ACCEPTED
    assert handle.result(LONG_S) == Compensated(None, "cancelled by the caller")
    assert effects(tmp_path) == FARE_REFUSED


def test_cancel_after_the_decision(booking: OpenSystem) -> None:
    """Nothing turns a decided trip round."""
    gate = Gate()
    system = booking(Script(ticket=gate))
    handle = system.start(BookTrip, Trip("a"))
    until(lambda: system.status().retries > 0)
    assert handle.cancel(LONG_S) is CancelAnswer.TOO_LATE
    gate.is_open = True
    assert isinstance(handle.result(LONG_S), Completed)


def test_cancel_after_the_end(booking: OpenSystem) -> None:
    """An instance that is over is said to be."""
    handle = booking().start(BookTrip, Trip("a"))
    handle.result(LONG_S)
    assert handle.cancel(LONG_S) is CancelAnswer.ALREADY_ENDED


def test_drain(booking: OpenSystem) -> None:
    """Nothing new is taken, and it returns when nothing is open."""
    gate = Gate()
    system = booking(Script(ticket=gate))
    handle = system.start(BookTrip, Trip("a"))
    with pytest.raises(TimeoutError):
        system.drain(0.01)
    with pytest.raises(SystemStopped):
        system.start(BookTrip, Trip("b"))
    gate.is_open = True
    system.drain(LONG_S)
    assert handle.done()


def test_wait_until_idle(booking: OpenSystem) -> None:
    """It returns when nothing is open, what an earlier system left among it, and takes new instances all the while."""
    gate = Gate()
    system = booking(Script(ticket=gate))
    system.wait_until_idle(LONG_S)
    system.start(BookTrip, Trip("a"))
    system.stop()
    system = booking(Script(ticket=gate))
    with pytest.raises(TimeoutError):
        system.wait_until_idle(0.01)
    later = system.start(BookTrip, Trip("b"))
    gate.is_open = True
    system.wait_until_idle(LONG_S)
    assert later.done()
    assert system.status().completed == 2


def test_stop_with_open_instances(booking: OpenSystem, tmp_path: Path) -> None:
    """Who waits is told, nothing is lost, and the next start ends them all."""
    gate = Gate()
    system = booking(Script(ticket=gate))
    waiting = [system.start(BookTrip, Trip(name), key=name) for name in NAMES]
    system.stop()
    for handle in waiting:
        with pytest.raises(SystemStopped):
            handle.result(LONG_S)
    system = booking()
    system.drain(LONG_S)
    assert all_or_nothing(tmp_path, NAMES) == []


def test_stop_while_others_start(booking: OpenSystem, tmp_path: Path) -> None:
    """Whoever is in `start` when the system stops gets an answer, and none waits for ever."""
    system = booking()
    begun = threading.Barrier(9)

    def start_many(number: int) -> list[str]:
        begun.wait(LONG_S)
        accepted: list[str] = []
        for n in range(10_000):
            try:
                system.start(BookTrip, Trip(f"t-{number}-{n}"), key=f"t-{number}-{n}")
            except SystemStopped:
                return accepted
            accepted.append(f"t-{number}-{n}")
        return accepted

    with ThreadPoolExecutor(8) as threads:
        futures = [threads.submit(start_many, n) for n in range(8)]
        begun.wait(LONG_S)
        until(lambda: system.status().open > 20)
        system.stop()
        accepted = [name for future in futures for name in future.result(LONG_S)]
    known = {key for (key,) in rows_of(tmp_path / "journal.db", "select key from instances")}
    assert set(accepted) <= known


def test_everything_asked_of_a_stopped_system(booking: OpenSystem) -> None:
    """A stopped system says so, and can be opened again."""
    system = booking()
    system.stop()
    for ask in (
        lambda: system.start(BookTrip, Trip("a")),
        lambda: system.find(BookTrip, "a"),
        system.status,
        system.drain,
        system.wait_until_idle,
        system.dead_letters,
    ):
        with pytest.raises(SystemStopped):
            ask()
    with system:
        assert isinstance(system.run(BookTrip, Trip("a"), timeout_s=LONG_S), Completed)


def test_a_service_that_can_not_be_made(tmp_path: Path) -> None:
    """Forgotten constructor arguments are told when the system is built, with how to give them."""
    with pytest.raises(PlanError, match=r"services: 'seats' can't be made: .*'script'; .* Seats.spec\(...\)"):
        System(tmp_path, sagas=[BookTrip], services=[Seats, Fares.spec(Script()), Tickets.spec(Script())])
