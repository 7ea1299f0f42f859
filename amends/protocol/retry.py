"""When to try again: a pure function of the attempt and a random number.

Capped exponential backoff with full jitter. Who waits, and on which clock, is the
runtime's business.
"""

import msgspec

# 2.0 ** 1024 overflows a float; long before that the cap has the last word.
_EXPONENT_MAX = 62

# A stuck step that is tried without a pause would fill the journal.
_SLOW_S_MIN = 0.001


class Retry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a step is tried again.

    Attributes:
        attempts: tries before a step counts as failed; a step that may not fail (an undo, or one after the
            decision) is `stuck` from then on and tried at the slow pace.
        base_s: the longest wait after the first attempt, doubled with every further one, in seconds.
        cap_s: the longest wait of all, in seconds.
        slow_s: the pace at which a stuck step is tried, in seconds.

    Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 (full jitter).
    """

    attempts: int = 5
    base_s: float = 0.1
    cap_s: float = 10.0
    slow_s: float = 60.0

    def __post_init__(self) -> None:
        for field, floor in (("attempts", 1), ("base_s", 0.0), ("cap_s", 0.0), ("slow_s", _SLOW_S_MIN)):
            value = getattr(self, field)
            if not value >= floor:
                raise ValueError(f"Retry.{field}: found {value!r}, wanted at least {floor}")


def backoff_s(retry: Retry, attempt: int, chance: float) -> float:
    """The wait after `attempt` (1 is the first), in seconds; `chance` is uniform in [0, 1)."""
    longest = min(retry.cap_s, retry.base_s * 2.0 ** min(attempt - 1, _EXPONENT_MAX))
    return longest * chance
