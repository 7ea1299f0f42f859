"""What `check_saga` says: a report of all cases, or the list of those that fail.

Failing cases that have the same cause are told once in full, with a trace, and then by name;
each has the line that replays it.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from amends.testing.cases import Case
from amends.testing.facts import last

_LINES: Final = 25
"""The end of a trace that a failing case shows."""

_TOLD_IN_FULL: Final = 5
"""Causes that are told with a trace."""

_FIRST_TURN: Final = re.compile(r" *[0-9.]+  \+ \S+")


@dataclass(frozen=True, slots=True)
class Tried:
    """One case that was run.

    Attributes:
        ended: "completed" or "compensated"; empty if it was not to be had.
        found: what is wrong; empty if nothing is.
        raised: what handlers raised of themselves, with the place.
        trace: what happened, line by line.
    """

    case: Case
    ended: str
    found: str
    raised: tuple[str, ...] = ()
    trace: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """All cases of one saga.

    Attributes:
        saga: its name.
        tried: in the order in which they were run.
        not_tried: what no case does, and why.
    """

    saga: str
    tried: tuple[Tried, ...]
    not_tried: tuple[str, ...] = ()

    @property
    def failed(self) -> tuple[Tried, ...]:
        """Cases in which something was found."""
        return tuple(tried for tried in self.tried if tried.found)

    @property
    def by_kind(self) -> dict[str, Counter[str]]:
        """How the cases of each kind ended."""
        kinds: dict[str, Counter[str]] = {}
        for tried in self.tried:
            kinds.setdefault(tried.case.kind, Counter())["failed" if tried.found else tried.ended] += 1
        return kinds

    def __str__(self) -> str:
        fail = f"{len(self.failed)} failed" if self.failed else "none failed"
        width = max((len(kind) for kind in self.by_kind), default=0)
        lines = [f"saga {self.saga!r}: {len(self.tried)} tried, {fail}"]
        for kind, ends in self.by_kind.items():
            told = ", ".join(f"{count} {end}" for end, count in sorted(ends.items()))
            lines.append(f"  {kind:{width}}  {told}")
        return "\n".join([*lines, *(f"  not tried: {why}" for why in self.not_tried)])


class SagaFailed(AssertionError):  # noqa: N818 - reads as the fact it reports
    """At least one case fails.

    Attributes:
        report: all cases.
    """

    def __init__(self, saga_class: str, report: Report) -> None:
        self.report = report
        super().__init__("\n".join([str(report), *_told(saga_class, report)]))


def _told(saga_class: str, report: Report) -> Iterator[str]:
    causes: dict[str, list[Tried]] = {}
    for tried in report.failed:
        causes.setdefault(tried.found, []).append(tried)
    whole = len(report.tried) == 1
    for number, (found, cases) in enumerate(causes.items(), start=1):
        yield ""
        cases.sort(key=lambda tried: len(tried.case.deviations))
        simplest = cases[0]
        yield f"{number}. {simplest.case.name}"
        yield from (f"   {line}" for line in found.splitlines())
        yield from (f"   {line}" for line in simplest.raised)
        if number <= _TOLD_IN_FULL:
            yield ""
            yield from _excerpt(simplest.trace, None if whole else _LINES)
            yield ""
        yield from _again(saga_class, simplest.case)
        if len(cases) > 1:
            yield f"   the same in {len(cases) - 1} more:"
            yield from (f"     {tried.case.name}" for tried in cases[1:])


def _excerpt(trace: Sequence[str], most: int | None) -> Iterator[str]:
    """The end of a trace, without the actors that every process begins with."""
    shown = trace if most is None else last([line for line in trace if not _FIRST_TURN.fullmatch(line)], most)
    yield from (f"   {line}" for line in shown)


def _again(saga_class: str, case: Case) -> Iterator[str]:
    yield f"   again: check_saga({saga_class}, ..., only={case.name!r})"
    yield f"   or:    Schedule.from_json({case.schedule.to_json()!r})"
