"""check_saga: everything that may go wrong with a saga of yours, one thing at a time.

It runs the saga once with nothing going wrong, learns from that every place where something
may, and runs it again for each: refused, raised, lost, doubled, late, cancelled, the process
killed at a write. Each history must end, all done or all undone, and keep your own invariants.
Two things that go wrong at once are for `FaultPlan` and seeds.
"""

import linecache
import logging
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

from amends.actors.handle import Handle
from amends.actors.service import Service, ServiceSpec
from amends.protocol import codec
from amends.protocol.errors import AmendsError, JournalUnavailable, Overloaded, SystemStopped
from amends.protocol.saga import Saga
from amends.protocol.state import Compensated, Completed, Outcome
from amends.testing.cases import CALM, REFUSED, Case, Possible, cases_of, not_tried
from amends.testing.facts import Raised, lines
from amends.testing.report import Report, SagaFailed, Tried
from amends.testing.system import HistoryFailed, SimulatedSystem

Invariant = Callable[[SimulatedSystem], object]
"""Raises, or returns False, if something of yours does not hold once everything has come to rest."""

_ASKS: Final = 20
"""How often a client asks before it gives up."""

_PAUSE_S: Final = 2.0
"""How long it waits in between, in virtual seconds: longer than a dead process stays down."""

_SLOW_TRIES: Final = 3
"""How many slow retries a stuck step is given, since one fault must not keep it for ever."""

_CALM: Final = Case(CALM, CALM)


def check_saga(
    saga: type[Saga],
    services: Sequence[type[Service] | ServiceSpec],
    invariants: Sequence[Invariant] = (),
    *,
    given: Any,
    key: str = "check",
    before: Callable[[SimulatedSystem], object] | None = None,
    sagas: Sequence[type[Saga]] = (),
    only: str | None = None,
) -> Report:
    """Let everything go wrong with a saga, one thing in each history, on the way forward and on every way back.

    Args:
        invariants: each is called with the system after each history; one that raises, or returns False, does not hold.
        given: the saga's input; with nothing going wrong it must complete.
        before: prepares each history: stocks up, and resets whatever of yours is no service's database.
        sagas: others the system needs.
        only: the name of one case, to run just that.

    Raises:
        SagaFailed: at least one case fails; the message has each, with what replays it.
        InputError, PlanError: `given` does not fit the saga, or the saga not the services; nothing was run.
    """
    __tracebackhide__ = True  # what pytest shows is the message, and not this function
    codec.checked(saga.plan.input, given, f"saga {saga.plan.name!r}")
    runner = _Runner(saga, tuple(services), tuple(invariants), given, key, before, (saga, *sagas))
    runner.make(_CALM)
    with _silent_log():
        report = runner.report(only)
    if report.failed:
        raise SagaFailed(saga.__name__, report)
    return report


@dataclass(slots=True)
class _Runner:
    """Runs the cases of one saga."""

    saga: type[Saga]
    services: Sequence[type[Service] | ServiceSpec]
    invariants: Sequence[Invariant]
    given: Any
    key: str
    before: Callable[[SimulatedSystem], object] | None
    sagas: Sequence[type[Saga]]
    who: str = ""

    def make(self, case: Case) -> SimulatedSystem:
        """The system of one history."""
        return SimulatedSystem(sagas=self.sagas, services=self.services, schedule=case.schedule)

    def report(self, only: str | None) -> Report:
        """Run all cases, or one."""
        plan = self.saga.plan
        calm, forward = self._run(_CALM)
        tried = [calm]
        if not calm.found:
            cases = cases_of(forward, plan, self.who, _CALM)
            if not any(label.startswith(f"turn of {self.who} #") for label in forward):
                raise AmendsError(f"key is {self.key!r}, which `before` has started already; wanted one of its own")
            for case in cases:
                if only not in (None, case.name) and case.kind != REFUSED:
                    continue
                this, possible = self._run(case)
                tried.append(this)
                if case.kind == REFUSED and not this.found:
                    back = cases_of(possible, plan, self.who, case)
                    tried += [self._run(more)[0] for more in back if only in (None, more.name)]
                    cases = [*cases, *back]
            if only is not None:
                tried = [one for one in tried if one.case.name == only]
                if not tried:
                    raise _no_case(only, cases)
        return Report(plan.name, tuple(tried), () if only else not_tried(plan))

    def _run(self, case: Case) -> tuple[Tried, Possible]:
        """One history, and the places at which something may go wrong once it has begun."""
        system = self.make(case)
        history = _History(system, self)
        with system:
            try:
                found = history.problem(case)
                self.who = history.who or self.who
            except Exception as error:
                error.add_note(f"in the case {case.name!r} of check_saga")
                raise
            trace = tuple(lines(system.facts[history.begun : history.rest]))
        raised = tuple(dict.fromkeys(fact.what for fact in system.facts if isinstance(fact, Raised)))
        ended = "" if history.outcome is None else type(history.outcome).__name__.lower()
        places = list(system.world.fates.possible.items())[history.places :]
        return Tried(case, ended, found, raised if found else (), trace if found else ()), dict(places)


class _History:
    """One history.

    Attributes:
        begun, rest: how many facts there were when the saga was started, and when nothing new happened any more.
        places: how many labels there were when it was started.
        outcome: what the client was told.
        who: what labels call the instance.
    """

    def __init__(self, system: SimulatedSystem, runner: _Runner) -> None:
        self.system = system
        self.runner = runner
        self.begun = self.places = 0
        self.rest: int | None = None
        self.outcome: Outcome | None = None
        self.who = ""

    def problem(self, case: Case) -> str:
        """Run it; what is wrong with it, or nothing."""
        try:
            self._prepare()
            self._ask_until_told()
            stuck = self._stuck()
            if stuck:
                return stuck
            self.system.check()
        except HistoryFailed as error:
            return str(error.__cause__)
        except AmendsError as error:
            return f"{type(error).__name__}: {error}"
        return _unexpected(case, self.outcome) or self._broken_invariants()

    def _prepare(self) -> None:
        # Places are counted, so those met here are none that a case names.
        if self.runner.before is not None:
            self.runner.before(self.system)
        self.begun, self.places = len(self.system.facts), len(self.system.world.fates.possible)

    def _ask_until_told(self) -> None:
        """As a client that knows nothing but its key: it asks again whenever nobody can answer."""
        slow_s = max(step.retry.slow_s for step in self.runner.saga.plan.steps.values())
        for _ in range(_ASKS):
            try:
                handle = self.system.submit(self.runner.saga, self.runner.given, key=self.runner.key)
                self.system.run_until_quiet()
                self._wait_for_the_stuck(handle, slow_s)
                self.outcome = handle.result() if handle.done() else None
                self.who = self.system.world.who(handle.saga_id)
            except (SystemStopped, JournalUnavailable, Overloaded):
                self.system.advance(_PAUSE_S)
            else:
                return
        raise AmendsError(f"the client has asked {_ASKS} times and was never told an outcome")

    def _wait_for_the_stuck(self, handle: Handle, slow_s: float) -> None:
        rest = len(self.system.facts)
        for _ in range(_SLOW_TRIES):
            if handle.done():
                return
            self.system.advance(slow_s + 1.0)
            self.system.run_until_quiet()
        # What follows repeats what led there.
        self.rest = None if handle.done() else rest

    def _stuck(self) -> str:
        if self.outcome is not None:
            return ""
        steps = [reasons for reasons in self.system.status().stuck.values() if reasons]
        told = "; ".join(f"step {step!r}: {reason}" for reasons in steps for step, reason in reasons.items())
        return f"it never ends, and is stuck: {told or 'nobody knows in what'}"

    def _broken_invariants(self) -> str:
        for invariant in self.runner.invariants:
            found = ""
            try:
                if invariant(self.system) is False:
                    found = "it is not so"
            except AssertionError as error:
                found = str(error) or _place(error)
            except Exception as error:  # noqa: BLE001 - an invariant that can't look has not held
                found = f"{type(error).__name__}: {error}, in {_place(error)}"
            if found:
                return f"invariant {getattr(invariant, '__name__', invariant)}: {found}"
        return ""


def _unexpected(case: Case, outcome: Outcome | None) -> str:
    """What the outcome should have been, where that is certain."""
    if case.kind == CALM and not isinstance(outcome, Completed):
        return (
            f"nothing goes wrong, and the outcome is {outcome}: give an input that completes, or prepare with before="
        )
    if case.kind == REFUSED and not isinstance(outcome, Compensated):
        return f"a step was refused, and the outcome is {outcome}"
    return ""


def _no_case(only: str, cases: Sequence[Case]) -> AmendsError:
    close = get_close_matches(only, [case.name for case in cases], n=3, cutoff=0.0)
    return AmendsError(f"only is {only!r}, wanted the name of a case, as {', '.join(map(repr, close))}")


def _place(error: Exception) -> str:
    """The line that raised it."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    line = linecache.getline(frame.filename, frame.lineno or 0).strip()
    return f"line {frame.lineno}: {line}" if line else f"line {frame.lineno}"


@contextmanager
def _silent_log() -> Iterator[None]:
    """Hundreds of planned errors are no news to whoever reads the log."""
    log = logging.getLogger("amends")
    disabled, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = disabled
