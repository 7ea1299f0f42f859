"""The world of one simulated history: its time, its fates, and all that has been seen in it.

Everything that happens is a fact, told to the checkers at once. What they find is kept, since
an error raised inside an actor would only restart it, and raised by whoever runs the history.
Of each instance the world knows what is on disk, and nothing else.
"""

import sysconfig
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from traceback import extract_tb
from typing import TYPE_CHECKING, Any, Final

from amends.protocol.messages import SagaId
from amends.protocol.records import Record, Started
from amends.protocol.saga import Plan
from amends.protocol.state import PHASE, State, apply, first_state, start_ready
from amends.testing.agenda import Agenda
from amends.testing.facts import Asked, Effect, Fact, Raised, Recorded, Trouble
from amends.testing.schedule import Fates, Schedule

if TYPE_CHECKING:
    from amends.testing.checkers import Checker

EPOCH: Final = 1_750_000_000.0
"""Wall time at the beginning of every history, unix seconds."""


class VirtualClock:
    """The agenda's time; retries are spread by nothing, so that a schedule says all."""

    def __init__(self, agenda: Agenda) -> None:
        self._agenda = agenda
        self._ids = 0

    def now_s(self) -> float:
        return self._agenda.now_s

    def now_at(self) -> float:
        return EPOCH + self._agenda.now_s

    def chance(self) -> float:
        return 0.5

    def new_id(self) -> str:
        self._ids += 1
        return f"{int(self.now_at() * 1000):012x}{self._ids:020x}"


@dataclass(slots=True)
class Known:
    """What is on disk of an instance.

    Attributes:
        who: what traces and labels call it.
    """

    who: str
    plan: Plan
    records: list[Record] = field(default_factory=list)
    state: State | None = None

    @property
    def moves(self) -> bool:
        """Whether it has not ended, and something is to come."""
        return self.state is not None and self.state.ended is None and not self.rests

    @property
    def lags(self) -> str:
        """What keeps it open: its steps under way, and why they are; empty if it has ended."""
        if self.state is None or self.state.ended is not None:
            return ""
        steps = [
            f"step {name!r} is {'stuck' if p.stuck else p.status.name.lower()}" + (f" ({p.reason})" if p.reason else "")
            for name, p in self.state.steps.items()
            if p.status in PHASE
        ]
        return f"{self.who}: {', '.join(steps) or 'nothing is under way'}"

    @property
    def rests(self) -> bool:
        """Whether only a person, or a slow retry, can bring it on: all that is under way is stuck."""
        if self.state is None or not self.state.stuck:
            return False
        return all(p.stuck for p in self.state.steps.values() if p.status in PHASE)


class World:
    """All that the parts of one history share.

    Attributes:
        facts: what was seen, oldest first.
        instances: what is on disk of each.
        forgotten: those that the journal has pruned.
        problem: the first thing a checker did not like.
    """

    def __init__(self, schedule: Schedule, plans: Mapping[tuple[str, int], Plan], services: Collection[str]) -> None:
        self.agenda = Agenda()
        self.clock = VirtualClock(self.agenda)
        self.fates = Fates(schedule)
        self.plans = plans
        self.services = services
        self.facts: list[Fact] = []
        self.instances: dict[SagaId, Known] = {}
        self.forgotten: set[SagaId] = set()
        self.problem: Exception | None = None
        self._whos: dict[SagaId, str] = {}
        self._anonymous = 0
        self._outside: set[tuple[SagaId, str, str]] = set()
        self._look: dict[type, list[Callable[[Any], None]]] = {}
        self._rest: list[Checker] = []

    @property
    def now_s(self) -> float:
        return self.agenda.now_s

    # Seeing.

    def watch(self, checkers: Sequence["type[Checker]"]) -> None:
        """Tell these of everything from now on."""
        self._rest = [checker(self) for checker in checkers]
        for checker in self._rest:
            for kind in Fact.__subclasses__():
                look = getattr(checker, kind.__name__.lower(), None)
                if look is not None:
                    self._look.setdefault(kind, []).append(look)

    def see(self, fact: Fact) -> None:
        """It happened: tell every checker."""
        self.facts.append(fact)
        for look in self._look.get(type(fact), ()):
            self.guard(lambda look=look: look(fact))  # type: ignore[misc]  # mypy takes the default for an argument

    def guard(self, check: Callable[[], None]) -> None:
        """Check, and keep what is found."""
        try:
            check()
        except Exception as error:  # noqa: BLE001 - a checker that can't look is a finding too
            self.problem = self.problem or error

    def at_rest(self) -> None:
        """Everything has come to rest: check what must hold then."""
        for checker in self._rest:
            self.guard(checker.at_rest)

    def meet(self, place: str, possible: tuple[str, ...]) -> str:
        """The fate of this visit to a place."""
        label, fate = self.fates.meet(place, possible)
        if fate:
            self.see(Trouble(self.now_s, label, fate))
        return fate

    @contextmanager
    def told_if_raised(self, saga_id: SagaId, method: str) -> Iterator[None]:
        """Code of the application runs inside: what it raises goes on its way, and is seen."""
        try:
            yield
        except Exception as error:
            told = f"{type(error).__name__}: {error}"
            self.see(Raised(self.now_s, self.who(saga_id), method, told, _place(error)))
            raise

    def asked(self, what: str, who: str = "") -> None:
        """Somebody outside asks for something."""
        self.see(Asked(self.now_s, what, who))

    def did_outside(self, effect: Effect) -> None:
        """A call outside has done its work; doing it again with the same key does nothing to the world outside."""
        if not self.was_done_outside(effect.saga_id, effect.step, effect.kind):
            self._outside.add((effect.saga_id, effect.step, effect.kind))
            self.see(effect)

    def was_done_outside(self, saga_id: SagaId, step: str, kind: str) -> bool:
        """Whether a call outside has done that step's work, or with kind "undo" undone it."""
        return (saga_id, step, kind) in self._outside

    def was_seen(self, saga_id: SagaId, step: str) -> bool:
        """Whether that step is known to have been done."""
        return any(
            isinstance(fact, Effect) and (fact.saga_id, fact.step, fact.kind) == (saga_id, step, "do")
            for fact in self.facts
        )

    # Instances.

    def who(self, saga_id: str) -> str:
        """What traces and labels call the instance, or any actor."""
        return self._whos.get(SagaId(saga_id), saga_id)

    def forget(self, gone: Callable[[SagaId], bool]) -> None:
        """The journal has pruned what ended long ago."""
        for saga_id in [i for i, known in self.instances.items() if not known.lags and gone(i)]:
            del self.instances[saga_id]
            self.forgotten.add(saga_id)

    def on_disk(self, saga_id: SagaId, seq: int, record: Record) -> None:
        """A record is there for good."""
        known = self.instances.get(saga_id)
        if known is None:
            if not isinstance(record, Started):
                self.problem = self.problem or AssertionError(f"a history of {self.who(saga_id)} begins with {record}")
                return
            plan = self.plans[record.saga, record.version]
            self._name(saga_id, record)
            known = self.instances[saga_id] = Known(self.who(saga_id), plan)
            known.state = start_ready(plan, first_state(plan, record))
        elif known.state is not None and seq == len(known.records):
            known.state = apply(known.plan, known.state, record)
        if seq == len(known.records):
            known.records.append(record)
        self.see(Recorded(self.now_s, known.who, saga_id, seq, record))

    def _name(self, saga_id: SagaId, started: Started) -> None:
        """It goes by its key; without one, or if another saga has the same, its saga is part of the name."""
        name = started.key
        if started.key == saga_id:
            self._anonymous += 1
            name = f"{started.saga}-{self._anonymous}"
        elif name in self._whos.values():
            name = f"{started.saga}:{started.key}"
        self._whos[saga_id] = name


def _place(error: Exception) -> str:
    """The innermost line of the application's own code; its file goes by its name, as in every process."""
    frames = [frame for frame in extract_tb(error.__traceback__) if not _is_foreign(frame.filename)]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "an unknown line"


def _is_foreign(file: str) -> bool:
    return file.startswith(_FOREIGN) or not file.endswith(".py")


_FOREIGN: Final = tuple(
    {str(Path(__file__).parents[1]), *(sysconfig.get_paths()[name] for name in ("stdlib", "purelib"))}
)
