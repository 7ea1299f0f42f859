"""A planted bug: a wrong variant of our own code, there only while a test switches it on."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

BUDGET = 1000
"""Histories within which a bug has to be found that says nothing else."""


@dataclass(frozen=True)
class Bug:
    """One wrong variant.

    Attributes:
        what: in one sentence.
        plant: switches it on, as a context.
        scenario: where it can show; a name in `scenarios.SCENARIOS`.
        budget: histories within which it has to be found, whatever the seed.
    """

    name: str
    what: str
    plant: Callable[[], AbstractContextManager[None]]
    scenario: str
    budget: int


Switch = Callable[[], Iterator[None]]


def bug(*, scenario: str = "drawn", budget: int = BUDGET) -> Callable[[Switch], Bug]:
    """The function switches it on, yields, and switches it off; its name is the bug's, its docstring what is wrong."""

    def made(switch: Switch) -> Bug:
        what = " ".join((switch.__doc__ or "").split())
        return Bug(switch.__name__.replace("_", " "), what, contextmanager(switch), scenario, budget)

    return made


def bugs_of(module: object) -> dict[str, Bug]:
    """The bugs of a module, by name, in the order in which they stand there."""
    return {found.name: found for found in vars(module).values() if isinstance(found, Bug)}
