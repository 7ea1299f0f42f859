"""How many restarts are too many: a pure count over a sliding period, and the wait before the next one."""

from dataclasses import dataclass, replace

_EXPONENT_MAX = 16


@dataclass(frozen=True, slots=True)
class RestartWindow:
    """Restarts inside a sliding period, and whether that is too many.

    Attributes:
        intensity: restarts allowed in one period; one more exceeds it.
        period_s: length of the period, in monotonic seconds.
        restarts: times of the restarts still counted, oldest first.

    Source: OTP `supervisor`, flags `intensity` and `period`.
    """

    intensity: int
    period_s: float
    restarts: tuple[float, ...] = ()

    def add(self, now_s: float) -> "RestartWindow":
        """Count a restart at `now_s` and forget those older than the period."""
        kept = tuple(at for at in self.restarts if now_s - at <= self.period_s)
        return replace(self, restarts=(*kept, now_s))

    @property
    def exceeded(self) -> bool:
        """Whether one more restart happened than the period allows."""
        return len(self.restarts) > self.intensity

    def backoff_s(self, base_s: float, cap_s: float) -> float:
        """The wait before the restart last counted: none for the first, then doubling from `base_s` to `cap_s`."""
        earlier = len(self.restarts) - 1
        return 0.0 if earlier < 1 else min(cap_s, base_s * 2.0 ** min(earlier - 1, _EXPONENT_MAX))
