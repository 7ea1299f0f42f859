"""The thread runtime: one thread for each actor, for those that wait on a disk or a socket."""

from collections.abc import Callable

from amends.supervisor.baton import Baton
from amends.supervisor.mailbox import Mailbox
from amends.supervisor.runtime import Clock
from amends.supervisor.runtimes.pool import Pool, run_outside


class Threads:
    """A pool for every mailbox, made when the mailbox first has something to read.

    Args:
        clock: the time and chance its actors see.
        baton: what one of the threads has at a time; each has its own if they are to run beside each other.
    """

    def __init__(self, clock: Clock, baton: Baton | None = None) -> None:
        self.clock = clock
        self._baton = baton
        self._pools: dict[Mailbox, Pool] = {}
        # Closed while their actor was in a turn.
        self._released: list[Pool] = []
        self._stopping = False

    def ready(self, mailbox: Mailbox) -> None:
        # A mailbox is ready once until its turn is over, so nobody else makes its pool meanwhile.
        pool = self._pools.get(mailbox)
        if pool is None:
            if self._stopping:
                return
            pool = self._pools[mailbox] = Pool(self.clock, f"amends-{mailbox.name}", self._baton)
        pool.ready(mailbox)

    def replace(self, mailbox: Mailbox) -> None:
        self._pools[mailbox].replace(mailbox)

    def in_turn(self) -> list[Mailbox]:
        return [mailbox for pool in list(self._pools.values()) for mailbox in pool.in_turn()]

    def release(self, mailbox: Mailbox) -> None:
        pool = self._pools.pop(mailbox, None)
        if pool is not None and not pool.stop(timeout_s=0.0):
            self._released.append(pool)

    def outside(self, call: Callable[[], None]) -> None:
        run_outside(call)

    def stop(self, timeout_s: float) -> bool:
        self._stopping = True
        until = self.clock.now_s() + timeout_s
        pools = [*self._pools.values(), *self._released]
        for pool in pools:
            pool.stop(timeout_s=0.0)
        ended = [pool.stop(max(0.0, until - self.clock.now_s())) for pool in pools]
        return all(ended)
