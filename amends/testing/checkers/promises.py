"""Checkers of what callers and operators were told, and of what keeps actors alive."""

from collections import Counter, deque

from amends.actors.instances import INTENSITY, PERIOD_S, SLOW_S
from amends.actors.tree import OWN_NAMES, ROOT_WINDOW, SERVICES_WINDOW
from amends.protocol.events import CancelAnswer
from amends.protocol.messages import SagaId
from amends.protocol.records import BACK, Intervened
from amends.protocol.state import Compensated, Completed, Outcome, outcome
from amends.supervisor.intensity import RestartWindow
from amends.testing.checkers.base import Checker
from amends.testing.facts import Asked, Died, Fell, Spawned, Told
from amends.testing.world import World


class ToldWhenDurable(Checker):
    """Nobody is told what a crash could take back."""

    def told(self, fact: Told) -> None:
        value = fact.value
        if fact.saga_id is None or isinstance(value, BaseException):
            return
        known = self.world.instances.get(fact.saga_id)
        if known is None and value is CancelAnswer.ALREADY_ENDED:
            return  # of an id that never was, or is long forgotten
        assert known is not None, f"told when durable: {fact}, and no Started on disk"
        state = known.state
        assert state is not None
        if isinstance(value, Completed | Compensated):
            assert state.ended is not None, f"told when durable: {fact}, and no end on disk"
            assert outcome(known.plan, state) == value, f"told when durable: {fact}, on disk {state.ended}"
        elif value is CancelAnswer.ACCEPTED:
            assert state.direction is BACK, f"told when durable: {fact}, and on disk it is {state.direction or 'open'}"
        elif value is CancelAnswer.ALREADY_ENDED:
            assert state.ended is not None, f"told when durable: {fact}, and on disk it is open"
        elif value is None:
            taken = [r for r in known.records if isinstance(r, Intervened)]
            assert taken, f"told when durable: {fact}, and nothing of it on disk"


class ToldStaysTrue(Checker):
    """An outcome and an accepted cancel outlive every crash, and all callers of a key are told the same."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._outcomes: dict[SagaId, Outcome] = {}
        self._cancelled: set[SagaId] = set()

    def told(self, fact: Told) -> None:
        if fact.saga_id is None:
            return
        if isinstance(fact.value, Completed | Compensated):
            first = self._outcomes.setdefault(fact.saga_id, fact.value)
            assert first == fact.value, f"told stays true: {fact}, after {first}"
        elif fact.value is CancelAnswer.ACCEPTED:
            self._cancelled.add(fact.saga_id)

    def at_rest(self) -> None:
        for saga_id, known in self.world.instances.items():
            if known.state is None or known.state.ended is None:
                continue
            now = outcome(known.plan, known.state)
            told = self._outcomes.get(saga_id, now)
            assert told == now, f"told stays true: {known.who} was told {told}, on disk is {now}"
            assert saga_id not in self._cancelled or isinstance(now, Compensated), (
                f"told stays true: the cancel of {known.who} was accepted, and it is {now}"
            )


class NothingAcceptedIsLost(Checker):
    """Every instance that is on disk ends; the same key is the same instance."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._accepted: dict[SagaId, str] = {}

    def told(self, fact: Told) -> None:
        if fact.what == "accepted" and fact.saga_id is not None:
            self._accepted[fact.saga_id] = fact.who

    def at_rest(self) -> None:
        for saga_id, who in self._accepted.items():
            kept = saga_id in self.world.instances or saga_id in self.world.forgotten
            assert kept, f"nothing accepted is lost: {who}"
        keys = [(k.plan.name, k.state.key) for k in self.world.instances.values() if k.state is not None]
        assert len(keys) == len(set(keys)), "nothing accepted is lost: two instances have one key"
        for known in self.world.instances.values():
            assert not known.lags, f"everything ends: {known.lags}"


class EverybodyIsAnswered(Checker):
    """Whoever starts, cancels or intervenes is told something in the end, be it that nobody can tell."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._open: Counter[str] = Counter()

    def asked(self, fact: Asked) -> None:
        if fact.what in _ANSWERED:
            self._open[_ANSWERED[fact.what]] += 1

    def told(self, fact: Told) -> None:
        self._open[fact.what] -= 1

    def at_rest(self) -> None:
        waiting = [what for what in _ANSWERED.values() if self._open[what] > 0]
        assert not waiting, f"everybody is answered: somebody still waits to be told {waiting}"


_ANSWERED = {"start": "accepted", "cancel": "cancel"}
"""What is asked, and what its answer is called. An operator waits in the asking itself."""


class NobodyFailsByItself(Checker):
    """An instance's actor fails when a drill kills it, and never because its history is not what it thought."""

    def fell(self, fact: Fell) -> None:
        if fact.name in {known.who for known in self.world.instances.values()}:
            assert fact.error == "ActorCrash", f"nobody fails by itself: {fact}"


class RestartIntensity(Checker):
    """No actor is restarted more often than its keeper allows; what is beyond that is given up, or tried slowly."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        # Of each actor, since its keeper began to count: when it failed, or for supervisors' children was restarted.
        self._times: dict[str, deque[float]] = {}

    def died(self, fact: Died) -> None:
        self._times.clear()

    def fell(self, fact: Fell) -> None:
        if not self._has_supervisor(fact.name):
            self._count(fact.name, fact.at_s, PERIOD_S)

    def spawned(self, fact: Spawned) -> None:
        if fact.name == "coordinator":
            # Whatever it kept count of, the new one begins anew.
            self._times = {name: times for name, times in self._times.items() if self._has_supervisor(name)}
        if fact.incarnation == 1:
            return
        if self._has_supervisor(fact.name):
            window = ROOT_WINDOW if fact.name in OWN_NAMES else _BOTH
            found = self._count(fact.name, fact.at_s, window.period_s)
            assert found <= window.intensity, (
                f"restart intensity: {fact.name} for the {found}th time in {window.period_s} s, "
                f"allowed are {window.intensity}"
            )
            return
        failures = self._times.get(fact.name, deque([fact.at_s]))
        waited_s = fact.at_s - failures[-1]
        assert len(failures) <= INTENSITY or waited_s >= SLOW_S - _ROUNDING_S, (
            f"restart intensity: {fact.name} failed {len(failures)} times in {PERIOD_S} s, allowed are {INTENSITY}, "
            f"and is restarted after {waited_s} s"
        )

    def _count(self, name: str, at_s: float, period_s: float) -> int:
        times = self._times.setdefault(name, deque())
        times.append(at_s)
        while at_s - times[0] > period_s:
            times.popleft()
        return len(times)

    def _has_supervisor(self, name: str) -> bool:
        return name in OWN_NAMES or name in self.world.services


# A service's own supervisor restarts it, and is itself restarted with what it keeps.
_BOTH = RestartWindow(SERVICES_WINDOW.intensity + ROOT_WINDOW.intensity, SERVICES_WINDOW.period_s)
_ROUNDING_S = 0.001

ALL = (
    ToldWhenDurable,
    ToldStaysTrue,
    NothingAcceptedIsLost,
    EverybodyIsAnswered,
    NobodyFailsByItself,
    RestartIntensity,
)
