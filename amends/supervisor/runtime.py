"""The port to everything that is chance: when an actor takes its turn, what time it is, a random number.

An actor asks its runtime and never the operating system, so the same actors run under a
simulated one. `runtimes/` has the adapters.
"""

import random
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from amends.supervisor.mailbox import Mailbox


class Clock(Protocol):
    """Time, chance and names."""

    def now_s(self) -> float:
        """Monotonic seconds."""
        ...

    def now_at(self) -> float:
        """Wall time as unix seconds, UTC."""
        ...

    def chance(self) -> float:
        """A random number, uniform in [0, 1)."""
        ...

    def new_id(self) -> str:
        """An id that sorts after every earlier one of this clock."""
        ...


class Runtime(Protocol):
    """Who runs next."""

    clock: Clock

    def ready(self, mailbox: "Mailbox") -> None:
        """Give the mailbox's actor a turn; called once until that turn is over."""
        ...

    def replace(self, mailbox: "Mailbox") -> None:
        """The thread in this mailbox's turn will not come back: let another one do its work."""
        ...

    def in_turn(self) -> "list[Mailbox]":
        """The mailboxes whose actors are in a turn."""
        ...

    def release(self, mailbox: "Mailbox") -> None:
        """The mailbox is closed for good; let go of what is held for it."""
        ...

    def outside(self, call: Callable[[], None]) -> None:
        """Run a call that waits on the world outside, beside all turns."""
        ...

    def stop(self, timeout_s: float) -> bool:
        """Give no more turns; True once the last one is over, False if one still runs after `timeout_s`."""
        ...


class SystemClock:
    """The operating system's time and chance."""

    now_s = staticmethod(time.monotonic)
    now_at = staticmethod(time.time)
    chance = staticmethod(random.random)

    def __init__(self) -> None:
        self._ids = threading.Lock()
        self._last = 0

    def new_id(self) -> str:
        """A version 7 UUID as 32 hex digits: 48 bits of milliseconds, then a counter that starts at random.

        Source: RFC 9562, section 6.2, method 2 (monotonic random).
        """
        stamp = int(time.time() * 1000) << 80 | 7 << 76 | 2 << 62
        with self._ids:
            self._last = max(self._last + 1, stamp | random.getrandbits(61))
            return f"{self._last:032x}"
