"""The audit: clean on what the shop leaves, and each check finds its own kind of damage and no other does."""

import shutil
from pathlib import Path

import apsw
import pytest

from amends.demo.audit import CHECKS, audit, effect_counts
from amends.demo.databases import NotAuditable
from amends.demo.faults import FaultPlan
from amends.demo.load import Tally, place_all
from amends.demo.stocking import stock_up
from amends.demo.systems.coordinator import Coordinator
from amends.demo.workload import Settings, workload

ORDERS = 40


@pytest.fixture(scope="module")
def left_by_the_shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Databases after orders that went well and orders that were refused at each step."""
    folder = tmp_path_factory.mktemp("shop")
    plan = FaultPlan(seed=1, declined=0.1, short_stock=0.1, bad_address=0.2)
    work = workload(Settings(orders_count=ORDERS, seed=1, in_flight=ORDERS, stock_share=1.0, plan=plan))
    tally = Tally()
    with Coordinator(folder, plan) as shop:
        stock_up(shop.system, work.stock)
        place_all(shop.submit, work.orders, tally, in_flight=ORDERS)
    reasons = tally.counts().reasons
    assert set(reasons) == {"card_declined", "short_stock", "bad_address"}
    return folder


@pytest.fixture
def copied(left_by_the_shop: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(left_by_the_shop, tmp_path / "copy"))


def failing(folder: Path) -> list[str]:
    """The names of the checks that found something."""
    return [finding.check for finding in audit(folder) if finding.rows]


def damage(folder: Path, database: str, sql: str) -> None:
    """Change one database behind the shop's back; something must have been changed."""
    db = apsw.Connection(str(folder / f"{database}.db"))
    db.execute("pragma ignore_check_constraints = on")
    for statement in sql.split(";"):
        db.execute(statement)
        assert db.changes() == 1
    db.close()


def test_what_the_shop_leaves_is_clean(left_by_the_shop: Path) -> None:
    """No check finds anything, and the audit changes nothing."""
    before = {file.name: file.read_bytes() for file in left_by_the_shop.glob("*.db")}
    assert failing(left_by_the_shop) == []
    assert {file.name: file.read_bytes() for file in left_by_the_shop.glob("*.db")} == before


ONE_ITEM = "(select item_id from stock where shipped > 0 limit 1)"
ONE_ORDER = "(select order_id from orders where state = 'confirmed' limit 1)"
ONE_PARCEL = "(select order_id from shipments where state = 'dispatched' limit 1)"
ONE_STEP = "(select saga_id, step from amends_fence where state = 'done' limit 1)"
ONE_INSTANCE = "(select saga_id from instances where state = 'completed' and saga = 'place-order' limit 1)"
ONE_SALE = "(select order_id from payments where state = 'captured' limit 1)"

DAMAGES = {
    "stock_adds_up": ("inventory", f"update stock set on_hand = on_hand + 1 where item_id = {ONE_ITEM}"),
    "nothing_reserved": (
        "inventory",
        f"update stock set on_hand = on_hand - 1, reserved = reserved + 1 where item_id = {ONE_ITEM}",
    ),
    "shipped_as_reserved": (
        "inventory",
        f"update stock set on_hand = on_hand - 1, shipped = shipped + 1 where item_id = {ONE_ITEM}",
    ),
    "nobody_waits": (
        "inventory",
        "insert into waits (order_id, saga_id, step, units, place) values ('o-1', 's', 'await', '{}', 1)",
    ),
    "ledger_balanced": (
        "payment",
        f"update entries set amount_minor = amount_minor - 1 where account = 'customer' and order_id = {ONE_SALE}",
    ),
    "ledger_as_payments": (
        "payment",
        f"""
        update entries set amount_minor = amount_minor - 1
        where movement = 'capture' and account = 'held' and order_id = {ONE_SALE};
        update entries set amount_minor = amount_minor + 1
        where movement = 'capture' and account = 'revenue' and order_id = {ONE_SALE}
        """,
    ),
    "limits_as_payments": (
        "payment",
        f"""
        insert into limits (account, limit_minor, used_minor)
        select account, 100, 1 from payments where order_id = {ONE_SALE}
        """,
    ),
    "amounts_agree": ("orders", f"update orders set amount_minor = amount_minor + 1 where order_id = {ONE_ORDER}"),
    "goods_agree": (
        "orders",
        f"update orders set items = json_set(items, '$[0].item_id', 'other') where order_id = {ONE_ORDER}",
    ),
    "all_or_nothing": ("shipping", f"update shipments set state = 'cancelled' where order_id = {ONE_PARCEL}"),
    "effects_once": (
        "payment",
        f"""
        insert into entries (order_id, movement, account, amount_minor, currency)
        select order_id, 'capture', 'held', 0, currency from payments where order_id = {ONE_SALE}
        """,
    ),
    "fences_closed": ("payment", f"update amends_fence set state = 'begun' where (saga_id, step) = {ONE_STEP}"),
    "instances_ended": ("journal", f"update instances set state = 'open' where saga_id = {ONE_INSTANCE}"),
    "orders_known": ("journal", f"delete from instances where saga_id = {ONE_INSTANCE}"),
}


def test_every_check_has_a_damage_to_find() -> None:
    """A check that is added is tested too."""
    assert set(DAMAGES) == {check.__name__ for check in CHECKS}


@pytest.mark.parametrize(("check", "database", "sql"), [(check, *damage) for check, damage in DAMAGES.items()])
def test_a_damage_is_found_by_its_check_and_by_no_other(copied: Path, check: str, database: str, sql: str) -> None:
    """So a red line says what is wrong."""
    damage(copied, database, sql)
    assert failing(copied) == [check]


@pytest.mark.parametrize(
    ("check", "database", "sql"),
    [
        ("stock_adds_up", "inventory", "delete from receipts where item_id = 'item-01'"),
        ("stock_adds_up", "inventory", f"delete from stock where item_id = {ONE_ITEM}"),
        ("nothing_reserved", "inventory", f"update stock set reserved = -1 where item_id = {ONE_ITEM}"),
        ("ledger_as_payments", "payment", f"update payments set state = 'held' where order_id = {ONE_SALE}"),
        ("ledger_as_payments", "payment", f"delete from payments where order_id = {ONE_SALE}"),
        ("all_or_nothing", "payment", f"delete from payments where order_id = {ONE_SALE}"),
        ("all_or_nothing", "orders", "update orders set state = 'pending' where order_id = 'g1-000001'"),
        ("all_or_nothing", "orders", "delete from orders where order_id = 'g1-000001'"),
        ("all_or_nothing", "journal", "update instances set state = 'compensated' where key = 'g1-000001'"),
        ("all_or_nothing", "journal", "update instances set saga = 'stream' where key = 'g1-000001'"),
        ("instances_ended", "journal", "update instances set state = 'quarantined' where key = 'g1-000001'"),
        ("orders_known", "journal", "update instances set saga = 'stock-up' where key = 'g1-000001'"),
        ("fences_closed", "journal", "update instances set state = 'compensated' where key = 'g1-000001'"),
    ],
)
def test_further_damages_are_found(copied: Path, check: str, database: str, sql: str) -> None:
    """Whatever else notices: rows that are missing or in the wrong state are off."""
    damage(copied, database, sql)
    assert check in failing(copied)


def test_a_database_that_can_not_be_read_is_named(copied: Path) -> None:
    """Instead of an audit that finds nothing because there is nothing."""
    (copied / "payment.db").write_bytes(b"no database at all, just a file that is long enough to be looked at" * 20)
    with pytest.raises(NotAuditable, match=r"payment\.db"):
        audit(copied)
    (copied / "journal.db").unlink()
    with pytest.raises(NotAuditable, match=r"journal\.db"):
        audit(copied)
    assert not (copied / "journal.db").exists()


@pytest.mark.parametrize("service", ["orders", "inventory", "payment", "shipping"])
def test_a_database_is_missed_by_the_orders_that_used_it(copied: Path, service: str) -> None:
    """Only what no saga uses may be missing."""
    (copied / f"{service}.db").unlink()
    assert "all_or_nothing" in failing(copied)
    assert not (copied / f"{service}.db").exists()


def test_effects_are_counted_from_the_databases(left_by_the_shop: Path) -> None:
    """One of each for every confirmed order."""
    counts = effect_counts(left_by_the_shop)
    assert len(counts) == 3
    assert len(set(counts.values())) == 1
    assert 0 < next(iter(counts.values())) < ORDERS


def test_the_audit_reads_while_somebody_writes(copied: Path) -> None:
    """Its connections only read, so a running shop is not in its way, nor it in the shop's."""
    writer = apsw.Connection(str(copied / "orders.db"))
    writer.execute("begin immediate")
    assert failing(copied) == []
    writer.execute("rollback")
    writer.close()
