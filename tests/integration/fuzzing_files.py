"""Files of orders and catalogues that no shop would write, for those who read them; a part of `fuzzing`."""

import gzip
import random
from decimal import Decimal
from pathlib import Path

from amends import AmendsError
from amends.demo.domain import Order
from amends.demo.real_orders import (
    CatalogueItem,
    FileUnreadable,
    Reading,
    order_or_problems,
    read_catalogue,
    read_orders,
)
from tests.integration.mutations import CARD, bytes_of, mutated
from tests.integration.promises import Broken, only, short

_CATALOGUE = {"A": CatalogueItem("A", "a lamp", Decimal("2.55"), 10)}
_ITEM = {"item_id": "A", "description": "a lamp", "unit_price": "2.55", "units_sold": 10}


def _line(chance: random.Random) -> bytes:
    """A line of an order file, damaged, with the card in its payment and nowhere else."""
    good = {
        "order_id": "536365",
        "placed_at": "2010-12-01 08:26:00",
        "user_id": 17850,
        "items": [{"item_id": "A", "quantity": 6, "unit_price": "2.55"}],
        "shipping_address": {"country": "United Kingdom"},
    }
    payment = chance.choice(
        ({"method": "account", "account": CARD}, {"method": CARD, "account": "1"}, {"method": "card", CARD: 1},
         {"method": "account", "account": "17850"}, CARD, [CARD])
    )  # fmt: skip
    data = mutated(chance, good).replace(CARD.encode(), b"x")
    return data[:-1] + b',"payment_info":' + bytes_of(payment) + b"}"


def order_line(chance: random.Random, folder: Path) -> None:
    """`order_or_problems`: an order or what is wrong with it, in words that quote no payment."""
    line = _line(chance)
    found = only(AmendsError, lambda: order_or_problems(line, _CATALOGUE), Order | list, line)
    if isinstance(found, list) and CARD in str(found):
        raise Broken(f"a problem quotes the card: {str(found)[:300]}; given {short(line)}")


def order_file(chance: random.Random, folder: Path) -> None:
    """`read_orders` of a file, plain or packed, damaged as a whole: a Reading or FileUnreadable."""
    data = b"\n".join(_line(chance) for _ in range(3))
    packed = gzip.compress(data, 1) if chance.random() < 0.5 else data
    content = mutated_bytes(chance, packed)
    file = folder / "orders"
    file.write_bytes(content)
    reading = only(FileUnreadable, lambda: read_orders(file, _CATALOGUE), Reading, content)
    if reading is not None and CARD in str(reading.refused):
        raise Broken(f"a reading quotes the card: {reading.refused}; given {short(content)}")


def catalogue_file(chance: random.Random, folder: Path) -> None:
    """`read_catalogue`: items or FileUnreadable."""
    content = mutated(chance, _ITEM)
    file = folder / "catalogue"
    file.write_bytes(content)
    only(FileUnreadable, lambda: read_catalogue(file), dict, content)


def mutated_bytes(chance: random.Random, data: bytes) -> bytes:
    """Some of its bytes changed, or its end missing."""
    copy = bytearray(data)
    for _ in range(chance.randrange(3)):
        copy[chance.randrange(len(copy))] = chance.randrange(256)
    return bytes(copy[: chance.randrange(len(copy))] if chance.random() < 0.2 else copy)
