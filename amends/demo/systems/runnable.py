"""What an order system gives the command line.

A system's module has its saga, its input and the customer's functions; the one constant
`RUNNABLE` at its end says how lines become inputs and answers become lines. Reading files,
stocking up, waiting, counting and auditing are the command line's.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar, cast

from amends import Completed, InputError, Outcome, Saga, System
from amends.demo.domain import Order, in_words
from amends.demo.faults import FaultPlan
from amends.protocol import codec

I = TypeVar("I")  # noqa: E741 - an input
A = TypeVar("A")
I_contra = TypeVar("I_contra", contravariant=True)
A_co = TypeVar("A_co", covariant=True)

SYSTEMS = {
    "fulfilment": "Stock, payment, shipping, notification, one after the other; says True or False.",
    "checkout": "An order confirmed or cancelled at once, on services that are unreliable; says True or False.",
    "stream": "A stream of order requests; a line for each, in the order they came in.",
    "placement": "An answer within five seconds, as JSON; what takes longer goes on behind it.",
    "coordinator": "Everything about an order, or nothing, coordinated by a durable saga; tells the time it took.",
}
"""The five, with a line for people."""


class Pending(Protocol[A_co]):
    """An answer that is not there yet: a `Handle`, or a `Future`."""

    def result(self, timeout: float | None = None, /) -> A_co: ...

    def add_done_callback(self, callback: "Callable[[Future[Any]], Any]", /) -> None: ...


class OrderSystem(Protocol[I_contra, A_co]):
    """A running order system; `amends.demo.shop.Shop` has all of it but `submit`."""

    @property
    def system(self) -> System: ...

    @property
    def sagas(self) -> Sequence[type[Saga]]: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...

    def submit(self, value: I_contra, /) -> Pending[A_co]:
        """Take one order without waiting; an AmendsError, here or in the answer, says why it was not taken."""

    def finish(self, timeout_s: float) -> None:
        """Wait until nothing is under way any more, behind the answers either."""


def no_numbers(_system: Any) -> Mapping[str, object]:
    """Nothing of its own to tell at the end."""
    return {}


@dataclass(frozen=True, kw_only=True)
class Runnable(Generic[I, A]):
    """One order system, as the command line sees it.

    Attributes:
        open: makes the system on a folder, under the faults of a plan; it runs from `with` on.
        read: a line as the customer writes it; InputError or ValueError with what is wrong with it, and where.
        from_order: a real order as this system's input; InputError if it can't be one.
        units: what an input wants, by item; for filling the shelves.
        say: an input's answer, and the seconds it took, as the customer's line.
        turned_away: the line of an input that was not taken; if there is none, it gets no line.
        refused: why it did not go well, in a word or two; None if it did.
        numbers: what it tells at the end of the input.
    """

    open: Callable[[Path, FaultPlan], OrderSystem[I, A]]
    read: Callable[[str], I]
    from_order: Callable[[Order], I]
    units: Callable[[I], Mapping[str, int]]
    say: Callable[[I, A, float], str]
    refused: Callable[[A], str | None]
    turned_away: Callable[[I], str] | None = None
    numbers: Callable[[Any], Mapping[str, object]] = no_numbers


def json_line(kind: type[I], where: str) -> Callable[[str], I]:
    """A `read` for JSON lines; the error names the field and what is wanted there."""
    return lambda line: read_json(kind, line.encode(), where)


def read_json(kind: type[I], data: bytes, where: str) -> I:
    """`data` as a `kind`, or an InputError in words."""
    try:
        return codec.decode(kind, data, where)
    except InputError as error:
        raise InputError(where, error.path, in_words(error.problem)) from None


def refused(outcome: Outcome) -> str | None:
    """A `refused` for sagas: the reason alone, for what follows its colon is the case (which item)."""
    return None if isinstance(outcome, Completed) else outcome.reason.partition(":")[0]


def runnable(name: str) -> Runnable[Any, Any]:
    """The system of that name; only the one that runs is loaded."""
    return cast("Runnable[Any, Any]", import_module(f"amends.demo.systems.{name}").RUNNABLE)
