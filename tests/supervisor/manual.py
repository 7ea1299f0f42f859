"""One thread, and a clock that only a test moves: the runtime of these tests.

A ready mailbox stands in a queue until the test asks for turns, so what runs when is the
test's own choice. Alarms go off when the clock is moved over them. A message may ask for turns
from inside its own, which is how a turn that hangs is played: the others take theirs while it waits.
"""

from collections import deque
from collections.abc import Callable
from itertools import count

from amends.supervisor.mailbox import Mailbox
from amends.supervisor.runtime import Clock

TURNS_MAX = 10_000


class ManualClock:
    """Time stands still until somebody sets `at_s`."""

    def __init__(self) -> None:
        self.at_s = 1000.0
        self._ids = count(1)

    def now_s(self) -> float:
        return self.at_s

    def now_at(self) -> float:
        return 1_700_000_000.0 + self.at_s

    def chance(self) -> float:
        return 0.5

    def new_id(self) -> str:
        return f"{next(self._ids):032x}"


class ManualRuntime:
    """Gives turns when it is asked to, in the order in which mailboxes became ready.

    Attributes:
        time: its clock, as the test moves it.
        asked: how often a turn was asked for.
        replaced: mailboxes whose thread was to be replaced; there is none to replace.
        released: mailboxes that were closed.
    """

    def __init__(self, clock: ManualClock | None = None) -> None:
        self.time = ManualClock() if clock is None else clock
        self.clock: Clock = self.time
        self.asked = 0
        self.replaced: list[Mailbox] = []
        self.released: list[Mailbox] = []
        self._ready: deque[Mailbox] = deque()
        self._alarms: dict[Mailbox, float] = {}
        self._running: list[Mailbox] = []
        self._stopped = False

    # The port.

    def ready(self, mailbox: Mailbox) -> None:
        self.asked += 1
        self._ready.append(mailbox)

    def replace(self, mailbox: Mailbox) -> None:
        self.replaced.append(mailbox)

    def in_turn(self) -> list[Mailbox]:
        return list(self._running)

    def release(self, mailbox: Mailbox) -> None:
        self.released.append(mailbox)
        self._alarms.pop(mailbox, None)

    def outside(self, call: Callable[[], None]) -> None:
        call()

    def stop(self, timeout_s: float) -> bool:
        self._stopped = True
        return not self._running

    # The test's side.

    @property
    def idle(self) -> bool:
        return self._stopped or not self._ready

    def run_turn(self) -> None:
        """Give the turn that was asked for first."""
        mailbox = self._ready.popleft()
        self._running.append(mailbox)
        ended = mailbox.run_turn()
        self._running.remove(mailbox)
        if not ended:
            return
        actor = mailbox.actor
        if actor is not None and actor.wakes_at_s is not None:
            self._alarms[mailbox] = actor.wakes_at_s
        else:
            self._alarms.pop(mailbox, None)

    def run_until_idle(self) -> None:
        """Give turns until nobody wants one; AssertionError if that does not come about."""
        for _ in range(TURNS_MAX):
            if self.idle:
                return
            self.run_turn()
        raise AssertionError(f"still busy after {TURNS_MAX} turns: {list(self._ready)[:5]}")

    def advance(self, seconds: float) -> None:
        """Let that much time pass, with every alarm and every turn in it."""
        until_s = self.time.at_s + seconds
        self.run_until_idle()
        while self._alarms and min(self._alarms.values()) <= until_s:
            mailbox = min(self._alarms, key=lambda m: self._alarms[m])
            self.time.at_s = max(self.time.at_s, self._alarms.pop(mailbox))
            mailbox.notify()
            self.run_until_idle()
        self.time.at_s = max(self.time.at_s, until_s)
