"""SIGKILL at every named moment of a program's life: nothing is lost, half done, or taken back."""

from pathlib import Path

from tests.integration.crash_points import POINTS
from tests.integration.crash_rounds import at_every_point, kill_at_random

RANDOM_KILLS = 10
SEED = 1


def test_killed_at_every_point(tmp_path: Path) -> None:
    """Twice in a row at the same point, its first time; every point is there to be reached."""
    rounds = at_every_point(tmp_path, [1])
    assert [str(played) for played in rounds if played.problems] == []
    for point, played in zip(POINTS, rounds, strict=True):
        assert all(played.reached[: 1 + point.recovery]), f"{point.name}: was not reached"


def test_killed_later_at_every_point(tmp_path: Path) -> None:
    """The same in full swing; what does not come as often is not killed and has to hold all the same."""
    assert [str(played) for played in at_every_point(tmp_path, [2]) if played.problems] == []


def test_killed_at_random(tmp_path: Path) -> None:
    """At any moment, and at points drawn by lot, also while it recovers from the kill before."""
    rounds = kill_at_random(tmp_path, RANDOM_KILLS, SEED)
    assert [str(played) for played in rounds if played.problems] == [], f"seed {SEED}"
    assert any(any(played.reached) for played in rounds)
