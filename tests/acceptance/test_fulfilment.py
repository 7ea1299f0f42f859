"""Fulfilment, as its customer described it, on real files: the five globals, `place_order` and what it is made of."""

import json
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import apsw
import pykka
import pytest
from click.testing import CliRunner

from amends import Completed, InputError, KeyConflict, Service
from amends.demo.__main__ import main
from amends.demo.audit import audit
from amends.demo.domain import Address, Item, Order, PaymentInfo
from amends.demo.services.inventory import Inventory
from amends.demo.services.notification import Notification
from amends.demo.services.payment import Payment
from amends.demo.services.shipping import Shipping
from amends.demo.systems.fulfilment import Fulfilment, from_order

ITEMS = [{"item_id": "apple", "quantity": 2}, {"item_id": "pear", "quantity": 1}]
PAYMENT = {"card_number": "4111 1111 1111 1111", "expiry_date": "12/20", "cvv": "123"}
ADDRESS = {"street": "1 High Street", "city": "Leeds", "floor": 3}


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Fulfilment]:
    """Ten apples at 1.25, five pears at 0.50."""
    with Fulfilment(tmp_path) as shop:
        shop.inventory.update({"apple": 10, "pear": 5})
        shop.item_prices.update({"apple": 1.25, "pear": 0.5})
        yield shop
    assert pykka.ActorRegistry.get_all() == []


@pytest.fixture
def rows(tmp_path: Path) -> Callable[[str, str], list[Any]]:
    """What a query finds in a service's file."""

    def rows(service: str, sql: str) -> list[Any]:
        db = apsw.Connection(str(tmp_path / f"{service}.db"), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            return list(db.execute(sql))
        finally:
            db.close()

    return rows


def place(shop: Fulfilment, order_id: str = "o1", items: Any = ITEMS) -> bool:
    """An order of two apples and a pear."""
    return shop.place_order(order_id, items, "ann", PAYMENT, ADDRESS)


def breaks(monkeypatch: pytest.MonkeyPatch, service: type[Service], command: str, when: Callable[[str], bool]) -> None:
    """That command's handler raises for some orders, every time it is called."""
    handler = service.handlers[command]

    def run(self: Service, asked: Any) -> Any:
        if when(asked.order_id):
            raise RuntimeError("the handler is broken")
        return handler.run(self, asked)

    monkeypatch.setitem(service.handlers, command, replace(handler, run=run))


def logged(caplog: pytest.LogCaptureFixture, *events: str) -> list[tuple[str, str]]:
    """The events of these names, and their steps, in the order in which they were logged."""
    told = [json.loads(record.message) for record in caplog.records if record.name == "amends"]
    return [(line["event"], line["step"]) for line in told if line["event"] in events]


def about_sagas(caplog: pytest.LogCaptureFixture) -> list[dict[str, str]]:
    """All that was logged of sagas."""
    told = [json.loads(record.message) for record in caplog.records if record.name == "amends"]
    return [line for line in told if line["event"].startswith("saga.")]


# F1.


def test_F1_all_four_steps_done_is_true(shop: Fulfilment, rows: Callable[[str, str], list[Any]]) -> None:
    """The goods have left, the money is there, the way is booked and the customer knows."""
    assert place(shop) is True
    assert shop.inventory == {"apple": 8, "pear": 4}
    assert shop.payment_records == {"o1": "processed"}
    assert rows("shipping", "select order_id, state from shipments") == [("o1", "scheduled")]
    assert rows("notification", "select order_id, user_id, kind from outbox") == [("o1", "ann", "confirmation")]


def test_F1_the_steps_run_in_this_order(shop: Fulfilment, caplog: pytest.LogCaptureFixture) -> None:
    """One after the other, as the log has them."""
    with caplog.at_level(logging.INFO, "amends"):
        place(shop)
    assert [step for _, step in logged(caplog, "saga.step_done")] == ["reserve", "pay", "schedule", "confirm"]


BROKEN: dict[str, Callable[[Fulfilment, pytest.MonkeyPatch], None]] = {
    "reserve": lambda shop, patch: shop.inventory.update(pear=0),
    "pay": lambda shop, patch: shop.blacklist_order_ids.add("o1"),
    "schedule": lambda shop, patch: shop.shipping_error_order_ids.add("o1"),
    "confirm": lambda shop, patch: breaks(patch, Notification, "SendConfirmation", lambda _: True),
}


@pytest.mark.parametrize("step", BROKEN)
def test_F1_a_failure_at_any_step_is_false_and_undoes_what_was_done(
    step: str, shop: Fulfilment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In reverse order; when the answer is there, it is done."""
    BROKEN[step](shop, monkeypatch)
    before = shop.inventory.copy()
    with caplog.at_level(logging.INFO, "amends"):
        assert place(shop) is False
    done = ["reserve", "pay", "schedule"][: list(BROKEN).index(step)]
    assert [undone for _, undone in logged(caplog, "saga.step_undone") if undone != step] == done[::-1]
    assert shop.inventory == before
    assert shop.payment_records.get("o1") is None
    shop.close()
    assert [finding for finding in audit(tmp_path) if finding.rows] == []


BAD = [
    (("", ITEMS, "ann", PAYMENT, ADDRESS), "order_id"),
    ((7, ITEMS, "ann", PAYMENT, ADDRESS), "order_id"),
    (("o1", [], "ann", PAYMENT, ADDRESS), "items"),
    (("o1", "apple", "ann", PAYMENT, ADDRESS), "items"),
    (("o1", [{"item_id": "apple", "quantity": 0}], "ann", PAYMENT, ADDRESS), r"items\[0\].quantity"),
    (("o1", [{"item_id": "apple", "quantity": "2"}], "ann", PAYMENT, ADDRESS), r"items\[0\].quantity"),
    (("o1", [{"item_id": "apple", "quantity": 1.5}], "ann", PAYMENT, ADDRESS), r"items\[0\].quantity"),
    (("o1", [*ITEMS, {"item_id": "apple"}], "ann", PAYMENT, ADDRESS), r"items\[2\].*quantity"),
    (("o1", [{"quantity": 1}], "ann", PAYMENT, ADDRESS), r"items\[0\].*item_id"),
    (("o1", [{"item_id": "a", "quantity": 600_000}] * 2, "ann", PAYMENT, ADDRESS), "items"),
    (("o1", ITEMS, None, PAYMENT, ADDRESS), "user_id"),
    (("o1", ITEMS, "ann", "4111111111111111", ADDRESS), "payment_info"),
    (("o1", ITEMS, "ann", PAYMENT, ["1 High Street"]), "shipping_address"),
]


@pytest.mark.parametrize(("arguments", "field"), BAD)
def test_F1_bad_input_names_the_field_before_anything_is_touched(
    arguments: Any, field: str, shop: Fulfilment, rows: Callable[[str, str], list[Any]]
) -> None:
    """Nothing of it is written down."""
    with pytest.raises(InputError, match=rf"^place_order: .*{field}") as error:
        shop.place_order(*arguments)
    assert "4111" not in str(error.value)
    assert rows("journal", "select count(*) from instances where saga = 'fulfilment'") == [(0,)]
    assert shop.inventory == {"apple": 10, "pear": 5}


def test_F1_the_same_order_again_gets_the_answer_it_got(shop: Fulfilment) -> None:
    """A good one is not filled twice, and one that failed stays failed."""
    assert place(shop, "good") is True
    assert place(shop, "good") is True
    shop.blacklist_order_ids.add("bad")
    assert place(shop, "bad") is False
    shop.blacklist_order_ids.remove("bad")
    assert place(shop, "bad") is False
    assert shop.inventory == {"apple": 8, "pear": 4}


def test_F1_another_order_of_the_same_id_is_refused(shop: Fulfilment) -> None:
    """It is neither filled nor taken for the first."""
    place(shop)
    with pytest.raises(KeyConflict, match="'o1'"):
        place(shop, items=[{"item_id": "apple", "quantity": 1}])
    assert shop.inventory == {"apple": 8, "pear": 4}


def test_F1_orders_may_come_as_lines(tmp_path: Path) -> None:
    """Each is answered with True or False, and one that can't be read is told of with its field."""
    order = {"order_id": "o1", "items": ITEMS, "user_id": "ann", "payment_info": PAYMENT, "shipping_address": ADDRESS}
    lines = [order, {**order, "order_id": "o2"}, {**order, "order_id": "o3", "items": [{"item_id": "apple"}]}]
    stock = [{"item_id": "apple", "quantity": 3, "price": 1.25}, {"item_id": "pear", "quantity": 3, "price": "0.50"}]
    (tmp_path / "orders").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "stock").write_text("\n".join(map(json.dumps, stock)))
    arguments = [str(tmp_path / "orders"), "--stock", str(tmp_path / "stock"), "--data", str(tmp_path / "data")]
    ran = CliRunner().invoke(main, ["fulfilment", *arguments])
    assert ran.stdout.splitlines() == ["o1 True", "o2 False"]
    assert "line 3: order: $.items[0]: Object missing required field `quantity`" in ran.stderr
    assert ran.exit_code == 1
    assert [finding for finding in audit(tmp_path / "data") if finding.rows] == []


@pytest.mark.parametrize("payment", [PaymentInfo("account", "12347"), PaymentInfo("card_token", "card_x")])
def test_F1_real_orders_are_what_a_customer_might_hand_in(
    payment: PaymentInfo, shop: Fulfilment, rows: Callable[[str, str], list[Any]]
) -> None:
    """At the shop's prices, an item on two lines and all."""
    items = (Item("apple", 2, 99), Item("pear", 1, 99), Item("apple", 1, 98))
    request = from_order(Order("536365", "17850", items, payment, Address("United Kingdom")))
    assert isinstance(shop.submit(request).result(), Completed)
    assert shop.inventory == {"apple": 7, "pear": 4}
    assert rows("payment", "select method, account, amount_minor from payments") == [
        (payment.method, payment.account, 425)
    ]
    assert rows("shipping", "select address from shipments") == [('{"country":"United Kingdom"}',)]


# F2.


@pytest.mark.parametrize(
    ("prices", "items", "minor"),
    [
        ({"apple": 19.99, "pear": 3}, ITEMS, 4298),
        ({"apple": Decimal("0.10"), "pear": 0.2}, [{"item_id": "pear", "quantity": 1}, *ITEMS], 60),
        ({"apple": 0.333, "pear": 0}, [{"item_id": "apple", "quantity": 3}], 100),
        ({"apple": 0, "pear": 0}, ITEMS, 0),
    ],
)
def test_F2_the_amount_is_the_sum_of_quantities_and_prices(
    prices: Any, items: Any, minor: int, shop: Fulfilment, rows: Callable[[str, str], list[Any]]
) -> None:
    """In minor units, rounded once; an item that stands on two lines counts twice."""
    shop.item_prices.update(prices)
    assert place(shop, items=items) is True
    assert rows("payment", "select amount_minor from payments") == [(minor,)]


def test_F2_the_price_is_the_one_in_item_prices(shop: Fulfilment, rows: Callable[[str, str], list[Any]]) -> None:
    """As it stands when the order comes."""
    place(shop, "before")
    shop.item_prices["apple"] = 2
    place(shop, "after")
    assert rows("payment", "select order_id, amount_minor from payments order by order_id desc") == [
        ("before", 300),
        ("after", 450),
    ]


def test_F2_get_item_price_is_a_lookup(shop: Fulfilment) -> None:
    """The value that was put there, or KeyError."""
    shop.item_prices["plum"] = Decimal("3.10")
    assert [shop.get_item_price(item) for item in ("apple", "plum")] == [1.25, Decimal("3.10")]
    with pytest.raises(KeyError, match="quince"):
        shop.get_item_price("quince")


def test_F2_an_item_without_a_price_is_not_sold(shop: Fulfilment, caplog: pytest.LogCaptureFixture) -> None:
    """False, and nothing is taken; nor is one sold whose units were reserved by hand before."""
    del shop.item_prices["pear"]
    assert place(shop) is False
    assert shop.inventory == {"apple": 10, "pear": 5}
    assert shop.reserve_inventory("o2", ITEMS) is True
    with caplog.at_level(logging.INFO, "amends"):
        assert place(shop, "o2") is False
    assert logged(caplog, "saga.step_refused") == [("saga.step_refused", "reserve")]


# F3.


def test_F3_reserve_takes_all_items(shop: Fulfilment) -> None:
    """Their price does not matter."""
    shop.item_prices.clear()
    assert shop.reserve_inventory("o1", ITEMS) is True
    assert shop.inventory == {"apple": 8, "pear": 4}


@pytest.mark.parametrize("short", [{"item_id": "pear", "quantity": 6}, {"item_id": "quince", "quantity": 1}])
def test_F3_reserve_takes_none_when_any_is_short(short: Any, shop: Fulfilment) -> None:
    """Short, or never there."""
    assert shop.reserve_inventory("o1", [*ITEMS[:1], short]) is False
    assert shop.inventory == {"apple": 10, "pear": 5}


def test_F3_the_last_units_can_be_taken(shop: Fulfilment) -> None:
    """All of them, and then no more."""
    all_there = [{"item_id": "apple", "quantity": 10}, {"item_id": "pear", "quantity": 5}]
    assert shop.reserve_inventory("o1", all_there) is True
    assert shop.inventory == {"apple": 0, "pear": 0}
    assert shop.reserve_inventory("o2", ITEMS[1:]) is False


def test_F3_its_undo_puts_back_what_was_taken(shop: Fulfilment) -> None:
    """Of that order, and no other."""
    shop.reserve_inventory("o1", ITEMS)
    shop.reserve_inventory("o2", ITEMS[:1])
    assert shop.compensate_inventory_reservation("o1", ITEMS) is None  # type: ignore[func-returns-value]
    assert shop.inventory == {"apple": 8, "pear": 5}


@pytest.mark.parametrize("items", [ITEMS[:1], [{"item_id": "apple", "quantity": 1}, ITEMS[1]], [*ITEMS, ITEMS[1]]])
def test_F3_what_was_reserved_is_not_taken_for_other_items(
    items: Any, shop: Fulfilment, tmp_path: Path, rows: Callable[[str, str], list[Any]]
) -> None:
    """Neither by hand nor in an order: both are False, pay nothing, and leave what was reserved as it was."""
    shop.reserve_inventory("o1", ITEMS)
    assert shop.reserve_inventory("o1", items) is False
    assert place(shop, items=items) is False
    assert rows("inventory", "select item_id, quantity, state from reservations order by 1") == [
        ("apple", 2, "taken"),
        ("pear", 1, "taken"),
    ]
    assert shop.inventory == {"apple": 8, "pear": 4}
    assert shop.payment_records == {}
    shop.close()
    assert [finding for finding in audit(tmp_path) if finding.rows] == []


def test_F3_an_order_that_was_placed_reserves_nothing_more(shop: Fulfilment) -> None:
    """What it has it is told again; what it has not, it does not get."""
    place(shop)
    assert shop.reserve_inventory("o1", ITEMS) is True
    assert shop.reserve_inventory("o1", [{"item_id": "apple", "quantity": 4000}]) is False
    assert shop.inventory == {"apple": 8, "pear": 4}


# F4.


def test_F4_a_payment_is_recorded(shop: Fulfilment, rows: Callable[[str, str], list[Any]]) -> None:
    """As 'processed', and the amount is taken."""
    assert shop.process_payment("o1", "ann", PAYMENT, 0.1 + 0.2) is True
    assert shop.payment_records == {"o1": "processed"}
    assert rows("payment", "select amount_minor from entries where account = 'revenue'") == [(30,)]


def test_F4_an_order_on_the_blacklist_does_not_pay(shop: Fulfilment) -> None:
    """It has no record either; once it is off the list, it may."""
    shop.blacklist_order_ids.add("o1")
    assert shop.process_payment("o1", "ann", PAYMENT, 5) is False
    assert shop.payment_records == {}
    shop.blacklist_order_ids.discard("o1")
    assert shop.process_payment("o1", "ann", PAYMENT, 5) is True


@pytest.mark.parametrize("amount", [-1, float("nan"), float("inf"), "5", None, True])
def test_F4_what_is_no_amount_is_refused(amount: Any, shop: Fulfilment) -> None:
    """By name, before anything is touched."""
    with pytest.raises(InputError, match="total_amount"):
        shop.process_payment("o1", "ann", PAYMENT, amount)
    assert shop.payment_records == {}


def test_F4_a_refund_gives_the_money_back(shop: Fulfilment, rows: Callable[[str, str], list[Any]]) -> None:
    """All of it, and the record says so."""
    shop.process_payment("o1", "ann", PAYMENT, Decimal("12.34"))
    assert shop.refund_payment("o1", "ann", Decimal("12.34")) is None  # type: ignore[func-returns-value]
    assert shop.payment_records == {"o1": None}
    assert rows("payment", "select account, sum(amount_minor) from entries group by 1") == [
        ("customer", 0),
        ("revenue", 0),
    ]


@pytest.mark.parametrize(
    "payment",
    [PAYMENT, {"card_number": "1234-5678-9012-3456"}, {"card": "4111111111111111"}, {"method": "cash"}, {}],
    ids=["a card", "no card number", "another field", "cash", "nothing"],
)
def test_F4_any_payment_info_will_do_and_no_card_is_written_down(
    payment: Any, shop: Fulfilment, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither in a file nor in the log."""
    with caplog.at_level(logging.DEBUG):
        assert shop.place_order("o1", ITEMS, "ann", payment, ADDRESS) is True
        assert shop.process_payment("o2", "ann", payment, 1) is True
    shop.close()
    for content in [caplog.text.encode(), *(file.read_bytes() for file in tmp_path.iterdir())]:
        assert not any(digits in content for digits in (b"4111 1111", b"4111111111111111", b"1234-5678-9012"))


def test_F4_what_was_paid_is_not_taken_for_another_amount(
    shop: Fulfilment, tmp_path: Path, rows: Callable[[str, str], list[Any]]
) -> None:
    """By hand it is False; an order puts back what it had reserved, and leaves the payment as it was."""
    assert shop.process_payment("o1", "ann", PAYMENT, 5) is True
    assert shop.process_payment("o1", "ann", PAYMENT, 500) is False
    assert place(shop) is False
    assert shop.inventory == {"apple": 10, "pear": 5}
    assert shop.payment_records == {"o1": "processed"}
    assert rows("payment", "select amount_minor, state from payments") == [(500, "charged")]
    assert shop.process_payment("o1", "ann", PAYMENT, 5) is True
    shop.close()
    assert [finding for finding in audit(tmp_path) if finding.rows] == []


# F5.


def test_F5_an_order_among_the_shipping_errors_is_not_shipped(
    shop: Fulfilment, rows: Callable[[str, str], list[Any]]
) -> None:
    """All others are, wherever they go."""
    shop.shipping_error_order_ids.add("o1")
    assert [shop.schedule_shipping(order_id, ADDRESS) for order_id in ("o1", "o2")] == [False, True]
    address = '{"street":"1 High Street","city":"Leeds","floor":"3"}'
    assert rows("shipping", "select order_id, address from shipments") == [("o2", address)]


def test_F5_a_shipment_can_be_cancelled(shop: Fulfilment, rows: Callable[[str, str], list[Any]]) -> None:
    """That one only."""
    for order_id in ("o1", "o2"):
        shop.schedule_shipping(order_id, ADDRESS)
    assert shop.cancel_shipping("o1") is None  # type: ignore[func-returns-value]
    assert rows("shipping", "select order_id, state from shipments") == [("o1", "cancelled"), ("o2", "scheduled")]


def test_F5_what_was_scheduled_is_not_taken_for_another_address(
    shop: Fulfilment, rows: Callable[[str, str], list[Any]]
) -> None:
    """By hand it is False; an order gives back what it had taken, and leaves the parcel as it was."""
    york = {"city": "York"}
    assert shop.schedule_shipping("o1", york) is True
    assert shop.schedule_shipping("o1", ADDRESS) is False
    assert place(shop) is False
    assert shop.inventory == {"apple": 10, "pear": 5}
    assert shop.payment_records == {"o1": None}
    assert rows("shipping", "select address, state from shipments") == [('{"city":"York"}', "scheduled")]
    assert shop.schedule_shipping("o1", york) is True


# F6. What takes time is in test_fulfilment_simulated.


def test_F6_telling_the_customer_is_always_true(shop: Fulfilment, rows: Callable[[str, str], list[Any]]) -> None:
    """Whatever order it is about."""
    shop.blacklist_order_ids.add("o1")
    shop.shipping_error_order_ids.add("o1")
    assert shop.send_confirmation_notification("o1", "ann") is True
    assert rows("notification", "select order_id, user_id, kind from outbox") == [("o1", "ann", "confirmation")]


# F7.

COMPENSATIONS: dict[str, Callable[[Fulfilment, str], None]] = {
    "inventory": lambda shop, order_id: shop.compensate_inventory_reservation(order_id, ITEMS),
    "payment": lambda shop, order_id: shop.refund_payment(order_id, "ann", 3),
    "shipping": lambda shop, order_id: shop.cancel_shipping(order_id),
}


@pytest.fixture
def state(shop: Fulfilment, rows: Callable[[str, str], list[Any]]) -> Callable[[], Any]:
    """All that a compensation might change."""

    def state() -> Any:
        return (
            shop.inventory.copy(),
            shop.payment_records.copy(),
            rows("payment", "select order_id, movement, account, amount_minor from entries"),
            rows("shipping", "select order_id, state from shipments"),
            rows("notification", "select order_id, kind from outbox"),
        )

    return state


@pytest.mark.parametrize("name", COMPENSATIONS)
def test_F7_a_second_compensation_changes_nothing_more(name: str, shop: Fulfilment, state: Callable[[], Any]) -> None:
    """The first one does, also after the order went well."""
    assert place(shop) is True
    placed = state()
    COMPENSATIONS[name](shop, "o1")
    once = state()
    assert once != placed
    COMPENSATIONS[name](shop, "o1")
    assert state() == once


@pytest.mark.parametrize("name", COMPENSATIONS)
def test_F7_sixteen_compensations_at_once_are_one(name: str, shop: Fulfilment, state: Callable[[], Any]) -> None:
    """Whichever comes first does it."""
    place(shop, "once")
    place(shop, "often")
    COMPENSATIONS[name](shop, "once")
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda _: COMPENSATIONS[name](shop, "often"), range(16)))
    inventory, records, entries, shipments, _ = state()
    assert inventory == ({"apple": 10, "pear": 5} if name == "inventory" else {"apple": 6, "pear": 3})
    assert records["often"] == records["once"]
    assert len([row for row in entries if row[0] == "often"]) == len([row for row in entries if row[0] == "once"])
    assert len({state for _, state in shipments}) == 1


@pytest.mark.parametrize("name", COMPENSATIONS)
def test_F7_nothing_is_compensated_for_an_order_never_placed(
    name: str, shop: Fulfilment, state: Callable[[], Any]
) -> None:
    """Nor for one that failed, which is undone already; one that comes afterwards is placed, and can be undone then."""
    shop.shipping_error_order_ids.add("failed")
    place(shop, "failed")
    before = state()
    COMPENSATIONS[name](shop, "failed")
    COMPENSATIONS[name](shop, "late")
    assert state() == before
    assert place(shop, "late") is True
    assert shop.inventory == {"apple": 8, "pear": 4}
    assert shop.payment_records == {"failed": None, "late": "processed"}
    placed = state()
    COMPENSATIONS[name](shop, "late")
    assert state() != placed


def test_F7_what_was_done_by_hand_twice_was_done_once(shop: Fulfilment, state: Callable[[], Any]) -> None:
    """A step is known by its order, too; and once it was undone it can be done again."""

    def do() -> list[bool]:
        return [
            shop.reserve_inventory("o1", ITEMS),
            shop.process_payment("o1", "ann", PAYMENT, 3),
            shop.schedule_shipping("o1", ADDRESS),
        ]

    assert do() == [True] * 3
    once = state()
    assert do() == [True] * 3
    assert state() == once
    for compensate in COMPENSATIONS.values():
        compensate(shop, "o1")
    assert do() == [True] * 3
    assert state()[:2] == once[:2]


def test_F7_an_order_answers_for_what_was_done_for_it_by_hand(shop: Fulfilment) -> None:
    """What it finds done it does not do again; if it fails later on, that is undone with the rest."""
    for order_id in ("good", "bad"):
        shop.reserve_inventory(order_id, ITEMS)
        shop.process_payment(order_id, "ann", PAYMENT, 3)
    shop.shipping_error_order_ids.add("bad")
    assert [place(shop, order_id) for order_id in ("good", "bad")] == [True, False]
    assert shop.inventory == {"apple": 8, "pear": 4}
    assert shop.payment_records == {"good": "processed", "bad": None}


# F8. The customer's own script is in test_fulfilment_script.


def test_F8_views_read_and_write_the_services_state(shop: Fulfilment, rows: Callable[[str, str], list[Any]]) -> None:
    """What is written is in the service's file, and what is struck off is there no more."""
    shop.inventory["plum"] = 3
    shop.inventory["apple"] -= 1
    del shop.inventory["pear"]
    assert shop.inventory == {"apple": 9, "plum": 3}
    assert list(shop.inventory) == ["apple", "plum"]
    assert "pear" not in shop.inventory
    assert rows("inventory", "select item_id, on_hand from stock where on_hand > 0") == [("apple", 9), ("plum", 3)]
    shop.item_prices |= {"plum": 7, "fig": Decimal("0.10")}
    assert shop.item_prices == {"apple": 1.25, "pear": 0.5, "plum": 7, "fig": Decimal("0.10")}
    assert [type(price) for price in shop.item_prices.values()] == [float, float, int, Decimal]
    shop.payment_records["old"] = None
    shop.payment_records.update(older="processed")
    assert shop.payment_records == {"old": None, "older": "processed"}
    assert shop.payment_records.pop("old") is None
    assert "old" not in shop.payment_records
    shop.blacklist_order_ids |= {"a b", "é"}
    shop.shipping_error_order_ids.update(["x"])
    assert sorted(shop.blacklist_order_ids) == ["a b", "é"]
    assert list(shop.shipping_error_order_ids) == ["x"]
    shop.blacklist_order_ids.clear()
    assert not shop.blacklist_order_ids


BAD_WRITES: list[tuple[str, Any, Any, type[Exception]]] = [
    ("inventory", "apple", -1, ValueError),
    ("inventory", "apple", 2**41, ValueError),
    ("inventory", "apple", 1.5, TypeError),
    ("inventory", "apple", "1", TypeError),
    ("inventory", "apple", None, TypeError),
    ("inventory", 7, 1, TypeError),
    ("inventory", "", 1, ValueError),
    ("item_prices", "apple", -0.01, ValueError),
    ("item_prices", "apple", float("nan"), ValueError),
    ("item_prices", "apple", Decimal("Infinity"), ValueError),
    ("item_prices", "apple", 1e300, ValueError),
    ("item_prices", "apple", "1.25", TypeError),
    ("item_prices", None, 1, TypeError),
    ("payment_records", "o1", 1, TypeError),
    ("payment_records", "o1", "foo", ValueError),
    ("payment_records", 1, None, TypeError),
]


@pytest.mark.parametrize(("view", "key", "value", "error"), BAD_WRITES)
def test_F8_a_bad_write_is_named_and_changes_nothing(
    view: str, key: Any, value: Any, error: type[Exception], shop: Fulfilment
) -> None:
    """What is written beside it is not written either."""
    before = getattr(shop, view).copy()
    with pytest.raises(error, match=f"^{view}"):
        getattr(shop, view).update({"fine": None if view == "payment_records" else 1, key: value})
    assert getattr(shop, view) == before


def test_F8_a_record_that_can_not_be_names_those_that_can(shop: Fulfilment) -> None:
    """And does not repeat the one it found."""
    with pytest.raises(ValueError, match=r"^payment_records\['o1'\]: wanted 'processed' or None$"):
        shop.payment_records["o1"] = "4111 1111 1111 1111"


WHOLE: dict[str, Any] = {
    "inventory": {"plum": 3, "apple": 1},
    "item_prices": {"plum": 0.5},
    "payment_records": {"o1": None},
    "blacklist_order_ids": {"o1", "o2"},
    "shipping_error_order_ids": {"o3"},
}


@pytest.mark.parametrize("name", WHOLE)
def test_F8_what_is_assigned_becomes_the_content(name: str, shop: Fulfilment) -> None:
    """The view stays, of whoever holds it; assigning a view to itself, as `|=` does, changes nothing."""
    view = getattr(shop, name)
    for content in (WHOLE[name], type(WHOLE[name])(), WHOLE[name]):
        setattr(shop, name, content)
        assert getattr(shop, name) is view
        assert view == content
    setattr(shop, name, view)
    assert view == WHOLE[name]


def test_F8_all_of_it_outlives_the_process(tmp_path: Path) -> None:
    """A second one finds the globals and the answers of the first."""
    with Fulfilment(tmp_path) as shop:
        shop.inventory["apple"], shop.item_prices["apple"] = 3, Decimal("1.10")
        shop.blacklist_order_ids.add("bad")
        answers = [place(shop, order_id, ITEMS[:1]) for order_id in ("good", "bad")]
    with Fulfilment(tmp_path) as shop:
        assert shop.inventory == {"apple": 1}
        assert shop.item_prices == {"apple": Decimal("1.10")}
        assert shop.payment_records == {"good": "processed"}
        assert list(shop.blacklist_order_ids) == ["bad"]
        assert [place(shop, order_id, ITEMS[:1]) for order_id in ("good", "bad")] == answers == [True, False]


def test_F8_two_systems_do_not_share_their_state(tmp_path: Path) -> None:
    """Each has its own folder."""
    with Fulfilment(tmp_path / "one") as one, Fulfilment(tmp_path / "two") as two:
        one.inventory["apple"] = 1
        assert two.inventory == {}


# F9.


def test_F9_each_step_and_each_compensation_is_logged(shop: Fulfilment, caplog: pytest.LogCaptureFixture) -> None:
    """With its name, as it happens, and why it all turned back."""
    shop.shipping_error_order_ids.add("o1")
    with caplog.at_level(logging.INFO, "amends"):
        place(shop)
    assert logged(caplog, "saga.step_done", "saga.step_refused", "saga.step_undone") == [
        ("saga.step_done", "reserve"),
        ("saga.step_done", "pay"),
        ("saga.step_refused", "schedule"),
        ("saga.step_undone", "pay"),
        ("saga.step_undone", "reserve"),
    ]
    assert "shipping_error" in caplog.text
    assert {line["key"] for line in about_sagas(caplog) if line["saga"] == "fulfilment"} == {"o1"}


BY_HAND: dict[str, Callable[[Fulfilment], object]] = {
    "fulfilment-reserve": lambda shop: shop.reserve_inventory("o1", ITEMS),
    "fulfilment-return": lambda shop: shop.compensate_inventory_reservation("o1", ITEMS),
    "fulfilment-pay": lambda shop: shop.process_payment("o1", "ann", PAYMENT, 3),
    "fulfilment-refund": lambda shop: shop.refund_payment("o1", "ann", 3),
    "fulfilment-schedule": lambda shop: shop.schedule_shipping("o1", ADDRESS),
    "fulfilment-cancel": lambda shop: shop.cancel_shipping("o1"),
    "fulfilment-resend": lambda shop: shop.resend_confirmation_notification("o1", "ann"),
    "fulfilment-confirm": lambda shop: shop.send_confirmation_notification("o1", "ann"),
}


@pytest.mark.parametrize("saga", BY_HAND)
def test_F9_what_is_done_by_hand_is_logged_with_its_order(
    saga: str, shop: Fulfilment, caplog: pytest.LogCaptureFixture
) -> None:
    """Each call for itself, with the name of what it was and, in every line, the order's."""
    with caplog.at_level(logging.INFO, "amends"):
        for _ in range(2):
            BY_HAND[saga](shop)
    told = about_sagas(caplog)
    assert [line["saga"] for line in told if line["event"] == "saga.step_done"] == [saga] * 2
    assert len({line["key"] for line in told}) == 2
    assert all(line["key"].startswith("o1/") for line in told)


@pytest.mark.parametrize(
    ("service", "command"),
    [
        (Inventory, "TakeStock"),
        (Payment, "ChargePayment"),
        (Shipping, "ScheduleShipment"),
        (Notification, "SendConfirmation"),
    ],
)
def test_F9_an_exception_in_a_service_undoes_the_order(
    service: type[Service], command: str, shop: Fulfilment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """False after a few tries, and other orders do not mind."""
    breaks(monkeypatch, service, command, lambda order_id: order_id == "o1")
    assert place(shop, "o1") is False
    assert place(shop, "o2") is True
    assert shop.inventory == {"apple": 8, "pear": 4}
    assert {order_id for order_id, record in shop.payment_records.items() if record} == {"o2"}
    shop.close()
    assert [finding for finding in audit(tmp_path) if finding.rows] == []


def test_F9_an_exception_by_hand_is_false(shop: Fulfilment, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing was done."""
    breaks(monkeypatch, Payment, "ChargePayment", lambda _: True)
    assert shop.process_payment("o1", "ann", PAYMENT, 3) is False
    assert shop.payment_records == {}


def test_F9_an_exception_that_passes_does_no_harm(shop: Fulfilment, monkeypatch: pytest.MonkeyPatch) -> None:
    """The step is tried again, and done once."""
    calls: list[str] = []

    def once(order_id: str) -> bool:
        calls.append(order_id)
        return len(calls) <= 2  # a turn in which a handler raises is run again at once

    breaks(monkeypatch, Payment, "ChargePayment", once)
    assert place(shop) is True
    assert len(calls) > 2
    assert shop.payment_records == {"o1": "processed"}
