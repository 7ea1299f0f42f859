"""Calls outside whose answers come late, twice, or into a turn that is lost: none of their effects is left behind."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from amends import AmendsError, Done, IdempotencyKey, Later, Refused, Service, Unavailable, handles, undoes, verifies
from amends.protocol.messages import CANCELLED, Never, Reply, Undone
from tests.actors.trip import rows_of
from tests.actors.world import SAGA, ServiceUnderTest, sqlite

LIMIT_S = 5.0
SOON_S = 10.0
MINUTE_S = 60.0


class Charge(msgspec.Struct, frozen=True):
    """Outside, can be asked about, and undone outside."""


class Rent(msgspec.Struct, frozen=True):
    """Outside, can be asked about, and undone in the turn."""


class Look(msgspec.Struct, frozen=True):
    """In the turn."""


class Till(Service, name="till", migrations=("create table seen (what text)",)):
    """Its world outside is the test: each call is noted, and answered as `said`, or as usual."""

    def __init__(self, calls: list[str], said: dict[str, Any]) -> None:
        super().__init__()
        self.calls = calls
        self.said = said

    def call(self, what: str) -> Any:
        self.calls.append(what)
        answer = self.said.get(what)
        return answer(self) if callable(answer) else answer

    @handles(Charge, outside=True, limit_s=LIMIT_S)
    def charge(self, command: Charge, key: IdempotencyKey) -> Done[str] | Refused | Unavailable:
        return self.call("charge") or Done("receipt")

    @verifies(Charge)
    def charged(self, command: Charge, key: IdempotencyKey) -> Done[str] | None:
        return self.call("charged")  # type: ignore[no-any-return]  # the test's own choice

    @undoes(Charge, outside=True, limit_s=LIMIT_S)
    def refund(self, command: Charge, result: str, key: IdempotencyKey) -> Unavailable | None:
        assert result == "receipt"
        return self.call("refund")  # type: ignore[no-any-return]  # the test's own choice

    @handles(Rent, outside=True, limit_s=LIMIT_S)
    def rent(self, command: Rent, key: IdempotencyKey) -> Done[str] | Refused | Unavailable:
        return self.call("rent") or Done("keys")

    @verifies(Rent)
    def rented(self, command: Rent, key: IdempotencyKey) -> Done[str] | Refused | None:
        return self.call("rented")  # type: ignore[no-any-return]  # the test's own choice

    @undoes(Rent)
    def give_back(self, command: Rent, result: str) -> Unavailable | Later | None:
        answer: Unavailable | Later | None = self.said.get("give back")
        if answer is None:
            self.db.execute("insert into seen values (?)", (f"give back {result}",))
        return answer

    @handles(Look)
    def look(self, command: Look) -> Done[None] | Unavailable:
        return self.call("look") or Done()


@pytest.fixture
def calls() -> list[str]:
    """What reached the world outside."""
    return []


@pytest.fixture
def said() -> dict[str, Any]:
    """What the world outside answers."""
    return {}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The service's file."""
    return tmp_path / "till.db"


@pytest.fixture
def till(path: Path, calls: list[str], said: dict[str, Any], nobody_left: None) -> Iterator[ServiceUnderTest]:
    """A service on a real file; its calls leave when the test lets them."""
    till = ServiceUnderTest(path, Till.spec(calls, said))
    yield till
    till.stop()


def short(replies: list[Reply]) -> list[tuple[str, int, object]]:
    """Phase, attempt and answer of each."""
    return [(reply.phase, reply.attempt, reply.answer) for reply in replies]


def state(path: Path) -> list[str]:
    """What the fence says of the step."""
    return [state for (state,) in rows_of(path, "select state from amends_fence where step = 'step'")]


def given_back(path: Path) -> list[str]:
    """What was undone in turns."""
    return [what for (what,) in rows_of(path, "select what from seen")]


def hang(till: ServiceUnderTest, command: object) -> Callable[[], None]:
    """A call that has passed its limit."""
    till.tell(till.do(command))
    hangs = till.runtime.calls.popleft()
    till.runtime.advance(LIMIT_S + 1.0)
    till.saga.take()
    return hangs


def give_up(till: ServiceUnderTest, command: object) -> Callable[[], None]:
    """The same, and its step is resolved meanwhile since the provider knows nothing of it."""
    hangs = hang(till, command)
    till.tell(till.resolve())
    assert short(till.run_calls()) == [("resolve", 1, Never())]
    return hangs


def lost(till: ServiceUnderTest, *happens: Callable[[], object]) -> list[Reply]:
    """What is answered if the disk is full when this happens."""
    sqlite(till.service.db).set_commit_hook(lambda: True)
    for each in happens:
        each()
    till.runtime.run()
    if till.mailbox.actor is not None:
        sqlite(till.service.db).set_commit_hook(None)
    return till.saga.take()


# An answer that another call has overtaken.


def overtaken(till: ServiceUnderTest) -> Callable[[], None]:
    """The provider has been asked too early, and the step is done: the answer to that question is still on its way."""
    hangs = hang(till, Charge())
    till.tell(till.do(Charge(), attempt=2))
    asks = till.runtime.calls.popleft()
    hangs()
    till.runtime.run()
    assert [(reply.attempt, type(reply.answer)) for reply in till.saga.take()] == [(2, Done)]
    return asks


def test_undo_is_not_lost_to_a_question_asked_too_early(till: ServiceUnderTest, calls: list[str], path: Path) -> None:
    """That the call has never arrived was true then; the undo that waits for the answer is run all the same."""
    asks = overtaken(till)
    assert till.tell(till.undo()) == []
    asks()
    till.runtime.run()
    assert short(till.run_calls()) == [("undo", 1, Undone())]
    assert (calls, state(path)) == (["charge", "charged", "refund"], ["undone"])


def test_do_is_not_called_again_after_a_question_asked_too_early(till: ServiceUnderTest, calls: list[str]) -> None:
    """Nor is the call made once more."""
    asks = overtaken(till)
    till.tell(till.undo(), till.do(Charge(), attempt=3))
    asks()
    till.runtime.run()
    till.run_calls()
    assert calls == ["charge", "charged", "refund"]


def test_late_answer_leaves_an_undo_alone(till: ServiceUnderTest, said: dict[str, Any]) -> None:
    """A do's late answer, in the very turn that begins the undo, doesn't begin another."""
    hangs = hang(till, Charge())
    till.tell(till.do(Charge(), attempt=2))
    said["charged"] = Done("receipt")
    till.run_calls()
    till.mailbox.tell(till.undo())
    hangs()
    till.runtime.run()
    assert len(till.runtime.calls) == 1
    assert short(till.run_calls()) == [("undo", 1, Undone())]


# Turns that are lost.


def test_who_waits_hears_of_a_lost_turn(till: ServiceUnderTest) -> None:
    """If the answer they wait for can't be written down they are told, and each of them once."""
    till.tell(till.do(Rent()), till.do(Rent(), attempt=2))
    told = lost(till, till.runtime.calls.popleft(), lambda: till.mailbox.tell(till.do(Rent(), attempt=3)))
    assert [(reply.attempt, type(reply.answer)) for reply in told] == [(n, Unavailable) for n in (1, 2, 3)]


def test_who_joins_in_a_turn_that_runs_twice_is_answered_once(till: ServiceUnderTest, said: dict[str, Any]) -> None:
    """A turn that is rolled back and run again forgets who has come to wait in it."""
    till.tell(till.do(Rent()))

    def write_for_nothing(service: Service) -> Unavailable:
        service.db.execute("insert into seen values ('x')")
        return Unavailable("no")

    said["look"] = write_for_nothing
    till.tell(till.do(Rent(), attempt=2), till.do(Look(), step="other"))
    till.saga.take()
    assert [reply.attempt for reply in till.run_calls()] == [1, 2]


def test_answer_in_a_lost_turn_is_heard_again(till: ServiceUnderTest, calls: list[str], path: Path) -> None:
    """What was done is known here only: it is written down when there is room, and nothing is called again."""
    till.tell(till.do(Charge()))
    lost(till, till.runtime.calls.popleft())
    till.runtime.advance(10.0)
    assert (calls, state(path)) == (["charge"], ["done"])


@pytest.mark.parametrize("restarts", [False, True])
def test_late_answer_in_a_lost_turn_is_heard_again(till: ServiceUnderTest, path: Path, restarts: bool) -> None:
    """What was done when it had been given up is undone, also by the next incarnation."""
    hangs = give_up(till, Rent())
    lost(till, hangs)
    if restarts:
        till.restart()
    till.runtime.advance(10.0)
    assert (given_back(path), state(path)) == (["give back keys"], ["undone"])


def test_undo_in_a_lost_turn_is_heard_again(till: ServiceUnderTest, calls: list[str], path: Path) -> None:
    """A refund that was made is not made again, though the disk was full when it came back."""
    till.tell(till.do(Charge()))
    till.run_calls()
    till.tell(till.undo())
    lost(till, till.runtime.calls.popleft())
    till.runtime.advance(10.0)
    assert (calls, state(path)) == (["charge", "refund"], ["undone"])


# What is done when it has been given up.


def test_done_after_a_refusal(till: ServiceUnderTest, said: dict[str, Any], path: Path) -> None:
    """A refusal that turns out to be none: what was done is undone."""
    hangs = hang(till, Rent())
    said["rented"] = Refused("declined")
    till.tell(till.do(Rent(), attempt=2))
    assert short(till.run_calls()) == [("do", 2, Refused("declined"))]
    hangs()
    till.runtime.run()
    assert (given_back(path), state(path)) == (["give back keys"], ["undone"])


def test_done_after_a_refusal_that_was_undone(till: ServiceUnderTest, said: dict[str, Any], path: Path) -> None:
    """Also if its saga has gone back meanwhile."""
    hangs = hang(till, Rent())
    said["rented"] = Refused("declined")
    till.tell(till.do(Rent(), attempt=2))
    till.run_calls()
    assert till.ask(till.undo()) == Undone()
    hangs()
    till.runtime.run()
    assert (given_back(path), state(path)) == (["give back keys"], ["undone"])


def test_saga_hears_nothing_new_of_what_was_done_after_it_gave_up(
    till: ServiceUnderTest, said: dict[str, Any], path: Path
) -> None:
    """It was told never, so it is never; an undo is through when what was done is undone."""
    hangs = give_up(till, Rent())
    said["give back"] = Unavailable("closed")
    hangs()
    till.runtime.run()
    assert till.ask(till.resolve(attempt=2)) == Never()
    assert till.ask(till.do(Rent(), attempt=2)) == Refused(CANCELLED)
    assert till.ask(till.undo()) == Unavailable("closed")
    said.clear()
    assert till.ask(till.undo(attempt=2)) == Undone()
    assert (given_back(path), state(path)) == (["give back keys"], ["undone"])


def hard_to_undo(till: ServiceUnderTest, said: dict[str, Any], answer: object) -> None:
    """What was done when it had been given up can't be undone now."""
    hangs = give_up(till, Rent())
    said["give back"] = answer
    hangs()
    till.runtime.run()
    said.clear()


@pytest.mark.parametrize("answer", [Unavailable("closed"), Later("closed"), Later("closed", again_s=3600.0)])
def test_undo_that_nobody_asks_for_is_tried_again(
    till: ServiceUnderTest, said: dict[str, Any], path: Path, answer: object
) -> None:
    """Every minute, whatever it answers."""
    hard_to_undo(till, said, answer)
    assert given_back(path) == []
    till.runtime.advance(MINUTE_S)
    assert (given_back(path), state(path)) == (["give back keys"], ["undone"])


def test_undo_that_nobody_asks_for_outlives_a_restart(till: ServiceUnderTest, said: dict[str, Any], path: Path) -> None:
    """The next incarnation, or process, finds it on disk."""
    hard_to_undo(till, said, Unavailable("closed"))
    till.restart()
    till.runtime.advance(SOON_S)
    assert (given_back(path), state(path)) == (["give back keys"], ["undone"])


def test_undo_that_nobody_asks_for_has_the_newest_token(
    till: ServiceUnderTest, said: dict[str, Any], path: Path
) -> None:
    """A newer grant that has asked about another step does not end it."""
    hard_to_undo(till, said, Later("closed"))
    till.tell(till.do(Look(), step="other", token=2))
    till.runtime.advance(2 * MINUTE_S)
    assert (given_back(path), state(path)) == (["give back keys"], ["undone"])


def test_undo_that_nobody_asks_for_outlives_a_lost_turn(
    till: ServiceUnderTest, said: dict[str, Any], path: Path
) -> None:
    """A full disk puts it off."""
    hard_to_undo(till, said, Unavailable("closed"))
    lost(till, lambda: till.runtime.advance(MINUTE_S))
    assert given_back(path) == []
    till.runtime.advance(MINUTE_S)
    assert (given_back(path), state(path)) == (["give back keys"], ["undone"])


def test_undo_outside_that_nobody_asks_for_outlives_its_process(
    till: ServiceUnderTest, calls: list[str], path: Path
) -> None:
    """A process that dies before the undo has left leaves it to the next."""
    hangs = give_up(till, Charge())
    hangs()
    till.runtime.run()
    assert len(till.runtime.calls) == 1
    till.runtime.calls.clear()
    till.service._home.under_way.calls.clear()
    till.restart()
    till.runtime.advance(SOON_S)
    assert till.run_calls() == []
    assert (calls[2:], state(path)) == (["refund"], ["undone"])


@pytest.mark.parametrize("answer", [None, Unavailable("closed")])
def test_undone_once_however_many_calls_come_back(
    till: ServiceUnderTest, said: dict[str, Any], path: Path, answer: object
) -> None:
    """The second call that comes back late has done the same as the first, whether that is undone by then or not."""
    first = hang(till, Rent())
    till.tell(till.do(Rent(), attempt=2))
    till.runtime.calls.popleft()()
    till.runtime.run()
    second = till.runtime.calls.popleft()
    till.runtime.advance(LIMIT_S + 1.0)
    till.tell(till.resolve())
    till.run_calls()
    said["give back"] = answer
    for call in (first, second):
        call()
        till.runtime.run()
    said.clear()
    till.runtime.advance(MINUTE_S)
    assert (given_back(path), state(path)) == (["give back keys"], ["undone"])


def test_nothing_is_looked_for_when_all_is_undone(till: ServiceUnderTest) -> None:
    """The service sleeps as long as before."""
    give_up(till, Rent())()
    till.runtime.run()
    till.runtime.advance(2 * MINUTE_S)
    assert till.service._serving.wakes_at_s == float("inf")


def test_what_is_to_be_undone_is_not_forgotten(path: Path, calls: list[str], said: dict[str, Any]) -> None:
    """However old it is."""
    till = ServiceUnderTest(path, Till.spec(calls, said), retention_s=MINUTE_S)
    hangs = give_up(till, Rent())
    said["give back"] = Unavailable("closed")
    hangs()
    till.runtime.advance(10 * MINUTE_S)
    assert state(path) == ["begun"]
    till.stop()


def test_damaged_row_stops_no_service(till: ServiceUnderTest, said: dict[str, Any], path: Path) -> None:
    """What is to be undone and can't be read is left alone; the others are not."""
    hard_to_undo(till, said, Unavailable("closed"))
    columns = "'damaged', state, token, x'ff', payload, answer, at, worker"
    insert = f"insert into amends_fence select {{}}, {columns} from amends_fence"
    for saga_id in ("cast(x'ff' as text)", "'other'"):
        till.service.db.execute(f"{insert.format(saga_id)} where step = 'step'")
    till.restart()
    till.runtime.advance(SOON_S)
    assert (given_back(path), state(path)) == (["give back keys"], ["undone"])


# Whose key it is.


def test_call_outside_has_no_step_in_hand(till: ServiceUnderTest, calls: list[str], said: dict[str, Any]) -> None:
    """Also while the service's turn has one: another step's key would be taken for its own."""
    found: list[str] = []

    def ask_for_the_key(service: Service) -> None:
        for ask in (lambda: service.key, lambda: service.again(IdempotencyKey(SAGA, "step"))):
            try:
                found.append(str(ask()))
            except AmendsError as error:
                found.append(str(error))

    def in_a_turn(service: Service) -> None:
        assert service.key == IdempotencyKey(SAGA, "other")
        thread = threading.Thread(target=till.runtime.calls.popleft())
        thread.start()
        thread.join()

    said.update(charge=ask_for_the_key, look=in_a_turn)
    till.tell(till.do(Charge()))
    till.tell(till.do(Look(), step="other"))
    assert calls == ["look", "charge"]
    assert found == ["service 'till': no step is in hand; a call outside is given its key"] * 2
