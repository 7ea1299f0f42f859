"""How a service declares what it can do, and what is refused when its class is made."""

import msgspec
import pytest

from amends import Done, HandlerError, IdempotencyKey, Refused, Service, Unavailable, handles, undoes, verifies


class Take(msgspec.Struct, frozen=True):
    """A command."""

    name: str


class Give(msgspec.Struct, frozen=True):
    """Another."""

    name: str


class Full(Service, name="full"):
    """A service with one of each."""

    @handles(Take)
    def take(self, command: Take) -> Done[int] | Refused | Unavailable:
        return Done(1)

    @undoes(Take)
    def untake(self, command: Take, result: int) -> None: ...

    @handles(Give, outside=True)
    def give(self, command: Give, key: IdempotencyKey) -> Done[None]:
        return Done()

    @verifies(Give)
    def given(self, command: Give, key: IdempotencyKey) -> Done[None] | None:
        return None


def test_what_is_declared() -> None:
    """Each command's handler, undo, result type and place are found by its name."""
    take, give = Full.handlers["Take"], Full.handlers["Give"]
    assert (take.command, take.result, take.outside, take.handling.undoable) == (Take, int, False, True)
    assert (give.command, give.result, give.outside, give.handling.undoable) == (Give, type(None), True, False)
    assert (give.verify, take.undo) == (Full.given, Full.untake)


def test_inherited_and_replaced() -> None:
    """A subclass has its parent's handlers, and may replace one under its name."""

    class Child(Full, name="child"):
        @handles(Take)
        def take(self, command: Take) -> Done[int] | Refused | Unavailable:
            return Refused("never")

    assert Child.handlers["Take"].run is Child.take
    assert Child.handlers["Take"].undo is Full.untake


def test_two_handlers_of_one_command() -> None:
    """Which one would be meant? Both are named."""
    with pytest.raises(HandlerError, match="'one' and 'two' both say @handles"):

        class Bad(Service, name="bad"):
            @handles(Take)
            def one(self, command: Take) -> Done[int]:
                return Done(1)

            @handles(Take)
            def two(self, command: Take) -> Done[int]:
                return Done(2)


def test_undo_of_nothing() -> None:
    """An undo without a handler undoes nothing."""
    with pytest.raises(HandlerError, match=r"@undoes\(Take\) without @handles"):

        class Bad(Service, name="bad"):
            @undoes(Take)
            def untake(self, command: Take, result: int) -> None: ...


def test_verify_of_what_is_inside() -> None:
    """What happens in the database needs nobody asked."""
    with pytest.raises(HandlerError, match="outside=True"):

        class Bad(Service, name="bad"):
            @handles(Take)
            def take(self, command: Take) -> Done[int]:
                return Done(1)

            @verifies(Take)
            def taken(self, command: Take, key: IdempotencyKey) -> Done[int] | None:
                return None


def test_answers_that_are_none() -> None:
    """A handler says in its annotation what it answers; anything else is named."""
    with pytest.raises(HandlerError, match="returns <class 'int'>"):

        class Bad(Service, name="bad"):
            @handles(Take)
            def take(self, command: Take) -> int:
                return 1

    with pytest.raises(HandlerError, match="returns None"):

        class Worse(Service, name="worse"):
            @handles(Take)
            def take(self, command: Take):  # type: ignore[no-untyped-def]  # the mistake that is tested
                return Done(1)


def test_unknown_type_in_an_annotation() -> None:
    """A name that means nothing is told."""
    with pytest.raises(HandlerError, match="unknown type"):

        class Bad(Service, name="bad"):
            @handles(Take)
            def take(self, command: Take) -> "Done[Nowhere]":  # type: ignore[name-defined]  # noqa: F821 - as above
                return Done(1)


def test_types_of_a_functions_own() -> None:
    """A class defined in a function may be named there too."""

    class Receipt(msgspec.Struct):
        number: int

    class Local(Service, name="local"):
        @handles(Take)
        def take(self, command: Take) -> "Done[Receipt]":
            return Done(Receipt(1))

    assert Local.handlers["Take"].result is Receipt
