"""Where messages go that nobody could take: kept with their reason, the newest first to be seen."""

from collections import deque
from typing import Final

from amends.supervisor import telemetry
from amends.supervisor.actor import Actor
from amends.supervisor.mailbox import DeadLetter
from amends.supervisor.telemetry import Counters

KEPT: Final = 1000


class DeadLetters(Actor):
    """Keeps the last `KEPT` dead letters in `kept`, which outlives it, and counts all of them."""

    def __init__(self, kept: "deque[DeadLetter]", counters: Counters) -> None:
        super().__init__()
        self._kept = kept
        self._counters = counters

    def on_receive(self, message: DeadLetter) -> None:
        self._kept.append(message)
        self._counters.dead_letters += 1
        telemetry.log.error(
            telemetry.MESSAGE_DEAD_LETTERED,
            actor=message.address,
            message=type(message.message).__name__,
            reason=message.reason,
            traceback=message.traceback,
        )
