"""Taking back: what a call outside has done when its step had been given up is undone, though nobody asks for it.

Its saga has heard that it was not done, and may have ended. So that it is to be undone stands
in the fence, and is tried again every minute, by whatever process, until it is.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from amends.actors.fence import Fence, Row
from amends.actors.outside import OutsideAnswer
from amends.protocol.errors import DatabaseError
from amends.protocol.messages import IdempotencyKey

if TYPE_CHECKING:
    from amends.actors.serving import Serving

OURS: Final = 0
"""The attempt of an undo that no saga asks for."""

_AGAIN_S: Final = 60.0
_SOON_S: Final = 10.0
"""How long an incarnation waits at first: one whose undo hangs must not be restarted too often."""


class TakingBack:
    """When the steps of one service that are to be taken back are asked for again.

    Attributes:
        due_s: when that is; infinity if there are none.
    """

    def __init__(self, serving: "Serving", fence: Fence, service: str) -> None:
        self._serving = serving
        self._fence = fence
        self._service = service
        self.due_s = serving.now_s() + _SOON_S if self._are_there() else float("inf")

    def _are_there(self) -> bool:
        try:
            return bool(self._fence.late())
        except DatabaseError:
            return True  # perhaps, and it is looked at again

    def begin(self, told: OutsideAnswer, row: Row, result: str, at: float) -> None:
        """A call came back after its limit with something done, when its step had been given up: undo that, next."""
        what = "done by a call outside after the step was given up"
        if told.handler.undo is None:
            self._serving.report(told.message, f"{what}, and there is no undo for it")
            return
        self._serving.report(told.message, f"{what}; it is undone")
        self._fence.record_late(told.message, row, result, at)
        self.due_s = self._serving.now_s()

    def take_due(self, now_s: float) -> Sequence[IdempotencyKey]:
        """The steps that are to be undone now."""
        if now_s < self.due_s:
            return ()
        self.due_s = now_s + _AGAIN_S
        try:
            late = self._fence.late()
        except DatabaseError:
            return ()
        if not late:
            self.due_s = float("inf")
        return late
