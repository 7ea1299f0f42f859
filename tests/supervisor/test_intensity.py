"""How many restarts are too many, and how long to wait before the next."""

import pytest

from amends.supervisor.intensity import RestartWindow


def after(*restarts_s: float, intensity: int = 2, period_s: float = 10.0) -> RestartWindow:
    """A window in which these restarts were counted."""
    window = RestartWindow(intensity, period_s)
    for at_s in restarts_s:
        window = window.add(at_s)
    return window


def test_as_many_restarts_as_the_intensity_are_allowed() -> None:
    """One more exceeds it."""
    assert not after(1.0, 2.0).exceeded
    assert after(1.0, 2.0, 3.0).exceeded


def test_an_intensity_of_zero_allows_no_restart() -> None:
    """The first one exceeds it."""
    assert not after(intensity=0).exceeded
    assert after(1.0, intensity=0).exceeded


def test_restarts_older_than_the_period_are_forgotten() -> None:
    """The period slides; a restart exactly one period ago still counts."""
    assert after(1.0, 2.0, 11.0).exceeded
    assert not after(1.0, 2.0, 11.1).exceeded
    assert after(1.0, 2.0, 11.1).restarts == (2.0, 11.1)


def test_counting_makes_a_new_window() -> None:
    """The old one stays as it was."""
    window = RestartWindow(2, 10.0)
    window.add(1.0)
    assert window.restarts == ()


@pytest.mark.parametrize(
    ("restarts", "wait_s"), [(1, 0.0), (2, 0.5), (3, 1.0), (4, 2.0), (5, 4.0), (6, 5.0), (60, 5.0)]
)
def test_the_first_restart_comes_at_once_and_each_later_one_waits_longer(restarts: int, wait_s: float) -> None:
    """The wait doubles from the base up to the cap."""
    window = after(*(float(n) for n in range(restarts)), intensity=100, period_s=100.0)
    assert window.backoff_s(base_s=0.5, cap_s=5.0) == wait_s


def test_any_number_of_restarts_has_a_wait() -> None:
    """Doubling stops before a number becomes too large."""
    window = RestartWindow(10_000, 10_000.0, restarts=tuple(float(n) for n in range(5000)))
    assert window.backoff_s(base_s=0.5, cap_s=1e9) == 0.5 * 2**16


def test_a_quiet_period_ends_the_waiting() -> None:
    """Whoever has not failed for a period is restarted at once again."""
    assert after(1.0, 2.0, 3.0, 20.0).backoff_s(base_s=0.5, cap_s=5.0) == 0.0
