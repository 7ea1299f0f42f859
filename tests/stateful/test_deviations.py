"""Every schedule with one deviation: each place that can go wrong goes wrong, in each of its ways, once.

With two deviations they are half a million: `python3 run.py soak` works through those.
"""

from functools import partial
from typing import Any

import pytest

from amends.testing import Schedule
from amends.testing.explore import Scenario, deviations
from amends.testing.schedule import LATE
from tests.soak.scenarios import saga, shapes, shop, stays


def _name(arguments: dict[str, Any]) -> str:
    return " ".join(step["name"] + ("!" if step["refuses"] else "") for step in arguments["spec"]["steps"])


SAGAS = [pytest.param(partial(saga, **arguments), id=_name(arguments)) for arguments in shapes()]


OTHERS = [
    pytest.param(partial(shop, orders=1), id="an order in the shop"),
    pytest.param(partial(stays, credit=True), id="calls outside"),
    pytest.param(partial(stays, credit=False), id="calls outside, one refused"),
]


@pytest.mark.parametrize("scenario", [*SAGAS, *OTHERS])
def test_one_deviation_anywhere(scenario: Scenario) -> None:
    """Whatever happens once, wherever it happens, every checker holds and every caller is told the truth."""
    calm = scenario(Schedule())
    tried = 0
    for schedule in deviations(calm):
        ran = scenario(schedule)
        assert ran.schedule == schedule, "the deviation was not met"
        tried += 1
    assert tried > 100


def test_every_kind_of_fate_is_among_them() -> None:
    """Nothing that a fault plan can ask for is left out."""
    tried = [schedule for arguments in shapes() for schedule in deviations(saga(Schedule(), **arguments))]
    met = {fate for schedule in tried for fate in schedule.deviations.values()}
    trouble = {"lost", "doubled", "crash", "crash before", "crash after", "full", "kill", "cancel"}
    handlers = {"refuse", "unavailable", "raise before", "raise after", "hang"}
    assert met == {*LATE, *trouble, *handlers}
