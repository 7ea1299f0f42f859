"""Wrong variants of what keeps actors alive: mailboxes and supervisors."""

from collections.abc import Iterator, Sequence
from typing import Any
from unittest.mock import patch

from amends.supervisor import mailbox, supervisor
from amends.supervisor.intensity import RestartWindow
from amends.supervisor.mailbox import Mailbox
from amends.supervisor.strategy import Strategy
from tests.stateful.planted.bug import bug


@bug()
def mailbox_lost_at_restart() -> Iterator[None]:
    """What an actor had taken when it failed is lost."""
    right = Mailbox.give_back

    def give_back(box: Mailbox, *arguments: Any, **keywords: Any) -> None:
        box._taken.clear()
        right(box, *arguments, **keywords)

    with patch.object(Mailbox, "give_back", give_back):
        yield


@bug()
def mailbox_reordered_at_restart() -> Iterator[None]:
    """What an actor had taken when it failed comes back behind what came later."""
    right = Mailbox.give_back

    def give_back(box: Mailbox, *arguments: Any, **keywords: Any) -> None:
        behind = list(box._letters)
        box._letters.clear()
        right(box, *arguments, **keywords)
        box._letters.extendleft(reversed(behind))

    with patch.object(Mailbox, "give_back", give_back):
        yield


@bug(scenario="a handler exits", budget=50)
def poison_letter_retried_for_ever() -> Iterator[None]:
    """A message that kills whoever reads it is tried for ever."""
    with patch.object(mailbox, "POISON_LIMIT", 10**9):
        yield


@bug(scenario="actors keep failing", budget=200)
def restart_intensity_ignored() -> Iterator[None]:
    """Restarts are counted, and never too many."""
    with patch.object(RestartWindow, "exceeded", property(lambda window: False)):
        yield


@bug(scenario="no room")
def only_the_failed_child_restarts() -> Iterator[None]:
    """When the journal restarts, those who built on what it said go on."""

    def affected(strategy: Strategy, names: Sequence[str], failed: str) -> tuple[str, ...]:
        return (failed,)

    with patch.object(supervisor, "affected", affected):
        yield
