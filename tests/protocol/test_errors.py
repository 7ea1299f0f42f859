"""Errors name the thing, the value found and the value wanted, and carry the same facts as attributes."""

import inspect

import pytest

from amends.protocol import errors
from amends.protocol.errors import (
    AmendsError,
    BrokerUnavailable,
    InputError,
    JournalHeld,
    KeyConflict,
    Overloaded,
    RecordCorrupt,
    StorageError,
)


def test_every_error_is_an_amends_error() -> None:
    """One `except` catches them all, and none of them can stop every actor as a BaseException would."""
    classes = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
    assert classes
    assert all(issubclass(kind, AmendsError) and issubclass(kind, Exception) for kind in classes)


@pytest.mark.parametrize(
    ("error", "named", "facts"),
    [
        (
            InputError("saga 'x'", "$.n", "Expected `int`"),
            ["saga 'x'", "$.n", "Expected `int`"],
            ["where", "path", "problem"],
        ),
        (KeyConflict("x", "k-1", "i-1"), ["'x'", "'k-1'", "i-1", "same input"], ["saga", "key", "saga_id"]),
        (Overloaded(12, 10), ["12", "10", "later"], ["open_instances", "limit"]),
        (BrokerUnavailable("6 wait", 12, 10), ["6 wait", "later"], ["reason"]),
        (JournalHeld("a.db", "host 7"), ["a.db", "host 7", "one process"], ["path", "holder"]),
        (RecordCorrupt("i-1", 3, "cut"), ["i-1", "3", "cut"], ["saga_id", "seq", "problem"]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_a_message_names_what_was_found_and_what_is_wanted(
    error: AmendsError, named: list[str], facts: list[str]
) -> None:
    """Who reads it need not look into the source."""
    assert [name for name in named if name not in str(error)] == []
    assert all(str(getattr(error, fact)) in str(error) for fact in facts)


def test_a_broker_that_takes_nothing_is_an_overload() -> None:
    """Who sends a start again later when too much is open does so here too, and can tell the two apart."""
    assert issubclass(BrokerUnavailable, Overloaded)


def test_a_held_journal_is_a_storage_error() -> None:
    """Who handles files that can't be used handles this one too."""
    assert issubclass(JournalHeld, StorageError)
