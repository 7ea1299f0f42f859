"""Schedules: all that is chance in one simulated history, as a plain value.

Every place where something may go another way than usual has a readable label ("order-1 >
payment: do charge #2") and a few *fates* it may meet ("lost", "late 8"). A schedule says which
labels meet which; all others go as usual. It is one line of JSON, so a bug report can carry it;
and it may name a seed instead, from which fates are drawn while the history runs and written
down. What the places are is `world`'s business.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

import msgspec

from amends.protocol import codec
from amends.protocol.errors import InputError

LATE: Final = ("late 0.2", "late 2", "late 8", "late 20")
"""How much later than usual something may happen, in virtual seconds: within a retry, a timeout, a few of them."""

_RATES: Final = {
    "lost": "lost",
    "doubled": "doubled",
    "refuse": "refused",
    "unavailable": "unavailable",
    "raise before": "raises",
    "raise after": "raises",
    "hang": "hangs",
    "kill": "killed",
    "crash": "crashes",
    "crash before": "crashes",
    "crash after": "crashes",
    "full": "full",
    "cancel": "cancelled",
    **dict.fromkeys(LATE, "late"),
}
"""By fate, the field of `FaultPlan` that says how often it is met."""


class FaultPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How often each kind of trouble happens: a share of the places where it may, from 0 to 1.

    Attributes:
        late: messages and turns that come later than usual.
        lost, doubled: messages.
        refused, unavailable, raises, hangs: what a handler does instead of its work, or after it.
        killed: turns whose actor fails.
        crashes: messages and commits at which the whole process dies, and is started again.
        full: commits for which the disk has no room.
        cancelled: messages at which the caller of their instance cancels it.
        most: how much trouble of all kinds but `late` there may be in one history.
    """

    late: float = 0.0
    lost: float = 0.0
    doubled: float = 0.0
    refused: float = 0.0
    unavailable: float = 0.0
    raises: float = 0.0
    hangs: float = 0.0
    killed: float = 0.0
    crashes: float = 0.0
    full: float = 0.0
    cancelled: float = 0.0
    most: int = 4

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if name != "most" and not 0.0 <= value <= 1.0:
                raise InputError("fault plan", f"$.{name}", f"found {value}, wanted a share from 0 to 1")
        if self.most < 0:
            raise InputError("fault plan", "$.most", f"found {self.most}, wanted 0 or more")


class Schedule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What goes another way than usual.

    Attributes:
        deviations: fates by label.
        seed: where the fates of all other labels are drawn from, as often as `faults` says; None draws none.
    """

    deviations: dict[str, str] = {}
    seed: int | None = None
    faults: FaultPlan = FaultPlan()

    def __post_init__(self) -> None:
        for label, fate in self.deviations.items():
            if fate not in _RATES:
                raise InputError("schedule", f"$.deviations[{label!r}]", f"found {fate!r}, wanted one of {[*_RATES]}")
        if self.seed is None and self.faults != FaultPlan():
            raise InputError("schedule", "$.seed", "found none, wanted one to draw the faults from")

    def to_json(self) -> str:
        """One line."""
        return codec.encode(self).decode()

    @classmethod
    def from_json(cls, text: str) -> "Schedule":
        """What `to_json` wrote, or InputError."""
        return codec.decode(cls, text.encode(), "schedule")


USUAL: Final = ""


class Fates:
    """What the places of one history meet, and the record of it.

    Attributes:
        possible: every label so far, and the fates it might have met.
        met: the fates that were not the usual ones.
    """

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._faults = 0
        self._counts: dict[str, int] = {}
        self.calm = False
        self.possible: dict[str, tuple[str, ...]] = {}
        self.met: dict[str, str] = {}

    @property
    def seed(self) -> int | None:
        """What fates are drawn from."""
        return self._schedule.seed

    @property
    def unmet(self) -> list[str]:
        """Labels with a deviation that the history never came to, or that can't meet it; none once it is calm."""
        return [] if self.calm else [label for label in self._schedule.deviations if label not in self.met]

    @property
    def recorded(self) -> Schedule:
        """The schedule that gives this history again, without a seed."""
        return Schedule(dict(self.met))

    def meet(self, place: str, possible: tuple[str, ...]) -> tuple[str, str]:
        """The label of this visit to a place, and its fate: USUAL or one of `possible`."""
        number = self._counts[place] = self._counts.get(place, 0) + 1
        label = f"{place} #{number}"
        if self.calm:
            return label, USUAL
        self.possible[label] = possible
        fate = self._schedule.deviations.get(label, USUAL)
        if not fate and self._schedule.seed is not None:
            fate = self._drawn(label, possible)
        if fate not in possible:
            return label, USUAL
        self.met[label] = fate
        return label, fate

    def _drawn(self, label: str, possible: Sequence[str]) -> str:
        # A function of the label alone, so that what happens elsewhere changes no other fate.
        digest = blake2b(f"{self._schedule.seed}/{label}".encode(), digest_size=8).digest()
        chance = int.from_bytes(digest, "big") / 2**64
        plan = self._schedule.faults
        for fate in possible:
            kind = _RATES[fate]
            rate = getattr(plan, kind) / sum(_RATES[other] == kind for other in possible)
            if chance < rate:
                return fate if fate in LATE or self._one_more() else USUAL
            chance -= rate
        return USUAL

    def _one_more(self) -> bool:
        self._faults += 1
        return self._faults <= self._schedule.faults.most


def lateness_s(fate: str) -> float:
    """How much later than usual, in virtual seconds; 0 for a fate that says nothing of it."""
    return float(fate.removeprefix("late ")) if fate.startswith("late ") else 0.0
