"""How a service declares what it can do: `@handles`, `@undoes`, `@verifies`, checked when the class is made."""

import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar, Union, get_args, get_origin, get_type_hints

from amends.protocol.errors import HandlerError
from amends.protocol.messages import Done, Later, Refused, Unavailable
from amends.protocol.saga import Handling

Method = TypeVar("Method", bound=Callable[..., Any])

_MARK: Final = "__amends_handler__"
_ANSWERS: Final = "`-> Done[Result] | Refused` (Done, Refused, Unavailable and Later are the answers there are)"

LIMIT_S: Final = 60.0
"""How long a call outside is waited for, where nothing else is said."""


@dataclass(frozen=True, slots=True)
class _Mark:
    role: str
    command: type
    outside: bool = False
    limit_s: float | None = None


@dataclass(frozen=True, slots=True)
class Handler:
    """All a service says of one command.

    Attributes:
        run: the handler; undo and verify: the methods for those, if any.
        result: the type of what `Done` carries.
        later: `run` may answer `Later`.
        outside, undo_outside: `run`, or `undo`, waits on the world outside, away from the service's database and turn.
        limit_s, undo_limit_s: how long it is then waited for, in seconds.
    """

    command: type
    run: Callable[..., Any]
    result: Any
    outside: bool
    undo: Callable[..., Any] | None
    verify: Callable[..., Any] | None
    later: bool = False
    undo_outside: bool = False
    limit_s: float = LIMIT_S
    undo_limit_s: float = LIMIT_S

    @property
    def answers(self) -> str:
        """What `run` may come back with."""
        return "Done, Refused, Unavailable or Later" if self.later else "Done, Refused or Unavailable"

    @property
    def handling(self) -> Handling:
        """What a plan is checked against."""
        return Handling(self.result, self.undo is not None)


def handles(command: type, *, outside: bool = False, limit_s: float | None = None) -> Callable[[Method], Method]:
    """The method runs this command: `(self, command) -> Done[Result] | Refused | Unavailable | Later`.

    It runs in a transaction of the service's database, `self.db`: if it raises, refuses or is unavailable, what it
    wrote is rolled back. After `Later` it is run again: when the saga asks again, when its time has come, or when
    another handler calls `self.again(key)`.

    Args:
        outside: it is `(self, command, key)` and runs in a thread of its own, without the database; `str(key)` is what
            to pass on as idempotency key.
        limit_s: a call outside that takes longer is not waited for any more, and asked about; 60 seconds if not given.
    """
    return _marked(_Mark("handles", command, outside, limit_s))


def undoes(command: type, *, outside: bool = False, limit_s: float | None = None) -> Callable[[Method], Method]:
    """The method undoes this command: `(self, command, result)`, run once, in a transaction, if it was done.

    It returns nothing, `Unavailable` to be asked again, or `Later` to be asked again with what it wrote kept. Where the
    handler may answer `Later` it also undoes what was never answered: then `result` is None.

    Args:
        outside: it is `(self, command, result, key)` and runs in a thread of its own, without the database, again
            after a crash; the key is the one the handler had.
        limit_s: as of `handles`.
    """
    return _marked(_Mark("undoes", command, outside, limit_s))


def verifies(command: type) -> Callable[[Method], Method]:
    """The method finds out what became of an outside call: `(self, command, key) -> Done[Result] | Refused | None`.

    None says that it never arrived.
    """
    return _marked(_Mark("verifies", command))


def _marked(mark: _Mark) -> Callable[[Method], Method]:
    def decorate(method: Method) -> Method:
        setattr(method, _MARK, mark)
        return method

    return decorate


def collect(service: type, local_names: Mapping[str, Any]) -> dict[str, Handler]:
    """The handlers of a service class by command name, or HandlerError."""
    found: dict[str, dict[str, tuple[_Mark, Callable[..., Any]]]] = {"handles": {}, "undoes": {}, "verifies": {}}
    for base in reversed(service.__mro__):
        for name, method in vars(base).items():
            mark = getattr(method, _MARK, None)
            if isinstance(mark, _Mark):
                _add(service, found[mark.role], mark, name, method)
    handlers = {}
    for name, (mark, run) in found["handles"].items():
        undo, verify = found["undoes"].pop(name, None), found["verifies"].pop(name, None)
        if verify is not None and not mark.outside:
            raise HandlerError(f"{service.__name__}: @verifies({name}) needs @handles({name}, outside=True)")
        result, later = _answers(service, run, local_names)
        handlers[name] = Handler(
            mark.command,
            run,
            result,
            mark.outside,
            undo[1] if undo else None,
            verify[1] if verify else None,
            later,
            undo is not None and undo[0].outside,
            mark.limit_s or LIMIT_S,
            (undo and undo[0].limit_s) or LIMIT_S,
        )
        if later:
            _check_later(f"{service.__name__}.{run.__name__}", handlers[name])
    for role in ("undoes", "verifies"):
        for name in found[role]:
            raise HandlerError(f"{service.__name__}: @{role}({name}) without @handles({name})")
    return handlers


def _add(
    service: type, role: dict[str, tuple[_Mark, Callable[..., Any]]], mark: _Mark, name: str, method: Callable[..., Any]
) -> None:
    _check_limit(service, mark)
    earlier = role.get(mark.command.__name__)
    if earlier is not None and earlier[1].__name__ != name:
        raise HandlerError(
            f"{service.__name__}: {earlier[1].__name__!r} and {name!r} both say @{mark.role}({mark.command.__name__})"
        )
    role[mark.command.__name__] = (mark, method)


def _check_later(where: str, handler: Handler) -> None:
    name = handler.command.__name__
    if handler.outside:
        raise HandlerError(f"{where}: answers Later, and is @handles({name}, outside=True); wanted one of the two")
    if handler.undo is None:
        raise HandlerError(f"{where}: answers Later, and there is no @undoes({name}) for what it leaves meanwhile")


def _check_limit(service: type, mark: _Mark) -> None:
    where = f"{service.__name__}: @{mark.role}({mark.command.__name__})"
    if mark.limit_s is None:
        return
    if not mark.outside:
        raise HandlerError(f"{where}: limit_s is for outside=True; what runs in a turn has handler_timeout_s")
    if not 0 < mark.limit_s < float("inf"):
        raise HandlerError(f"{where}: limit_s is {mark.limit_s}, wanted more than 0 seconds")


def _answers(service: type, run: Callable[..., Any], local_names: Mapping[str, Any]) -> tuple[Any, bool]:
    """The type of what `Done` carries, and whether there may be a `Later` before it."""
    where = f"{service.__name__}.{run.__name__}"
    try:
        returns = get_type_hints(run, localns=dict(local_names)).get("return")
    except NameError as error:
        raise HandlerError(f"{where}: the return annotation names an unknown type: {error}") from None
    answers = get_args(returns) if get_origin(returns) in (Union, types.UnionType) else (returns,)
    done = [a for a in answers if a is Done or get_origin(a) is Done]
    if len(done) != 1 or any(a not in (*done, Refused, Unavailable, Later) for a in answers):
        raise HandlerError(f"{where}: returns {returns!r}, wanted an annotation like {_ANSWERS}")
    return (get_args(done[0]) or (type(None),))[0], Later in answers
