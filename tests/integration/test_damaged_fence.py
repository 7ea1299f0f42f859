"""A bit that flips in what a service remembers of one step: that step is not obeyed, all others are."""

from pathlib import Path

import apsw
import pytest

from amends import Refused, Unavailable
from tests.actors.conftest import OpenSystem
from tests.actors.patience import until
from tests.actors.trip import FARE_REFUSED, LossyTrip, Script, Trip, effects, rows_of

SOON_S = 5.0
"""Far longer than it takes; a test that fails waits for it."""

NAMES = ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize(
    "damage",
    [
        "token = 'x'",
        "payload = cast(x'ff' as text)",
        "answer = x'ff'",
        """answer = '"cut off'""",
        "step = cast(x'ff' as text)",
    ],
)
def test_damaged_row(tmp_path: Path, booking: OpenSystem, damage: str) -> None:
    """The other instances end, new ones run, and the service does not die of it again and again."""
    # A saga that asks for long, so that all are still open when the system stops.
    system = booking(Script(fare=lambda service, name: Unavailable("nobody is in")))
    ids = {name: system.start(LossyTrip, Trip(name), key=name).saga_id for name in NAMES}
    until(lambda: len(rows_of(tmp_path / "seats.db", "select 1 from amends_fence where state = 'done'")) == len(NAMES))
    system.stop()
    db = apsw.Connection(str(tmp_path / "seats.db"))
    db.execute(f"update amends_fence set {damage} where saga_id = ?", (ids["b"],))
    assert db.changes() == 1
    db.close()
    system = booking(Script(fare=lambda service, name: Refused("no money")))
    until(lambda: all(effects(tmp_path, name) == FARE_REFUSED for name in NAMES if name != "b"), SOON_S)
    system.run(LossyTrip, Trip("new"), key="new", timeout_s=SOON_S)
    assert system.status().restarts == 0
