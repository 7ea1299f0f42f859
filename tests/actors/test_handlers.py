"""How a service declares what it can do, and what is refused when its class is made."""

import types

import msgspec
import pytest

from amends import Done, HandlerError, IdempotencyKey, Later, Refused, Service, Unavailable, handles, undoes, verifies


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


def test_later_is_declared() -> None:
    """A handler that may answer later says so, and its undo may be outside with a limit of its own."""

    class Slow(Service, name="slow"):
        @handles(Take)
        def take(self, command: Take) -> Done[int] | Refused | Later:
            return Later("soon")

        @undoes(Take, outside=True, limit_s=7.0)
        def untake(self, command: Take, result: int | None, key: IdempotencyKey) -> None: ...

        @handles(Give, outside=True, limit_s=3.0)
        def give(self, command: Give, key: IdempotencyKey) -> Done[None]:
            return Done()

    take, give = Slow.handlers["Take"], Slow.handlers["Give"]
    assert (take.later, take.result, take.outside, take.undo_outside, take.undo_limit_s) == (True, int, False, True, 7)
    assert (give.later, give.limit_s, give.undo_outside) == (False, 3.0, False)
    assert Full.handlers["Give"].limit_s == 60.0


def test_later_without_an_undo() -> None:
    """Somebody has to take back what it leaves while it waits."""
    with pytest.raises(HandlerError, match=r"Bad.take: answers Later, and there is no @undoes\(Take\)"):

        class Bad(Service, name="bad"):
            @handles(Take)
            def take(self, command: Take) -> Done[int] | Later:
                return Later("soon")


def test_later_outside() -> None:
    """A call outside just takes its time."""
    with pytest.raises(HandlerError, match=r"answers Later, and is @handles\(Take, outside=True\)"):

        class Bad(Service, name="bad"):
            @handles(Take, outside=True)
            def take(self, command: Take, key: IdempotencyKey) -> Done[int] | Later:
                return Later("soon")

            @undoes(Take)
            def untake(self, command: Take, result: int | None) -> None: ...


def test_limit_in_the_turn() -> None:
    """What runs in a turn has the service's own limit."""
    with pytest.raises(HandlerError, match=r"@handles\(Take\): limit_s is for outside=True"):

        class Bad(Service, name="bad"):
            @handles(Take, limit_s=3.0)
            def take(self, command: Take) -> Done[int]:
                return Done(1)


@pytest.mark.parametrize("limit_s", [0.0, -1.0, float("inf"), float("nan")])
def test_limit_that_is_none(limit_s: float) -> None:
    """Every call outside has one."""
    with pytest.raises(HandlerError, match=r"@undoes\(Take\): limit_s is .*, wanted more than 0 seconds"):

        class Bad(Service, name="bad"):
            @handles(Take)
            def take(self, command: Take) -> Done[int]:
                return Done(1)

            @undoes(Take, outside=True, limit_s=limit_s)
            def untake(self, command: Take, result: int, key: IdempotencyKey) -> None: ...


@pytest.mark.parametrize("name", ["key", "again"])
def test_names_that_handlers_use(name: str) -> None:
    """A service must not hide what its handlers are given."""
    with pytest.raises(HandlerError, match=name):
        types.new_class("Bad", (Service,), {"name": "bad"}, lambda body: body.update({name: 1}))
