"""Fulfilment: the customer's own script, unchanged, and from many threads (F8)."""

import os
import subprocess
import sys
from pathlib import Path

from amends.demo.audit import audit
from amends.demo.systems import fulfilment

HERE = Path(__file__).parent

SAID = """\
--- start
inventory: {'laptop': 5, 'mouse': 10, 'cable': 1}
payments:  {}
order-1: 1049.99 ok
order-bad-card: 999.99 failed
order-bad-address: 29.50 failed
order-too-many: 100024.00 failed
--- orders
inventory: {'laptop': 4, 'mouse': 8, 'cable': 1}
payments:  {'order-1': 'processed', 'order-bad-address': None}
  order-1: processed
  order-bad-address: refunded
--- taken back
inventory: {'laptop': 5, 'mouse': 10, 'cable': 1}
payments:  {'order-1': None, 'order-bad-address': None}
  order-1: refunded
  order-bad-address: refunded
--- by hand
inventory: {'laptop': 5, 'mouse': 10, 'cable': 20}
payments:  {'order-1': None, 'order-bad-address': None, 'order-2': 'processed'}
  order-1: refunded
  order-bad-address: refunded
  order-2: processed
prices: {'laptop': 999.99, 'cable': 4.5} 2 ['order-9', 'order-bad-card'] set()
no price: 'mouse'
"""

THREADS = """
import threading
from amends.demo.systems.fulfilment import *

THREADS, ORDERS = 32, 5
go = threading.Barrier(THREADS)
answers = {}

def customer(n):
    go.wait()  # the first use of the module comes from all of them at once
    inventory[f"own-{n}"] = ORDERS
    item_prices.update({"shared": 2, f"own-{n}": 0.1})
    if n == 0:
        inventory["shared"] = 2 * 130  # of 160 orders, 4 of which can't be shipped, 130 find what they want
    if n % 8 == 0:
        shipping_error_order_ids.add(f"{n}-0")
    go.wait()
    for order in range(ORDERS):
        items = [{"item_id": f"own-{n}", "quantity": 1}, {"item_id": "shared", "quantity": 2}]
        answers[f"{n}-{order}"] = place_order(f"{n}-{order}", items, f"user-{n}", {}, {"city": "Leeds"})

threads = [threading.Thread(target=customer, args=(n,)) for n in range(THREADS)]
for thread in threads: thread.start()
for thread in threads: thread.join()
good = [order_id for order_id, ok in answers.items() if ok]
print(len(answers), len(good))
print(inventory["shared"], sum(left for item, left in inventory.items() if item != "shared"))
print(sorted(good) == sorted(o for o, record in payment_records.items() if record == "processed"))
print(any(answers[order_id] for order_id in shipping_error_order_ids))
"""


def run(*arguments: str, data: Path | None = None, tmp: Path | None = None) -> str:
    """What a script prints, in a process of its own."""
    env = {key: value for key, value in os.environ.items() if key != "AMENDS_FULFILMENT_DATA"}
    env |= {"PYTHONPATH": str(HERE.parents[1])}
    if data is not None:
        env["AMENDS_FULFILMENT_DATA"] = str(data)
    if tmp is not None:
        env["TMPDIR"] = str(tmp)
    ran = subprocess.run([sys.executable, *arguments], env=env, capture_output=True, text=True, timeout=50, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    return ran.stdout


def test_F8_the_customers_script_runs_unchanged(tmp_path: Path) -> None:
    """It prints what it always printed, and leaves nothing behind."""
    assert run(str(HERE / "customers_script.py"), tmp=tmp_path) == SAID
    assert list(tmp_path.iterdir()) == []


def test_F8_from_32_threads_every_unit_is_accounted_for(tmp_path: Path) -> None:
    """Who got True has paid, what is left is what nobody got, and the books are right."""
    data = tmp_path / "data"
    orders, good, shared, others, paid_as_told, shipped_anyway = run("-c", THREADS, data=data).split()
    assert (orders, paid_as_told, shipped_anyway) == ("160", "True", "False")
    # Units given back by an order that can't be shipped may have been missed by one that came in between.
    assert 126 <= int(good) <= 130
    assert (int(shared), int(others)) == (2 * (130 - int(good)), 160 - int(good))
    assert [finding for finding in audit(data) if finding.rows] == []


def test_F8_a_folder_that_is_named_keeps_it_all(tmp_path: Path) -> None:
    """The next run of the script goes on from there."""
    first = "from amends.demo.systems.fulfilment import *; inventory['a'] = 3; item_prices['a'] = 1.5"
    assert run("-c", first, data=tmp_path / "data") == ""
    second = "from amends.demo.systems.fulfilment import *; print(inventory, item_prices)"
    assert run("-c", second, data=tmp_path / "data") == "{'a': 3} {'a': 1.5}\n"


def test_F8_the_modules_globals_can_be_assigned() -> None:
    """Each becomes the shop's, which a later `import *` sees too."""
    script = """
import amends.demo.systems.fulfilment as shop
from amends.demo.systems.fulfilment import *
shop.inventory = {"a": 10, "b": 1}
shop.inventory = {"a": 5}
shop.item_prices = {"a": 1.5}
shop.blacklist_order_ids = {"bad"}
shop.blacklist_order_ids |= {"worse"}
items = [{"item_id": "a", "quantity": 2}]
print([place_order(order_id, items, "ann", {}, {}) for order_id in ("good", "bad", "worse")])
print(inventory, shop.inventory is inventory, shop.payment_records["good"])
shop.DATA = "any other name is an ordinary one"
print(shop.DATA)
"""
    said = "[True, False, False]\n{'a': 3} True processed\nany other name is an ordinary one\n"
    assert run("-c", script) == said


def test_F8_the_names_of_the_module_are_the_customers() -> None:
    """And no others come with `import *`."""
    functions = """
        place_order reserve_inventory process_payment schedule_shipping send_confirmation_notification get_item_price
        compensate_inventory_reservation refund_payment cancel_shipping resend_confirmation_notification
    """
    views = "inventory payment_records item_prices blacklist_order_ids shipping_error_order_ids"
    assert sorted(fulfilment.__all__) == sorted([*functions.split(), *views.split()])


def test_F8_nothing_is_opened_before_it_is_used(tmp_path: Path) -> None:
    """An import makes no folder and starts no thread."""
    script = """
import threading
from amends.demo.systems.fulfilment import *
import pathlib, os
print(threading.active_count(), list(pathlib.Path(os.environ["TMPDIR"]).iterdir()))
"""
    assert run("-c", script, tmp=tmp_path) == "1 []\n"
