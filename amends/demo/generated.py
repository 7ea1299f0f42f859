"""Made-up orders, for who has none of his own.

The same ones for the same seed, and sound ones only. What goes wrong with them is the fault
plan's to say.
"""

from random import Random

from amends.demo.domain import Address, Item, Order, PaymentInfo

ITEMS = 40
"""How many different items there are. Few enough that orders meet at the same rows."""

_COUNTRIES = ("United Kingdom",) * 12 + ("Germany", "France", "EIRE", "Netherlands", "Spain", "Japan", "Chile")


def generated_orders(count: int, seed: int) -> list[Order]:
    """Make `count` orders."""
    chance = Random(seed)
    prices = [chance.randint(50, 5_000) for _ in range(ITEMS)]
    return [_order(f"g{seed}-{number:06}", prices, chance) for number in range(1, count + 1)]


def _order(order_id: str, prices: list[int], chance: Random) -> Order:
    # With replacement: now and then an item stands on two lines of an order.
    picked = chance.choices(range(ITEMS), k=chance.randint(1, 4))
    user = chance.randint(1, 500)
    return Order(
        order_id=order_id,
        user_id=f"u{user:04}",
        items=tuple(Item(f"item-{index:02}", chance.randint(1, 5), prices[index]) for index in picked),
        payment_info=PaymentInfo("card_token", f"tok_{user:04}"),
        shipping_address=Address(chance.choice(_COUNTRIES), street=f"{chance.randint(1, 200)} High Street"),
    )
