"""What a command line may find in a module, and what it may not want."""

from typing import Any

from amends import Service
from tests.actors.trip import BookTrip, Fares, Script, Seats

SAGAS = [BookTrip, Seats]
SPEC = Seats.spec(Script())
NUMBER = 7


class Seating(Service, name="seats"):
    """Another one of that name."""


class Waiter:
    """No service."""


def fares() -> Any:
    """A service with its arguments."""
    return Fares.spec(Script())


def twice() -> Any:
    """A function that returns another."""
    return fares


def with_argument(script: Script) -> Any:
    """Nobody gives it one."""
    return Fares.spec(script)
