"""Handlers of services as a test lets them go wrong: by its own word, or by a schedule's fate.

The handlers themselves are the service's own, on its own database; around each stands what
decides whether it is reached at all, and what notes its work.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from amends.actors.handlers import Handler
from amends.actors.service import Service, ServiceSpec
from amends.protocol.errors import AmendsError
from amends.protocol.messages import Done, IdempotencyKey, Refused, SagaId, Unavailable
from amends.protocol.saga import RETRIABLE
from amends.testing.disk import note, noted
from amends.testing.facts import Effect
from amends.testing.life import Life
from amends.testing.world import World

_DO: Final = ("refuse", "unavailable", "raise before", "raise after", "hang")
_RETRIABLE: Final = _DO[1:]
_OUTSIDE: Final = ("refuse", "unavailable", "raise before", "raise after")


class Simulated(AmendsError):  # noqa: N818 - reads as the fact it reports
    """What a handler raises that was told to."""


@dataclass(slots=True)
class _Rule:
    """What a test said of one command: the fate of its handler, or of its undo, the next `times` times."""

    undo: bool
    fate: str
    reason: str
    times: float


class SimulatedService:
    """One service of a simulated system, for a test to say what goes wrong in it."""

    def __init__(self, name: str, handlers: Mapping[str, Handler]) -> None:
        self._name = name
        self._handlers = handlers
        self._commands = sorted(handlers)
        self._rules: dict[str, list[_Rule]] = {}

    def refuses(self, command: type, *, reason: str = "refused", times: float = float("inf")) -> None:
        """The handler says no instead of doing its work."""
        self._say(command, _Rule(False, "refuse", reason, times))

    def unavailable(
        self, command: type, *, reason: str = "unavailable", times: float = float("inf"), undo: bool = False
    ) -> None:
        """The handler, or with `undo` the undo, asks to be asked again."""
        self._say(command, _Rule(undo, "unavailable", reason, times))

    def raises(self, command: type, *, after: bool = False, times: float = float("inf"), undo: bool = False) -> None:
        """It raises, before its work or `after` it.

        A turn in which a handler raises after its work is run again at once: of two times the saga hears one.
        """
        self._say(command, _Rule(undo, "raise after" if after else "raise before", "", times))

    def hangs(self, command: type, *, times: float = 1, undo: bool = False) -> None:
        """It does not come back before its turn is given up."""
        self._say(command, _Rule(undo, "hang", "", times))

    def recovers(self) -> None:
        """From here on it does its work again."""
        self._rules.clear()

    def next_fate(self, command: str, *, undo: bool) -> tuple[str, str]:
        """What was said of this visit, and with what reason; empty if nothing was."""
        for rule in self._rules.get(command, ()):
            if rule.undo is undo and rule.times > 0:
                rule.times -= 1
                return rule.fate, rule.reason
        return "", ""

    def _say(self, command: type, rule: _Rule) -> None:
        handler = self._handlers.get(getattr(command, "__name__", ""))
        if handler is None:
            found = getattr(command, "__name__", repr(command))
            raise AmendsError(f"service {self._name!r}: command is {found}, wanted one of {self._commands}")
        if rule.undo and handler.undo is None:
            raise AmendsError(f"service {self._name!r}: {command.__name__} has no undo")
        if rule.fate == "hang" and (handler.undo_outside if rule.undo else handler.outside):
            raise AmendsError(
                f"service {self._name!r}: {command.__name__} is a call outside; "
                "let a schedule say that 'call outside #1' meets 'hang'"
            )
        if not rule.times > 0:
            raise AmendsError(f"service {self._name!r}: times is {rule.times}, wanted more than 0")
        self._rules.setdefault(command.__name__, []).append(rule)


@dataclass(frozen=True, slots=True)
class StagedSpec(ServiceSpec):
    """A service whose handlers a test, or a schedule, lets go wrong."""

    stage: "Callable[[], Stage] | None" = None

    def make(self) -> Service:
        service = ServiceSpec.make(self)
        if self.stage is not None:
            self.stage().set(service)
        return service


class Stage:
    """Stands around the handlers of one service in one process."""

    def __init__(self, world: World, life: Life, said: SimulatedService) -> None:
        self._world = world
        self._life = life
        self._said = said

    def set(self, service: Service) -> None:
        """Take the handlers' places."""
        staged = {name: self._staged(service, handler) for name, handler in service.handlers.items()}
        service.handlers = staged  # type: ignore[misc]  # of this one instance

    def _staged(self, service: Service, handler: Handler) -> Handler:
        run = self._outside(handler) if handler.outside else self._in_turn(handler, handler.run, "do")
        undo = None if handler.undo is None else self._undo(handler, handler.undo)
        verify = None if handler.verify is None else self._verifying(handler, handler.verify)
        return replace(handler, run=run, undo=undo, verify=verify)

    def _in_turn(self, handler: Handler, method: Callable[..., Any], kind: str) -> Callable[..., Any]:
        name, command = method.__name__, handler.command.__name__

        def call(service: Service, *arguments: Any) -> Any:
            message = service.in_hand
            possible = _DO if kind == "do" and self._may_refuse(message.saga_id, message.step) else _RETRIABLE
            fate, reason = self._fate(service.name, name, message.saga_id, command, possible, kind)
            self._before(fate, reason, service)
            answer = _answer(fate, reason)
            if answer is None:
                with self._world.told_if_raised(message.saga_id, f"{service.name}.{name}"):
                    answer = method(service, *arguments)
                if isinstance(answer, Done) or (answer is None and kind == "undo" and _was_done(service, handler)):
                    note(service.db, message.saga_id, message.step, name, kind, message.token)
            self._after(fate)
            return answer

        return call

    def _undo(self, handler: Handler, undo: Callable[..., Any]) -> Callable[..., Any]:
        return self._undo_outside(handler, undo) if handler.undo_outside else self._in_turn(handler, undo, "undo")

    def _undo_outside(self, handler: Handler, undo: Callable[..., Any]) -> Callable[..., Any]:
        name, command = undo.__name__, handler.command.__name__

        def call(service: Service, asked: object, result: object, key: IdempotencyKey) -> Any:
            fate, reason = self._fate(service.name, name, key.saga_id, command, _OUTSIDE[1:], "undo")
            self._before(fate, reason, service)
            answer: Any = _answer(fate, reason)
            if answer is None:
                with self._world.told_if_raised(key.saga_id, f"{service.name}.{name}"):
                    answer = undo(service, asked, result, key)
                if answer is None and (not handler.later or self._world.was_seen(key.saga_id, key.step)):
                    self._world.did_outside(self._effect(service, name, key, "undo"))
            self._after(fate)
            return answer

        return call

    def _outside(self, handler: Handler) -> Callable[..., Any]:
        name, command = handler.run.__name__, handler.command.__name__

        def call(service: Service, asked: object, key: IdempotencyKey) -> Any:
            # Whoever has done it says so again for the same key.
            done = self._world.was_done_outside(key.saga_id, key.step, "do")
            possible = _OUTSIDE[1:] if done or not self._may_refuse(key.saga_id, key.step) else _OUTSIDE
            fate, reason = self._fate(service.name, name, key.saga_id, command, possible, "do")
            self._before(fate, reason, service)
            answer: Any = _answer(fate, reason)
            if answer is None:
                with self._world.told_if_raised(key.saga_id, f"{service.name}.{name}"):
                    answer = handler.run(service, asked, key)
            if isinstance(answer, Done):
                self._world.did_outside(self._effect(service, name, key))
            self._after(fate)
            return answer

        return call

    def _verifying(self, handler: Handler, verify: Callable[..., Any]) -> Callable[..., Any]:
        def call(service: Service, asked: object, key: IdempotencyKey) -> Any:
            with self._world.told_if_raised(key.saga_id, f"{service.name}.{verify.__name__}"):
                answer = verify(service, asked, key)
            if isinstance(answer, Done):
                self._world.did_outside(self._effect(service, handler.run.__name__, key))
            return answer

        return call

    def _effect(self, service: Service, method: str, key: IdempotencyKey, kind: str = "do") -> Effect:
        who = self._world.who(key.saga_id)
        return Effect(self._world.now_s, who, key.saga_id, key.step, service.name, method, kind, 0)

    def _may_refuse(self, saga_id: SagaId, step: str) -> bool:
        known = self._world.instances.get(saga_id)
        return known is None or known.plan.steps[step].kind is not RETRIABLE

    def _fate(
        self, service: str, method: str, saga_id: SagaId, command: str, possible: tuple[str, ...], kind: str
    ) -> tuple[str, str]:
        said = self._said.next_fate(command, undo=kind == "undo")
        if said[0]:
            return said
        fate = self._world.meet(f"{service}.{method} for {self._world.who(saga_id)}", possible)
        return fate, "by fate"

    def _before(self, fate: str, reason: str, service: Service) -> None:
        if fate == "raise before":
            raise Simulated("before its work")
        if fate == "hang":
            self._life.hang(service)

    def _after(self, fate: str) -> None:
        if fate == "raise after":
            raise Simulated("after its work")


def _answer(fate: str, reason: str) -> Refused | Unavailable | None:
    if fate == "refuse":
        return Refused(reason)
    return Unavailable(reason) if fate == "unavailable" else None


def _was_done(service: Service, handler: Handler) -> bool:
    """Whether there is an effect to undo: what waits is undone, too, and was never done."""
    return not handler.later or noted(service.db, service.in_hand.saga_id, service.in_hand.step)
