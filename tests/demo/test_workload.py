"""The workload: made from settings, and the same ones give the same."""

from amends.demo.domain import total_units
from amends.demo.faults import FaultPlan
from amends.demo.generated import generated_orders
from amends.demo.workload import Settings, opening_stock, workload
from amends.protocol.codec import checked


def test_generated_orders_are_sound_and_depend_on_the_seed_alone() -> None:
    """A run can be had again."""
    orders = generated_orders(200, seed=1)
    assert orders == generated_orders(200, seed=1)
    assert orders != generated_orders(200, seed=2)
    assert len({order.order_id for order in orders}) == 200
    for order in orders:
        checked(type(order), order, "generated")
    assert any(len(order.wanted) < len(order.items) for order in orders), "some order repeats an item"


def test_the_opening_stock_is_a_share_of_what_is_wanted_rounded_up() -> None:
    """Exactly, by decimal digits; items nobody wants are there with no unit."""
    orders = generated_orders(100, seed=1)
    wanted = total_units(line for order in orders for line in order.wanted.items())
    assert opening_stock(orders, 1.0).units == wanted
    units = opening_stock(orders, 0.7, ["other"]).units
    assert units == {"other": 0} | {item_id: -(-7 * total // 10) for item_id, total in wanted.items()}


def test_a_delivery_is_named_by_what_is_in_it() -> None:
    """The same stock is received once, another one is added."""
    orders = generated_orders(100, seed=1)
    assert opening_stock(orders, 1.0).delivery_id == opening_stock(orders, 1.0).delivery_id
    assert opening_stock(orders, 1.0).delivery_id != opening_stock(orders, 0.5).delivery_id


def test_settings_without_files_make_orders_up() -> None:
    """As many as were asked for."""
    settings = Settings(orders_count=10, seed=1, in_flight=5, stock_share=1.0, plan=FaultPlan())
    made = workload(settings)
    assert made.orders == generated_orders(10, 1)
    assert made.reading is None
