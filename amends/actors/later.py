"""Steps that wait: their handler, or their undo, has answered `Later`, and is asked again when its time has come.

What it wrote stays and its fence row is on disk; kept here, in memory, is who is to be told. An
incarnation that replaces another waits for nobody: the saga's next attempt brings each step
back. What a turn changes counts once it has committed.
"""

import heapq
from dataclasses import dataclass
from itertools import count
from math import inf
from typing import Generic, TypeVar

from amends.protocol.messages import Do, IdempotencyKey, Message, Resolve, Undo

T = TypeVar("T")

RANKS = {Do: 0, Resolve: 1, Undo: 2}
"""A saga that asks what became of a step, or undoes it, has gone on: what it said before is out of date."""


class Dues(Generic[T]):
    """What is to happen when, the soonest first.

    Attributes:
        soonest_s: when the soonest is due; infinity if there is none.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, T]] = []
        self._numbers = count()
        self.soonest_s = inf

    def put(self, at_s: float, what: T) -> None:
        heapq.heappush(self._heap, (at_s, next(self._numbers), what))
        self.soonest_s = self._heap[0][0]

    def pop(self) -> T:
        """Take the soonest; there is one."""
        what = heapq.heappop(self._heap)[2]
        self.soonest_s = self._heap[0][0] if self._heap else inf
        return what

    @property
    def first(self) -> T:
        """The soonest; there is one."""
        return self._heap[0][2]


@dataclass(frozen=True, slots=True)
class _Step:
    """A step that waits: what its saga said last, and when it is asked again, if nobody wakes it before."""

    message: Message
    due_s: float | None


class LaterSteps:
    """The steps of one service that wait, and those woken in this turn."""

    def __init__(self) -> None:
        self._steps: dict[IdempotencyKey, _Step] = {}
        self._dues: Dues[IdempotencyKey] = Dues()
        # Of this turn: None is a step that waits no more.
        self._changed: dict[IdempotencyKey, _Step | None] = {}
        self._woken: dict[IdempotencyKey, None] = {}

    def __bool__(self) -> bool:
        return bool(self._steps or self._changed)

    # Waiting.

    def wait(self, message: Message, due_s: float | None) -> None:
        """`message` is answered later."""
        step = self._step(message.key)
        outdated = step is not None and RANKS[type(step.message)] > RANKS[type(message)]
        self._changed[message.key] = _Step(step.message if step is not None and outdated else message, due_s)

    def message(self, key: IdempotencyKey) -> Message | None:
        """What is answered once the step's time has come; None if nobody waits for it."""
        step = self._step(key)
        return None if step is None else step.message

    def put_off(self, key: IdempotencyKey, due_s: float) -> None:
        """Not now: then."""
        step = self._step(key)
        if step is not None:
            self._changed[key] = _Step(step.message, due_s)

    def take(self, key: IdempotencyKey) -> Message | None:
        """Who waits for a step; from now on nobody does."""
        step = self._step(key)
        if step is None:
            return None
        self._changed[key] = None
        return step.message

    # Waking, within a turn.

    @property
    def woken(self) -> int:
        """How many wait to be run in this turn."""
        return len(self._woken)

    def wake(self, key: IdempotencyKey) -> None:
        """Run the step again in this turn, after those woken before it."""
        self._woken[key] = None

    def next_woken(self) -> IdempotencyKey:
        """The first of those woken; there is one."""
        key = next(iter(self._woken))
        del self._woken[key]
        return key

    def wake_only(self, first: int) -> None:
        """Whoever woke those after the `first` ones has done nothing that stays."""
        while len(self._woken) > first:
            self._woken.popitem()

    # Turns.

    def next_due_s(self) -> float:
        """When a step is to be asked again; infinity if none is."""
        while (due_s := self._dues.soonest_s) != inf:
            step = self._steps.get(self._dues.first)
            if step is not None and step.due_s == due_s:
                break
            self._dues.pop()
        return due_s

    def take_due(self, now_s: float, most: int) -> list[IdempotencyKey]:
        """Steps that are to be asked again now."""
        due: list[IdempotencyKey] = []
        while len(due) < most and self.next_due_s() <= now_s:
            due.append(self._dues.pop())
        return due

    def commit(self) -> None:
        """The turn's changes are so."""
        for key, step in self._changed.items():
            if step is None:
                self._steps.pop(key, None)
                continue
            self._steps[key] = step
            if step.due_s is not None:
                self._dues.put(step.due_s, key)
        self._changed.clear()

    def forget_turn(self) -> None:
        """Nothing of this turn has happened."""
        self._changed.clear()
        self._woken.clear()

    def _step(self, key: IdempotencyKey) -> _Step | None:
        return self._changed[key] if key in self._changed else self._steps.get(key)
