"""Those outside a simulated system: callers who do not give up, and an operator who looks after what is stuck.

A caller whose process dies, or whose start finds no room on the disk, asks again with the same
key, as a robust client would; in the end it must have been told an outcome. Nothing here is
random, and nothing happens but on the system's own agenda or when a test says so.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Final

from amends import AmendsError, JournalUnavailable, Outcome, Overloaded, Saga, SystemStopped
from amends.protocol.messages import SagaId
from amends.protocol.saga import Plan
from amends.protocol.state import State, outcome
from amends.testing import HistoryFailed, SimulatedSystem

AGAIN_S: Final = 1.5
"""How long a caller waits before it asks again, in virtual seconds."""

_ROUNDS: Final = 100
_PASSING: Final = (SystemStopped, JournalUnavailable, Overloaded)

Help = Callable[[SagaId, State, str], None]
"""What an operator does about a stuck step of an instance."""


class Caller:
    """Wants to know what becomes of one key.

    Attributes:
        outcome: what it was told, or the error that is not worth asking again.
    """

    def __init__(self, system: SimulatedSystem, saga: type[Saga], value: object, key: str) -> None:
        self.saga = saga
        self.value = value
        self.key = key
        self.outcome: Outcome | BaseException | None = None
        self._system = system

    def ask(self, after_s: float = 0.0) -> None:
        """Ask, now or later, and again until there is an outcome."""
        if after_s:
            self._system.world.agenda.put(after_s, self.ask)
            return
        try:
            handle = self._system.submit(self.saga, self.value, key=self.key)
        except SystemStopped:
            self.ask(AGAIN_S)
        else:
            handle.add_done_callback(self._told)

    def _told(self, told: "Future[Outcome]") -> None:
        error = told.exception()
        if isinstance(error, _PASSING):
            self.ask(AGAIN_S)
        else:
            self.outcome = error or told.result()


@contextmanager
def unless_in_trouble() -> Iterator[None]:
    """Whoever asks a process that dies, or an instance that can't take it now, is told so, and may ask again."""
    try:
        yield
    except SystemStopped:
        pass
    except AmendsError as error:
        if type(error) is not AmendsError:
            raise


def is_up(system: SimulatedSystem) -> bool:
    """Whether a process runs now."""
    try:
        system.dead_letters()
    except SystemStopped:
        return False
    return True


def stuck_steps(system: SimulatedSystem) -> list[tuple[SagaId, State, str]]:
    """What waits for a person, as far as it is on disk: instance, its state, step."""
    states = [(saga_id, known.state) for saga_id, known in system.world.instances.items()]
    return [(saga_id, s, step) for saga_id, s in states if s is not None and s.ended is None for step in s.stuck]


def retry(system: SimulatedSystem, saga_id: SagaId, step: str) -> None:
    """Try a stuck step at once."""
    system.retry(saga_id, step, by="ann", reason="it should work again")


def let_it_end(system: SimulatedSystem, callers: Sequence[Caller], help_with: Help | None = None) -> None:
    """Nothing goes wrong from here on, and somebody looks after what is stuck, until every caller has its outcome."""
    system.calm()
    for _ in range(_ROUNDS):
        system.run_until_quiet()
        stuck = stuck_steps(system)
        if not stuck:
            system.run_until(lambda: all(caller.outcome is not None for caller in callers), what="every outcome")
            return
        for saga_id, state, step in stuck:
            # What has moved by itself meanwhile is not stuck any more.
            with unless_in_trouble():
                if help_with is None:
                    retry(system, saga_id, step)
                else:
                    help_with(saga_id, state, step)
    raise AssertionError(f"still stuck: {[(saga_id, step) for saga_id, _, step in stuck_steps(system)]}")


def everyone_was_told_the_truth(system: SimulatedSystem, callers: Iterable[Caller]) -> None:
    """Every caller was told how its instance ended, as the journal has it."""
    ends: dict[tuple[str, str], Any] = {}
    for known in system.world.instances.values():
        assert known.state is not None
        assert known.state.ended is not None, f"{known.who} has not ended"
        plan: Plan = known.plan
        ends[plan.name, _key(known.records[0])] = outcome(plan, known.state)
    for caller in callers:
        end = ends.get((caller.saga.plan.name, caller.key))
        assert end is not None, f"{caller.key} was never started, and its caller told {caller.outcome!r}"
        assert caller.outcome == end, f"{caller.key} ended as {end!r}, and a caller was told {caller.outcome!r}"


def _key(started: Any) -> str:
    return str(started.key)


def say_how_to_replay(error: BaseException, call: str, system: SimulatedSystem | None) -> None:
    """Write into an error of a history what shows it again."""
    error.add_note(f"the same again: {call}")
    if system is not None and not isinstance(error, HistoryFailed):
        error.add_note(f"with {system.schedule!r}, from Schedule.from_json({system.schedule.to_json()!r})")
        error.add_note("\n".join(system.trace.splitlines()[-60:]))
