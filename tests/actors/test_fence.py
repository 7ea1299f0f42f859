"""The fence: every cell of the design's table, as a rule and on a real database."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from amends import DatabaseError
from amends.actors.fence import Row, Verdict, judge
from amends.actors.serving import EXPIRED
from amends.protocol.messages import CANCELLED, Answer, Do, Done, Message, Never, Refused, Resolve, SagaId, Undo, Undone
from tests.actors.trip import Script, Seats, TakeSeat
from tests.actors.world import SAGA, ServiceUnderTest
from tests.conformance.databases import KINDS, Place, a_place

NOW_AT = 1000.0
ROWS = {
    "nothing": None,
    "begun": Row("begun", 1, "Take", "{}", None),
    "done": Row("done", 1, "Take", "{}", "7"),
    "refused": Row("refused", 1, "Take", "{}", "no"),
    "undone": Row("undone", 1, "Take", "{}", "7"),
    "tombstone": Row("undone", 1, None, None, None),
    "late": Row("begun", 1, "Take", "{}", "late: 7"),
}


def message(kind: str, token: int = 1, payload: bytes = b"{}", expires_at: float = 2000.0) -> Message:
    """One message about one step."""
    if kind == "do":
        return Do(
            service="s",
            saga_id=SagaId("a"),
            step="b",
            attempt=1,
            token=token,
            command="Take",
            payload=payload,
            expires_at=expires_at,
        )
    made = Undo if kind == "undo" else Resolve
    return made(service="s", saga_id=SagaId("a"), step="b", attempt=1, token=token)


TABLE = {
    ("do", "nothing"): Verdict.RUN,
    ("do", "begun"): Verdict.WAIT,
    ("do", "done"): Verdict.REPEAT,
    ("do", "refused"): Verdict.REPEAT,
    ("do", "undone"): Verdict.IS_CANCELLED,
    ("do", "tombstone"): Verdict.IS_CANCELLED,
    ("do", "late"): Verdict.IS_CANCELLED,
    ("undo", "nothing"): Verdict.BURY,
    ("undo", "begun"): Verdict.WAIT,
    ("undo", "done"): Verdict.UNDO,
    ("undo", "refused"): Verdict.BURY,
    ("undo", "undone"): Verdict.IS_UNDONE,
    ("undo", "tombstone"): Verdict.IS_UNDONE,
    ("undo", "late"): Verdict.UNDO,
    ("resolve", "nothing"): Verdict.BURY,
    ("resolve", "begun"): Verdict.WAIT,
    ("resolve", "done"): Verdict.REPEAT,
    ("resolve", "refused"): Verdict.REPEAT,
    ("resolve", "undone"): Verdict.IS_NEVER,
    ("resolve", "tombstone"): Verdict.IS_NEVER,
    ("resolve", "late"): Verdict.IS_NEVER,
}


@pytest.mark.parametrize(("kind", "row"), TABLE)
def test_judge(kind: str, row: str) -> None:
    """What a message means, given what is recorded."""
    assert judge(message(kind), ROWS[row], 1, NOW_AT) is TABLE[kind, row]


@pytest.mark.parametrize("kind", ["do", "undo", "resolve"])
@pytest.mark.parametrize("row", ROWS)
def test_judge_older_token(kind: str, row: str) -> None:
    """A token older than one seen for the saga is obeyed in no case."""
    assert judge(message(kind, token=1), ROWS[row], 2, NOW_AT) is Verdict.OUTDATED


@pytest.mark.parametrize(("kind", "row"), TABLE)
def test_judge_newer_token(kind: str, row: str) -> None:
    """A newer token is as good as the one that is known."""
    assert judge(message(kind, token=3), ROWS[row], 1, NOW_AT) is TABLE[kind, row]


@pytest.mark.parametrize("row", ["begun", "done", "refused"])
def test_judge_other_payload(row: str) -> None:
    """The same key with another payload is an error."""
    assert judge(message("do", payload=b"{1}"), ROWS[row], 1, NOW_AT) is Verdict.OTHER_PAYLOAD


def test_judge_expired() -> None:
    """A command that expired is begun no more, but one that was begun is answered as ever."""
    late = message("do", expires_at=NOW_AT)
    assert judge(late, None, 0, NOW_AT) is Verdict.EXPIRED
    assert judge(late, ROWS["done"], 1, NOW_AT) is Verdict.REPEAT
    assert judge(message("do", expires_at=NOW_AT + 0.001), None, 0, NOW_AT) is Verdict.RUN


# The same table, on a real service and each kind of database.


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Where the service keeps what it knows: each kind of database."""
    with a_place(request.param, tmp_path) as place:
        yield place


@pytest.fixture
def script() -> Script:
    """What its handlers do."""
    return Script()


@pytest.fixture
def seats(place: Place, script: Script, nobody_left: None) -> Iterator[ServiceUnderTest]:
    """A service on a real database."""
    seats = ServiceUnderTest(lambda scripts: place.open(scripts, "seats"), Seats.spec(script))
    yield seats
    seats.stop()


def rows_of(place: Place, query: str) -> list[tuple[Any, ...]]:
    """What is committed there, as somebody else sees it."""
    return [tuple(row) for row in place.open(Seats.scripts(), "somebody else").execute(query).fetchall()]


TAKE = TakeSeat("a")
DONE = Done(msgspec.Raw(b'"seat of a"'))
HISTORIES: dict[str, list[str]] = {
    "nothing": [],
    "done": ["do"],
    "refused": ["no"],
    "undone": ["do", "undo"],
    "tombstone": ["undo"],
    "resolved": ["resolve"],
}
ANSWERS: dict[tuple[str, str], tuple[Answer, list[str]]] = {
    ("do", "nothing"): (DONE, ["seat"]),
    ("do", "done"): (DONE, ["seat"]),
    ("do", "refused"): (Refused("full"), []),
    ("do", "undone"): (Refused(CANCELLED), ["seat", "free seat"]),
    ("do", "tombstone"): (Refused(CANCELLED), []),
    ("do", "resolved"): (Refused(CANCELLED), []),
    ("undo", "nothing"): (Undone(), []),
    ("undo", "done"): (Undone(), ["seat", "free seat"]),
    ("undo", "refused"): (Undone(), []),
    ("undo", "undone"): (Undone(), ["seat", "free seat"]),
    ("undo", "tombstone"): (Undone(), []),
    ("undo", "resolved"): (Undone(), []),
    ("resolve", "nothing"): (Never(), []),
    ("resolve", "done"): (DONE, ["seat"]),
    ("resolve", "refused"): (Refused("full"), []),
    ("resolve", "undone"): (Never(), ["seat", "free seat"]),
    ("resolve", "tombstone"): (Never(), []),
    ("resolve", "resolved"): (Never(), []),
}


@pytest.mark.parametrize("turns", ["each in a turn", "all in one turn", "a restart between"])
@pytest.mark.parametrize(("kind", "history"), ANSWERS)
def test_table_on_a_database(
    seats: ServiceUnderTest, script: Script, place: Place, kind: str, history: str, turns: str
) -> None:
    """What is answered and what really happens; the last message twice, as duplicates are harmless."""
    if history == "refused":
        script.acts["seat"] = lambda service, name: Refused("full")
    made = {"do": seats.do(TAKE), "no": seats.do(TAKE), "undo": seats.undo(), "resolve": seats.resolve()}
    messages = [made[step] for step in [*HISTORIES[history], kind, kind]]
    if turns == "all in one turn":
        replies = seats.tell(*messages)
    else:
        replies = []
        for each in messages:
            replies += seats.tell(each)
            if turns == "a restart between":
                seats.restart()
    answer, happened = ANSWERS[kind, history]
    assert [reply.answer for reply in replies[-2:]] == [answer, answer]
    assert [what for (what,) in rows_of(place, "select what from effects order by id")] == happened


def test_late_do_after_its_undo(seats: ServiceUnderTest, place: Place) -> None:
    """An undo may overtake its do; the late do is refused and does nothing."""
    assert seats.ask(seats.undo()) == Undone()
    assert seats.ask(seats.do(TAKE)) == Refused(CANCELLED)
    assert rows_of(place, "select * from effects") == []


def test_other_payload(seats: ServiceUnderTest, place: Place) -> None:
    """The same key with another command is not run, and not taken for the first one."""
    seats.ask(seats.do(TAKE))
    answer = seats.ask(seats.do(TakeSeat("b")))
    assert not isinstance(answer, Done | Refused)
    assert rows_of(place, "select name from effects") == [("a",)]


def test_older_token_is_not_obeyed(seats: ServiceUnderTest, place: Place) -> None:
    """After a newer token was seen for the saga, whatever carries an older one is a dead letter without an answer."""
    seats.ask(seats.do(TAKE, step="one", token=2))
    old = [seats.do(TAKE, step="two", token=1), seats.undo(step="one", token=1), seats.resolve(step="three", token=1)]
    assert seats.tell(*old) == []
    assert [letter.message for letter in seats.dead.told] == old
    assert all("token 1 is older" in letter.reason for letter in seats.dead.told)
    assert rows_of(place, "select step, state from amends_fence") == [("one", "done")]


@pytest.mark.parametrize("kind", ["do", "undo", "resolve"])
def test_token_of_any_message_counts(seats: ServiceUnderTest, kind: str) -> None:
    """A newer grant that only asks is seen too, in the same turn and in later ones."""
    seats.ask(seats.do(TAKE, token=1))
    ask = {"do": seats.do(TAKE, token=2), "undo": seats.undo(token=2), "resolve": seats.resolve(token=2)}[kind]
    assert len(seats.tell(ask, seats.resolve(token=1))) == 1
    seats.restart()
    assert seats.tell(seats.resolve(token=1)) == []


def test_tokens_of_other_sagas_do_not_count(seats: ServiceUnderTest) -> None:
    """A token is compared with those of its own saga only."""
    other = msgspec.structs.replace(seats.do(TAKE, token=9), saga_id=SagaId("other"))
    assert [reply.saga_id for reply in seats.tell(other, seats.do(TAKE, token=1))] == [SAGA]


def test_expired_command_is_not_run(seats: ServiceUnderTest, place: Place) -> None:
    """A duplicate that outlives its row does nothing."""
    do = seats.do(TAKE)
    seats.runtime.time.s += 2 * 86_400
    assert seats.ask(do) == Refused(EXPIRED)
    assert rows_of(place, "select * from effects") == []


def test_expired_command_stays_refused(seats: ServiceUnderTest, place: Place) -> None:
    """Whoever heard that it was refused will not undo it, so a later attempt must not run either."""
    do = seats.do(TAKE)
    seats.runtime.time.s += 2 * 86_400
    seats.ask(do)
    assert seats.ask(seats.do(TAKE, attempt=2)) == Refused(EXPIRED)
    assert rows_of(place, "select * from effects") == []


def test_rows_are_pruned(place: Place, script: Script, nobody_left: None) -> None:
    """Rows older than the retention are forgotten; younger ones and calls that have begun are kept."""
    seats = ServiceUnderTest(place.open, Seats.spec(script), retention_s=1000.0)
    seats.ask(seats.do(TAKE, step="old"))
    seats.service.db.execute("insert into amends_fence values ('x', 'begun', 'begun', 1, 'c', '{}', null, 0, null)")
    seats.runtime.time.s += 1001
    seats.ask(seats.do(TAKE, step="young"))
    seats.runtime.time.s += 61
    seats.ask(seats.resolve(step="young"))
    seats.stop()
    assert {step for (step,) in rows_of(place, "select step from amends_fence")} == {"begun", "young"}


def test_an_idle_service_notices_that_its_database_is_gone(
    seats: ServiceUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a minute, though nobody asks it anything; and soon that it is back."""
    assert seats.service.blocked == ""

    def gone() -> None:
        raise DatabaseError("the server is away", "57P01")

    monkeypatch.setattr(seats.service.db, "begin", gone)
    seats.runtime.advance(61)
    assert seats.service.blocked == "the server is away"
    monkeypatch.undo()
    seats.runtime.advance(2)
    assert seats.service.blocked == ""
