"""Calls outside that undo, and how long any call outside is waited for."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from amends import Done, IdempotencyKey, Later, Refused, Service, Unavailable, handles, undoes, verifies
from amends.protocol.messages import CANCELLED, Never, Reply, Undone
from tests.actors.trip import rows_of
from tests.actors.world import SAGA, ServiceUnderTest, sqlite


class Charge(msgspec.Struct, frozen=True):
    """Outside, and undone outside."""

    name: str


class Rent(msgspec.Struct, frozen=True):
    """Outside, can be asked about, and undone in the turn."""

    name: str


class Post(msgspec.Struct, frozen=True):
    """Outside, can be asked about, and never undone."""


class Wait(msgspec.Struct, frozen=True):
    """In the turn, answered later, and undone outside."""

    refuses: bool = False


class Till(Service, name="till", migrations=("create table seen (what text)",)):
    """Its world outside is the test: each call is noted, and answered by `say`.

    Attributes:
        calls: what was called, with which key.
        say: the answer of a call that came there; None is the usual one.
    """

    def __init__(self, calls: list[tuple[str, str]], said: dict[str, Any]) -> None:
        super().__init__()
        self.calls = calls
        self.said = said

    def call(self, what: str, key: IdempotencyKey) -> Any:
        self.calls.append((what, str(key)))
        answer = self.said.get(what)
        return answer() if callable(answer) else answer

    @handles(Charge, outside=True, limit_s=20.0)
    def charge(self, command: Charge, key: IdempotencyKey) -> Done[str] | Refused | Unavailable:
        return self.call("charge", key) or Done(f"receipt of {command.name}")

    @undoes(Charge, outside=True, limit_s=10.0)
    def refund(self, command: Charge, result: str, key: IdempotencyKey) -> Unavailable | None:
        assert result == f"receipt of {command.name}"
        return self.call("refund", key)  # type: ignore[no-any-return]  # the test's own choice

    @handles(Rent, outside=True)
    def rent(self, command: Rent, key: IdempotencyKey) -> Done[str] | Refused | Unavailable:
        return self.call("rent", key) or Done("keys")

    @verifies(Rent)
    def rented(self, command: Rent, key: IdempotencyKey) -> Done[str] | None:
        return self.call("rented", key)  # type: ignore[no-any-return]  # the test's own choice

    @undoes(Rent)
    def give_back(self, command: Rent, result: str) -> Unavailable | None:
        self.db.execute("insert into seen values (?)", (f"give back {result}",))
        return self.said.get("give back")

    @handles(Post, outside=True)
    def post(self, command: Post, key: IdempotencyKey) -> Done[None]:
        self.call("post", key)
        return Done()

    @verifies(Post)
    def posted(self, command: Post, key: IdempotencyKey) -> None: ...

    @handles(Wait)
    def wait(self, command: Wait) -> Done[str] | Refused | Later:
        self.db.execute("insert into seen values ('wait')")
        if command.refuses and self.db.execute("select count(*) from seen").get > 1:
            return Refused("never")
        return Later("it takes a while")

    @undoes(Wait, outside=True)
    def stop_waiting(self, command: Wait, result: str | None, key: IdempotencyKey) -> None:
        assert result is None
        self.call("stop", key)


@pytest.fixture
def calls() -> list[tuple[str, str]]:
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
def till(
    path: Path, calls: list[tuple[str, str]], said: dict[str, Any], nobody_left: None
) -> Iterator[ServiceUnderTest]:
    """A service on a real file; its calls leave when the test lets them."""
    till = ServiceUnderTest(path, Till.spec(calls, said))
    yield till
    till.stop()


Calls = list[tuple[str, str]]
KEY = f"{SAGA}/step"
RENT = Rent("a")


def state(path: Path) -> list[str]:
    """What the fence says of the step."""
    return [state for (state,) in rows_of(path, "select state from amends_fence")]


def short(replies: list[Reply]) -> list[tuple[str, int, object]]:
    """Phase, attempt and answer of each."""
    return [(reply.phase, reply.attempt, reply.answer) for reply in replies]


def charged(till: ServiceUnderTest) -> None:
    """The step is done."""
    assert till.tell(till.do(Charge("a"))) == []
    assert len(till.run_calls()) == 1


def fails() -> None:
    """A call that raises."""
    raise ZeroDivisionError


# Undoing outside.


def test_undo_leaves_after_the_commit(till: ServiceUnderTest, calls: Calls, path: Path) -> None:
    """It is called beside the turn, with the do's command, result and key, and recorded when it is back."""
    charged(till)
    assert till.tell(till.undo()) == []
    assert (calls[1:], state(path)) == ([], ["done"])
    assert short(till.run_calls()) == [("undo", 1, Undone())]
    assert (calls[1:], state(path)) == ([("refund", KEY)], ["undone"])
    assert till.ask(till.undo(attempt=2)) == Undone()
    assert till.ask(till.do(Charge("a"), attempt=2)) == Refused(CANCELLED)
    assert len(calls) == 2


def test_one_undo_at_a_time(till: ServiceUnderTest, calls: Calls) -> None:
    """Whoever asks while it is under way waits for the same answer."""
    charged(till)
    assert till.tell(till.undo(attempt=1), till.undo(attempt=2)) == []
    assert till.tell(till.undo(attempt=3)) == []
    assert len(till.runtime.calls) == 1
    assert short(till.run_calls()) == [("undo", attempt, Undone()) for attempt in (1, 2, 3)]


@pytest.mark.parametrize("answer", [Unavailable("busy"), "what?", Refused("no"), Later("soon"), fails])
def test_undo_that_fails(till: ServiceUnderTest, calls: Calls, said: dict[str, Any], path: Path, answer: Any) -> None:
    """Whoever waits is told, the step stays done, and the next attempt calls again with the same key."""
    charged(till)
    said["refund"] = answer
    till.tell(till.undo())
    (reply,) = till.run_calls()
    assert isinstance(reply.answer, Unavailable)
    assert state(path) == ["done"]
    said.clear()
    till.tell(till.undo(attempt=2))
    assert short(till.run_calls()) == [("undo", 2, Undone())]
    assert calls[1:] == [("refund", KEY)] * 2


def test_undo_of_an_incarnation_before(till: ServiceUnderTest, calls: Calls) -> None:
    """Another incarnation waits for the call that is under way, and takes its answer."""
    charged(till)
    till.tell(till.undo())
    till.restart()
    assert till.tell(till.undo(attempt=2)) == []
    assert short(till.run_calls()) == [("undo", 2, Undone())]
    assert len(calls) == 2


def test_undo_in_a_lost_turn(till: ServiceUnderTest, calls: Calls) -> None:
    """A turn that is not committed lets no call go."""
    charged(till)
    sqlite(till.service.db).set_commit_hook(lambda: True)
    assert isinstance(till.ask(till.undo()), Unavailable)
    sqlite(till.service.db).set_commit_hook(None)
    assert (len(till.runtime.calls), len(calls)) == (0, 1)
    till.tell(till.undo(attempt=2))
    assert short(till.run_calls()) == [("undo", 2, Undone())]


def test_undo_of_a_call_under_way(till: ServiceUnderTest, calls: Calls) -> None:
    """The do's call ends first; then it is undone."""
    till.tell(till.do(Charge("a")))
    assert till.tell(till.undo()) == []
    # The command itself is answered, too: by then its step is done.
    assert [reply[:2] for reply in short(till.run_calls())] == [("do", 1), ("undo", 1)]
    assert [what for what, _ in calls] == ["charge", "refund"]


@pytest.mark.parametrize(("kind", "answer"), [("undo", Undone()), ("resolve", Never())])
def test_undo_outside_of_what_was_never_answered(
    till: ServiceUnderTest, calls: Calls, path: Path, kind: str, answer: object
) -> None:
    """What answered `Later` may be undone outside; while it is, it is not run, also in another incarnation."""
    assert till.tell(till.do(Wait())) == []
    assert till.tell(getattr(till, kind)()) == []
    till.runtime.calls.clear()
    till.restart()
    till.service._home.under_way.calls.clear()
    assert till.tell(till.do(Wait(), attempt=2)) == []
    assert till.tell(getattr(till, kind)(attempt=2)) == []
    assert short(till.run_calls()) == [("do", 2, Refused(CANCELLED)), (kind, 2, answer)]
    assert (rows_of(path, "select * from seen"), calls, state(path)) == ([("wait",)], [("stop", KEY)], ["undone"])


def test_refused_at_last_and_undone_outside(till: ServiceUnderTest, calls: Calls, path: Path) -> None:
    """The refusal is told when what earlier runs left is undone."""
    assert till.tell(till.do(Wait(refuses=True))) == []
    assert till.tell(till.do(Wait(refuses=True), attempt=2)) == []
    assert state(path) == ["begun"]
    assert short(till.run_calls()) == [("do", 2, Refused("never"))]
    assert (calls, state(path)) == ([("stop", KEY)], ["refused"])


def test_undo_keeps_the_newest_token(till: ServiceUnderTest, path: Path) -> None:
    """A call made for an older grant is recorded under the newer one that has asked meanwhile."""
    charged(till)
    till.tell(till.undo())
    till.tell(till.undo(attempt=1, token=2))
    assert len(till.run_calls()) == 1  # the older one asks in vain
    assert rows_of(path, "select token from amends_fence") == [(2,)]


# Limits.


def test_call_that_does_not_come_back(till: ServiceUnderTest, calls: Calls, path: Path) -> None:
    """After its limit all who wait are told that nobody knows, and not before."""
    till.tell(till.do(Charge("a")), till.do(Charge("a"), attempt=2))
    till.tell(till.undo())
    till.runtime.advance(19.9)
    assert till.saga.take() == []
    till.runtime.advance(0.2)
    told = Unavailable("the call outside did not come back within 20 s")
    assert short(till.saga.take()) == [("do", 1, told), ("do", 2, told), ("undo", 1, told)]
    assert state(path) == ["begun"]


def test_limit_commits_nothing(till: ServiceUnderTest) -> None:
    """Giving up on a call costs no write."""
    commits: list[bool] = []
    till.tell(till.do(Charge("a")))
    sqlite(till.service.db).set_commit_hook(lambda: bool(commits.append(True)))  # type: ignore[func-returns-value]
    till.runtime.advance(30.0)
    assert (len(till.saga.take()), commits) == (1, [])


def test_call_without_a_limit_of_its_own(till: ServiceUnderTest) -> None:
    """A minute, where nothing else is said."""
    till.tell(till.do(Rent("a")))
    till.runtime.advance(59.9)
    assert till.saga.take() == []
    till.runtime.advance(0.2)
    assert [reply.answer for reply in till.saga.take()] == [
        Unavailable("the call outside did not come back within 60 s")
    ]


def test_next_message_calls_again(till: ServiceUnderTest, calls: Calls) -> None:
    """Without `@verifies` the handler is called again, with the same key."""
    till.tell(till.do(Charge("a")))
    till.runtime.calls.clear()
    till.runtime.advance(30.0)
    till.saga.take()
    till.tell(till.do(Charge("a"), attempt=2))
    assert [attempt for _, attempt, _ in short(till.run_calls())] == [2]
    assert calls == [("charge", KEY)]


def test_next_message_asks_the_provider(till: ServiceUnderTest, calls: Calls, said: dict[str, Any]) -> None:
    """With `@verifies` the provider is asked what became of the key."""
    till.tell(till.do(Rent("a")))
    till.runtime.calls.clear()
    till.runtime.advance(61.0)
    till.saga.take()
    said["rented"] = Done("keys")
    till.tell(till.do(Rent("a"), attempt=2))
    assert [(attempt, type(answer)) for _, attempt, answer in short(till.run_calls())] == [(2, Done)]
    assert calls == [("rented", KEY)]


def test_late_answer_is_recorded(till: ServiceUnderTest, calls: Calls, path: Path) -> None:
    """What comes after its limit counts as ever: the next message gets it, and nothing is called again."""
    till.tell(till.do(Charge("a")))
    till.runtime.advance(30.0)
    till.saga.take()
    assert till.run_calls() == []
    assert state(path) == ["done"]
    assert isinstance(till.ask(till.do(Charge("a"), attempt=2)), Done)
    assert len(calls) == 1


def test_late_answer_is_told_to_who_waits_for_another_call(till: ServiceUnderTest, path: Path) -> None:
    """The first call's answer is as good as the second's, whichever comes first; the other changes nothing."""
    till.tell(till.do(Charge("a")))
    till.runtime.advance(30.0)
    till.saga.take()
    till.tell(till.do(Charge("a"), attempt=2))
    till.runtime.calls.popleft()()
    till.runtime.run()
    assert [(attempt, type(answer)) for _, attempt, answer in short(till.saga.take())] == [(2, Done)]
    assert till.run_calls() == []
    assert state(path) == ["done"]


def test_late_failure_is_told_to_nobody(till: ServiceUnderTest, said: dict[str, Any]) -> None:
    """Whoever waits for the call that took its place goes on waiting."""
    till.tell(till.do(Charge("a")))
    till.runtime.advance(30.0)
    till.saga.take()
    till.tell(till.do(Charge("a"), attempt=2))
    said["charge"] = fails
    till.runtime.calls.popleft()()
    till.runtime.run()
    assert till.saga.take() == []
    said.clear()
    assert [(attempt, type(answer)) for _, attempt, answer in short(till.run_calls())] == [(2, Done)]


def test_late_failure_beside_a_new_question(till: ServiceUnderTest, said: dict[str, Any], calls: Calls) -> None:
    """Also if it comes in the turn in which the provider is asked again."""
    till.tell(till.do(Rent("a")))
    late = till.runtime.calls.popleft()
    till.runtime.advance(61.0)
    till.saga.take()
    said["rent"] = Unavailable("busy")
    message = till.do(Rent("a"), attempt=2)
    till.mailbox.tell(message)
    late()
    till.runtime.run()
    assert till.saga.take() == []
    said["rented"] = Done("keys")
    assert [(attempt, type(answer)) for _, attempt, answer in short(till.run_calls())] == [(2, Done)]


def test_limit_of_a_call_of_an_incarnation_before(till: ServiceUnderTest) -> None:
    """It is waited for until its own limit, and no longer."""
    till.tell(till.do(Charge("a")))
    till.runtime.advance(15.0)
    till.restart()
    till.tell(till.do(Charge("a"), attempt=2))
    assert len(till.runtime.calls) == 1
    till.runtime.advance(6.0)
    assert [(attempt, type(answer)) for _, attempt, answer in short(till.saga.take())] == [(2, Unavailable)]


def test_limit_that_passed_while_nobody_waited(till: ServiceUnderTest) -> None:
    """Another incarnation asks at once about a call whose limit is over."""
    till.tell(till.do(Charge("a")))
    till.restart()
    till.runtime.advance(25.0)
    till.tell(till.do(Charge("a"), attempt=2))
    assert len(till.runtime.calls) == 2


def test_undo_that_does_not_come_back(till: ServiceUnderTest, calls: Calls, path: Path) -> None:
    """Undos have limits of their own; a late answer is recorded, the next message called again."""
    charged(till)
    till.tell(till.undo())
    till.runtime.advance(10.1)
    told = Unavailable("the call outside did not come back within 10 s")
    assert short(till.saga.take()) == [("undo", 1, told)]
    till.tell(till.undo(attempt=2))
    assert len(till.runtime.calls) == 2
    late = till.runtime.calls.popleft()
    late()
    till.runtime.run()
    assert short(till.saga.take()) == [("undo", 2, Undone())]
    assert state(path) == ["undone"]
    assert till.run_calls() == []


def give_up_on(till: ServiceUnderTest, command: object = RENT) -> Callable[[], None]:
    """A call that hangs, and whose step is resolved meanwhile since the provider knows nothing of it."""
    till.tell(till.do(command))
    hangs = till.runtime.calls.popleft()
    till.runtime.advance(61.0)
    till.saga.take()
    till.tell(till.resolve())
    assert short(till.run_calls()) == [("resolve", 1, Never())]
    return hangs


def test_done_after_its_step_was_given_up(till: ServiceUnderTest, path: Path) -> None:
    """What a call has done after all is undone at once."""
    hangs = give_up_on(till)
    hangs()
    till.runtime.run()
    assert (rows_of(path, "select * from seen"), state(path)) == ([("give back keys",)], ["undone"])
    assert till.saga.take() == []


def test_done_after_its_step_was_given_up_and_hard_to_undo(
    till: ServiceUnderTest, said: dict[str, Any], path: Path
) -> None:
    """It is tried until it is undone, though no saga asks for it."""
    hangs = give_up_on(till)
    said["give back"] = Unavailable("closed")
    hangs()
    till.runtime.advance(200.0)
    assert (rows_of(path, "select * from seen"), state(path), till.saga.take()) == ([], ["begun"], [])
    said.clear()
    till.runtime.advance(60.0)
    assert (rows_of(path, "select * from seen"), state(path)) == ([("give back keys",)], ["undone"])


def test_nothing_done_after_its_step_was_given_up(till: ServiceUnderTest, said: dict[str, Any], path: Path) -> None:
    """If the late call has done nothing there is nothing to undo."""
    hangs = give_up_on(till)
    said["rent"] = Refused("no flat")
    hangs()
    till.runtime.run()
    assert (rows_of(path, "select * from seen"), state(path)) == ([], ["undone"])


def test_done_after_its_step_was_given_up_and_never_undone(till: ServiceUnderTest, path: Path) -> None:
    """Where there is no undo only a person can help; nothing else is said of the step than before."""
    hangs = give_up_on(till, Post())
    hangs()
    till.runtime.advance(200.0)
    assert (state(path), till.saga.take()) == (["undone"], [])
