"""A service's turns: one commit for all of it, nothing leaves before, and what fails has not happened."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from amends import Done, HandlerError, Refused, Service, Unavailable, handles
from amends.protocol.messages import Do
from amends.supervisor.actor import Kill
from tests.actors.trip import PrintTicket, Script, Seats, TakeSeat, rows_of
from tests.actors.world import ServiceUnderTest, sqlite


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The service's file."""
    return tmp_path / "seats.db"


@pytest.fixture
def script() -> Script:
    """What its handlers do."""
    return Script()


@pytest.fixture
def seats(path: Path, script: Script, nobody_left: None) -> Iterator[ServiceUnderTest]:
    """A service on a real file."""
    seats = ServiceUnderTest(path, Seats.spec(script))
    yield seats
    seats.stop()


def takes(seats: ServiceUnderTest, count: int) -> list[Do]:
    """So many commands, each of a step of its own."""
    return [seats.do(TakeSeat(f"n{number}"), step=f"s{number}") for number in range(count)]


def count(commits: list[Any], what: Any = True) -> bool:
    """A commit hook that remembers, and lets the commit be."""
    commits.append(what)
    return False


def happened(path: Path) -> list[str]:
    """The effects in the database, in order."""
    return [name for (name,) in rows_of(path, "select name from effects order by id")]


def test_one_commit_for_a_turn(seats: ServiceUnderTest) -> None:
    """A hundred commands that come at once are one commit."""
    commits: list[bool] = []
    sqlite(seats.service.db).set_commit_hook(lambda: count(commits))
    assert len(seats.tell(*takes(seats, 100))) == 100
    assert len(commits) == 1


def test_turn_without_a_message_commits_nothing(seats: ServiceUnderTest) -> None:
    """A wake-up costs no write."""
    commits: list[bool] = []
    sqlite(seats.service.db).set_commit_hook(lambda: count(commits))
    seats.mailbox.notify()
    seats.runtime.run()
    assert commits == []


def test_nothing_leaves_before_the_commit(seats: ServiceUnderTest) -> None:
    """When the commit happens, no answer has left; afterwards all have."""
    told: list[int] = []
    sqlite(seats.service.db).set_commit_hook(lambda: count(told, len(seats.saga.told)))
    assert len(seats.tell(*takes(seats, 3))) == 3
    assert told == [0]


def test_commit_that_fails(seats: ServiceUnderTest, path: Path) -> None:
    """If the commit fails nothing has happened, everyone hears so, and the next turn works."""
    sqlite(seats.service.db).set_commit_hook(lambda: True)
    answers = [reply.answer for reply in seats.tell(*takes(seats, 3))]
    assert len(answers) == 3
    assert all(isinstance(answer, Unavailable) for answer in answers)
    assert (happened(path), rows_of(path, "select * from amends_fence")) == ([], [])
    sqlite(seats.service.db).set_commit_hook(None)
    assert all(isinstance(reply.answer, Done) for reply in seats.tell(*takes(seats, 3)))
    assert happened(path) == ["n0", "n1", "n2"]


def test_begin_that_fails(seats: ServiceUnderTest, path: Path) -> None:
    """While another connection holds the write lock, the service is unavailable and says so."""
    other = apsw.Connection(str(path))
    other.execute("begin immediate")
    sqlite(seats.service.db).set_busy_timeout(0)
    assert isinstance(seats.ask(seats.do(TakeSeat("a"))), Unavailable)
    other.execute("rollback")
    other.close()
    assert isinstance(seats.ask(seats.do(TakeSeat("a"))), Done)


@pytest.mark.parametrize(
    "fails",
    [
        lambda service: 1 / 0,
        lambda service: Refused("no"),
        lambda service: Unavailable("not now"),
        lambda service: "what?",
        lambda service: Done(7),
        lambda service: service.db.execute("nonsense"),
    ],
)
def test_what_fails_takes_its_writes_back_and_no_others(
    seats: ServiceUnderTest, script: Script, path: Path, fails: Any
) -> None:
    """Whatever a handler wrote before it failed is gone; its neighbours in the turn stay, each once."""

    def act(service: Service, name: str) -> Any:
        if name != "n1":
            return None
        service.db.execute("insert into effects (what, name) values ('half', 'half')")
        return fails(service)

    script.acts["seat"] = act
    replies = seats.tell(*takes(seats, 3))
    assert [isinstance(reply.answer, Done) for reply in replies] == [True, False, True]
    assert happened(path) == ["n0", "n2"]
    assert rows_of(path, "select step from amends_fence where state = 'done'") == [("s0",), ("s2",)]


def test_undo_that_fails_takes_its_writes_back(seats: ServiceUnderTest, script: Script, path: Path) -> None:
    """The step stays done until its undo works."""

    def act(service: Service, name: str) -> None:
        service.db.execute("insert into effects (what, name) values ('half', 'half')")
        raise ZeroDivisionError

    seats.ask(seats.do(TakeSeat("a")))
    script.acts["free seat"] = act
    assert isinstance(seats.ask(seats.undo()), Unavailable)
    assert happened(path) == ["a"]
    del script.acts["free seat"]
    seats.ask(seats.undo())
    assert happened(path) == ["a", "a"]


def test_unavailable_is_not_recorded(seats: ServiceUnderTest, script: Script) -> None:
    """`Unavailable` means ask again, and then it may work."""
    script.acts["seat"] = lambda service, name: Unavailable("not now")
    assert seats.ask(seats.do(TakeSeat("a"))) == Unavailable("not now")
    script.acts.clear()
    assert isinstance(seats.ask(seats.do(TakeSeat("a"))), Done)


def test_unknown_command(seats: ServiceUnderTest) -> None:
    """A command nobody handles is unavailable: a newer version of the service may know it."""
    assert isinstance(seats.ask(seats.do(PrintTicket("a"))), Unavailable)


def test_payload_that_does_not_decode(seats: ServiceUnderTest, path: Path) -> None:
    """Bytes that are no command run no handler."""
    broken = Do(
        service="seats",
        saga_id=seats.do(TakeSeat("a")).saga_id,
        step="s",
        attempt=1,
        token=1,
        command="TakeSeat",
        payload=b'{"name": 7}',
        expires_at=float("inf"),
    )
    assert isinstance(seats.ask(broken), Unavailable)
    assert happened(path) == []


def test_reply_says_what_it_answers(seats: ServiceUnderTest) -> None:
    """Phase and attempt come back, so that the saga can tell answers apart."""
    replies = seats.tell(seats.do(TakeSeat("a"), attempt=3), seats.resolve(attempt=4), seats.undo(attempt=5))
    assert [(reply.phase, reply.attempt) for reply in replies] == [("do", 3), ("resolve", 4), ("undo", 5)]


def test_killed_in_a_turn(seats: ServiceUnderTest, path: Path) -> None:
    """A turn that fails has happened to nobody; the next incarnation serves its messages, each once."""
    for message in [*takes(seats, 2), Kill()]:
        seats.mailbox.tell(message)
    seats.runtime.run()
    assert (happened(path), seats.saga.take()) == ([], [])
    seats.restart()
    assert len(seats.saga.take()) == 2
    assert happened(path) == ["n0", "n1"]


def test_name_that_is_no_file_name() -> None:
    """The name becomes a file's, so it is checked when the class is made."""
    with pytest.raises(HandlerError, match="wanted letters, digits"):

        class Bad(Service, name="../bad"):
            pass


def test_name_that_service_uses_itself() -> None:
    """A method that would replace one of the base's is refused by name."""
    with pytest.raises(HandlerError, match="_settle"):

        class Bad(Service, name="bad"):
            def _settle(self) -> None:
                pass


def test_result_that_does_not_fit_is_never_recorded(seats: ServiceUnderTest, script: Script, path: Path) -> None:
    """What a handler declares is what its undo and later steps can count on."""
    script.acts["seat"] = lambda service, name: Done(7)
    assert isinstance(seats.ask(seats.do(TakeSeat("a"))), Unavailable)
    assert rows_of(path, "select * from amends_fence") == []


def test_transaction_that_is_gone(seats: ServiceUnderTest, script: Script, path: Path) -> None:
    """A full disk may end the whole transaction under a handler that notices nothing: then nothing was done."""

    def lose(service: Service, name: str) -> None:
        if name == "n1":
            service.db.execute("rollback")

    script.acts["seat"] = lose
    assert all(isinstance(reply.answer, Unavailable) for reply in seats.tell(*takes(seats, 3)))
    assert rows_of(path, "select step from amends_fence") == []
    script.acts.clear()
    assert all(isinstance(reply.answer, Done) for reply in seats.tell(*takes(seats, 3)))
    assert happened(path) == ["n0", "n1", "n2"]


def test_full_disk_at_the_time_of_pruning(seats: ServiceUnderTest) -> None:
    """What can't be pruned now is no reason to fail: the turn is done and answered."""
    seats.ask(seats.do(TakeSeat("a")))
    seats.runtime.time.s += 61
    hooks = iter([False])
    sqlite(seats.service.db).set_commit_hook(lambda: next(hooks, True))
    assert len(seats.tell(seats.do(TakeSeat("b"), step="two"))) == 1
    assert seats.keeper.told == []


class Plain(Service, name="plain"):
    """With nothing of its own."""

    @handles(TakeSeat)
    def take(self, command: TakeSeat) -> Done[None]:
        return Done()


def test_service_without_tables(tmp_path: Path, nobody_left: None) -> None:
    """The fence needs no migrations of the service's own."""
    plain = ServiceUnderTest(tmp_path / "plain.db", Plain.spec())
    assert isinstance(plain.ask(plain.do(TakeSeat("a"))), Done)
    plain.stop()
