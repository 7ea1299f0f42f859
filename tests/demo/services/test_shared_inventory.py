"""Two processes sell from the same shelves: what one remembers of a row, the other has changed."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from amends import Database
from amends.actors import postgres
from amends.actors.storage.folder import open_file
from amends.demo.services.inventory import Inventory
from tests.actors.trip import LONG_S
from tests.conformance.databases import on_server
from tests.demo.services.buying import BATCH, ITEMS, Delivery, StockUp, system_of, wishes
from tests.integration.children import ROOT, hear
from tests.servers import postgres_schema

STOCK = dict.fromkeys(ITEMS, 5 * BATCH)
"""Enough for the first batches, too little for all."""


@contextmanager
def buyer(place: Path | str, name: str, *journal: str) -> Iterator["subprocess.Popen[str]"]:
    """A process that buys a batch for each line it is told."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "tests.demo.services.buying", str(place), name, *journal],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        hear(process, "open")
        yield process
    finally:
        process.kill()
        process.communicate()


def buy(*processes: "subprocess.Popen[str]") -> tuple[int, set[str]]:
    """Let them buy a batch, all at once: the conflicts each has had so far, at least, and the orders that were kept."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [hear(process, "batch").split() for process in processes]
    return min(int(words[1]) for words in said), {order_id for words in said for order_id in words[2:]}


def test_two_processes_on_one_file_lose_no_unit_and_sell_none_twice(tmp_path: Path) -> None:
    """Each meets what the other has changed meanwhile, notices it every time and looks again."""
    one, other = tmp_path / "one", tmp_path / "other"
    with system_of(one) as system:
        system.run(StockUp, Delivery("opening", STOCK), timeout_s=LONG_S)
    other.mkdir()
    (other / "inventory.db").symlink_to(one / "inventory.db")
    with buyer(one, "one") as first, buyer(other, "other") as second:
        kept = buy_in_turns_and_at_once(first, second)
    db = open_file(one / "inventory.db", Inventory.scripts())
    assert_nothing_is_lost(db, kept)
    db.close()


def test_two_processes_on_one_server_lose_no_unit_and_sell_none_twice(tmp_path: Path) -> None:
    """The same where their turns run side by side, and rows change under a turn's eyes."""
    with postgres_schema() as url:
        with system_of(url) as system:
            system.run(StockUp, Delivery("opening", STOCK), timeout_s=LONG_S)
        with buyer(url, "one", f"{url}_one") as first, buyer(url, "other", f"{url}_other") as second:
            kept = buy_in_turns_and_at_once(first, second)
        place = postgres.target(url)
        db = on_server(f"{url}_inventory", Inventory.scripts())
        assert db.name.endswith(postgres.service_schema(place, "inventory"))
        assert_nothing_is_lost(db, kept)
        db.close()


def buy_in_turns_and_at_once(first: "subprocess.Popen[str]", second: "subprocess.Popen[str]") -> set[str]:
    """In turns, so that each remembers rows which the other has changed since; then at once. The orders kept."""
    in_turns = [buy(process) for process in (first, second, first, second)]
    at_once = [buy(first, second) for _ in range(3)]
    assert all(conflicts > 0 for conflicts, _ in in_turns[2:])
    return {order_id for _, orders in in_turns + at_once for order_id in orders}


def assert_nothing_is_lost(db: Database, kept: set[str]) -> None:
    """What has left is what was kept, and the rest is there."""
    wanted = {w.order_id: w.first for name in ("one", "other") for batch in range(5) for w in wishes(name, batch)}
    assert committed(db) == {(order_id, *line) for order_id in kept for line in wanted[order_id].items()}
    for item_id, on_hand, reserved, shipped in db.execute("select item_id, on_hand, reserved, shipped from stock"):
        sold = sum(wanted[order_id].get(str(item_id), 0) for order_id in kept)
        assert (on_hand, reserved, shipped) == (STOCK[str(item_id)] - sold, 0, sold)


def committed(db: Database) -> set[tuple[object, ...]]:
    """Orders, items and units that have left."""
    rows = db.execute("select order_id, item_id, quantity from reservations where state = 'committed'")
    return {tuple(row) for row in rows}
