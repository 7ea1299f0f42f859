"""To and from bytes: what is written can be read, and what can't is an error that says where the trouble is."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amends.protocol import codec
from amends.protocol.errors import InputError, RecordCorrupt
from amends.protocol.messages import SagaId
from amends.protocol.records import (
    Decided,
    Direction,
    Ended,
    Intervened,
    Record,
    Resumed,
    Started,
    StepDone,
    StepNever,
    StepRefused,
    StepResolving,
    StepRetried,
    StepStuck,
    StepUndone,
)

PROPERTY = settings(deadline=None, derandomize=True, database=None)
ONE = msgspec.Raw(b'{"n":1}')
NESTED = b"[" * 100_000 + b"]" * 100_000


class Line(msgspec.Struct):
    """A part of an input."""

    name: str
    amount: int = 1


class Basket(msgspec.Struct):
    """An input with a list in it."""

    lines: list[Line]


@dataclass
class Point:
    """An input that is no Struct."""

    x: float


RECORDS: list[Record] = [
    Started(SagaId("i-1"), "chain", 3, "key-1", ONE, 1000.25),
    StepDone("a", ONE),
    StepDone("a", msgspec.Raw(b"null")),
    StepRefused("a", "sold out"),
    StepRetried("a", 2, 1000.5, "no answer in time"),
    StepResolving("a", "no answer in time"),
    StepResolving("p", "deadline", None, "deadline"),
    StepNever("a"),
    StepUndone("a"),
    StepStuck("a", 6, 1060.0, "down"),
    Decided(Direction.FORWARD),
    Decided(Direction.BACK, None, "deadline"),
    Resumed(),
    Intervened("a", "retry", "ann", "it is back"),
    Intervened("a", "supply", "ann", "done by phone", ONE),
    Intervened("a", "supply", "ann", "done by phone", msgspec.Raw(b"null")),
    Intervened("a", "skip", "ann", "not needed"),
    Ended(completed=True),
    Ended(False, "a", "sold out"),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_is_read_back_as_it_was_written(record: Record) -> None:
    """Each kind, with and without what it may leave out."""
    assert codec.decode_record("i-1", 1, codec.SCHEMA, codec.encode(record)) == record


texts = st.text()


@PROPERTY
@given(step=texts, reason=texts, attempt=st.integers(1, 2**62), due_at=st.floats(0, 1e12))
def test_a_record_holds_any_text_and_number(step: str, reason: str, attempt: int, due_at: float) -> None:
    """Reasons come from services and people."""
    record = StepStuck(step, attempt, due_at, reason)
    assert codec.decode_record("i-1", 1, codec.SCHEMA, codec.encode(record)) == record


def test_a_record_reads_in_a_sql_shell() -> None:
    """It is JSON that says what it is, and leaves out what it has nothing to say about."""
    assert codec.encode(Decided(Direction.BACK, "a", "sold out")) == (
        b'{"type":"decided","direction":"back","step":"a","reason":"sold out"}'
    )
    assert codec.encode(Decided(Direction.FORWARD)) == b'{"type":"decided","direction":"forward"}'
    assert codec.encode(Intervened("a", "skip", "ann", "why")) == (
        b'{"type":"intervened","step":"a","action":"skip","by":"ann","reason":"why"}'
    )


@PROPERTY
@given(body=st.binary(max_size=64))
def test_bytes_that_are_no_record_are_corrupt(body: bytes) -> None:
    """Whatever stands in the file, the instance is quarantined and the program goes on."""
    with pytest.raises(RecordCorrupt):
        codec.decode_record("i-1", 1, codec.SCHEMA, body)


@PROPERTY
@given(record=st.sampled_from(RECORDS), at=st.integers(0, 10_000), byte=st.integers(0, 255))
def test_a_changed_byte_gives_a_record_or_is_corrupt(record: Record, at: int, byte: int) -> None:
    """No other error escapes, so that one bad record can't stop the program."""
    body = bytearray(codec.encode(record))
    body[at % len(body)] = byte
    with suppress(RecordCorrupt):
        codec.decode_record("i-1", 1, codec.SCHEMA, bytes(body))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b'{"type":"step_gone","step":"a"}',
        b'{"type":"step_done","step":"a"}',
        b'{"type":"step_done","step":1,"result":1}',
        b'{"type":"step_never","step":"\xff"}',
        b'{"type":"decided","direction":"sideways"}',
        b'{"type":"step_done","step":"a","result":' + NESTED + b"}",
    ],
    ids=["empty", "cut", "null", "unknown kind", "field missing", "wrong type", "no UTF-8", "bad value", "too deep"],
)
def test_a_corrupt_record_is_named(body: bytes) -> None:
    """The instance, the number of the record and what is wrong are in the message and on the error."""
    with pytest.raises(RecordCorrupt) as raised:
        codec.decode_record("i-1", 4, codec.SCHEMA, body)
    error = raised.value
    assert (error.saga_id, error.seq) == ("i-1", 4)
    assert error.problem
    assert str(error) == f"instance i-1, record 4: {error.problem}"


def test_a_record_of_a_newer_schema_is_not_guessed_at() -> None:
    """Even if it could be read; the message says what was found and what this program can do."""
    body = codec.encode(StepNever("a"))
    with pytest.raises(RecordCorrupt) as raised:
        codec.decode_record("i-1", 4, codec.SCHEMA + 1, body)
    assert raised.value.problem == f"schema version {codec.SCHEMA + 1}, this program reads up to {codec.SCHEMA}"


def test_a_value_is_decoded_as_its_type() -> None:
    """Structs, dataclasses and what else msgspec knows."""
    assert codec.decode(Basket, b'{"lines":[{"name":"tea"}]}', "x") == Basket([Line("tea")])
    assert codec.decode(Point, b'{"x":1.5}', "x") == Point(1.5)
    assert codec.decode(int, msgspec.Raw(b"3"), "x") == 3


@pytest.mark.parametrize(
    ("kind", "data", "path", "problem"),
    [
        (Basket, b'{"lines":[{"name":"tea"},{"name":5}]}', "$.lines[1].name", "Expected `str`, got `int`"),
        (Basket, b'{"lines":[{}]}', "$.lines[0]", "Object missing required field `name`"),
        (Basket, b"[]", "$", "Expected `object`, got `array`"),
        (Point, b'{"x":"1"}', "$.x", "Expected `float`, got `str`"),
        (dict[int, int], b'{"one":1}', "$", "a key: Expected `int`, got `str`"),
        (Basket, b'{"lines"', "$", "Input data was truncated"),
    ],
    ids=["item", "missing", "value itself", "dataclass", "key", "cut"],
)
def test_an_input_error_says_where_the_trouble_is(kind: Any, data: bytes, path: str, problem: str) -> None:
    """Whose value it is, the field's path, what was found and what is wanted."""
    with pytest.raises(InputError) as raised:
        codec.decode(kind, data, "saga 'chain'")
    error = raised.value
    assert (error.where, error.path, error.problem) == ("saga 'chain'", path, problem)
    assert str(error) == f"saga 'chain': {path}: {problem}"


@pytest.mark.parametrize("data", [b'"\xff"', NESTED], ids=["no UTF-8", "too deep"])
def test_bytes_that_are_no_json_are_an_input_error(data: bytes) -> None:
    """Whatever a caller sends, it is told, and nothing else breaks."""
    with pytest.raises(InputError, match=r"^here: \$: "):
        codec.decode(object, data, "here")


def test_a_checked_value_is_its_json() -> None:
    """What is sent is what was checked."""
    assert codec.checked(Basket, Basket([Line("tea", 2)]), "x") == b'{"lines":[{"name":"tea","amount":2}]}'


def endless() -> list[Any]:
    """A list that holds itself."""
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("kind", "value", "told"),
    [
        (Line, Line(5), r"\$\.name: Expected `str`, got `int`"),  # type: ignore[arg-type]  # the point of the test
        (Line, Line("tea", "2"), r"\$\.amount: Expected `int`, got `str`"),  # type: ignore[arg-type]  # as above
        (Line, None, r"\$: Expected `object`, got `null`"),
        (Point, Point(float("nan")), r"\$\.x: Expected `float`, got `null`"),
        (Line, object(), r"\$: Encoding objects of type object is unsupported; wanted Line"),
        (str, "\ud800", r"\$: .*surrogates not allowed; wanted str"),
        (list, endless(), r"\$: maximum recursion depth .*; wanted list"),
    ],
    ids=["wrong type", "number as text", "None", "no number", "no value", "half a character", "endless"],
)
def test_a_value_that_is_not_sound_is_not_sent(kind: Any, value: object, told: str) -> None:
    """A class's own constructor checks nothing, so this does, before anything is recorded."""
    with pytest.raises(InputError, match=f"^command Line: {told}"):
        codec.checked(kind, value, "command Line")


def test_a_value_outside_its_choices_is_not_quoted() -> None:
    """An error names the field, and never repeats a value that may be a secret."""

    class Choice(msgspec.Struct):
        method: Literal["card_token", "account"]

    with pytest.raises(InputError) as caught:
        codec.decode(Choice, b'{"method": "4111111111111111"}', "saga 's'")
    assert caught.value.path == "$.method"
    assert "4111" not in str(caught.value)
