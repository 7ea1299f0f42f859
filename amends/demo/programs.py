"""The shop as programs of its own: what `amends service` and `amends node` are told to run; see `deploy/compose.yaml`.

amends node amends.demo.programs --journal shop --broker amqp://guest:guest@localhost --http 8080
amends service amends.demo.programs:PAYMENT --database shop --broker amqp://guest:guest@localhost

Nothing goes wrong in the services but what AMENDS_DEMO_FAULTS asks for, a fault plan as JSON.
"""

import os

import msgspec

from amends.demo.faults import FaultPlan, Faults
from amends.demo.services.inventory import Inventory
from amends.demo.services.orders import Orders
from amends.demo.services.payment import Payment
from amends.demo.services.shipping import Shipping
from amends.demo.stocking import StockUp
from amends.demo.systems.coordinator import PlaceOrder

SAGAS = [PlaceOrder, StockUp]

_VARIABLE = "AMENDS_DEMO_FAULTS"


def faults_in_environment(plan: FaultPlan) -> dict[str, str]:
    """What the environment of a program has to say for the plan to hold in it."""
    return {_VARIABLE: msgspec.json.encode(plan).decode()}


_FAULTS = Faults(msgspec.json.decode(os.environ.get(_VARIABLE, "{}"), type=FaultPlan))
ORDERS = Orders.spec(_FAULTS)
INVENTORY = Inventory.spec(_FAULTS)
PAYMENT = Payment.spec(_FAULTS)
SHIPPING = Shipping.spec(_FAULTS)
