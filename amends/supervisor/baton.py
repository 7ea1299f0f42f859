"""The baton: of the threads that run actors, one runs Python at a time, and passes it on where a turn ends or waits.

The interpreter lets one thread run anyway, but changes between them wherever a statement comes back from the database,
and each time the one that has it may keep it for five milliseconds. With the baton they change between turns, so that
nobody waits in the middle of one but for the disk. Whoever has waited for it for `PATIENCE_S` takes it from a turn
that sleeps or calculates for longer, which goes on all the same: it orders who runs, and protects nothing.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

PATIENCE_S: Final = 0.05
"""How long a thread waits for the baton before it takes it, in seconds."""

_here = threading.local()


class Baton:
    """Had by one thread at most."""

    __slots__ = ("_guard", "_owner", "_waiting")

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._owner: int | None = None
        self._waiting: deque[tuple[int, threading.Lock]] = deque()

    def take(self) -> None:
        """Have it from now on; waits for those who came before."""
        me = threading.get_ident()
        if self._owner == me:
            return
        with self._guard:
            if self._owner is None:
                self._owner = me
                return
            passed = threading.Lock()
            passed.acquire()
            place = (me, passed)
            self._waiting.append(place)
        if not passed.acquire(timeout=PATIENCE_S):
            with self._guard:
                self._owner = me
                # Else it was passed on to this thread in this very moment, and perhaps taken by another one since.
                if place in self._waiting:
                    self._waiting.remove(place)

    def drop(self) -> None:
        """Pass it on to who has waited longest, if this thread has it."""
        with self._guard:
            if self._owner == threading.get_ident():
                self._owner = None
                if self._waiting:
                    self._owner, passed = self._waiting.popleft()
                    passed.release()

    def carry(self) -> None:
        """From now on `without` drops this one, in this thread."""
        _here.baton = self


def without(call: Callable[..., T], *values: object) -> T:
    """Call something that waits for the disk, and let others run meanwhile."""
    baton: Baton | None = getattr(_here, "baton", None)
    if baton is None:
        return call(*values)
    baton.drop()
    try:
        return call(*values)
    finally:
        baton.take()
