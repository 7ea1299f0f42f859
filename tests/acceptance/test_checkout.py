"""The checkout, C1 to C3 and C6: committed or rolled back, once, whoever else is ordering."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from amends import Compensated, KeyConflict
from amends.demo.domain import Money, PaymentInfo
from amends.demo.faults import FaultPlan, Faults
from amends.demo.messages import AuthorizePayment, CapturePayment, CommitStock, ConfirmOrder, CreateOrder, ReserveStock
from amends.demo.services.inventory import Inventory
from amends.demo.services.orders import Orders
from amends.demo.services.payment import Payment
from amends.demo.stocking import Delivery, StockUp, stock_up
from amends.demo.systems.checkout import CheckOut, Checkout, Purchase
from amends.testing import SimulatedSystem, check_saga
from tests.acceptance.checking_out import (
    COMMITTED,
    a_request,
    at_once,
    instances,
    left_in_stock,
    movements,
    shop,
    states,
    wrong,
)
from tests.actors.trip import rows_of
from tests.integration.children import ROOT

SERVICES = [service.spec(Faults(FaultPlan())) for service in (Orders, Inventory, Payment)]
PURCHASE = Purchase("order-1", 7, {"1": 2}, PaymentInfo("account", "a-7"), Money(1250, "GBP"))
DECLINING = FaultPlan(declined=1.0)
EMPTY = FaultPlan(short_stock=1.0)

OWN_SYSTEM = """
import json, sys
from amends.demo.stocking import Delivery, stock_up
from amends.demo.systems import checkout
stock_up(checkout.default().system, Delivery("opening", {"1": 2}))
print(json.dumps([checkout.process_order(json.loads(request)) for request in sys.argv[1:]]))
"""


@contextmanager
def simulated() -> Iterator[SimulatedSystem]:
    """The saga in a world without chance, with goods on the shelves."""
    with SimulatedSystem(sagas=[CheckOut, StockUp], services=SERVICES) as system:
        stock_up(system, Delivery("opening", {"1": 10}))
        yield system


def effects(system: SimulatedSystem) -> list[str]:
    """What was done for good, but for the stocking up."""
    return [effect for effect in system.effects() if not effect.startswith(("inventory.receive", "inventory.set_"))]


# C1


def test_C1_a_sound_order_is_committed_and_says_true(tmp_path: Path) -> None:
    """Orders, inventory and payment know of it, and nobody else."""
    with shop(tmp_path) as checkout:
        assert checkout.process_order(a_request()) is True
    assert states(tmp_path, "order-1") == COMMITTED
    assert {file.stem for file in tmp_path.glob("*.db")} == {"journal", "orders", "inventory", "payment"}
    assert wrong(tmp_path) == []


def test_C1_an_order_that_fails_says_false(tmp_path: Path) -> None:
    """More is wanted than there is."""
    with shop(tmp_path) as checkout:
        assert checkout.process_order(a_request("order-1", (1, 11))) is False
    assert wrong(tmp_path) == []


def test_C1_what_the_order_says_is_what_is_kept(tmp_path: Path) -> None:
    """User, products, quantities and amount arrive where they belong."""
    request = a_request("order-1", (1, 2), (2, 3), payment_info={"account": "a-7", "amount": 1250, "currency": "JPY"})
    with shop(tmp_path) as checkout:
        checkout.process_order(request)
    kept = rows_of(tmp_path / "orders.db", "select user_id, amount_minor, currency from orders")
    assert kept == [("7", 1250, "JPY")]
    asked = rows_of(tmp_path / "payment.db", "select user_id, method, account, amount_minor, currency from payments")
    assert asked == [("7", "account", "a-7", 1250, "JPY")]
    assert [left_in_stock(tmp_path, product) for product in ("1", "2")] == [8, 2]


@pytest.mark.parametrize("named", [True, False], ids=["in a folder of one's own", "in a temporary folder"])
def test_C1_the_module_has_the_function_itself(tmp_path: Path, named: bool) -> None:
    """It needs no opening; the folder is where the environment says, or gone in the end."""
    temporary, own = tmp_path / "temporary", tmp_path / "own"
    temporary.mkdir()
    environment = os.environ | {"TMPDIR": str(temporary)} | ({"AMENDS_CHECKOUT_DATA": str(own)} if named else {})
    requests = [json.dumps(a_request(order_id, (1, 2))) for order_id in ("order-1", "order-2")]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", OWN_SYSTEM, *requests],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == [True, False]
    assert list(temporary.iterdir()) == []
    assert (states(own, "order-1") == COMMITTED) if named else not own.exists()


# C2


def test_C2_when_all_succeeded_all_three_are_made_final() -> None:
    """Confirmed, committed and captured, and nothing of it before everything could be had."""
    with simulated() as system:
        system.run(CheckOut, PURCHASE, key="order-1")
        done = effects(system)
    assert done[0] == "orders.create"
    assert set(done[1:3]) == {"inventory.reserve", "payment.authorize"}
    assert sorted(done[3:]) == ["inventory.commit", "orders.confirm", "payment.capture"]


@pytest.mark.parametrize(
    ("plan", "left"),
    [(EMPTY, ("cancelled", None, "voided")), (DECLINING, ("cancelled", "released", None))],
    ids=["no stock", "no money"],
)
def test_C2_when_one_failed_the_others_are_taken_back(
    tmp_path: Path, plan: FaultPlan, left: tuple[str | None, ...]
) -> None:
    """The order is cancelled, what was reserved is on the shelf again, what was held is the customer's again."""
    with shop(tmp_path, plan=plan) as checkout:
        assert checkout.process_order(a_request()) is False
    # What failed is not there; its neighbour is undone, or has not come to pass at all.
    found = states(tmp_path, "order-1")
    assert found[0] == left[0]
    assert all(state in (undone, None) for state, undone in zip(found[1:], left[1:], strict=True))
    assert left_in_stock(tmp_path) == 10
    assert wrong(tmp_path) == []


@pytest.mark.parametrize(
    ("service", "late"), [("orders", ConfirmOrder), ("inventory", CommitStock), ("payment", CapturePayment)]
)
def test_C2_what_is_decided_succeeds_in_the_end(service: str, late: type) -> None:
    """However often one of the three is not to be had, none is taken back."""
    with simulated() as system:
        system.service(service).unavailable(late, times=30)
        outcome = system.submit(CheckOut, PURCHASE, key="order-1")
        system.advance(120.0)
        assert outcome.done()
        assert not isinstance(outcome.result(), Compensated)
        assert len(effects(system)) == 6


@pytest.mark.parametrize(
    ("service", "early"), [("orders", CreateOrder), ("inventory", ReserveStock), ("payment", AuthorizePayment)]
)
def test_C2_what_can_not_be_had_takes_the_rest_back(service: str, early: type) -> None:
    """A service that never answers before the decision turns the order back, and nothing of it is left."""
    with simulated() as system:
        system.service(service).unavailable(early)
        outcome = system.run(CheckOut, PURCHASE, key="order-1")
        assert isinstance(outcome, Compensated)
        assert system.query("inventory", "select on_hand, reserved, shipped from stock") == [(10, 0, 0)]
        assert system.query("payment", "select coalesce(sum(amount_minor), 0) from entries where account = 'held'") == [
            (0,)
        ]
        system.check()


def test_C2_all_or_nothing_whatever_goes_wrong() -> None:
    """Everything that may go wrong with the saga, one thing at a time: it ends, all done or all undone."""

    def sums_agree(system: SimulatedSystem) -> bool:
        confirmed = system.query("orders", "select count(*) from orders where state = 'confirmed'")[0][0]
        stock = system.query("inventory", "select on_hand, reserved, shipped from stock")
        taken = system.query("payment", "select coalesce(sum(amount_minor), 0) from entries where account = 'revenue'")
        return (stock, taken) == (([(8, 0, 2)], [(1250,)]) if confirmed else ([(10, 0, 0)], [(0,)]))

    report = check_saga(
        CheckOut,
        SERVICES,
        [sums_agree],
        given=PURCHASE,
        key="order-1",
        before=lambda system: stock_up(system, Delivery("opening", {"1": 10})),
        sagas=[StockUp],
    )
    assert len(report.tried) > 100


# C3


def test_C3_the_same_order_at_the_same_moment_is_processed_once(tmp_path: Path) -> None:
    """Everybody who hands it in is told the same."""
    with shop(tmp_path) as checkout:
        assert at_once([partial(checkout.process_order, a_request())] * 16) == [True] * 16
    assert left_in_stock(tmp_path) == 8
    assert movements(tmp_path, "order-1") == ["hold", "capture"]
    assert instances(tmp_path) == 1


def test_C3_the_same_order_after_a_restart_gets_the_recorded_answer(tmp_path: Path) -> None:
    """Another process knows what became of it, and does nothing more about it."""
    with shop(tmp_path) as checkout:
        checkout.process_order(a_request())
    with Checkout(tmp_path) as again:
        assert again.process_order(a_request()) is True
    assert left_in_stock(tmp_path) == 8
    assert instances(tmp_path) == 1


def test_C3_an_order_that_failed_stays_failed(tmp_path: Path) -> None:
    """Goods that come in later are for later orders, after a restart too."""
    short = a_request("order-1", (1, 11))
    with shop(tmp_path) as checkout:
        assert checkout.process_order(short) is False
        stock_up(checkout.system, Delivery("second", {"1": 100}))
        assert checkout.process_order(short) is False
    with Checkout(tmp_path) as again:
        assert again.process_order(short) is False
        assert again.process_order(a_request("order-2", (1, 11))) is True
    assert states(tmp_path, "order-1")[0] == "cancelled"


def test_C3_an_amount_written_another_way_is_the_same_order(tmp_path: Path) -> None:
    """As a number or as text, it is the same money."""
    with shop(tmp_path) as checkout:
        for amount in ("12.50", 12.5, "12.5"):
            assert checkout.process_order(a_request(payment_info={"account": "a-7", "amount": amount})) is True
    assert instances(tmp_path) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"items": [{"product_id": 1, "quantity": 3}]},
        {"user_id": 8},
        {"payment_info": {"account": "a-7", "amount": 13}},
        {"payment_info": {"account": "a-8", "amount": "12.50"}},
    ],
    ids=["items", "user", "amount", "account"],
)
def test_C3_an_order_id_is_not_used_for_another_order(tmp_path: Path, changes: dict[str, object]) -> None:
    """The answer of the first one would be wrong for it."""
    with shop(tmp_path) as checkout:
        checkout.process_order(a_request())
        with pytest.raises(KeyConflict, match="order-1"):
            checkout.process_order(a_request(**changes))  # type: ignore[arg-type]
    assert left_in_stock(tmp_path) == 8


# C6


@pytest.mark.parametrize("steps", [("reserve", "authorize"), ("confirm", "commit", "capture")], ids=" and ".join)
def test_C6_steps_that_need_not_wait_for_each_other_are_under_way_together(steps: tuple[str, ...]) -> None:
    """All are sent before any is answered."""
    with simulated() as system:
        system.run(CheckOut, PURCHASE, key="order-1")
        trace = "\n".join(line for line in system.trace.splitlines() if "order-1" in line)
    sent = [trace.index(f": do {step}, attempt 1\n") for step in steps]
    answered = [trace.index(f": do {step}, attempt 1: done") for step in steps]
    assert max(sent) < min(answered)


def test_C6_orders_at_the_same_moment_get_what_there_is_and_no_more(tmp_path: Path) -> None:
    """Twenty want one of ten each: ten get one."""
    with shop(tmp_path) as checkout:
        orders = [partial(checkout.process_order, a_request(f"order-{number}", (1, 1))) for number in range(20)]
        answers = at_once(orders)
    assert answers.count(True) == 10
    assert left_in_stock(tmp_path) == 0
    assert wrong(tmp_path) == []


def test_C6_orders_that_fail_do_not_disturb_the_others(tmp_path: Path) -> None:
    """Whoever has no money gives back what somebody else may need, and nobody else fails."""
    plan = FaultPlan(declined=0.5)
    poor = {f"order-{number}": Faults(plan).declines(f"order-{number}") for number in range(40)}
    assert len(set(poor.values())) == 2
    with shop(tmp_path, {"1": 200}, plan=plan) as checkout:
        answers = at_once([partial(checkout.process_order, a_request(order_id)) for order_id in poor])
    assert answers == [not without for without in poor.values()]
    assert left_in_stock(tmp_path) == 200 - 2 * answers.count(True)
    assert wrong(tmp_path) == []
