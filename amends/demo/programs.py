"""The shop as programs of its own: what `amends service` and `amends node` are told to run; see `deploy/compose.yaml`.

amends node amends.demo.programs --journal shop --broker amqp://guest:guest@localhost --http 8080
amends service amends.demo.programs:PAYMENT --database shop --broker amqp://guest:guest@localhost
"""

from amends.demo.faults import Faults
from amends.demo.services.inventory import Inventory
from amends.demo.services.orders import Orders
from amends.demo.services.payment import Payment
from amends.demo.services.shipping import Shipping
from amends.demo.shop import CALM
from amends.demo.stocking import StockUp
from amends.demo.systems.coordinator import PlaceOrder

SAGAS = [PlaceOrder, StockUp]

_NO_FAULTS = Faults(CALM)
ORDERS = Orders.spec(_NO_FAULTS)
INVENTORY = Inventory.spec(_NO_FAULTS)
PAYMENT = Payment.spec(_NO_FAULTS)
SHIPPING = Shipping.spec(_NO_FAULTS)
