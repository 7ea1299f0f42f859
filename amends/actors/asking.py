"""Questions that callers outside put to a service, and how it declares what it can tell: `@answers`.

A question is a letter like any other: it is answered after all that the service was told before
it, from what is committed, and changes nothing. No saga asks one, for what it does must not
depend on anything but its input and its steps' results.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

from amends.protocol.errors import HandlerError
from amends.supervisor.mailbox import Caller

if TYPE_CHECKING:
    from amends.actors.service import Service

Method = TypeVar("Method", bound=Callable[..., Any])

_MARK = "__amends_query__"


def answers(query: type) -> Callable[[Method], Method]:
    """The method answers this query: `(self, query) -> value`, reading `self.db`.

    What it raises is raised where `System.ask` was called; it can't write.
    """

    def decorate(method: Method) -> Method:
        setattr(method, _MARK, query)
        return method

    return decorate


def collect_queries(service: type) -> dict[type, Callable[..., Any]]:
    """The methods of a service class that answer queries, by query, or HandlerError."""
    found: dict[type, Callable[..., Any]] = {}
    for base in reversed(service.__mro__):
        for name, method in vars(base).items():
            query = getattr(method, _MARK, None)
            if query is None:
                continue
            earlier = found.get(query)
            if earlier is not None and earlier.__name__ != name:
                raise HandlerError(
                    f"{service.__name__}: {earlier.__name__!r} and {name!r} both say @answers({query.__name__})"
                )
            found[query] = method
    return found


class Question:
    """One query of one caller."""

    __slots__ = ("_future", "query")

    def __init__(self, query: object, future: "Future[Any]") -> None:
        self.query = query
        self._future = future

    @property
    def is_wanted(self) -> bool:
        """Whether its caller still waits."""
        return not self._future.done()

    def answer(self, service: "Service") -> None:
        """Find the answer and tell the caller; an error of the method's is the caller's."""
        try:
            with service.db.reading():
                answer: object = service.queries[type(self.query)](service, self.query)
            if isinstance(answer, Iterator):  # it would read on, or write, in the caller's thread
                raise HandlerError(
                    f"{service.name}: the answer is a {type(answer).__name__}, wanted a value, as a list"
                )
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller asked for it
            if service.actor_stopped.is_set():
                return  # its turn was given up, and this is only what that did to the method
            answer = error
        Caller(self._future).tell(answer)
