# ruff: noqa: D100, D103, F403, F405, T201
# mypy: ignore-errors
# The customer's script, word for word as it ran before.
from amends.demo.systems.fulfilment import *

inventory["laptop"] = 5
inventory["mouse"] = 10
inventory.update({"cable": 1})
item_prices.update({"laptop": 999.99, "mouse": 25, "cable": 4.5})
blacklist_order_ids.add("order-bad-card")
shipping_error_order_ids.update(["order-bad-address"])

payment_info = {"card_number": "4242-4242-4242-4242", "expiry": "12/28", "cvv": "321"}
shipping_address = {"name": "Ann", "street": "1 High Street", "city": "Leeds", "zip": 10115}


def show(title: str) -> None:
    print(f"--- {title}")
    print("inventory:", inventory)
    print("payments: ", dict(payment_records))
    for order_id, record in payment_records.items():
        print(f"  {order_id}: {record or 'refunded'}")


def order(order_id: str, *wanted: tuple[str, int]) -> bool:
    items = [{"item_id": item_id, "quantity": quantity} for item_id, quantity in wanted]
    total = sum(get_item_price(item["item_id"]) * item["quantity"] for item in items)
    ok = place_order(order_id, items, "user-1", payment_info, shipping_address)
    print(f"{order_id}: {total:.2f} {'ok' if ok else 'failed'}")
    return ok


show("start")
order("order-1", ("laptop", 1), ("mouse", 2))
order("order-bad-card", ("laptop", 1))
order("order-bad-address", ("mouse", 1), ("cable", 1))
order("order-too-many", ("mouse", 1), ("laptop", 100))
show("orders")

if "order-1" in payment_records and payment_records["order-1"] == "processed":
    refund_payment("order-1", "user-1", 1049.99)
    refund_payment("order-1", "user-1", 1049.99)
    cancel_shipping("order-1")
    compensate_inventory_reservation("order-1", [{"item_id": "laptop", "quantity": 1}])
compensate_inventory_reservation("order-never", [{"item_id": "laptop", "quantity": 1}])
show("taken back")

assert reserve_inventory("order-2", [{"item_id": "cable", "quantity": 1}])
assert not reserve_inventory("order-3", [{"item_id": "mouse", "quantity": 1}, {"item_id": "cable", "quantity": 1}])
assert process_payment("order-2", "user-1", payment_info, 4.5)
assert schedule_shipping("order-2", shipping_address)
assert send_confirmation_notification("order-2", "user-1")
inventory["cable"] += 20
del item_prices["mouse"]
shipping_error_order_ids.remove("order-bad-address")
blacklist_order_ids |= {"order-9"}
show("by hand")
print("prices:", item_prices, len(item_prices), sorted(blacklist_order_ids), shipping_error_order_ids)
try:
    get_item_price("mouse")
except KeyError as error:
    print("no price:", error)
