"""The agenda: virtual time, and everything that is still to happen, in the order in which it is due.

What is due at the same moment happens in the order in which it was put there, so two runs
of one schedule do the same. Who put it there may be gone when it is due (a process that died);
then it does not happen.
"""

import heapq
from collections.abc import Callable, Hashable
from typing import Final

from amends.protocol.errors import AmendsError

STEPS_MAX: Final = 200_000
"""Steps of one history; more are taken for a livelock."""


class Livelock(AmendsError):  # noqa: N818 - reads as the fact it reports
    """The history does not come to rest."""


class Stalled(AmendsError):  # noqa: N818 - reads as the fact it reports
    """Virtual hours have passed, and what was waited for has not come."""


class Agenda:
    """What is still to happen.

    Attributes:
        now_s: virtual seconds since the history began.
        steps: how much has happened so far.
        busy: how much is still to happen and is no alarm.
    """

    def __init__(self) -> None:
        self.now_s = 0.0
        self.steps = 0
        self.busy = 0
        self._number = 0
        self._due: list[tuple[float, int, Callable[[], None], bool]] = []
        self._alarms: dict[Hashable, int] = {}

    def put(self, delay_s: float, act: Callable[[], None]) -> None:
        """`act` happens in `delay_s` from now."""
        self.busy += 1
        self._put(self.now_s + delay_s, act, alarm=False)

    def set_alarm(self, whose: Hashable, at_s: float | None, act: Callable[[], None]) -> None:
        """`act` happens at `at_s`, instead of what was set for `whose` before; None only takes that away."""
        self._alarms.pop(whose, None)
        if at_s is None:
            return
        number = self._alarms[whose] = self._number + 1

        def ring() -> None:
            if self._alarms.get(whose) == number:
                del self._alarms[whose]
                act()

        self._put(max(at_s, self.now_s), ring, alarm=True)

    def _put(self, at_s: float, act: Callable[[], None], *, alarm: bool) -> None:
        self._number += 1
        heapq.heappush(self._due, (at_s, self._number, act, alarm))

    @property
    def next_s(self) -> float:
        """When the next thing is due; infinity if nothing is."""
        return self._due[0][0] if self._due else float("inf")

    def step(self) -> None:
        """What is due next happens, and time moves there."""
        at_s, _, act, alarm = heapq.heappop(self._due)
        self.now_s = max(self.now_s, at_s)
        if not alarm:
            self.busy -= 1
        self.steps += 1
        if self.steps > STEPS_MAX:
            raise Livelock(f"more than {STEPS_MAX} steps: something goes round in circles")
        act()
