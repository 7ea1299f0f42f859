"""Child specs are checked before anything starts."""

import math

import pytest

from amends.supervisor.child import ChildSpec, SpecError, check_specs
from amends.supervisor.strategy import Restart
from tests.supervisor.conftest import MakeMailbox
from tests.supervisor.probe import Probe


def spec(make: MakeMailbox, name: str, turn_limit_s: float | None = None) -> ChildSpec:
    """A child of that name."""
    return ChildSpec(make(name), lambda: Probe([]), turn_limit_s=turn_limit_s)


def test_a_child_is_permanent_and_unlimited_unless_said_otherwise(mailbox: MakeMailbox) -> None:
    """Its name is that of its address."""
    child = spec(mailbox, "orders")
    assert (child.name, child.restart, child.turn_limit_s) == ("orders", Restart.PERMANENT, None)


def test_different_children_with_sensible_limits_pass(mailbox: MakeMailbox) -> None:
    """None is for ever."""
    check_specs("root", [spec(mailbox, "a"), spec(mailbox, "b", 0.1)])
    check_specs("root", [])


def test_a_name_used_twice_is_refused(mailbox: MakeMailbox) -> None:
    """The error names the supervisor and the child."""
    with pytest.raises(SpecError, match="supervisor 'root': two children are named 'a'"):
        check_specs("root", [spec(mailbox, "a"), spec(mailbox, "b"), spec(mailbox, "a")])


@pytest.mark.parametrize("limit_s", [0.0, -1.0, math.nan])
def test_a_limit_that_leaves_no_time_is_refused(mailbox: MakeMailbox, limit_s: float) -> None:
    """The error names the child, the value found and the value wanted."""
    with pytest.raises(SpecError, match=rf"child 'a' has turn_limit_s={limit_s}, wanted more than 0 or None"):
        check_specs("root", [spec(mailbox, "a", limit_s)])
