"""`SimulatedSystem` as a user's test sees it: it behaves as `System` does, and nothing in it is chance."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from amends import (
    CancelAnswer,
    Compensated,
    Completed,
    Done,
    IdempotencyKey,
    InputError,
    KeyConflict,
    Results,
    Retry,
    Saga,
    Service,
    SystemStopped,
    handles,
    step,
    undoes,
    verifies,
)
from amends.protocol.errors import AmendsError
from amends.testing import FaultPlan, Schedule, SimulatedSystem, Stalled
from tests.actors.trip import BookTrip, PrintTicket, Seats, TakeFare, TakeSeat, Trip
from tests.testing.conftest import ANN, Make

# Callers.


def test_start_and_result(system: SimulatedSystem) -> None:
    """A start is accepted when it is on disk, and its result is told when everything is done, in order."""
    handle = system.start(BookTrip, ANN, key="ann")
    assert handle.was_accepted
    assert system.effects(handle) == []
    assert handle.result() == Completed(Results("", {}))
    assert system.effects(handle) == ["seats.take", "fares.take", "tickets.print"]


def test_awaited(system: SimulatedSystem) -> None:
    """A handle may be awaited as one of a real system, and the world goes on meanwhile."""

    async def wait() -> object:
        return await system.submit(BookTrip, ANN, key="ann")

    assert asyncio.run(wait()) == Completed(Results("", {}))


def test_same_key_is_the_same_instance(system: SimulatedSystem) -> None:
    """A key started again, while it runs or after, gives the same instance and no second effect."""
    first, second = system.start(BookTrip, ANN, key="ann"), system.start(BookTrip, ANN, key="ann")
    assert first.result() == second.result() == system.run(BookTrip, ANN, key="ann")
    assert first.saga_id == second.saga_id
    assert system.effects() == ["seats.take", "fares.take", "tickets.print"]


def test_same_key_with_another_input(system: SimulatedSystem) -> None:
    """A key belongs to its input."""
    system.run(BookTrip, ANN, key="ann")
    with pytest.raises(KeyConflict, match="key 'ann'"):
        system.start(BookTrip, Trip("bob"), key="ann")


def test_effects_of_one_and_of_all(system: SimulatedSystem) -> None:
    """With a handle its own effects, without one everybody's, in the order in which they happened."""
    ann = system.start(BookTrip, ANN, key="ann")
    ann.result()
    system.service("seats").refuses(TakeSeat)
    bob = system.start(BookTrip, Trip("bob"), key="bob")
    bob.result()
    assert system.effects(bob) == []
    assert system.effects() == system.effects(ann) == ["seats.take", "fares.take", "tickets.print"]


def test_cancel_before_the_decision(system: SimulatedSystem) -> None:
    """An undecided instance is undone, and whoever cancelled was promised so."""
    system.service("fares").unavailable(TakeFare)
    handle = system.start(BookTrip, ANN, key="ann")
    assert handle.cancel() is CancelAnswer.ACCEPTED
    assert handle.result() == Compensated(None, "cancelled by the caller")
    assert system.effects(handle) in ([], ["seats.take", "seats.free"])


def test_cancel_after_the_end(system: SimulatedSystem) -> None:
    """What has ended stays."""
    handle = system.start(BookTrip, ANN, key="ann")
    handle.result()
    assert handle.cancel() is CancelAnswer.ALREADY_ENDED
    assert system.effects(handle) == ["seats.take", "fares.take", "tickets.print"]


# Services that go wrong.


def test_a_refusal_undoes_what_was_done(system: SimulatedSystem) -> None:
    """A service that refuses is told with its reason, and the steps before it are undone."""
    system.service("fares").refuses(TakeFare, reason="no money")
    handle = system.start(BookTrip, ANN, key="ann")
    assert handle.result() == Compensated("fare", "no money")
    assert system.effects(handle) == ["seats.take", "seats.free"]


def test_unavailable_for_a_while(system: SimulatedSystem) -> None:
    """`times` is how often; then the handler does its work."""
    system.service("fares").unavailable(TakeFare, reason="closed", times=2)
    assert system.run(BookTrip, ANN, key="ann") == Completed(Results("", {}))
    assert system.trace.count("unavailable, closed") == 2


@pytest.mark.parametrize("after", [False, True])
def test_raises(system: SimulatedSystem, after: bool) -> None:
    """A handler that raises, before its work or after it, has done nothing, and is asked again.

    After its work it is run twice in one turn, the second time with what it writes kept apart.
    """
    system.service("seats").raises(TakeSeat, after=after, times=2 if after else 1)
    handle = system.start(BookTrip, ANN, key="ann")
    assert handle.result() == Completed(Results("", {}))
    assert system.effects(handle) == ["seats.take", "fares.take", "tickets.print"]
    assert system.query("seats", "select count(*) from effects") == [(1,)]
    assert "do seat, attempt 1: unavailable, the handler raised Simulated" in system.trace


def test_hangs(system: SimulatedSystem) -> None:
    """A handler that hangs is given up after its service's time, and the service goes on without it."""
    system.service("seats").hangs(TakeSeat)
    assert system.run(BookTrip, ANN, key="ann") == Completed(Results("", {}))
    assert system.now_s >= Seats.handler_timeout_s
    assert "+ seats, incarnation 2" in system.trace


def test_an_undo_goes_wrong(system: SimulatedSystem) -> None:
    """With `undo` it is the undo that is hit, and not the handler."""
    system.service("seats").raises(TakeSeat, undo=True, times=1)
    system.service("fares").refuses(TakeFare)
    handle = system.start(BookTrip, ANN, key="ann")
    assert handle.result() == Compensated("fare", "refused")
    assert system.effects(handle) == ["seats.take", "seats.free"]
    assert "undo seat, attempt 2: undone" in system.trace


def test_recovers(system: SimulatedSystem) -> None:
    """From then on nothing of what was said holds."""
    system.service("seats").refuses(TakeSeat)
    assert system.run(BookTrip, ANN, key="ann") == Compensated("seat", "refused")
    system.service("seats").recovers()
    assert system.run(BookTrip, ANN, key="again") == Completed(Results("", {}))


@pytest.mark.parametrize(
    ("say", "told"),
    [
        (lambda system: system.service("seat"), r"service is 'seat', wanted one of \['fares', 'seats', 'tickets'\]"),
        (
            lambda system: system.service("seats").refuses(TakeFare),
            r"service 'seats': command is TakeFare, wanted one of \['TakeSeat'\]",
        ),
    ],
)
def test_names_that_are_wrong(system: SimulatedSystem, say: Callable[[SimulatedSystem], Any], told: str) -> None:
    """A service or command that is not there is told at once, with those that are."""
    with pytest.raises(AmendsError, match=told):
        say(system)


# Crashes.


@pytest.mark.parametrize("on_files", [False, True])
def test_a_crash_loses_what_was_not_committed(make: Make, tmp_path: Path, on_files: bool) -> None:
    """After a restart an instance goes on from what is on disk, in memory as on real SQLite files."""
    system = make(folder=tmp_path if on_files else None)
    system.service("fares").unavailable(TakeFare)
    handle = system.start(BookTrip, ANN, key="ann")
    system.run_until(lambda: "seats.take" in system.effects())
    system.crash()
    with pytest.raises(SystemStopped):
        handle.result()
    system.service("fares").recovers()
    system.restart()
    assert system.run(BookTrip, ANN, key="ann") == Completed(Results("", {}))
    assert system.effects() == ["seats.take", "fares.take", "tickets.print"]
    assert (tmp_path / "seats.db").exists() is on_files


def test_nobody_is_served_while_it_is_down(system: SimulatedSystem) -> None:
    """Between crash and restart a caller is told that there is nobody."""
    system.crash()
    with pytest.raises(SystemStopped, match="not open"):
        system.start(BookTrip, ANN, key="ann")


def test_what_is_on_its_way_waits_for_the_next_process(make: Make) -> None:
    """A message that arrives while nobody runs is not lost, and nothing is done before somebody does."""
    system = make(schedule=Schedule({"ann > seats: do seat #1": "late 2"}))
    system.start(BookTrip, ANN, key="ann")
    system.advance(1.0)
    system.crash()
    system.advance(5.0)
    assert system.effects() == []
    system.restart()
    assert system.run(BookTrip, ANN, key="ann") == Completed(Results("", {}))
    assert system.trace.count("seats > ann: do seat, attempt 1: done") == 2  # the one that waited, and the new one
    assert system.effects() == ["seats.take", "fares.take", "tickets.print"]


@pytest.mark.parametrize(("fate", "effects"), [("crash before", 0), ("crash after", 1)])
def test_a_commit_is_there_in_full_or_not_at_all(make: Make, fate: str, effects: int) -> None:
    """What a commit was to write is lost if the process dies before it, and stays if right after; then it restarts."""
    system = make(schedule=Schedule({"commit of seats #1": fate}))
    system.submit(BookTrip, ANN, key="ann")
    system.run_until(lambda: "# the process is gone" in system.trace)
    assert system.query("seats", "select count(*) from effects") == [(effects,)]
    system.run_until_quiet()
    assert system.run(BookTrip, ANN, key="ann") == Completed(Results("", {}))
    assert system.query("seats", "select count(*) from effects") == [(1,)]


# Time.


def test_advance_lets_time_pass(system: SimulatedSystem) -> None:
    """Just so much time passes, with all that is due in it and nothing beyond."""
    system.service("tickets").unavailable(PrintTicket)
    system.start(BookTrip, ANN, key="ann")
    system.advance(3.33)
    assert system.now_s == 3.33
    tried = system.trace.count("do ticket")
    system.advance(3.0)
    assert system.trace.count("do ticket") > tried > 0


def test_waiting_takes_no_longer_than_said(system: SimulatedSystem) -> None:
    """A caller that waits with a limit is told, and the instance is not touched."""
    system.service("fares").unavailable(TakeFare, times=2)
    handle = system.start(BookTrip, ANN, key="ann")
    with pytest.raises(TimeoutError):
        handle.result(timeout_s=0.001)
    assert handle.result() == Completed(Results("", {}))


def test_what_never_comes(system: SimulatedSystem) -> None:
    """Waiting for what can't come ends, and says what was waited for."""
    with pytest.raises(Stalled, match="the moon is blue: not within 10"):
        system.run_until(lambda: False, 10.0, "the moon is blue")


# Stuck steps.


@pytest.fixture
def stuck(system: SimulatedSystem) -> SimulatedSystem:
    """An instance whose last step, which must succeed, does not."""
    system.service("tickets").unavailable(PrintTicket, reason="no paper")
    system.start(BookTrip, ANN, key="ann")
    system.run_until_quiet()
    return system


def test_quiet_includes_stuck(stuck: SimulatedSystem) -> None:
    """A history rests when a person has to look; who, and why, is in the status."""
    (reasons,) = stuck.status().stuck.values()
    assert reasons == {"ticket": "no paper"}


def test_retry_after_repair(stuck: SimulatedSystem) -> None:
    """Once mended, a retry goes on at once."""
    handle, before_s = stuck.start(BookTrip, ANN, key="ann"), stuck.now_s
    stuck.service("tickets").recovers()
    stuck.retry(handle.saga_id, "ticket", by="eve", reason="new paper")
    assert handle.result() == Completed(Results("", {}))
    assert stuck.effects(handle)[-1] == "tickets.print"
    assert stuck.now_s - before_s < 1.0


def test_supply(stuck: SimulatedSystem) -> None:
    """A person gives the result, and the instance ends with it."""
    handle = stuck.start(BookTrip, ANN, key="ann")
    stuck.supply(handle.saga_id, "ticket", "written by hand", by="eve", reason="no paper")
    outcome = handle.result()
    assert isinstance(outcome, Completed)
    assert outcome.results.of("ticket", str) == "written by hand"


def test_skip(stuck: SimulatedSystem) -> None:
    """A person does without, and the instance ends."""
    handle = stuck.start(BookTrip, ANN, key="ann")
    stuck.skip(handle.saga_id, "ticket", by="eve", reason="no paper")
    assert handle.result() == Completed(Results("", {}))
    assert stuck.effects(handle) == ["seats.take", "fares.take"]
    stuck.check()


# Looking.


def test_query(system: SimulatedSystem) -> None:
    """SQL, with values, over what is committed in a service's database."""
    system.run(BookTrip, ANN, key="ann")
    system.run(BookTrip, Trip("bob"), key="bob")
    found = system.query("fares", "select what, name from effects where name <> ?", "ann")
    assert found == [("fare", "bob")]


def test_query_of_a_table_that_is_not_there(system: SimulatedSystem) -> None:
    """A query that can't be run says why."""
    with pytest.raises(Exception, match="no such table: moon"):
        system.query("fares", "select * from moon")


def test_the_trace_tells_all(system: SimulatedSystem) -> None:
    """A line each, with the time: what was asked, sent, done, recorded and told; and no payload."""
    system.run(BookTrip, Trip("secret"), key="ann")
    for line in (
        "? start ann",
        "ann > seats: do seat, attempt 1",
        "* seats.take for ann (do seat)",
        "= ann 0: started",
    ):
        assert f"    0.000  {line}" in system.trace.splitlines()
    assert "secret" not in system.trace


# Calls outside.


class Mail(msgspec.Struct, frozen=True):
    """Write to somebody."""

    to: str


class Post(Service, name="post"):
    """Writes letters, outside."""

    def __init__(self, sent: dict[str, str]) -> None:
        super().__init__()
        self.sent = sent

    @handles(Mail, outside=True)
    def send(self, command: Mail, key: IdempotencyKey) -> Done[None]:
        self.sent[str(key)] = command.to
        return Done()

    @verifies(Mail)
    def find(self, command: Mail, key: IdempotencyKey) -> Done[None] | None:
        return Done() if str(key) in self.sent else None

    @undoes(Mail)
    def regret(self, command: Mail, result: None) -> None: ...


class Write(Saga, name="write"):
    """One letter."""

    input: Mail

    @step(to="post", retry=Retry(attempts=3, base_s=0.1))
    def send(self, mail: Mail, done: Results) -> Mail:
        return mail


@pytest.mark.parametrize("fate", ["", "crash before", "crash after", "late 20"])
def test_calls_outside(make: Make, fate: str) -> None:
    """The world outside sees one call for each step, though the process dies before or after it."""
    sent: dict[str, str] = {}
    deviations = {"call outside #1": fate} if fate else {}
    system = make(sagas=[Write], services=[Post.spec(sent)], schedule=Schedule(deviations))
    system.submit(Write, Mail("ann"), key="ann")
    system.run_until_quiet()
    assert isinstance(system.run(Write, Mail("ann"), key="ann"), Completed)
    assert list(sent.values()) == ["ann"]
    assert ("# the process is gone" in system.trace) is fate.startswith("crash")
    assert system.effects() == ["post.send"]
    system.check()


# Schedules.


def history(make: Make, schedule: Schedule) -> SimulatedSystem:
    """Two instances under a schedule, to the end."""
    system = make(schedule=schedule)
    for name in ("ann", "bob"):
        system.submit(BookTrip, Trip(name), key=name)
    system.run_until_quiet()
    return system


FAULTS = FaultPlan(late=0.2, lost=0.1, doubled=0.1, raises=0.1, crashes=0.05)


def test_same_schedule_same_trace(make: Make) -> None:
    """A seed says everything, and so does what it was recorded as."""
    seeded = history(make, Schedule(seed=3, faults=FAULTS))
    again = history(make, Schedule(seed=3, faults=FAULTS))
    replayed = history(make, Schedule.from_json(seeded.schedule.to_json()))
    other = history(make, Schedule(seed=4, faults=FAULTS))
    assert seeded.schedule.deviations
    assert seeded.trace == again.trace == replayed.trace != other.trace


def test_a_deviation_is_met(make: Make) -> None:
    """What a schedule says of a label happens there, and is in the trace."""
    system = history(make, Schedule({"seats.take for bob #1": "refuse"}))
    assert "! refuse: seats.take for bob #1" in system.trace
    assert system.run(BookTrip, Trip("bob"), key="bob") == Compensated("seat", "by fate")
    assert system.run(BookTrip, ANN, key="ann") == Completed(Results("", {}))


def test_calm(make: Make) -> None:
    """After `calm` nothing goes wrong any more."""
    system = make(schedule=Schedule(seed=1, faults=FaultPlan(refused=1.0, most=1000)))
    assert isinstance(system.run(BookTrip, ANN, key="ann"), Compensated)
    system.calm()
    assert isinstance(system.run(BookTrip, ANN, key="again"), Completed)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"deviation":{}}', r"schedule: \$: Object contains unknown field `deviation`"),
        ('{"seed":"x"}', r"schedule: \$.seed: Expected `int \| null`, got `str`"),
        ('{"faults":{"lots":1}}', r"schedule: \$.faults: Object contains unknown field `lots`"),
        ("{", r"schedule: \$: "),
    ],
)
def test_a_schedule_that_does_not_read(text: str, told: str) -> None:
    """A schedule from somewhere else is checked, and the error names the field."""
    with pytest.raises(InputError, match=told):
        Schedule.from_json(text)
