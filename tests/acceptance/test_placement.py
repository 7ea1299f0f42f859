"""The placement system: an order in, an answer within five seconds. Its first five promises; time is virtual."""

import logging
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import patch

import apsw
import msgspec
import pytest

from amends.actors.database import file as database_file
from amends.demo import faults, shop
from amends.demo.domain import Address, Item, Order, PaymentInfo
from amends.demo.faults import FaultPlan
from amends.demo.messages import (
    AuthorizePayment,
    AwaitStock,
    CapturePayment,
    CommitStock,
    ConfirmOrder,
    CreateOrder,
    NotifyCustomer,
)
from amends.demo.stocking import Delivery, StockUp, stock_up
from amends.demo.systems.placement import NO_CATALOGUE, NO_TURN, Placement, Request, from_order
from amends.testing import facts
from tests.acceptance.placing import (
    CARD,
    CVV,
    FOR_EVER,
    GOODS,
    LATE,
    NUMBER,
    SUCCESS,
    a_request,
    all_is_well,
    come_to_rest,
    rows,
    set_limit,
    simulated,
    start,
    stuck,
)

# Where each command goes, and whether it is before the decision.
STEPS = [
    ("orders", CreateOrder, True),
    ("payment", AuthorizePayment, True),
    ("inventory", AwaitStock, True),
    ("orders", ConfirmOrder, False),
    ("payment", CapturePayment, False),
    ("inventory", CommitStock, False),
    ("notification", NotifyCustomer, False),
]
FORWARD = [step[:2] for step in STEPS if step[2]]
AFTER = [step[:2] for step in STEPS if not step[2]]


# P1: four services, each with a database of its own.


class Touched(set[tuple[str, str]]):
    """Which tables were read or written by a connection to which file; files attached count as tables.

    Attributes:
        connections: how many there were, by file.
    """

    def __init__(self) -> None:
        super().__init__()
        self.connections: Counter[str] = Counter()


@pytest.fixture
def touched() -> Iterator[Touched]:
    """What is done with any database from here on."""
    seen = Touched()

    def watch(db: apsw.Connection) -> None:
        file = Path(db.filename).stem
        seen.connections[file] += 1

        def note(operation: int, first: str | None, *_: object) -> int:
            if operation in (apsw.SQLITE_READ, apsw.SQLITE_INSERT, apsw.SQLITE_UPDATE, apsw.SQLITE_DELETE):
                seen.add((file, str(first)))
            elif operation == apsw.SQLITE_ATTACH:
                seen.add((file, f"file {first}"))
            return apsw.SQLITE_OK

        db.authorizer = note

    apsw.connection_hooks.append(watch)
    yield seen
    apsw.connection_hooks.remove(watch)


def test_P1_each_service_has_a_database_of_its_own_that_no_other_touches(tmp_path: Path, touched: Touched) -> None:
    """Through a success and a failure each table is in one file, and no file is opened but by its own service."""
    with Placement(tmp_path) as placement:
        stock_up(placement.system, GOODS)
        assert placement.place(a_request())["status"] == "success"
        assert placement.place(a_request(("apple", 99), order_id="o2"))["status"] == "failure"
    opened = dict(touched.connections)
    owners = {"orders": "orders", "payments": "payment", "stock": "inventory", "outbox": "notification"}
    for file in owners.values():
        db = apsw.Connection(str(tmp_path / f"{file}.db"))
        tables = {str(name) for (name,) in db.execute("select name from sqlite_master where type = 'table'")}
        db.close()
        seen = {table for other, table in touched if other == file}
        assert tables >= {table for table in seen if not table.startswith(("sqlite_", "json_each"))}
    assert {table: file for file, table in touched if table in owners} == owners
    assert [table for _, table in touched if table.startswith("file ")] == []
    # Each of them as often: by the engine, for the service it belongs to.
    assert len({opened[file] for file in owners.values()}) == 1


def test_P1_a_service_that_hangs_keeps_no_other_from_working(tmp_path: Path) -> None:
    """Messages are asynchronous: while inventory hangs, the order is written down and its money held."""
    with simulated(tmp_path) as placement:
        placement.system.service("inventory").hangs(AwaitStock, times=FOR_EVER)
        start(placement, ("apple", 1), order_id="o1")
        placement.system.run_until(lambda: rows(placement, "payment", "select state from payments") == [("held",)], 0.5)
        assert rows(placement, "orders", "select state from orders") == [("pending",)]
        come_to_rest(placement)


# P2: what goes in and what comes out.


def test_P2_a_success_names_its_order(tmp_path: Path) -> None:
    """The order's number, under which the books have it at the catalogue's prices."""
    with simulated(tmp_path) as placement:
        answer = placement.place(a_request(("apple", 2), ("pear", 3), order_id=None))
        ((order_id, amount_minor, state),) = rows(
            placement, "orders", "select order_id, amount_minor, state from orders"
        )
        assert answer == {"status": "success", "order_id": order_id}
        assert (amount_minor, state) == (2 * 30 + 3 * 45, "confirmed")


def test_P2_an_account_without_the_money_fails_in_the_words_of_the_customer(tmp_path: Path) -> None:
    """The answer says what failed, and why, in words."""
    with simulated(tmp_path) as placement:
        placement.place(a_request())
        ((token,),) = rows(placement, "payment", "select account from payments")
        set_limit(placement, token, 40)
        answer = placement.place(a_request(("apple", 2), order_id="o2"))
    assert answer == {"status": "failure", "error": "Payment failed", "reason": "Insufficient funds"}


def test_P2_too_few_goods_fail_in_the_words_of_the_customer(tmp_path: Path) -> None:
    """The item that is short is named."""
    with simulated(tmp_path) as placement:
        short = placement.place(a_request(("pear", 1), ("apple", 11)))
        unknown = placement.place(a_request(("quince", 1), order_id="o2"))
    assert short == {"status": "failure", "error": "Reservation failed", "reason": "Out of stock: apple"}
    assert unknown == {"status": "failure", "error": "Reservation failed", "reason": "Unknown item: quince"}


def test_P2_an_account_reference_is_as_good_as_a_card(tmp_path: Path) -> None:
    """Whoever pays on account, as real orders do, needs no card."""
    with simulated(tmp_path) as placement:
        answer = placement.place(a_request(payment_info={"account": "A-17"}))
        assert answer["status"] == "success"
        assert rows(placement, "payment", "select method, account from payments") == [("account", "A-17")]


def test_P2_a_real_order_is_taken_at_the_prices_of_the_catalogue(tmp_path: Path) -> None:
    """As the command line does it: whatever price stands on its lines, and without waiting for the answer."""
    payment, address = PaymentInfo("account", "A-17"), Address("United Kingdom")
    order = Order("536365", "17850", (Item("apple", 2, 999), Item("apple", 1, 999)), payment, address)
    with Placement(tmp_path) as placement:
        stock_up(placement.system, GOODS)
        assert placement.submit(from_order(order)).result() == {"status": "success", "order_id": "536365"}
    db = apsw.Connection(str(tmp_path / "orders.db"))
    assert db.execute("select user_id, amount_minor from orders").fetchall() == [("17850", 90)]
    db.close()


BAD = {
    "customer_id": a_request(customer_id=""),
    "customer_id ": {k: v for k, v in a_request().items() if k != "customer_id"},
    "items": a_request(items=[]),
    "items[0].quantity": a_request(("apple", 0)),
    "items[1].quantity": a_request(items=[{"item_id": "apple", "quantity": 1}, {"item_id": "pear", "quantity": "2"}]),
    "items[0].item_id": a_request(("no such thing", 1)),
    "items ": a_request(*[("apple", 1_000_000)] * 2),
    "payment_info": a_request(payment_info=NUMBER),
    "payment_info.card_number": a_request(payment_info={**CARD, "card_number": NUMBER[:-1] + "7"}),
    "payment_info.expiry_date": a_request(payment_info={**CARD, "expiry_date": "13/49"}),
    "payment_info.cvv": a_request(payment_info={**CARD, "cvv": int(CVV)}),
    "order_id": a_request(order_id="not a number!"),
    "discount": a_request(discount=1),
}


@pytest.mark.parametrize("field", BAD)
def test_P2_invalid_input_is_refused_by_the_name_of_its_field(tmp_path: Path, field: str) -> None:
    """Before anything is touched: no saga starts."""
    with simulated(tmp_path) as placement:
        answer = placement.place(BAD[field])
        assert (answer["status"], answer["error"]) == ("failure", "Invalid request")
        assert field.strip() in answer["reason"]
        assert len(placement.system.world.instances) == 1  # the delivery


@pytest.mark.parametrize("request_", [None, "o1", [a_request()], {1: 2}, a_request(items={object()})], ids=str)
def test_P2_what_is_no_request_at_all_is_refused(tmp_path: Path, request_: Any) -> None:
    """Whatever is handed in, the answer is one."""
    with simulated(tmp_path) as placement:
        assert placement.place(request_)["error"] == "Invalid request"


def test_P2_no_trace_of_a_card_is_left_anywhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither number nor cvv stands in any file, log or answer: after a success, failures, a crash, invalid input."""
    caplog.set_level(logging.DEBUG)
    with simulated(tmp_path) as placement:
        system = placement.system
        answers = [placement.place(a_request())]
        answers += [placement.place(request) for request in BAD.values()]
        answers += [placement.place(a_request(order_id="o2", payment_info={**CARD, "pin": NUMBER}))]
        system.service("payment").raises(AuthorizePayment, after=True, times=20)
        answers += [placement.place(a_request(order_id="o3"))]
        system.service("payment").hangs(AuthorizePayment, times=2)
        answers += [placement.place(a_request(("apple", 99), order_id="o4"))]
        system.crash()
        system.restart()
        system.run_until_quiet()
        answers += [placement.answer("o1")]
        told = [repr(fact) for fact in system.facts]
    # Real time and the process's id, in which any digits may stand, are left out; all other time is virtual.
    logged = re.sub(r'"timestamp": "[^"]*"', "", caplog.text)
    files = [file for file in tmp_path.rglob("*") if file.is_file() and file.suffix != ".lock"]
    seen = [str(answers), *told, logged, *capsys.readouterr(), *(file.read_bytes().decode("latin-1") for file in files)]
    assert any("card_" in text for text in seen)  # the token, where it should be
    spaced = " ".join(NUMBER[at : at + 4] for at in range(0, 16, 4))
    assert [text for text in seen if NUMBER in text or spaced in text or CVV in text] == []


# P3: all or nothing, durable once reported.


def test_P3_an_order_is_created_paid_reserved_and_the_customer_told(tmp_path: Path) -> None:
    """In this order; the e-mail comes after the order is confirmed."""
    with simulated(tmp_path) as placement:
        assert placement.place(a_request(("apple", 1), ("pear", 1))) == SUCCESS
        effects = placement.system.effects()
        before = ["orders.create", "payment.authorize", "inventory.await_stock", "inventory.await_stock"]
        done = [effect for effect in effects if effect in before]
        assert done == before
        after = effects[effects.index(before[-1]) + 2 :]
        assert sorted(after) == ["inventory.commit", "notification.notify", "orders.confirm", "payment.capture"]
        assert after.index("orders.confirm") < after.index("notification.notify")
        assert rows(placement, "notification", "select order_id, user_id, kind from outbox") == [
            ("o1", "user123", "confirmation")
        ]
        come_to_rest(placement)


def test_P3_nobody_is_told_of_an_order_that_is_not_confirmed_yet(tmp_path: Path) -> None:
    """The e-mail waits for the order's confirmation, however long that takes after the decision."""
    with simulated(tmp_path) as placement:
        placement.system.service("orders").hangs(ConfirmOrder, times=FOR_EVER)
        assert placement.place(a_request()) == SUCCESS
        assert rows(placement, "notification", "select * from outbox") == []
        come_to_rest(placement)
        assert len(rows(placement, "notification", "select * from outbox")) == 1


@pytest.mark.parametrize(("service", "command"), FORWARD, ids=lambda value: getattr(value, "__name__", value))
def test_P3_a_step_that_is_refused_leaves_nothing_behind(tmp_path: Path, service: str, command: type) -> None:
    """What was done before it is undone, newest first, and nobody is told of an order."""
    with simulated(tmp_path) as placement:
        placement.system.service(service).refuses(command, reason="no")
        assert placement.place(a_request())["reason"] == "no"
        undone = [
            fact.method for fact in placement.system.facts if isinstance(fact, facts.Effect) and fact.kind == "undo"
        ]
        assert (
            undone
            == {"CreateOrder": [], "AuthorizePayment": ["cancel"], "AwaitStock": ["void", "cancel"]}[command.__name__]
        )
        assert rows(placement, "notification", "select * from outbox") == []
        assert rows(placement, "inventory", "select sum(reserved), sum(on_hand) from stock") == [(0, 16)]
        come_to_rest(placement)


@pytest.mark.parametrize(("service", "command"), AFTER, ids=lambda value: getattr(value, "__name__", value))
def test_P3_a_success_survives_a_crash_at_once(tmp_path: Path, service: str, command: type) -> None:
    """Even one that was answered while a service still hung after the decision is completed by the next process."""
    with simulated(tmp_path) as placement:
        placement.system.service(service).hangs(command, times=FOR_EVER)
        assert placement.place(a_request()) == SUCCESS
        placement.system.crash()
        placement.system.service(service).recovers()
        placement.system.restart()
        come_to_rest(placement)
        assert placement.answer("o1") == SUCCESS
        assert rows(placement, "orders", "select state from orders") == [("confirmed",)]


# P4: five seconds.


def _in_time(placement: Any, request: Any) -> dict[str, str]:
    began_s = placement.now_s()
    answer: dict[str, str] = placement.place(request)
    assert placement.now_s() - began_s <= 5.0
    return answer


@pytest.mark.parametrize(("service", "command"), FORWARD, ids=lambda value: getattr(value, "__name__", value))
def test_P4_a_service_that_hangs_for_ever_before_the_decision_fails_the_order_in_time(
    tmp_path: Path, service: str, command: type
) -> None:
    """The customer hears of it within five seconds; when the service is back, nothing is left reserved."""
    with simulated(tmp_path) as placement:
        placement.system.service(service).hangs(command, times=FOR_EVER)
        assert _in_time(placement, a_request()) == LATE
        come_to_rest(placement)
        assert placement.answer("o1") == LATE
        assert rows(placement, "inventory", "select sum(reserved), sum(on_hand) from stock") == [(0, 16)]


@pytest.mark.parametrize(("service", "command"), FORWARD[1:], ids=lambda value: getattr(value, "__name__", value))
def test_P4_a_handler_that_hangs_is_given_up_while_its_order_is_rolled_back(
    tmp_path: Path, service: str, command: type
) -> None:
    """Nobody has to come: services restart without the handler that hung, and the rollback completes by itself."""
    with simulated(tmp_path) as placement:
        placement.system.service(service).hangs(command, times=FOR_EVER)
        assert _in_time(placement, a_request()) == LATE
        placement.system.run_until_quiet()
        assert stuck(placement) == []
        assert rows(placement, "orders", "select state from orders") == [("cancelled",)]
        come_to_rest(placement)


@pytest.mark.parametrize(("service", "command"), AFTER, ids=lambda value: getattr(value, "__name__", value))
def test_P4_a_service_that_hangs_after_the_decision_makes_no_failure_of_a_success(
    tmp_path: Path, service: str, command: type
) -> None:
    """What is decided is told in time as it was decided, and completed when the service is back."""
    with simulated(tmp_path) as placement:
        placement.system.service(service).hangs(command, times=FOR_EVER)
        assert _in_time(placement, a_request()) == SUCCESS
        come_to_rest(placement)
        assert placement.answer("o1") == SUCCESS


def test_P4_an_undo_that_hangs_keeps_nobody_from_hearing_why_the_order_failed(tmp_path: Path) -> None:
    """The reason is told as it was decided, though the rollback is not through."""
    with simulated(tmp_path) as placement:
        placement.system.service("orders").hangs(CreateOrder, times=FOR_EVER, undo=True)
        answer = _in_time(placement, a_request(("apple", 99)))
        assert answer == {"status": "failure", "error": "Reservation failed", "reason": "Out of stock: apple"}
        assert rows(placement, "orders", "select state from orders") == [("pending",)]
        come_to_rest(placement)


def test_P4_the_five_seconds_begin_when_an_order_is_handed_in(tmp_path: Path) -> None:
    """One that waits longer than that for its turn is turned away, and nothing of it was begun."""
    now_s = [0.0]
    free = threading.Event()
    with Placement(tmp_path) as placement, patch.object(placement, "now_s", lambda: now_s[0]):
        stock_up(placement.system, GOODS)
        placement._callers = ThreadPoolExecutor(1)
        placement._callers.submit(free.wait, 30.0)
        handed_in = placement.submit(msgspec.convert(a_request(), Request))
        now_s[0] += 5.0
        free.set()
        assert handed_in.result(30.0) == {**LATE, "reason": NO_TURN}
        assert placement.answer("o1")["error"] == "Invalid request"


def test_P4_a_catalogue_that_does_not_answer_fails_the_order_before_it_begins(tmp_path: Path) -> None:
    """Prices are asked for at the door, for no longer than patience lasts; nothing is begun without them."""
    with simulated(tmp_path) as placement:
        with patch.object(placement.system, "ask", side_effect=TimeoutError) as ask:
            assert _in_time(placement, a_request()) == {**LATE, "reason": NO_CATALOGUE}
        assert 0.0 < ask.call_args.kwargs["timeout_s"] <= 5.0
        come_to_rest(placement)
        assert placement.answer("o1")["error"] == "Invalid request"


def test_P4_a_journal_that_does_not_answer_is_no_reason_to_wait(tmp_path: Path) -> None:
    """Whether the order was taken is not known then, and nothing else is said: pending, and `answer` tells later."""
    with simulated(tmp_path) as placement:
        request, began_s = a_request(), placement.now_s()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(placement.system), "_ask_cancel", lambda *_: placement.system._running.new_future())
            placement.system.service("payment").unavailable(AuthorizePayment)
            placement.system.service("orders").unavailable(CreateOrder, undo=True)
            assert placement.place(request) == {"status": "pending", "order_id": "o1"}
        assert placement.now_s() - began_s <= 5.0
        come_to_rest(placement)
        assert placement.answer("o1") == {"status": "failure", "error": "Payment failed", "reason": "unavailable"}


def test_P4_an_order_that_waits_for_goods_too_long_is_rolled_back(tmp_path: Path) -> None:
    """Goods that another order holds and neither commits nor gives back are waited for until four seconds are over."""
    with simulated(tmp_path, made_to_order={"vase"}) as placement:
        assert placement.place(a_request(("apple", 10), ("vase", 1), order_id="holder"))["status"] == "pending"
        assert _in_time(placement, a_request(("pear", 1), ("apple", 1))) == LATE
        assert rows(placement, "inventory", "select reserved from stock where item_id = 'pear'") == [(0,)]
        placement.approve("holder", of="supplier", approved=True, by="ann")
        come_to_rest(placement)


class _Hanging(faults.Faults):
    """Every handler of one name hangs until it is let go."""

    def __init__(self, handler: str, let_go: threading.Event) -> None:
        super().__init__(FaultPlan())
        self._handler = handler
        self._let_go = let_go

    def strike(self, handler: str, order_id: str) -> None:
        if handler == self._handler:
            self._let_go.wait()


def test_P4_holds_on_the_real_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With real threads and handlers that really hang, the answer is there in time, and the books are right later."""
    let_go = threading.Event()
    hanging = iter(["authorize", "capture"])
    monkeypatch.setattr(shop, "Faults", lambda plan: _Hanging(next(hanging), let_go))
    folders = [tmp_path / "before", tmp_path / "after"]

    def place(placement: Placement) -> tuple[str, float]:
        began_s = time.monotonic()
        return placement.place(a_request())["status"], time.monotonic() - began_s

    with Placement(folders[0]) as before, Placement(folders[1]) as after, ThreadPoolExecutor(2) as callers:
        try:
            for placement in (before, after):
                stock_up(placement.system, GOODS)
            told = list(callers.map(place, (before, after)))
            assert [status for status, _ in told] == ["failure", "success"]
            assert max(took_s for _, took_s in told) <= 5.0
        finally:
            let_go.set()
        for placement in (before, after):
            placement.finish(30.0)
    for folder in folders:
        all_is_well(folder)


# P5: many at once, crashes, repeats.


def test_P5_the_same_request_again_gets_the_same_answer(tmp_path: Path) -> None:
    """Also after a restart, after prices have moved and under other rules; and nothing is done twice."""
    wanted = [a_request(("apple", 2)), a_request(("apple", 99), order_id="o2")]
    with Placement(tmp_path) as placement:
        stock_up(placement.system, GOODS)
        first = [placement.place(request) for request in wanted]
        assert [placement.place(request) for request in wanted] == first
        stock_up(placement.system, Delivery("prices", {"apple": 100}, {"apple": 7}))
        assert [placement.place(request) for request in wanted] == first
    with Placement(tmp_path, review_above=Decimal(0)) as placement:
        assert [placement.place(request) for request in wanted] == first
    assert [answer["status"] for answer in first] == ["success", "failure"]
    db = apsw.Connection(str(tmp_path / "payment.db"))
    captured = db.execute("select count(*) from entries where movement = 'capture' and account = 'revenue'").get
    db.close()
    assert captured == 1
    all_is_well(tmp_path)


def test_P5_two_at_the_same_moment_are_one_order(tmp_path: Path) -> None:
    """Whoever comes second, perhaps at another price, waits for the first one's answer."""
    with simulated(tmp_path) as placement:
        request = a_request(("apple", 2))
        real_start = placement.start

        def overtaken(order: Any) -> Any:
            placement.start = real_start  # type: ignore[method-assign]
            placement.system.run(StockUp, Delivery("prices", {}, {"apple": 7}))
            start(placement, ("apple", 2), order_id="o1")
            return real_start(order)

        placement.start = overtaken  # type: ignore[method-assign]
        assert placement.place(request) == SUCCESS
        assert rows(placement, "orders", "select amount_minor from orders") == [(1400,)]


def test_P5_a_number_that_belongs_to_another_order_is_refused(tmp_path: Path) -> None:
    """Other goods, another customer or another card is another order."""
    others = [
        a_request(("apple", 2)),
        a_request(customer_id="user124"),
        a_request(payment_info={**CARD, "card_number": "4111 1111 1111 1111"}),
    ]
    with simulated(tmp_path) as placement:
        assert placement.place(a_request()) == SUCCESS
        for request in others:
            answer = placement.place(request)
            assert answer["error"] == "Invalid request"
            assert "order_id" in answer["reason"]
        assert placement.place(a_request()) == SUCCESS


def test_P5_an_order_is_known_while_the_journal_opens_its_file_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is nobody else's then; whoever asks for a known order waits for the journal, and gets its answer."""
    monkeypatch.setattr(database_file, "_BUSY_MS", 0)  # that wait is in real time
    with simulated(tmp_path) as placement:
        assert placement.place(a_request()) == SUCCESS
        journal = placement.system._running.mailboxes["journal"]
        placement.system.kill("journal")
        placement.system.run_until(lambda: journal.actor is None)
        opening = apsw.Connection(str(tmp_path / "journal.db"))
        opening.pragma("locking_mode", "exclusive")
        opening.execute("begin exclusive")
        placement.system.world.agenda.put(0.5, opening.close)
        assert placement.place(a_request()) == SUCCESS
        come_to_rest(placement)


def test_P5_without_a_number_each_request_is_an_order_of_its_own(tmp_path: Path) -> None:
    """Nobody's order is taken for somebody else's."""
    with simulated(tmp_path) as placement:
        answers = [placement.place(a_request(order_id=None)) for _ in range(3)]
    assert len({answer["order_id"] for answer in answers}) == 3


@pytest.mark.timeout(120)
def test_P5_many_at_once_with_crashes_and_a_bad_network(tmp_path: Path) -> None:
    """On real threads: each customer asks twice and hears one thing, and the books agree with it."""
    plan = FaultPlan(seed=7, declined=0.1, raises=0.02, lost=0.01, doubled=0.03, delayed=0.03)
    requests = [a_request(("apple", 1 + n % 3), ("pear", 1), order_id=f"o{n}") for n in range(60)]
    with Placement(tmp_path, plan) as placement, ThreadPoolExecutor(24) as customers:
        stock_up(placement.system, Delivery("much", {"apple": 90, "pear": 50}, GOODS.prices))
        twice = [(customers.submit(placement.place, r), customers.submit(placement.place, r)) for r in requests]
        for victim in ("orders", "payment", "inventory", "notification", "journal", "coordinator"):
            placement.system.kill(victim)
        answers = {r["order_id"]: (a.result(), b.result()) for r, (a, b) in zip(requests, twice, strict=True)}
        placement.finish(60.0)
        last = {order_id: placement.answer(order_id)["status"] for order_id in answers}
    # On a machine that is slow enough somebody may be told "pending", or turned away at the door, before there was an
    # order; but nobody anything of an order that does not hold.
    told = {
        order_id: {answer["status"] for answer in both if answer.get("reason") != NO_CATALOGUE}
        for order_id, both in answers.items()
    }
    assert {o: statuses for o, statuses in told.items() if not statuses <= {last[o], "pending"}} == {}
    db = apsw.Connection(str(tmp_path / "orders.db"))
    confirmed = {order_id for (order_id,) in db.execute("select order_id from orders where state = 'confirmed'")}
    db.close()
    assert confirmed == {order_id for order_id, status in last.items() if status == "success"}
    assert 0 < len(confirmed) < 60
    all_is_well(tmp_path)
