"""What tests of a running system share: waiting until something is so, and handlers that wait or refuse."""

import time
from collections.abc import Callable

from amends import (
    Refused,
    Unavailable,
)
from tests.actors.trip import (
    LONG_S,
)


def until(true: Callable[[], bool], seconds: float = LONG_S) -> None:
    """Look until it is so; a limit and never a pace."""
    give_up_s = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < give_up_s, "it did not come true"


def refuse_some(service: object, name: str) -> Refused | None:
    """Every third trip has no money."""
    return Refused("no money") if int(name.split("-")[1]) % 3 == 0 else None


class Gate:
    """Holds handlers back until the test opens it, without blocking them: they are unavailable meanwhile."""

    def __init__(self) -> None:
        self.is_open = False

    def __call__(self, service: object, name: str) -> Unavailable | None:
        return None if self.is_open else Unavailable("the gate is shut")
