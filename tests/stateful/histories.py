"""Histories of the shop that a schedule drives from the first customer to the last, and what to draw schedules from.

The customers are the same for the same number of orders; all that differs between two histories
is what goes wrong. So a history is a pure function of its schedule and that number.
"""

from random import Random
from typing import Final

from amends.testing import FaultPlan, Schedule, SimulatedSystem
from tests.stateful.asking import say_how_to_replay
from tests.stateful.shop import COUNTRIES, PRICES, USERS, Shop, an_order

_RATES: Final = (0.0, 0.0, 0.01, 0.05)
_LATE: Final = (0.0, 0.0, 0.1, 0.3)
_MOST: Final = 4
_COMING_S: Final = 4.0
"""The customers come within this many virtual seconds."""


def plan_of(seed: int) -> FaultPlan:
    """How much goes wrong in a history; calm and all kinds of trouble take turns."""
    random = Random(seed)
    kinds = [name for name in FaultPlan.__struct_fields__ if name not in ("late", "most")]
    rates = {name: random.choice(_RATES) for name in kinds}
    return FaultPlan(late=random.choice(_LATE), most=random.randrange(_MOST + 1), **rates)


def shop_history(schedule: Schedule, orders: int) -> SimulatedSystem:
    """A few orders, some of them handed in twice, on shelves that may be too empty for all of them."""
    shop = Shop(schedule)
    random = Random(orders)
    try:
        with shop.system as system:
            shop.stock_up()
            for number in range(orders):
                lines = [(item, random.randint(1, 6)) for item in random.choices(list(PRICES), [8, 8, 2, 1], k=2)]
                country = random.choices(COUNTRIES, [6, 2, 1, 1])[0]
                order = an_order(number, lines, country, random.choice(USERS))
                for _ in range(random.choice((1, 1, 2))):
                    shop.order(order, random.random() * _COMING_S)
            system.run_until_quiet()
            shop.close_well()
    except Exception as error:
        say_how_to_replay(error, f"shop_history(schedule, {orders})", shop.system)
        raise
    return shop.system
