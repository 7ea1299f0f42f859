"""Answers that come later: the step waits until the saga asks again, it is due, or somebody wakes it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from amends import (
    AmendsError,
    Compensated,
    Completed,
    Done,
    IdempotencyKey,
    Later,
    Refused,
    Service,
    System,
    Unavailable,
    handles,
    undoes,
)
from amends.protocol.messages import CANCELLED, Never, Reply, Undone
from tests.actors.trip import LONG_S, rows_of
from tests.actors.world import DAY_S, SAGA, ServiceUnderTest, sqlite
from tests.stateful import waiting


class Park(msgspec.Struct, frozen=True):
    """A car wants the one place; whoever comes later waits. A lorry learns that it can't when its turn comes."""

    car: str
    lorry: bool = False


class Leave(msgspec.Struct, frozen=True):
    """Whoever has the place leaves it."""


class Greet(msgspec.Struct, frozen=True):
    """Wakes somebody, and comes to what the test wants."""

    step: str


TABLES = """
create table place (car text);
create table queue (id integer primary key, car text unique, saga_id text, step text);
create table seen (what text);
"""


class Garage(Service, name="garage", migrations=(TABLES,), handler_timeout_s=0.5):
    """One place and a queue for it.

    Attributes:
        again_s: what a car that waits, and an undo that does, asks for.
        greeting: what `greet` answers.
        slow_undos: how often an undo answers `Later` first.
    """

    def __init__(self) -> None:
        super().__init__()
        self.again_s: float | None = None
        self.greeting: Any = Done()
        self.slow_undos = 0
        self.keys: list[IdempotencyKey] = []

    @handles(Park)
    def park(self, command: Park) -> Done[str] | Refused | Unavailable | Later:
        self.keys.append(self.key)
        self.see(f"park {command.car}")
        first = self.db.execute("select car from queue order by id limit 1").get
        if self.db.execute("select 1 from place").get or first not in (None, command.car):
            self.db.execute(
                "insert or ignore into queue (car, saga_id, step) values (?, ?, ?)",
                (command.car, self.key.saga_id, self.key.step),
            )
            return Later("the place is taken", self.again_s)
        if command.lorry:
            self.see("half a lorry")
            return Refused("too high")
        self.db.execute("delete from queue where car = ?", (command.car,))
        self.db.execute("insert into place values (?)", (command.car,))
        return Done(f"{command.car} is in")

    @undoes(Park)
    def unpark(self, command: Park, result: str | None) -> Later | None:
        self.see(f"unpark {command.car} {result}")
        if self.slow_undos:
            self.slow_undos -= 1
            return Later("the barrier is slow", self.again_s)
        self.db.execute("delete from queue where car = ?", (command.car,))
        self.db.execute("delete from place where car = ?", (command.car,))
        self.wake_next()
        return None

    @handles(Leave)
    def leave(self, command: Leave) -> Done[None]:
        self.db.execute("delete from place")
        self.wake_next()
        return Done()

    @handles(Greet)
    def greet(self, command: Greet) -> Done[None] | Refused | Unavailable:
        self.see("greet")
        self.again(IdempotencyKey(SAGA, command.step))
        return self.greeting  # type: ignore[no-any-return]  # the test's own choice

    def wake_next(self) -> None:
        for saga_id, step in self.db.execute("select saga_id, step from queue order by id limit 1"):
            self.again(IdempotencyKey(saga_id, step))

    def see(self, what: str) -> None:
        self.db.execute("insert into seen values (?)", (what,))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The service's file."""
    return tmp_path / "garage.db"


@pytest.fixture
def garage(path: Path, nobody_left: None) -> Iterator[ServiceUnderTest]:
    """A service on a real file."""
    garage = ServiceUnderTest(path, Garage.spec())
    yield garage
    garage.stop()


def seen(path: Path) -> list[str]:
    """What ran, and stayed."""
    return [what for (what,) in rows_of(path, "select what from seen")]


def states(path: Path) -> dict[str, str]:
    """The fence's rows by step."""
    return dict(rows_of(path, "select step, state from amends_fence"))


def count(commits: list[bool]) -> bool:
    """A commit hook that remembers, and lets the commit be."""
    commits.append(True)
    return False


def short(replies: list[Reply]) -> list[tuple[str, str, object]]:
    """Step, phase and answer of each."""
    return [(reply.step, reply.phase, reply.answer) for reply in replies]


def is_in(car: str) -> Done[msgspec.Raw]:
    """The answer of a car that has the place."""
    return Done(msgspec.Raw(f'"{car} is in"'.encode()))


NULL = Done(msgspec.Raw(b"null"))


def fill(garage: ServiceUnderTest, *waiting: str) -> None:
    """The first car has the place, the others wait; a car's step is its name."""
    assert garage.ask(garage.do(Park("a"), step="a")) == is_in("a")
    for car in waiting:
        assert garage.tell(garage.do(Park(car), step=car)) == []


def test_nobody_is_told_and_what_was_written_stays(garage: ServiceUnderTest, path: Path) -> None:
    """After `Later` the saga hears nothing, the row says `begun`, and what the handler wrote is there."""
    fill(garage, "b")
    assert states(path) == {"a": "done", "b": "begun"}
    assert rows_of(path, "select car, step from queue") == [("b", "b")]


def test_asked_again_by_its_saga(garage: ServiceUnderTest, path: Path) -> None:
    """Each attempt runs the handler again; the one it can be answered in carries the answer."""
    fill(garage, "b")
    assert garage.tell(garage.do(Park("b"), step="b", attempt=2)) == []
    garage.service.db.execute("delete from place")
    (reply,) = garage.tell(garage.do(Park("b"), step="b", attempt=3))
    assert (reply.attempt, reply.answer) == (3, is_in("b"))
    assert seen(path) == ["park a", "park b", "park b", "park b"]
    assert states(path)["b"] == "done"


def test_woken_in_the_same_transaction(garage: ServiceUnderTest, path: Path) -> None:
    """Who is woken by another handler is served in its very commit, and answers the attempt heard last."""
    fill(garage, "b", "c")
    garage.tell(garage.do(Park("b"), step="b", attempt=2))
    commits: list[bool] = []
    sqlite(garage.service.db).set_commit_hook(lambda: count(commits))
    replies = garage.tell(garage.do(Leave(), step="leave"))
    assert short(replies) == [("leave", "do", NULL), ("b", "do", is_in("b"))]
    assert (replies[1].attempt, len(commits)) == (2, 1)
    assert rows_of(path, "select car from place") == [("b",)]


def test_woken_one_after_another(garage: ServiceUnderTest, path: Path) -> None:
    """A whole queue may move in one turn: what a woken step's handler or undo wakes comes right after it."""
    fill(garage, "b", "c")
    replies = garage.tell(garage.undo(step="b"), garage.do(Leave(), step="leave"))
    assert short(replies) == [("b", "undo", Undone()), ("leave", "do", NULL), ("c", "do", is_in("c"))]


def test_asked_again_when_due(garage: ServiceUnderTest, path: Path) -> None:
    """`again_s` later the handler runs again, on the runtime's clock, and not before."""
    garage.service.again_s = 5.0  # type: ignore[attr-defined]
    fill(garage, "b")
    garage.runtime.advance(4.9)
    assert seen(path).count("park b") == 1
    garage.runtime.advance(0.2)
    assert seen(path).count("park b") == 2
    garage.service.db.execute("delete from place")
    garage.runtime.advance(5.0)
    assert short(garage.saga.take()) == [("b", "do", is_in("b"))]
    garage.runtime.advance(30.0)
    assert seen(path).count("park b") == 3


def test_a_newer_run_says_when_it_is_due(garage: ServiceUnderTest, path: Path) -> None:
    """Only what the last run asked for counts."""
    garage.service.again_s = 5.0  # type: ignore[attr-defined]
    fill(garage, "b")
    garage.service.again_s = None  # type: ignore[attr-defined]
    garage.tell(garage.do(Park("b"), step="b", attempt=2))
    garage.runtime.advance(30.0)
    assert seen(path).count("park b") == 2


def test_many_that_are_due(garage: ServiceUnderTest, path: Path) -> None:
    """All that are due are asked, however many."""
    garage.service.again_s = 5.0  # type: ignore[attr-defined]
    fill(garage, *(f"n{number}" for number in range(250)))
    garage.runtime.advance(5.0)
    assert len(seen(path)) == 1 + 2 * 250


@pytest.mark.parametrize(("kind", "answer"), [("undo", Undone()), ("resolve", Never())])
def test_undone_before_it_was_answered(garage: ServiceUnderTest, path: Path, kind: str, answer: object) -> None:
    """An undo, or a resolve, undoes what earlier runs have left; the undo is given no result."""
    fill(garage, "b")
    assert garage.ask(getattr(garage, kind)(step="b")) == answer
    assert seen(path)[-1] == "unpark b None"
    assert rows_of(path, "select * from queue") == []
    assert rows_of(path, "select state, answer from amends_fence where step = 'b'") == [("undone", None)]
    assert garage.ask(garage.do(Park("b"), step="b", attempt=2)) == Refused(CANCELLED)
    assert garage.ask(garage.do(Leave(), step="leave")) == NULL


def test_refused_at_last(garage: ServiceUnderTest, path: Path) -> None:
    """What earlier runs left is undone, what the refusing run wrote is rolled back, and the refusal is recorded."""
    fill(garage)
    assert garage.tell(garage.do(Park("l", lorry=True), step="l")) == []
    fill_up = garage.do(Park("c"), step="c")
    assert garage.tell(fill_up) == []
    replies = garage.tell(garage.do(Leave(), step="leave"))
    assert short(replies) == [("leave", "do", NULL), ("l", "do", Refused("too high")), ("c", "do", is_in("c"))]
    assert "half a lorry" not in seen(path)
    assert "unpark l None" in seen(path)
    assert states(path)["l"] == "refused"
    assert garage.ask(garage.do(Park("l", lorry=True), step="l", attempt=2)) == Refused("too high")
    assert garage.ask(garage.undo(step="l")) == Undone()
    assert seen(path).count("unpark l None") == 1


def test_unavailable_meanwhile(garage: ServiceUnderTest, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later run that fails takes back what it wrote, tells the saga, and leaves what earlier runs wrote."""
    fill(garage, "b")
    service: Any = garage.service
    service.see = lambda what: service.db.execute("insert into seen values ('half')") and 1 / 0
    assert isinstance(garage.ask(garage.do(Park("b"), step="b", attempt=2)), Unavailable)
    del service.see
    assert "half" not in seen(path)
    assert states(path)["b"] == "begun"
    assert rows_of(path, "select car from queue") == [("b",)]
    assert garage.tell(garage.do(Park("b"), step="b", attempt=3)) == []


@pytest.mark.parametrize("greeting", [Refused("no"), Unavailable("not now"), "what?"])
def test_who_does_nothing_wakes_nobody(garage: ServiceUnderTest, path: Path, greeting: Any) -> None:
    """What a handler said before it refused or failed has not been said."""
    fill(garage, "b")
    garage.service.greeting = greeting  # type: ignore[attr-defined]
    garage.tell(garage.do(Greet("b"), step="greet"))
    assert seen(path).count("park b") == 1


def test_waking_who_does_not_wait(garage: ServiceUnderTest, path: Path) -> None:
    """Nothing happens: to a step that is done, to one nobody knows, and to one only the database knows."""
    fill(garage, "b")
    assert garage.ask(garage.do(Greet("a"), step="g1")) == NULL
    assert garage.ask(garage.do(Greet("nobody"), step="g2")) == NULL
    garage.restart()
    assert garage.ask(garage.do(Greet("b"), step="g3")) == NULL
    assert seen(path).count("park b") == 1


def test_another_incarnation_is_asked_again(garage: ServiceUnderTest, path: Path) -> None:
    """Who waited is forgotten with its incarnation, and what it wrote is not: the next attempt goes on."""
    fill(garage, "b")
    garage.restart()
    garage.service.db.execute("delete from place")
    assert garage.ask(garage.do(Park("b"), step="b", attempt=2)) == is_in("b")


def test_begun_never_expires(garage: ServiceUnderTest) -> None:
    """A command that came in time once is run again whenever it comes."""
    fill(garage, "b")
    garage.service.db.execute("delete from place")
    assert garage.ask(garage.do(Park("b"), step="b", attempt=2, expires_at=0.0)) == is_in("b")


def test_other_payload(garage: ServiceUnderTest) -> None:
    """The same key is the same wish, also while it waits."""
    fill(garage, "b")
    assert isinstance(garage.ask(garage.do(Park("b", lorry=True), step="b")), Unavailable)


def test_lost_turn_changes_nothing(garage: ServiceUnderTest, path: Path) -> None:
    """If the turn that woke it is lost it waits as before, and hears nothing."""
    fill(garage, "b")
    sqlite(garage.service.db).set_commit_hook(lambda: True)
    replies = garage.tell(garage.do(Leave(), step="leave"))
    assert [(reply.step, type(reply.answer)) for reply in replies] == [("leave", Unavailable)]
    sqlite(garage.service.db).set_commit_hook(None)
    replies = garage.tell(garage.do(Leave(), step="leave"))
    assert short(replies) == [("leave", "do", NULL), ("b", "do", is_in("b"))]


def test_lost_first_turn(garage: ServiceUnderTest, path: Path) -> None:
    """A step whose `Later` was not committed does not wait."""
    fill(garage)
    sqlite(garage.service.db).set_commit_hook(lambda: True)
    assert isinstance(garage.ask(garage.do(Park("b"), step="b")), Unavailable)
    sqlite(garage.service.db).set_commit_hook(None)
    assert short(garage.tell(garage.do(Leave(), step="leave"))) == [("leave", "do", NULL)]
    assert states(path) == {"a": "done", "leave": "done"}


def test_due_in_a_lost_turn(garage: ServiceUnderTest, path: Path) -> None:
    """Who was asked again in a turn that is lost is told so, like everybody in it, and is not asked without end."""
    garage.service.again_s = 5.0  # type: ignore[attr-defined]
    fill(garage, "b")
    sqlite(garage.service.db).set_commit_hook(lambda: True)
    garage.runtime.advance(60.0)
    assert [(reply.step, type(reply.answer)) for reply in garage.saga.take()] == [("b", Unavailable)]
    sqlite(garage.service.db).set_commit_hook(None)
    assert garage.tell(garage.do(Park("b"), step="b", attempt=2)) == []


def test_turn_that_is_run_again(garage: ServiceUnderTest, path: Path) -> None:
    """A neighbour that wrote and then refused has the turn run again; who waits is served once."""
    fill(garage, "b")
    garage.service.greeting = Refused("no")  # type: ignore[attr-defined]
    replies = garage.tell(garage.do(Leave(), step="leave"), garage.do(Greet("b"), step="greet"))
    assert short(replies) == [
        ("leave", "do", NULL),
        ("b", "do", is_in("b")),
        ("greet", "do", Refused("no")),
    ]
    assert seen(path) == ["park a", "park b", "park b"]


def test_two_that_wake_each_other(garage: ServiceUnderTest, path: Path) -> None:
    """Two that keep waking each other and waiting are put off after a while, and keep nobody else waiting."""
    service: Any = garage.service
    other = {"b": "c", "c": "b"}

    def see(what: str) -> None:
        service.db.execute("insert into seen values (?)", (what,))
        if service.key.step in other:
            service.again(IdempotencyKey(SAGA, other[service.key.step]))

    service.see = see
    fill(garage, "b", "c")
    runs = len(seen(path))
    assert runs < 50
    garage.runtime.advance(1.0)
    assert runs < len(seen(path)) < runs + 50
    assert short(garage.tell(garage.do(Leave(), step="leave")))[0] == ("leave", "do", NULL)


def test_key_of_the_step_in_hand(garage: ServiceUnderTest) -> None:
    """A handler knows its own key, also when it is woken; outside of one there is none."""
    fill(garage, "b")
    garage.tell(garage.do(Leave(), step="leave"))
    service: Any = garage.service
    assert [key.step for key in service.keys] == ["a", "b", "b"]
    assert service.keys[0] == IdempotencyKey(SAGA, "a")
    with pytest.raises(AmendsError, match="no step is in hand"):
        _ = service.key
    with pytest.raises(AmendsError, match="no step is in hand"):
        service.again(IdempotencyKey(SAGA, "a"))


# Undos that answer `Later`.


def test_undo_that_is_answered_later(garage: ServiceUnderTest, path: Path) -> None:
    """What it wrote stays, nobody is told, and it runs again when due until it is undone; the result is kept."""
    service: Any = garage.service
    service.slow_undos, service.again_s = 2, 5.0
    fill(garage)
    assert garage.tell(garage.undo(step="a")) == []
    assert states(path) == {"a": "done"}
    garage.runtime.advance(5.0)
    assert garage.saga.take() == []
    garage.runtime.advance(5.0)
    assert short(garage.saga.take()) == [("a", "undo", Undone())]
    assert seen(path) == ["park a", *["unpark a a is in"] * 3]
    assert states(path) == {"a": "undone"}
    garage.runtime.advance(30.0)
    assert garage.ask(garage.undo(step="a", attempt=2)) == Undone()


def test_undo_that_is_asked_again_by_its_saga(garage: ServiceUnderTest, path: Path) -> None:
    """Also after another incarnation has taken over."""
    service: Any = garage.service
    service.slow_undos = 1
    fill(garage)
    assert garage.tell(garage.undo(step="a")) == []
    garage.restart()
    assert garage.ask(garage.undo(step="a", attempt=2)) == Undone()


def test_undoing_is_not_done_meanwhile(garage: ServiceUnderTest, path: Path) -> None:
    """A command that comes while its step is being undone brings on the undo, and is told that it is cancelled."""
    service: Any = garage.service
    fill(garage, "b")
    service.slow_undos = 2
    assert garage.tell(garage.undo(step="b")) == []
    garage.restart()
    service = garage.service
    service.slow_undos = 1
    assert garage.tell(garage.do(Park("b"), step="b", attempt=2)) == []
    assert garage.tell(garage.undo(step="b", attempt=2), garage.undo(step="b", attempt=3))
    assert seen(path).count("park b") == 1
    assert states(path)["b"] == "undone"


def test_all_who_wait_are_answered(garage: ServiceUnderTest, path: Path) -> None:
    """If a late command brings the undo to its end, the undo that waits is told, too."""
    service: Any = garage.service
    fill(garage, "b")
    service.slow_undos = 1
    assert garage.tell(garage.undo(step="b")) == []
    replies = garage.tell(garage.do(Park("b"), step="b", attempt=2))
    assert sorted(short(replies), key=str) == [("b", "do", Refused(CANCELLED)), ("b", "undo", Undone())]


def test_what_a_saga_said_first_is_out_of_date(garage: ServiceUnderTest, path: Path) -> None:
    """An undo that waits is not forgotten for a command that comes late."""
    service: Any = garage.service
    fill(garage, "b")
    service.slow_undos, service.again_s = 2, 5.0
    assert garage.tell(garage.undo(step="b"), garage.do(Park("b"), step="b", attempt=2)) == []
    garage.runtime.advance(5.0)
    assert short(garage.saga.take()) == [("b", "undo", Undone())]
    assert rows_of(path, "select state, answer from amends_fence where step = 'b'") == [("undone", None)]


def test_failing_undo_is_told_to_all_who_wait(garage: ServiceUnderTest, path: Path) -> None:
    """If a late command finds the undo failing, the undo that waits hears so."""
    service: Any = garage.service
    fill(garage, "b")
    service.slow_undos = 1
    assert garage.tell(garage.undo(step="b")) == []
    service.see = lambda what: 1 / 0
    replies = garage.tell(garage.do(Park("b"), step="b", attempt=2))
    assert sorted((phase, type(answer)) for _, phase, answer in short(replies)) == [
        ("do", Unavailable),
        ("undo", Unavailable),
    ]


def test_refusal_whose_undo_is_answered_later(garage: ServiceUnderTest, path: Path) -> None:
    """The refusal is kept while its undo is under way: the handler is not asked for another answer."""
    service: Any = garage.service
    fill(garage)
    assert garage.tell(garage.do(Park("l", lorry=True), step="l")) == []
    service.slow_undos, service.again_s = 1, 5.0
    assert short(garage.tell(garage.do(Leave(), step="leave"))) == [("leave", "do", NULL)]
    garage.runtime.advance(5.0)
    assert short(garage.saga.take()) == [("l", "do", Refused("too high"))]
    assert seen(path).count("park l") == 2 - 1  # the refusing run is rolled back
    assert states(path)["l"] == "refused"


def test_undo_of_a_refusal_under_way(garage: ServiceUnderTest, path: Path) -> None:
    """An undo that comes meanwhile is told when it is undone, and the step is."""
    service: Any = garage.service
    fill(garage)
    assert garage.tell(garage.do(Park("l", lorry=True), step="l")) == []
    service.slow_undos = 1
    garage.tell(garage.do(Leave(), step="leave"))
    replies = garage.tell(garage.undo(step="l"))
    assert ("l", "undo", Undone()) in short(replies)
    assert states(path)["l"] == "undone"


# On real threads.


def test_waiting_in_a_system(tmp_path: Path, nobody_left: None) -> None:
    """Many who want one room get it one after the other, and nobody is left in it, on real threads and real time."""
    with System(tmp_path, sagas=[waiting.Visit], services=[waiting.Rooms, waiting.Bank]) as system:
        handles = [system.start(waiting.Visit, waiting.Guest(f"g{n}", nuisance=n == 3), key=f"g{n}") for n in range(12)]
        handles[5].cancel()
        outcomes = [handle.result(LONG_S) for handle in handles]
    assert outcomes[3] == Compensated("enter", "not you")
    assert all(isinstance(outcome, Completed) for n, outcome in enumerate(outcomes) if n not in (3, 5))
    assert rows_of(tmp_path / "rooms.db", "select name from room") == []
    assert rows_of(tmp_path / "rooms.db", "select name from queue") == []


# What is forgotten.


def test_old_rows_are_forgotten(path: Path, nobody_left: None) -> None:
    """A step that has waited unasked for longer than anything is kept belongs to nobody; one that is asked is kept."""
    garage = ServiceUnderTest(path, Garage.spec(), retention_s=DAY_S)
    fill(garage, "b", "c")
    garage.runtime.advance(0.8 * DAY_S)
    garage.tell(garage.do(Park("c"), step="c", attempt=2))
    garage.runtime.advance(0.8 * DAY_S)
    assert states(path) == {"c": "begun"}
    garage.stop()


def test_rows_of_failing_steps_are_kept(path: Path, nobody_left: None) -> None:
    """A step that is asked, and only fails, has a saga that is open."""
    garage = ServiceUnderTest(path, Garage.spec(), retention_s=DAY_S)
    fill(garage, "b")
    garage.runtime.advance(0.8 * DAY_S)
    service: Any = garage.service
    service.see = lambda what: 1 / 0
    assert isinstance(garage.ask(garage.do(Park("b"), step="b", attempt=2)), Unavailable)
    garage.runtime.advance(0.8 * DAY_S)
    assert states(path) == {"b": "begun"}
    garage.stop()


@pytest.mark.parametrize("again_s", [0.0, -1.0, float("nan"), float("inf")])
def test_later_that_makes_no_sense(again_s: float) -> None:
    """A step can't be asked again at once for ever, nor never by a number."""
    with pytest.raises(ValueError, match="again_s"):
        Later("soon", again_s)
