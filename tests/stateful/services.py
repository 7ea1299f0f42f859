"""Model services: what they did to the world, behind a fence that does what the design's table says.

All steps share one `Fence`, as its rows are kept by step anyway; a service being down is the
network's business, see `world`.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from amends.protocol.events import Send
from amends.protocol.messages import CANCELLED, Answer, Done, Never, Refused, Undone


@dataclass(frozen=True)
class Effect:
    """Something that really happened at a service, or that a person did in its stead."""

    kind: Literal["do", "undo"]
    step: str

    def __str__(self) -> str:
        return f"{self.kind} {self.step}"


@dataclass
class Fence:
    """The rows of all services, and the effects in the order they happened.

    Attributes:
        refusing: steps whose handler says no.
        rows: by step the recorded reply; Undone is a tombstone or an undone effect.
        payloads: by step the first command that came.
        conflicts: steps that came again with another command.
    """

    refusing: Collection[str]
    rows: dict[str, Done[msgspec.Raw] | Refused | Undone] = field(default_factory=dict)
    effects: list[Effect] = field(default_factory=list)
    payloads: dict[str, object] = field(default_factory=dict)
    conflicts: list[str] = field(default_factory=list)

    def handle(self, send: Send) -> Answer:
        """One message, as in the design's table of the fence."""
        if send.phase == "do":
            return self._do(send.step, send.command)
        if send.phase == "undo":
            return self._undo(send.step)
        row = self.rows.setdefault(send.step, Undone())
        return Never() if isinstance(row, Undone) else row

    def do_by_hand(self, step: str) -> msgspec.Raw:
        """A person sees to it that `step` is done, unless it is, and tells its result."""
        row = self.rows.get(step)
        assert not isinstance(row, Undone), f"{step} can't be done any more"
        if not isinstance(row, Done):
            row = self._done(step)
        return row.result

    def _do(self, step: str, command: object) -> Answer:
        if self.payloads.setdefault(step, command) != command:
            self.conflicts.append(step)
        row = self.rows.get(step)
        if isinstance(row, Undone):
            return Refused(CANCELLED)
        if row is not None:
            return row
        if step in self.refusing:
            refused = Refused(f"{step} says no")
            self.rows[step] = refused
            return refused
        return self._done(step)

    def _done(self, step: str) -> Done[msgspec.Raw]:
        self.effects.append(Effect("do", step))
        done = Done(msgspec.Raw(b"%d" % len(self.effects)))
        self.rows[step] = done
        return done

    def _undo(self, step: str) -> Answer:
        if isinstance(self.rows.get(step), Done):
            self.effects.append(Effect("undo", step))
        self.rows[step] = Undone()
        return Undone()
