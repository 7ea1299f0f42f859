"""The wire: how messages and replies look outside of a process; `docs/wire-format.md` tells it to other languages.

The body is JSON; which kind of message it is, the version of the form and where the answer
goes stand beside it, where a broker can show them. Whatever is read, it becomes a sound
message or an `InputError` that names the field, and nothing else. Fields that are not known
are left alone, so that a newer program may say more.
"""

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec

from amends.protocol import codec
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

SCHEMA: Final = 1
"""The version of the form that this program writes and reads."""

_SHOWN: Final = 60
_NAMES: Final = ("service", "saga_id", "step", "command")


class Envelope(NamedTuple):
    """A body and what stands beside it; that it came from outside is why the rest may be anything.

    Attributes:
        kind: "do", "undo", "resolve" or "reply".
        schema: the version of the body's form.
        reply_to: where the answer goes; None for a reply.
    """

    kind: object
    schema: object
    reply_to: object
    body: bytes


Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
# Beyond this, not every language's JSON keeps a whole number as it is.
_BIGGEST: Final = 2**53 - 1
Attempt = Annotated[int, msgspec.Meta(ge=1, le=_BIGGEST)]
Token = Annotated[int, msgspec.Meta(ge=0, le=_BIGGEST)]


class _Asked(msgspec.Struct, frozen=True):
    service: Name
    saga_id: Name
    step: Name
    attempt: Attempt
    token: Token


class _Do(_Asked, frozen=True):
    command: Name
    payload: msgspec.Raw
    expires_at: float


class _Done(msgspec.Struct, frozen=True, tag="done", tag_field="kind"):
    result: msgspec.Raw = msgspec.Raw(b"null")


class _Refused(msgspec.Struct, frozen=True, tag="refused", tag_field="kind"):
    reason: str


class _Unavailable(msgspec.Struct, frozen=True, tag="unavailable", tag_field="kind"):
    reason: str


class _Undone(msgspec.Struct, frozen=True, tag="undone", tag_field="kind"):
    pass


class _Never(msgspec.Struct, frozen=True, tag="never", tag_field="kind"):
    pass


_Answer = _Done | _Refused | _Unavailable | _Undone | _Never


class _Reply(msgspec.Struct, frozen=True):
    saga_id: Name
    step: Name
    phase: Literal["do", "undo", "resolve"]
    attempt: Attempt
    answer: _Answer


# Writing.


def encode_message(message: Message, reply_to: str) -> Envelope:
    """A message to a service, and where its answer is to go."""
    m = message
    if isinstance(m, Do):
        payload = msgspec.Raw(m.payload)
        said: _Asked = _Do(m.service, m.saga_id, m.step, m.attempt, m.token, m.command, payload, m.expires_at)
        return Envelope("do", SCHEMA, reply_to, codec.encode(said))
    kind = "undo" if isinstance(m, Undo) else "resolve"
    said = _Asked(m.service, m.saga_id, m.step, m.attempt, m.token)
    return Envelope(kind, SCHEMA, reply_to, codec.encode(said))


def encode_reply(reply: Reply) -> Envelope:
    """A service's answer."""
    answer = _WRITTEN[type(reply.answer)](reply.answer)
    said = _Reply(reply.saga_id, reply.step, reply.phase, reply.attempt, answer)  # type: ignore[arg-type]  # a phase
    return Envelope("reply", SCHEMA, None, codec.encode(said))


_WRITTEN: dict[type, Callable[[Any], _Answer]] = {
    Done: lambda done: _Done(done.result),
    Refused: lambda refused: _Refused(refused.reason),
    Unavailable: lambda unavailable: _Unavailable(unavailable.reason),
    Undone: lambda _: _Undone(),
    Never: lambda _: _Never(),
}


# Reading.


def decode_message(envelope: Envelope) -> Message:
    """The message to a service, with its `reply_to`, or an InputError."""
    kind = _kind(envelope, ("do", "undo", "resolve"))
    reply_to = envelope.reply_to
    if not isinstance(reply_to, str) or not reply_to:
        raise InputError(kind, "reply_to", f"found {_show(reply_to)}, wanted the name of a queue")
    said = _read(_Do if kind == "do" else _Asked, envelope.body, kind)
    rest = {
        "service": said.service,
        "saga_id": SagaId(said.saga_id),
        "step": said.step,
        "attempt": said.attempt,
        "token": said.token,
        "reply_to": reply_to,
    }
    if not isinstance(said, _Do):
        return Undo(**rest) if kind == "undo" else Resolve(**rest)
    _check_json(said.payload, kind, "payload")
    payload = bytes(said.payload)
    return Do(command=said.command, payload=payload, expires_at=said.expires_at, **rest)


def decode_reply(envelope: Envelope) -> Reply:
    """The answer of a service, or an InputError."""
    kind = _kind(envelope, ("reply",))
    said = _read(_Reply, envelope.body, kind)
    if isinstance(said.answer, _Done):
        _check_json(said.answer.result, kind, "answer.result")
    return Reply(SagaId(said.saga_id), said.step, said.phase, said.attempt, _READ[type(said.answer)](said.answer))


_READ: dict[type, Callable[[Any], Answer]] = {
    # A copy: the other is a part of the whole body, which would stay with it.
    _Done: lambda done: Done(msgspec.Raw(bytes(done.result))),
    _Refused: lambda refused: Refused(refused.reason),
    _Unavailable: lambda unavailable: Unavailable(unavailable.reason),
    _Undone: lambda _: Undone(),
    _Never: lambda _: Never(),
}


def _kind(envelope: Envelope, wanted: tuple[str, ...]) -> str:
    schema, kind = envelope.schema, envelope.kind
    # Of a form that is not known nothing else can be said, so that is looked at first.
    if type(schema) is not int or schema != SCHEMA:
        raise InputError("message", "schema", f"found {_show(schema)}, this program reads {SCHEMA}")
    if not isinstance(kind, str) or kind not in wanted:
        raise InputError("message", "type", f"found {_show(kind)}, wanted {' or '.join(wanted)}")
    return kind


def _read(kind: Any, body: bytes, where: str) -> Any:
    said = codec.decode(kind, body, where)
    for name in _NAMES:
        # No database takes a zero byte in a text, and nobody can read the rest of them.
        if not getattr(said, name, "").isprintable():
            raise InputError(where, f"$.{name}", "found a character that can't be printed")
    return said


def _check_json(raw: msgspec.Raw, where: str, field: str) -> None:
    """What is handed on unread is sound JSON all the same; else whoever reads it later would be to blame."""
    try:
        codec.decode(object, raw, where)
    except InputError as error:
        raise InputError(where, f"$.{field}", error.problem) from None


def _show(value: object) -> str:
    """What was found, if a few characters can show it."""
    if value is None:
        return "none"
    if isinstance(value, str):
        return repr(value[:_SHOWN])
    if isinstance(value, int) and abs(value) <= _BIGGEST:
        return repr(value)
    return f"a {type(value).__name__}"
