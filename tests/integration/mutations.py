"""Inputs that are almost right: valid encodings, damaged in every way a seed can think of, with a secret in them."""

import json
import random
from collections.abc import Callable
from typing import Any

CARD = "4111111111111111"
"""What looks like a secret, and may stand in no error's text."""

_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 2**63, -(2**63) - 1, 10**400, 1e308, -0.0, float("nan"), float("inf"), "", CARD, int(CARD),
    f"x{CARD}", "\ud800", "\x00", "é" * 50, [], {}, [CARD], {CARD: CARD}, [[[]]], "NaN", "sNaN", "1e999999",
)  # fmt: skip
_TOKENS = (
    b"NaN", b"-Infinity", b"1e999999999", b"9" * 400, b"-", b"\\ud800", b"\xff\xfe", b"\xed\xa0\x80", b"\x00", b'"',
    b"\\", b"[" * 3000, b'{"a":' * 1500, b"null", b"\xef\xbb\xbf", CARD.encode(), b",", b"}", b"]",
)  # fmt: skip


def bytes_of(value: Any) -> bytes:
    """Its JSON, with whatever Python is ready to write: NaN and lone surrogates too."""
    return json.dumps(value).encode("utf-8", "surrogatepass")


def mutated(chance: random.Random, valid: Any) -> bytes:
    """The JSON of `valid` after one to three kinds of damage, or, rarely, mere noise."""
    if chance.random() < 0.05:
        return chance.randbytes(chance.randrange(60))
    value = valid
    if chance.random() < 0.6:
        for _ in range(chance.randint(1, 3)):
            value = _changed(chance, value)
    data = bytes_of(value)
    if chance.random() < 0.6:
        for _ in range(chance.randint(1, 2)):
            data = chance.choice(_DAMAGES)(chance, data)
    return data


def _changed(chance: random.Random, value: Any) -> Any:
    """A copy with one part of it changed: its value, its place, its name."""
    if isinstance(value, dict) and value and chance.random() < 0.9:
        copy = dict(value)
        name = chance.choice(list(copy))
        what = chance.randrange(7)
        if what == 0:
            del copy[name]
        elif what == 1:
            other = chance.choice(list(copy))
            copy[name], copy[other] = copy[other], copy[name]
        elif what == 2:
            copy[chance.choice([CARD, name.upper(), "", "type"])] = copy.pop(name)
        elif what == 3:
            copy[CARD] = 1
        else:
            copy[name] = _changed(chance, copy[name])
        return copy
    if isinstance(value, list) and value and chance.random() < 0.8:
        place = chance.randrange(len(value))
        return [*value[:place], _changed(chance, value[place]), *value[place + chance.randrange(2) :]]
    return chance.choice(_VALUES)


def _flip(chance: random.Random, data: bytes) -> bytes:
    if not data:
        return data
    copy = bytearray(data)
    for _ in range(chance.randint(1, 3)):
        copy[chance.randrange(len(copy))] ^= 1 << chance.randrange(8)
    return bytes(copy)


def _cut(chance: random.Random, data: bytes) -> bytes:
    place = chance.randrange(len(data) + 1)
    return data[:place] if chance.random() < 0.8 else data[place:]


def _double(chance: random.Random, data: bytes) -> bytes:
    first, last = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    return data[:last] + data[first:]


def _insert(chance: random.Random, data: bytes) -> bytes:
    place = chance.randrange(len(data) + 1)
    return data[:place] + chance.choice(_TOKENS) + data[place:]


def _replace(chance: random.Random, data: bytes) -> bytes:
    first, last = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    return data[:first] + chance.choice(_TOKENS) + data[last:]


def _repeat_fields(chance: random.Random, data: bytes) -> bytes:
    return data[:-1] + b"," + data[1:]


def _nest(chance: random.Random, data: bytes) -> bytes:
    depth = chance.choice((1, 10, 5000))
    return b"[" * depth + data + b"]" * depth


_DAMAGES: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    _flip, _flip, _cut, _double, _insert, _replace, _repeat_fields, _nest,
)  # fmt: skip

COLUMN_VALUES: tuple[Any, ...] = (
    None, 0, 1, -1, 2**63 - 1, -(2**63), 1.5, float("inf"), float("-inf"), "", "x", CARD, int(CARD), b"", b"\xff",
    CARD.encode(), "1", "null", '{"a":1}', "begun", "done", "refused", "undone", "gone",
)  # fmt: skip
"""What a damaged row of SQLite may hold in a column, whatever the column's declared type."""


def damaged_row(chance: random.Random, row: tuple[Any, ...], keep: int = 0) -> tuple[Any, ...]:
    """A row with one or two of its columns, after the first `keep`, changed or swapped."""
    columns = list(row)
    for _ in range(chance.randint(1, 2)):
        place, other = (chance.randrange(keep, len(columns)) for _ in range(2))
        what = chance.random()
        if what < 0.2:
            columns[place], columns[other] = columns[other], columns[place]
        elif what < 0.5 and isinstance(columns[place], str):
            columns[place] = _flip(chance, columns[place].encode()).decode(errors="replace")
        else:
            columns[place] = chance.choice(COLUMN_VALUES)
    return tuple(columns)
