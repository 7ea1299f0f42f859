"""What every transport does; one suite, each transport."""

from collections.abc import Iterator

import msgspec
import pytest

from amends.actors.transport.in_process import InProcess
from amends.actors.transport.postgres import PostgresQueue
from amends.protocol.messages import Answer, Do, Done, Message, Never, Refused, Reply, SagaId, Unavailable, Undone
from amends.supervisor.runtime import SystemClock
from amends.supervisor.runtimes.pool import Pool
from tests.lines import SAGA, Ends, do, join_by, leave, reply, resolve, undo
from tests.rabbitmq import Rabbit
from tests.supervisor.probe import WAIT_S

OTHER = SagaId("0192f0c2")


@pytest.fixture(params=["in process", "rabbitmq", "postgres"])
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    """Two services and two open instances, joined by each of the transports."""
    pool = Pool(SystemClock())
    ends = Ends(pool)
    ends.have(("seats", "fares"), (SAGA, OTHER))
    if request.param == "in process":
        ends.node = ends.served = InProcess(ends.boxes, ends.sagas)
    elif request.param == "rabbitmq":
        rabbit: Rabbit = request.getfixturevalue("rabbit")
        join_by(ends, rabbit.settings())
    else:
        join_by(ends, PostgresQueue(request.getfixturevalue("schema")))
    yield ends
    ends.close()
    assert pool.stop(WAIT_S)


def same(found: Message, sent: Message) -> bool:
    """Whether it is the same but for where its answer goes, which is the transport's own business."""
    return msgspec.structs.replace(found, reply_to="") == sent


@pytest.mark.parametrize("message", [do(), undo(), resolve()])
def test_message_reaches_its_service(ends: Ends, message: Message) -> None:
    """As it was sent."""
    leave(ends.node.to_service(message))
    found = ends.read["seats"].take()
    assert type(found) is type(message)
    assert same(found, message)


def test_each_message_reaches_its_own_service(ends: Ends) -> None:
    """And no other."""
    for service in ("fares", "seats"):
        leave(ends.node.to_service(do(service=service)))
    assert [ends.read[name].take().service for name in ("seats", "fares")] == ["seats", "fares"]
    assert [len(ends.read[name].messages) for name in ("seats", "fares")] == [1, 1]


@pytest.mark.parametrize(
    "payload", [b"null", b'{"b": 1,  "a":[2]}', '{"name":"Žofie \U0001f686"}'.encode(), b'"%s"' % (b"x" * 100_000)]
)
def test_payload_is_kept_to_the_byte(ends: Ends, payload: bytes) -> None:
    """A fence compares it with what it was told before."""
    leave(ends.node.to_service(do(payload=payload)))
    found = ends.read["seats"].take()
    assert isinstance(found, Do)
    assert found.payload == payload


ANSWERS: list[tuple[str, Answer]] = [
    ("do", Done(msgspec.Raw(b'{"seat": "1 A"}'))),
    ("do", Done(msgspec.Raw(b"null"))),
    ("do", Refused("sold out")),
    ("do", Unavailable("not now")),
    ("undo", Undone()),
    ("resolve", Never()),
]


@pytest.mark.parametrize(("phase", "answer"), ANSWERS)
def test_reply_reaches_its_saga(ends: Ends, phase: str, answer: Answer) -> None:
    """As the service gave it."""
    leave(ends.node.to_service(do(3)))
    leave(ends.served.to_saga(reply(ends.read["seats"].take(), answer, phase)))
    found: Reply = ends.read[SAGA].take()
    assert (found.saga_id, found.step, found.phase, found.attempt) == (SAGA, "seat", phase, 3)
    if isinstance(answer, Done):
        assert isinstance(found.answer, Done)
        assert bytes(found.answer.result) == bytes(answer.result)
    else:
        assert found.answer == answer


def test_each_reply_reaches_its_own_saga(ends: Ends) -> None:
    """By the instance it is for."""
    for number, saga_id in enumerate((OTHER, SAGA), 1):
        leave(ends.node.to_service(do(number, saga_id=saga_id)))
        leave(ends.served.to_saga(reply(ends.read["seats"].take(), saga_id=saga_id)))
    assert [ends.read[saga_id].take().attempt for saga_id in (SAGA, OTHER)] == [2, 1]
    assert [len(ends.read[saga_id].messages) for saga_id in (SAGA, OTHER)] == [1, 1]


def test_reply_for_an_unknown_instance_is_harmless(ends: Ends) -> None:
    """It has ended, so its answer matters to nobody; the next one does."""
    leave(ends.node.to_service(do()))
    message = ends.read["seats"].take()
    leave(ends.served.to_saga(reply(message, saga_id=SagaId("ended"))))
    leave(ends.served.to_saga(reply(message)))
    assert ends.read[SAGA].take().saga_id == SAGA


def test_instance_that_is_opened_later_gets_its_replies(ends: Ends) -> None:
    """The table of open instances is looked at each time."""
    late = SagaId("late")
    leave(ends.node.to_service(do(saga_id=late)))
    message = ends.read["seats"].take()
    ends.have((), (late,))
    leave(ends.served.to_saga(reply(message, saga_id=late)))
    assert ends.read[late].take().saga_id == late


def test_nothing_leaves_before_the_turn_has_settled(ends: Ends) -> None:
    """What a turn that failed was about to say, nobody hears."""
    failing, sound = ends.sender(fails=lambda: True), ends.sender()
    failing.tell(lambda: ends.node.to_service(do(1)))
    sound.tell(lambda: ends.node.to_service(do(2)))
    assert ends.read["seats"].take().attempt == 2
    leave(ends.node.to_service(do(3)))
    assert ends.read["seats"].take().attempt == 3


def test_order_of_one_sender_is_kept_while_nothing_is_lost(ends: Ends) -> None:
    """No more is promised, and nobody may rely on it; but nothing overtakes without a reason."""
    sender = ends.sender()
    for number in range(1, 301):
        sender.tell(lambda number=number: ends.node.to_service(do(number)))
    assert [ends.read["seats"].take().attempt for _ in range(300)] == list(range(1, 301))


def test_message_that_is_left_twice_comes_twice(ends: Ends) -> None:
    """Doubles are the fence's business."""
    for _ in range(2):
        leave(ends.node.to_service(do()))
    assert [ends.read["seats"].take().attempt for _ in range(2)] == [1, 1]
