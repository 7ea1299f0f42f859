"""To and from bytes: JSON, so that a journal reads in any SQL shell.

A record is kept with the schema version it was written in. User classes may be msgspec
Structs, dataclasses or anything else msgspec knows; a value that does not fit is an
`InputError` with the field's path, never a half-made object.
"""

import re
import threading
from functools import cache
from typing import Any, TypeVar, cast, get_args

import msgspec

from amends.protocol.errors import InputError, RecordCorrupt
from amends.protocol.records import Record

SCHEMA = 2
"""The version of the records' form that this program writes; older ones are read, newer ones refused.

1: the first. 2: `Started` has the digest of its plan.
"""

T = TypeVar("T")

TYPES = {kind: str(kind.__struct_config__.tag) for kind in get_args(Record)}
"""The name of each kind of record."""

_encoder = msgspec.json.Encoder()
_records = msgspec.json.Decoder(Record)
_PATH = re.compile(r"^(?P<problem>.*?)(?: - at (?P<key>`key` in )?`(?P<path>.*)`)?$", re.DOTALL)
# What bytes that are no sound JSON raise: broken UTF-8 and endless nesting are no DecodeError.
_MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
# The messages of msgspec that quote what stands in the data, which may be what nobody is to read. The name of an
# unknown field is told if it looks like a name.
_QUOTED = re.compile(
    r"^(Invalid enum value|Invalid value|Object contains unknown field(?! `[A-Za-z_]+\d?`$)) .*", re.DOTALL
)

encode = _encoder.encode


# Two threads that are the first to read types with a class in common crash msgspec 0.22, and the process with it.
_making = threading.Lock()


@cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    with _making:
        return msgspec.json.Decoder(kind)


def problem_with(kind: Any) -> str:
    """Why values of this type can't be read back from JSON; empty if they can."""
    try:
        _decoder(kind)
    except TypeError as error:
        return str(error)
    return ""


def decode(kind: type[T], data: bytes | msgspec.Raw, where: str) -> T:
    """`data` as a `kind`, or an InputError that says where in it the trouble is."""
    try:
        value: T = _decoder(cast("Any", kind)).decode(data)
        return value
    except _MALFORMED as error:
        raise _input_error(where, error) from None


def checked(kind: type[T], value: object, where: str) -> bytes:
    """The JSON of `value` after checking that it is a sound `kind`.

    A class's own constructor checks no types, so the check is a strict trip through JSON.
    """
    try:
        data = encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InputError(where, "$", f"{error}; wanted {_name(kind)}") from None
    decode(kind, data, where)
    return data


def decode_record(saga_id: str, seq: int, schema: int, body: bytes) -> Record:
    """One record of a history, or RecordCorrupt."""
    if schema > SCHEMA:
        raise RecordCorrupt(saga_id, seq, f"schema version {schema}, this program reads up to {SCHEMA}")
    try:
        return cast("Record", _records.decode(body))
    except _MALFORMED as error:
        found = _input_error("", error)
        raise RecordCorrupt(saga_id, seq, f"{found.path}: {found.problem}") from None


def _input_error(where: str, error: Exception) -> InputError:
    match = _PATH.match(str(error))
    assert match is not None  # the pattern matches any text
    of_a_key = "a key: " if match["key"] else ""
    return InputError(where, match["path"] or "$", of_a_key + _QUOTED.sub(r"\1", match["problem"]))


def _name(kind: Any) -> str:
    return getattr(kind, "__name__", str(kind))
