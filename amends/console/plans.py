"""Whether a program's plans fit the instances that are open, looked up before it is started.

An instance goes on with the plan it began with and with no other (see `Plan.digest`), so a program
whose plan of that saga and version has other steps would leave it where it is.
"""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from amends.actors.continuing import fits
from amends.console.reading import reading
from amends.protocol import codec
from amends.protocol.errors import AmendsError
from amends.protocol.records import Started
from amends.protocol.saga import Saga


class Verdict(StrEnum):
    """What becomes of instances in that program."""

    FITS = "fits"
    BREAKS = "would break"
    NO_PLAN = "no such plan"
    UNREADABLE = "can't be read"


class PlanUse(NamedTuple):
    """Open instances that began with the same plan.

    Attributes:
        digest: of that plan; empty where it is not told.
        open: how many they are.
        is_ours: whether the program has that saga, in this or in another version.
    """

    saga: str
    version: int
    digest: str
    verdict: Verdict
    open: int
    is_ours: bool

    @property
    def is_left(self) -> bool:
        """Whether the program would leave them where they are, though the saga is its own."""
        return self.verdict is Verdict.BREAKS or (self.verdict is Verdict.NO_PLAN and self.is_ours)


def plans(where: Path | str, sagas: Sequence[type[Saga]]) -> list[PlanUse]:
    """What the journal at `where` has open, plan by plan, and whether these classes fit."""
    known = {(saga.plan.name, saga.plan.version): saga.plan for saga in sagas}
    counts: dict[tuple[str, int, str, Verdict], int] = {}
    with reading(where) as read:
        for saga_id, saga, version, schema, body in read.starts():
            plan, started = known.get((saga, version)), _started(saga_id, schema, body)
            if started is None:
                verdict = Verdict.UNREADABLE
            elif plan is None:
                verdict = Verdict.NO_PLAN
            else:
                verdict = Verdict.FITS if fits(plan, started) else Verdict.BREAKS
            use = (saga, version, started.digest if started is not None else "", verdict)
            counts[use] = counts.get(use, 0) + 1
    ours = {saga.plan.name for saga in sagas}
    return [PlanUse(*use, count, use[0] in ours) for use, count in sorted(counts.items())]


def _started(saga_id: str, schema: int | None, body: bytes | None) -> Started | None:
    """The first record of an instance, if it is one."""
    try:
        record = codec.decode_record(saga_id, 0, schema or 0, body or b"")
    except (AmendsError, TypeError):  # a damaged row may give values of other types
        return None
    return record if isinstance(record, Started) else None
