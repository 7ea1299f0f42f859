"""Which children restart when one ends: pure rules.

Source: OTP `supervisor`, restart strategies and restart types.
"""

from collections.abc import Sequence
from enum import StrEnum


class Strategy(StrEnum):
    """How far one child's failure reaches."""

    ONE_FOR_ONE = "one_for_one"
    REST_FOR_ONE = "rest_for_one"
    ONE_FOR_ALL = "one_for_all"


class Restart(StrEnum):
    """Whether a child that ended comes back."""

    PERMANENT = "permanent"
    TRANSIENT = "transient"
    TEMPORARY = "temporary"


def comes_back(restart: Restart, *, failed: bool) -> bool:
    """Permanent children always do, transient ones only after a failure, temporary ones never."""
    return restart is Restart.PERMANENT or (restart is Restart.TRANSIENT and failed)


def affected(strategy: Strategy, names: Sequence[str], failed: str) -> tuple[str, ...]:
    """The children to restart, in the order of their start, when `failed` has to."""
    if strategy is Strategy.ONE_FOR_ONE:
        return (failed,)
    if strategy is Strategy.ONE_FOR_ALL:
        return tuple(names)
    return tuple(names[names.index(failed) :])
