"""How a service declares what it can do: `@handles`, `@undoes`, `@verifies`, checked when the class is made."""

import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar, Union, get_args, get_origin, get_type_hints

from amends.protocol.errors import HandlerError
from amends.protocol.messages import Done, Refused, Unavailable
from amends.protocol.saga import Handling

Method = TypeVar("Method", bound=Callable[..., Any])

_MARK: Final = "__amends_handler__"
_ANSWERS: Final = "`-> Done[Result] | Refused` (Done, Refused and Unavailable are the answers there are)"


@dataclass(frozen=True, slots=True)
class _Mark:
    role: str
    command: type
    outside: bool = False


@dataclass(frozen=True, slots=True)
class Handler:
    """All a service says of one command.

    Attributes:
        run: the handler; undo and verify: the methods for those, if any.
        result: the type of what `Done` carries.
        outside: `run` waits on the world outside, away from the service's database and turn.
    """

    command: type
    run: Callable[..., Any]
    result: Any
    outside: bool
    undo: Callable[..., Any] | None
    verify: Callable[..., Any] | None

    @property
    def handling(self) -> Handling:
        """What a plan is checked against."""
        return Handling(self.result, self.undo is not None)


def handles(command: type, *, outside: bool = False) -> Callable[[Method], Method]:
    """The method runs this command: `(self, command) -> Done[Result] | Refused | Unavailable`.

    It runs in a transaction of the service's database, `self.db`: if it raises or does not answer `Done`, what it
    wrote is rolled back. With `outside=True` it is `(self, command, key)` and runs in a thread of its own, without
    the database; `str(key)` is what to pass on as idempotency key.
    """
    return _marked(_Mark("handles", command, outside))


def undoes(command: type) -> Callable[[Method], Method]:
    """The method undoes this command: `(self, command, result)`, run once, in a transaction, if it was done.

    It returns nothing, or `Unavailable` to be asked again.
    """
    return _marked(_Mark("undoes", command))


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
        handlers[name] = Handler(
            mark.command,
            run,
            _result_type(service, run, local_names),
            mark.outside,
            undo[1] if undo else None,
            verify[1] if verify else None,
        )
    for role in ("undoes", "verifies"):
        for name in found[role]:
            raise HandlerError(f"{service.__name__}: @{role}({name}) without @handles({name})")
    return handlers


def _add(
    service: type, role: dict[str, tuple[_Mark, Callable[..., Any]]], mark: _Mark, name: str, method: Callable[..., Any]
) -> None:
    earlier = role.get(mark.command.__name__)
    if earlier is not None and earlier[1].__name__ != name:
        raise HandlerError(
            f"{service.__name__}: {earlier[1].__name__!r} and {name!r} both say @{mark.role}({mark.command.__name__})"
        )
    role[mark.command.__name__] = (mark, method)


def _result_type(service: type, run: Callable[..., Any], local_names: Mapping[str, Any]) -> Any:
    where = f"{service.__name__}.{run.__name__}"
    try:
        returns = get_type_hints(run, localns=dict(local_names)).get("return")
    except NameError as error:
        raise HandlerError(f"{where}: the return annotation names an unknown type: {error}") from None
    answers = get_args(returns) if get_origin(returns) in (Union, types.UnionType) else (returns,)
    done = [a for a in answers if a is Done or get_origin(a) is Done]
    if len(done) != 1 or any(a not in (*done, Refused, Unavailable) for a in answers):
        raise HandlerError(f"{where}: returns {returns!r}, wanted an annotation like {_ANSWERS}")
    return (get_args(done[0]) or (type(None),))[0]
