"""Which children restart is a pure rule."""

import pytest

from amends.supervisor.strategy import Restart, Strategy, affected, comes_back

NAMES = ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("strategy", "failed", "restarted"),
    [
        (Strategy.ONE_FOR_ONE, "b", "b"),
        (Strategy.REST_FOR_ONE, "a", "abcd"),
        (Strategy.REST_FOR_ONE, "b", "bcd"),
        (Strategy.REST_FOR_ONE, "d", "d"),
        (Strategy.ONE_FOR_ALL, "b", "abcd"),
    ],
)
def test_a_strategy_says_how_far_a_failure_reaches(strategy: Strategy, failed: str, restarted: str) -> None:
    """The children to restart come in the order of their start."""
    assert affected(strategy, NAMES, failed) == tuple(restarted)


@pytest.mark.parametrize(
    ("restart", "after_a_failure", "after_an_exit"),
    [
        (Restart.PERMANENT, True, True),
        (Restart.TRANSIENT, True, False),
        (Restart.TEMPORARY, False, False),
    ],
)
def test_a_restart_type_says_whether_a_child_comes_back(
    restart: Restart, after_a_failure: bool, after_an_exit: bool
) -> None:
    """As in Erlang/OTP."""
    assert comes_back(restart, failed=True) is after_a_failure
    assert comes_back(restart, failed=False) is after_an_exit
