"""What travels: messages carry their key, answers are told apart, and nothing can be changed on the way."""

from typing import Any

import msgspec
import pytest

from amends.protocol.messages import (
    Do,
    Done,
    IdempotencyKey,
    Message,
    Never,
    Refused,
    Reply,
    Resolve,
    SagaId,
    Unavailable,
    Undo,
    Undone,
)

ENVELOPE: dict[str, Any] = {"service": "north", "saga_id": SagaId("i-1"), "step": "a", "attempt": 2, "token": 7}
DO = Do(command="Act", payload=b'{"step":"a"}', expires_at=2000.0, **ENVELOPE)
MESSAGES: list[Do | Undo | Resolve] = [DO, Undo(**ENVELOPE), Resolve(**ENVELOPE)]


def test_an_idempotency_key_reads_as_instance_and_step() -> None:
    """This is what a provider outside is given, so it never changes."""
    assert str(IdempotencyKey(SagaId("i-1"), "a")) == "i-1/a"


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_the_same_step_has_the_same_key_in_every_message(message: Message) -> None:
    """Whatever is wished of it and however often."""
    later = msgspec.structs.replace(message, attempt=9, token=8)
    assert message.key == later.key == IdempotencyKey(SagaId("i-1"), "a")


def test_keys_of_other_steps_and_instances_differ() -> None:
    """They are used as keys of tables and of dicts."""
    keys = {IdempotencyKey(SagaId(saga_id), step) for saga_id in ("i-1", "i-2") for step in ("a", "b")}
    assert len(keys) == 4


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_survives_the_wire(message: Do | Undo | Resolve) -> None:
    """Its tag says which one it is."""
    assert msgspec.json.decode(msgspec.json.encode(message), type=Do | Undo | Resolve) == message


def test_done_without_a_result_is_done() -> None:
    """Many steps have nothing to tell."""
    assert Done() == Done(None)


@pytest.mark.parametrize("value", [*MESSAGES, Done(1), Refused("no"), Unavailable("down"), Undone(), Never()], ids=repr)
def test_what_travels_is_frozen(value: Any) -> None:
    """Two actors may hold the same one."""
    with pytest.raises(AttributeError, match="immutable type"):
        value.step = "b"


def test_answers_of_different_meaning_are_never_equal() -> None:
    """A no is not a "not now", and undone is not never."""
    answers = [Done("x"), Refused("x"), Unavailable("x"), Undone(), Never()]
    assert [[one == other for other in answers].count(True) for one in answers] == [1] * 5


def test_a_reply_says_back_what_it_answers() -> None:
    """The step, the phase and the attempt, so that a late one can be told from the one awaited."""
    reply = Reply(SagaId("i-1"), "a", "do", 2, Undone())
    assert (reply.saga_id, reply.step, reply.phase, reply.attempt) == ("i-1", "a", "do", 2)
