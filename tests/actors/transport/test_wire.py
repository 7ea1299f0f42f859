"""The wire format: what goes out comes in again, and whatever else comes in is refused by the name of its field."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amends.actors.transport.wire import (
    SCHEMA,
    Envelope,
    decode_message,
    decode_reply,
    encode_message,
    encode_reply,
)
from amends.protocol.errors import InputError
from amends.protocol.messages import (
    Answer,
    Do,
    Done,
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

DO: dict[str, Any] = {
    "service": "seats",
    "saga_id": "i",
    "step": "seat",
    "attempt": 1,
    "token": 2,
    "command": "TakeSeat",
    "payload": {"name": "Ada"},
    "expires_at": 2_000_000_000.5,
}
REPLY: dict[str, Any] = {"saga_id": "i", "step": "seat", "phase": "do", "attempt": 1, "answer": {"kind": "undone"}}

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=60).filter(str.isprintable)
whole = st.integers(1, 2**53 - 1)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
payloads = json_values.map(lambda value: json.dumps(value).encode())
asked = {"service": names, "saga_id": names.map(SagaId), "step": names, "attempt": whole, "token": whole}
messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(Do, **asked, command=names, payload=payloads, expires_at=st.floats(0, 1e12)),
    st.builds(Undo, **asked),
    st.builds(Resolve, **asked),
)
answers: st.SearchStrategy[Answer] = st.one_of(
    st.builds(Done, payloads.map(msgspec.Raw)),
    st.builds(Refused, st.text(st.characters(codec="utf-8"))),
    st.builds(Unavailable, st.text(st.characters(codec="utf-8"))),
    st.just(Undone()),
    st.just(Never()),
)
replies = st.builds(Reply, names.map(SagaId), names, st.sampled_from(["do", "undo", "resolve"]), whole, answers)


def envelope(body: Any, kind: object = "do", schema: object = SCHEMA, reply_to: object = "replies") -> Envelope:
    """As it comes from a broker."""
    return Envelope(kind, schema, reply_to, body if isinstance(body, bytes) else json.dumps(body).encode())


@given(messages)
def test_message_comes_back_as_it_was(message: Message) -> None:
    """With the place its answer goes to."""
    found = decode_message(encode_message(message, "replies"))
    assert found == msgspec.structs.replace(message, reply_to="replies")
    assert type(found) is type(message)


@given(replies)
def test_reply_comes_back_as_it_was(reply: Reply) -> None:
    """A result to the byte."""
    found = decode_reply(encode_reply(reply))
    if isinstance(reply.answer, Done):
        assert isinstance(found.answer, Done)
        assert bytes(found.answer.result) == bytes(reply.answer.result)
        found = msgspec.structs.replace(found, answer=reply.answer)
    assert found == reply


def test_body_is_what_the_page_says() -> None:
    """A payload is JSON within JSON, not a text of it; programs in other languages read just this."""
    rest = {name: value for name, value in DO.items() if name != "payload"}
    out = encode_message(Do(payload=b'{"name": "Ada"}', **rest), "replies")
    assert (out.kind, out.schema, out.reply_to, json.loads(out.body)) == ("do", 1, "replies", DO)
    answered = encode_reply(Reply(SagaId("i"), "seat", "do", 1, Undone()))
    assert (answered.kind, answered.schema, answered.reply_to) == ("reply", 1, None)
    assert json.loads(answered.body) == REPLY


def test_fields_of_a_later_version_are_left_alone() -> None:
    """A newer program may say more."""
    assert decode_message(envelope(DO | {"traceparent": "00-1"})).step == "seat"
    assert decode_reply(envelope(REPLY | {"took_s": 1}, "reply")).step == "seat"


def test_result_may_be_left_out() -> None:
    """A step without a result is done all the same."""
    found = decode_reply(envelope(REPLY | {"answer": {"kind": "done"}}, "reply"))
    assert isinstance(found.answer, Done)
    assert bytes(found.answer.result) == b"null"


WRONG: list[tuple[str, Envelope]] = [
    ("schema", envelope(DO, schema=None)),
    ("schema", envelope(DO, schema=2)),
    ("schema", envelope(DO, schema=True)),
    ("schema", envelope(DO, schema="1")),
    ("schema", envelope(DO, schema=10**5000)),
    ("type", envelope(DO, kind=None)),
    ("type", envelope(DO, kind="reply")),
    ("reply_to", envelope(DO, reply_to=None)),
    ("reply_to", envelope(DO, reply_to="")),
    ("$", envelope(b"")),
    ("$", envelope(b"[1]")),
    ("$", envelope(b"\xff")),
    ("$", envelope(b'{"service":"\xff"}')),
    ("$", envelope(b"[" * 100_000)),
    ("$.service", envelope(DO | {"service": ""})),
    ("$.service", envelope(DO | {"service": "a\x00"})),
    ("$.saga_id", envelope(DO | {"saga_id": "x" * 256})),
    ("$.saga_id", envelope(DO | {"saga_id": 1})),
    ("$.step", envelope(DO | {"step": "a\nb"})),
    ("$.attempt", envelope(DO | {"attempt": 0})),
    ("$.attempt", envelope(DO | {"attempt": 1.5})),
    ("$.token", envelope(DO | {"token": 2**53})),
    ("$.token", envelope(DO | {"token": -1}, "undo")),
    ("$.command", envelope(DO | {"command": None})),
    ("$.expires_at", envelope(DO | {"expires_at": "soon"})),
    ("$", envelope(json.dumps(DO).replace('"Ada"', r'"\ud800"').encode())),
    ("$", envelope(json.dumps(DO).replace('"Ada"', "[" * 5000 + "]" * 5000).encode())),
    ("$.payload", envelope(json.dumps(DO).replace('"Ada"', "1e999").encode())),
    ("$.payload", envelope(json.dumps(DO).encode().replace(b"Ada", b"\xff"))),
]
WRONG_REPLIES: list[tuple[str, Envelope]] = [
    ("type", envelope(REPLY)),
    ("$.phase", envelope(REPLY | {"phase": "redo"}, "reply")),
    ("$.answer.kind", envelope(REPLY | {"answer": {"kind": "maybe"}}, "reply")),
    ("$.answer", envelope(REPLY | {"answer": {"kind": "refused"}}, "reply")),
    ("$.answer.reason", envelope(REPLY | {"answer": {"kind": "refused", "reason": 1}}, "reply")),
    ("$.answer.result", envelope(json.dumps(REPLY).replace('"undone"', '"done","result":1e999').encode(), "reply")),
]


@pytest.mark.parametrize(("field", "found"), WRONG)
def test_wrong_message_is_refused_by_its_field(field: str, found: Envelope) -> None:
    """And nothing of the payload is told."""
    with pytest.raises(InputError) as error:
        decode_message(found)
    assert error.value.path == field
    assert "Ada" not in str(error.value)


@pytest.mark.parametrize(("field", "found"), WRONG_REPLIES)
def test_wrong_reply_is_refused_by_its_field(field: str, found: Envelope) -> None:
    """As a message is."""
    with pytest.raises(InputError) as error:
        decode_reply(found)
    assert error.value.path == field


@pytest.mark.parametrize("missing", list(DO))
def test_missing_field_is_named(missing: str) -> None:
    """In the text, since it is at no place."""
    with pytest.raises(InputError, match=f"`{missing}`"):
        decode_message(envelope({name: value for name, value in DO.items() if name != missing}))


anything = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=10) | st.binary(max_size=10) | st.just({"a": [1]})
)
kinds = st.sampled_from(["do", "undo", "resolve", "reply"])
changed = st.builds(
    lambda base, name, value: json.dumps(base | {name: value}).encode(),
    st.sampled_from([DO, REPLY]),
    st.sampled_from([*DO, *REPLY]),
    json_values,
)
flipped = st.builds(
    lambda base, at, bits: bytes(b ^ (bits if i == at % len(base) else 0) for i, b in enumerate(base)),
    st.sampled_from([json.dumps(DO).encode(), json.dumps(REPLY).encode()]),
    st.integers(0, 1000),
    st.integers(1, 255),
)


@given(kinds | anything, st.just(SCHEMA) | anything, st.just("replies") | anything, st.binary() | changed | flipped)
def test_nothing_but_sound_messages_and_named_fields(
    kind: object, schema: object, reply_to: object, body: bytes
) -> None:
    """Whatever a broker may hand over."""
    found = Envelope(kind, schema, reply_to, body)
    for decode in (decode_message, decode_reply):
        try:
            decoded = decode(found)
        except InputError as error:
            named = error.path
        else:
            named = "none"
            again = encode_reply(decoded) if isinstance(decoded, Reply) else encode_message(decoded, "replies")
            assert isinstance(json.loads(again.body), dict)
        assert named
