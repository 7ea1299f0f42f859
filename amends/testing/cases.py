"""Cases: what may go wrong with one saga, one thing at a time, each with a name a person can read.

A calm run of a saga names every place where something may go wrong, and the fates each may
meet; a case is one of those fates. The places on the way back are found by refusing a step
first, so such a case is two fates. How a case is run, and what must hold in it, is `check`'s
business.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from amends.protocol.saga import RETRIABLE, Plan
from amends.testing.schedule import LATE, Schedule, lateness_s

Possible = Mapping[str, tuple[str, ...]]
"""The fates each label may meet, in the order in which the labels were met."""

REFUSED: Final = "refused"
CALM: Final = "nothing goes wrong"


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that goes wrong, perhaps after a refusal.

    Attributes:
        kind: what cases are counted by.
        deviations: as of a `Schedule`.
    """

    name: str
    kind: str
    deviations: dict[str, str] = field(default_factory=dict)

    @property
    def schedule(self) -> Schedule:
        """What runs it."""
        return Schedule(dict(self.deviations))

    def then(self, name: str, kind: str, deviations: Mapping[str, str]) -> "Case":
        """This, and one thing more."""
        if not self.deviations:
            return Case(name, kind, dict(deviations))
        return Case(f"{self.name}, then {name}", kind, {**self.deviations, **deviations})


def cases_of(possible: Possible, plan: Plan, who: str, after: Case) -> list[Case]:
    """All that can still go wrong in a run that has met `after`, of which these are the places.

    Args:
        who: what labels call the instance.
    """
    labels = list(possible)
    begun = max((labels.index(label) for label in after.deviations), default=-1) + 1
    return [
        after.then(name, kind, deviations)
        for label in labels[begun:]
        for name, kind, deviations in _troubles_at(label, possible[label], plan, who)
    ]


def not_tried(plan: Plan) -> tuple[str, ...]:
    """What no case does, and why."""
    refusals = (
        f"{name} refused: a retriable step must not refuse"
        for name, step in plan.steps.items()
        if step.kind is RETRIABLE
    )
    return (*refusals, "slow actors, and more than one thing at a time: draw those, with a FaultPlan and seeds")


Named = tuple[str, str, str]
"""A case's name, its kind, and the fate."""

Trouble = tuple[str, str, dict[str, str]]
"""A case's name, its kind, and its deviations."""

_HANDLER: Final = {
    "refuse": (REFUSED, "refuses"),
    "unavailable": ("unavailable", "is unavailable"),
    "raise before": ("raises", "raises before its work"),
    "raise after": ("raises", "raises after its work"),
    "hang": ("hangs", "hangs"),
}
_MESSAGE: Final = {"lost": "is lost", "doubled": "is doubled"}
_COMMIT: Final = {
    "crash before": ("process dies", "the process dies right before the"),
    "crash after": ("process dies", "the process dies right after the"),
    "full": ("disk full", "the disk is full at the"),
}
_OUTSIDE: Final = {
    **{fate: _COMMIT[fate] for fate in ("crash before", "crash after")},
    "hang": ("hangs", "nothing comes of the"),
}
_ENGINE: Final = ("journal", "coordinator", "timers")
"""What fails beside services and the saga's own actor."""


def _troubles_at(label: str, possible: tuple[str, ...], plan: Plan, who: str) -> Iterator[Trouble]:
    for name, kind, fate in _fates_at(label, possible, plan, who):
        yield name, kind, {label: fate}
        # A call outside is not made in a turn: its handler has no fate to hang in one.
        if fate == "raise after" and "hang" in possible:
            # A turn in which a handler raises is run again at once, so one that raises once is only heard there.
            place, _, number = label.rpartition(" #")
            yield f"{name}, and again", kind, {label: fate, f"{place} #{int(number) + 1}": fate}


def _fates_at(label: str, possible: tuple[str, ...], plan: Plan, who: str) -> Iterator[Named]:
    place, _, number = label.rpartition(" #")
    nth = ordinal(int(number))
    again = "" if number == "1" else f", {nth} time"
    me = re.escape(who)
    if match := re.fullmatch(rf"(\S+\.\S+) for {me}", place):
        for fate in possible:
            kind, does = _HANDLER[fate]
            yield f"{match[1]} {does}{again}", kind, fate
    elif match := re.fullmatch(rf"{me} > \S+: (\w+) (\w+)", place):
        yield from _message(match[1], match[2], "message", again, possible, plan)
    elif match := re.fullmatch(rf"\S+ > {me}: (\w+) (\w+)", place):
        yield from _message(match[1], match[2], "reply", again, possible, plan)
    elif match := re.fullmatch(r"commit of (\S+)", place):
        what = f"{nth} journal write" if match[1] == "journal" else f"{nth} commit of {match[1]}"
        for fate, (kind, begins) in _COMMIT.items():
            yield f"{begins} {what}", kind, fate
    elif place == "call outside":
        for fate, (kind, begins) in _OUTSIDE.items():
            yield f"{begins} {nth} call outside", kind, fate
    elif match := re.fullmatch(r"turn of (.+)", place):
        if match[1] == who:
            yield f"the saga's actor fails at its {nth} turn", "actor fails", "kill"
        elif match[1] in {*_ENGINE, *(step.to for step in plan.steps.values())}:
            yield f"{match[1]} fails at its {nth} turn", "actor fails", "kill"


def _message(phase: str, step: str, what: str, again: str, possible: tuple[str, ...], plan: Plan) -> Iterator[Named]:
    for fate, becomes in _MESSAGE.items():
        yield f"{phase} {step}: the {what} {becomes}{again}", fate, fate
    yield f"{phase} {step}: the {what} comes late{again}", "late", _too_late(plan.steps[step].timeout_s)
    sent = step if phase == "do" else f"the {phase} of {step}"
    if "cancel" in possible:
        yield f"cancelled when {sent} is sent{again}", "cancelled", "cancel"
        yield f"the process dies when {sent} is sent{again}", "process dies", "crash"


def _too_late(timeout_s: float) -> str:
    """Later than the step is waited for, if there is such a fate."""
    return next((fate for fate in LATE if lateness_s(fate) > timeout_s), LATE[-1])


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th ..."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
