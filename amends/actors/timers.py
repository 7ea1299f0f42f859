"""Everything that is to happen later: messages kept until they are due.

Timers are not durable, and need not be: who asked for one knows from the journal when it is due and
asks again after a restart.
"""

import heapq

from amends.supervisor.actor import Actor
from amends.supervisor.mailbox import Address


class After:
    """Tell `message` to `address` once `at` (unix seconds) has come."""

    __slots__ = ("address", "at", "message")

    def __init__(self, at: float, address: Address, message: object) -> None:
        self.at = at
        self.address = address
        self.message = message


class Timers(Actor):
    """Keeps messages in the order in which they are due."""

    turn_budget = 1000

    def __init__(self) -> None:
        super().__init__()
        self._due: list[tuple[float, int, After]] = []
        self._count = 0

    def on_receive(self, message: After) -> None:
        self._count += 1
        heapq.heappush(self._due, (message.at, self._count, message))

    def settle(self) -> None:
        now_at = self.clock.now_at()
        while self._due and self._due[0][0] <= now_at:
            after = heapq.heappop(self._due)[2]
            self.tell(after.address, after.message)
        self.wakes_at_s = self.clock.now_s() + (self._due[0][0] - now_at) if self._due else None
