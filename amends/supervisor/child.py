"""Child specs: what a supervisor is to keep alive, checked before anything starts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from amends.protocol.errors import AmendsError
from amends.supervisor.actor import Actor
from amends.supervisor.mailbox import Mailbox
from amends.supervisor.strategy import Restart


class SpecError(AmendsError):
    """A child spec can't work; the message names the child."""


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """One child: where its messages go, how it is made, and when it comes back.

    Attributes:
        mailbox: its address, which exists before it and outlives it.
        factory: makes one incarnation.
        turn_limit_s: a message in hand for longer counts as a turn that will not end, in seconds; None is for ever.
    """

    mailbox: Mailbox
    factory: Callable[[], Actor]
    restart: Restart = Restart.PERMANENT
    turn_limit_s: float | None = None

    @property
    def name(self) -> str:
        """Its address's name, unique among its siblings."""
        return self.mailbox.name


def check_specs(supervisor: str, specs: Sequence[ChildSpec]) -> None:
    """SpecError for a name used twice or a limit that leaves no time."""
    seen: set[str] = set()
    for spec in specs:
        if spec.name in seen:
            raise SpecError(f"supervisor {supervisor!r}: two children are named {spec.name!r}; give each its own name")
        seen.add(spec.name)
        if spec.turn_limit_s is not None and not spec.turn_limit_s > 0:
            raise SpecError(
                f"supervisor {supervisor!r}: child {spec.name!r} has turn_limit_s={spec.turn_limit_s}, "
                "wanted more than 0 or None"
            )
