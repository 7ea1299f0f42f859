"""A plan's digest: what an instance that has begun depends on, and nothing else."""

from typing import Any

import msgspec
import pytest

from amends.protocol.retry import Retry
from amends.protocol.saga import Results, Saga, pivot, retriable, step


class _Small(msgspec.Struct, frozen=True):
    pass


class _Large(msgspec.Struct, frozen=True):
    pass


class Before(Saga, name="changing"):
    """As it is at first."""

    input: int

    @step(to="a")
    def one(self, value: int, done: Results) -> _Small:
        return _Small()

    @step(to="b")
    def two(self, value: int, done: Results) -> _Small:
        return _Small()

    @step(to="c", after=[one])
    def three(self, value: int, done: Results) -> _Small:
        return _Small()


class Tuned(Saga, name="changing", version=2, deadline_s=9.0, undo_reserve_s=1.0):
    """Other numbers, and the steps in another order where they don't need each other."""

    input: int

    @step(to="b", timeout_s=9.0)
    def two(self, value: int, done: Results) -> _Small:
        return _Small()

    @step(to="a", retry=Retry(attempts=9))
    def one(self, value: int, done: Results) -> _Small:
        return _Small()

    @step(to="c", after=[one])
    def three(self, value: int, done: Results) -> _Small:
        return _Small()


class Renamed(Before, name="changing"):
    """One step more: the same with another name."""

    @step(to="c")
    def four(self, value: int, done: Results) -> _Small:
        return _Small()


class OtherKind(Before, name="changing"):
    """The last step can no longer be undone."""

    @pivot(to="c")
    def three(self, value: int, done: Results) -> _Small:
        return _Small()


class AfterTheDecision(Before, name="changing"):
    """The last step is only sent when it is certain."""

    @retriable(to="c", after=[Before.one])
    def three(self, value: int, done: Results) -> _Small:
        return _Small()


class OtherService(Before, name="changing"):
    """The last step is somebody else's."""

    @step(to="z", after=[Before.one])
    def three(self, value: int, done: Results) -> _Small:
        return _Small()


class OtherCommand(Before, name="changing"):
    """The last step is another one."""

    @step(to="c", after=[Before.one])
    def three(self, value: int, done: Results) -> _Large:
        return _Large()


class OtherOrder(Before, name="changing"):
    """The last step waits for both."""

    @step(to="c", after=[Before.one, Before.two])
    def three(self, value: int, done: Results) -> _Small:
        return _Small()


def test_numbers_and_the_order_of_writing_may_change() -> None:
    """Timeouts, retries and the deadline can be tuned while instances run."""
    assert Tuned.plan.digest == Before.plan.digest
    assert len(Before.plan.digest) == 16


@pytest.mark.parametrize(
    "changed", [Renamed, OtherKind, AfterTheDecision, OtherService, OtherCommand, OtherOrder], ids=lambda c: c.__name__
)
def test_what_a_running_instance_depends_on_may_not(changed: type[Any]) -> None:
    """A step with another name, kind, service, command or place is another plan."""
    assert changed.plan.digest != Before.plan.digest
