"""The shop, put together: its sagas and services as one running system.

Everything the demos need of the engine's surroundings is here: opening the system in a folder,
with a network that loses messages if the plan says so, and killing actors in it.
"""

from pathlib import Path

from amends import Handle, System
from amends.demo.faults import FaultPlan, Faults, fraction
from amends.demo.load import Stalled
from amends.demo.place_order import Delivery, PlaceOrder, StockUp
from amends.demo.services.inventory import Inventory
from amends.demo.services.notification import Notification
from amends.demo.services.orders import Orders
from amends.demo.services.payment import Payment
from amends.demo.services.shipping import Shipping
from amends.testing.unreliable import unreliable

SERVICES = (Orders, Inventory, Payment, Shipping, Notification)
NAMES = ("orders", "inventory", "payment", "shipping", "notification")

DELAY_S = 0.3
_STOCK_UP_S = 30.0


def open_shop(folder: Path, plan: FaultPlan) -> System:
    """Make the system; it runs from `with` on."""
    faults = Faults(plan)
    bad_network = plan.lost or plan.doubled or plan.delayed
    return System(
        folder,
        sagas=[PlaceOrder, StockUp],
        services=[service.spec(faults) for service in SERVICES],
        transport=unreliable(
            seed=plan.seed, lost=plan.lost, doubled=plan.doubled, delayed=plan.delayed, delay_s=DELAY_S
        )
        if bad_network
        else None,
    )


def stock_up(system: System, stock: Delivery) -> None:
    """Put the stock on the shelves; nothing happens if it is there already."""
    try:
        system.submit(StockUp, stock, key=stock.delivery_id).result(_STOCK_UP_S)
    except TimeoutError:
        raise Stalled(f"the stock was not on the shelves after {_STOCK_UP_S} s") from None


def kill_someone(system: System, plan: FaultPlan, order_id: str, handle: Handle) -> None:
    """Let an actor crash, if the plan has it that this order sees one crash: a service or the order's own saga."""
    if plan.killed > 0 and fraction(plan.seed, order_id, "kill") < plan.killed:
        victims = (*NAMES, None)
        victim = victims[int(fraction(plan.seed, order_id, "victim") * len(victims))]
        system.kill(handle.saga_id if victim is None else victim)
