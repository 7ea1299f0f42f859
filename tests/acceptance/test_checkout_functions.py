"""The checkout, C5 and C6, with an inventory and a payment that are somebody else's functions."""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from amends import Compensated, Completed, InputError, Outcome
from amends.demo.domain import Money, PaymentInfo
from amends.demo.faults import FaultPlan, Faults
from amends.demo.services.functions import TRIES_MAX, Rejected
from amends.demo.services.orders import Orders
from amends.demo.systems.checkout import CheckOut, Checkout, Purchase
from amends.demo.systems.checkout_request import read_request
from amends.testing import Schedule, SimulatedSystem, check_saga
from tests.acceptance.checking_out import a_request, at_once
from tests.acceptance.standing_in import StandIn, Trouble, all_or_nothing, failing
from tests.actors.trip import LONG_S, rows_of

PURCHASE = Purchase("order-1", 7, {"1": 2}, PaymentInfo("account", "a-7"), Money(1250, "GBP"))
FORWARD = ["reserve", "authorize"]


def opened(folder: Path, world: StandIn) -> Checkout:
    """The checkout on the functions of that world."""
    return Checkout(folder, world.inventory, world.payment)


@contextmanager
def simulated(world: StandIn, schedule: Schedule | None = None) -> Iterator[SimulatedSystem]:
    """Its saga in virtual time."""
    services = [Orders.spec(Faults(FaultPlan())), world.inventory.service, world.payment.service]
    with SimulatedSystem(sagas=[CheckOut], services=services, schedule=schedule) as system:
        yield system


def run(system: SimulatedSystem) -> Outcome:
    """What becomes of one order."""
    return system.run(CheckOut, PURCHASE, key="order-1")


def rejecting(function: str, *, by: str) -> Trouble:
    """The function says no."""

    def trouble(name: str, order_id: str) -> bool | None:
        if name != function:
            return None
        if by == "False":
            return False
        raise Rejected("the customer is unknown")

    return trouble


# C5


def test_C5_plain_functions_take_the_services_places(tmp_path: Path) -> None:
    """Each is called once, with the order as it was sent, and a key of its own."""
    world = StandIn()
    with opened(tmp_path, world) as checkout:
        assert checkout.process_order(a_request("order-1", (1, 2), (2, 1))) is True
    assert sorted(world.calls[:2]) == [("authorize", "order-1"), ("reserve", "order-1")]
    assert sorted(world.calls[2:]) == [("capture", "order-1"), ("commit", "order-1")]
    assert world.items == {"order-1": {"1": 2, "2": 1}}
    assert world.amounts == {"order-1": Decimal("12.50")}
    assert len(set.union(*world.keys.values())) == 4
    assert rows_of(tmp_path / "orders.db", "select state from orders") == [("confirmed",)]


@pytest.mark.parametrize("function", ["reserve", "authorize"])
def test_C5_a_failure_that_passes_is_got_over(tmp_path: Path, function: str) -> None:
    """The same call is made again, with the same key, until it succeeds."""
    world = StandIn(failing(function, TRIES_MAX - 1))
    with opened(tmp_path, world) as checkout:
        assert checkout.process_order(a_request()) is True
    assert world.called(function) == TRIES_MAX
    assert len(world.keys[function]) == 1
    assert world.called("release") == world.called("void") == 0


@pytest.mark.parametrize(("function", "undo"), [("reserve", "release"), ("authorize", "void")])
@pytest.mark.parametrize("when", ["before its work", "after its work"])
def test_C5_a_failure_that_stays_is_given_up(tmp_path: Path, function: str, undo: str, when: str) -> None:
    """After so many tries the order is rolled back, and what the tries may have done is taken back with it."""
    world = StandIn(failing(function)) if when == "before its work" else StandIn(after=failing(function))
    with opened(tmp_path, world) as checkout:
        assert checkout.process_order(a_request()) is False
    assert world.called(function) == TRIES_MAX
    assert world.called(undo) == 1
    assert all_or_nothing(world, "order-1", committed=False)
    assert rows_of(tmp_path / "orders.db", "select state from orders") == [("cancelled",)]


@pytest.mark.parametrize("by", ["False", "an exception of its own"])
@pytest.mark.parametrize("function", ["reserve", "authorize"])
def test_C5_a_rejection_is_not_retried(tmp_path: Path, function: str, by: str) -> None:
    """One no is enough; there is nothing to take back of what was rejected."""
    world = StandIn(rejecting(function, by=by))
    with opened(tmp_path, world) as checkout:
        assert checkout.process_order(a_request()) is False
    assert world.called(function) == 1
    assert world.called({"reserve": "release", "authorize": "void"}[function]) == 0
    assert world.called("commit") == world.called("capture") == 0
    assert all_or_nothing(world, "order-1", committed=False)


def test_C5_a_rejection_says_its_reason(tmp_path: Path) -> None:
    """For whoever looks the order up."""
    with simulated(StandIn(rejecting("authorize", by="an exception of its own"))) as system:
        assert run(system) == Compensated("authorize", "the customer is unknown")


def test_C5_a_no_that_a_failed_try_may_have_caused_is_cleared_up(tmp_path: Path) -> None:
    """The try before took the last units and got lost on the way back; they are given back."""
    world = StandIn(after=failing("reserve", 1))
    world.before = lambda function, _: False if function == "reserve" and world.called("reserve") > 1 else None
    with opened(tmp_path, world) as checkout:
        assert checkout.process_order(a_request()) is False
    assert all_or_nothing(world, "order-1", committed=False)


def test_C5_the_pauses_between_tries_grow_exponentially() -> None:
    """Each is as long as twice the one before at most, and chance shortens it."""
    world = StandIn(failing("reserve"))
    times: list[float] = []
    with simulated(world) as system:
        fails = world.before

        def noting(function: str, order_id: str) -> bool | None:
            times.extend([system.now_s] if function == "reserve" else [])
            return fails(function, order_id)

        world.before = noting
        assert run(system) == Compensated("reserve", "gave_up: ConnectionError")
    retry = CheckOut.plan.steps["reserve"].retry
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert len(pauses) == TRIES_MAX - 1
    for number, pause in enumerate(pauses):
        assert 0 < pause <= min(retry.cap_s, retry.base_s * 2**number)
    assert pauses[-1] > pauses[0]


@pytest.mark.parametrize("function", ["commit", "capture"])
@pytest.mark.parametrize("how", ["raises", "says no"])
def test_C5_what_is_decided_is_called_until_it_succeeds(function: str, how: str) -> None:
    """No failure, and no rejection, takes a committed order back."""
    world = StandIn(failing(function, 20))
    if how == "says no":
        world.before = lambda name, _: False if name == function and world.called(name) <= 20 else None
    with simulated(world) as system:
        handle = system.submit(CheckOut, PURCHASE, key="order-1")
        system.advance(120.0)
        assert isinstance(handle.result(), Completed)
    assert world.called(function) == 21
    assert all_or_nothing(world, "order-1", committed=True)


@pytest.mark.parametrize("undo", ["release", "void"])
@pytest.mark.parametrize("how", ["raises", "says no"])
def test_C5_what_is_taken_back_is_called_until_it_succeeds(undo: str, how: str) -> None:
    """However often that fails, nothing is left reserved or held."""
    rejected = {"release": "authorize", "void": "reserve"}[undo]
    fails = failing(undo, 20) if how == "raises" else None

    def trouble(function: str, order_id: str) -> bool | None:
        if function == rejected:
            return False
        if fails is not None:
            return fails(function, order_id)
        return False if function == undo and world.called(undo) <= 20 else None

    world = StandIn(trouble)
    with simulated(world) as system:
        handle = system.submit(CheckOut, PURCHASE, key="order-1")
        system.advance(120.0)
        assert isinstance(handle.result(), Compensated)
    assert world.called(undo) == 21
    assert all_or_nothing(world, "order-1", committed=False)


def test_C5_an_answer_that_comes_late_is_used() -> None:
    """The step was asked for again meanwhile; the function was not called again, and its first answer counts."""
    world = StandIn()
    with simulated(world, Schedule({"call outside #1": "late 8", "call outside #2": "late 8"})) as system:
        assert isinstance(run(system), Completed)
        assert "do reserve, attempt 2" in system.trace
        assert system.now_s >= 8.0
    assert [world.called(function) for function in FORWARD] == [1, 1]
    assert all_or_nothing(world, "order-1", committed=True)


def test_C5_a_call_that_never_comes_back_is_made_again() -> None:
    """Nobody waits for it for ever."""
    world = StandIn()
    with simulated(world, Schedule({"call outside #1": "hang"})) as system:
        assert isinstance(run(system), Completed)
    assert all_or_nothing(world, "order-1", committed=True)


def test_C5_functions_that_fail_at_random_leave_nothing_behind(tmp_path: Path) -> None:
    """They raise before or after their work, reject, and answer; every order is whole or not there at all."""
    dice = random.Random(1)
    answers: dict[str, bool] = {}

    def there(function: str, order_id: str) -> bool | None:
        if dice.random() < 0.2:
            raise TimeoutError(function)
        return False if function in FORWARD and dice.random() < 0.1 else None

    def back(function: str, order_id: str) -> None:
        if dice.random() < 0.2:
            raise ConnectionResetError(function)

    world = StandIn(there, back)
    orders = [f"order-{number}" for number in range(40)]
    with opened(tmp_path, world) as checkout:
        answers = dict(
            zip(orders, at_once([partial(checkout.process_order, a_request(order)) for order in orders]), strict=True)
        )
    assert set(answers.values()) == {True, False}
    for order_id, committed in answers.items():
        assert all_or_nothing(world, order_id, committed=committed), order_id


def test_C5_all_or_nothing_outside_whatever_goes_wrong() -> None:
    """Everything that may go wrong with the saga, one thing at a time, the process's death in a call among it."""
    world = StandIn()
    confirmed = "select count(*) from orders where state = 'confirmed'"
    check_saga(
        CheckOut,
        [Orders.spec(Faults(FaultPlan())), world.inventory.service, world.payment.service],
        [lambda system: all_or_nothing(world, "order-1", committed=system.query("orders", confirmed) == [(1,)])],
        given=PURCHASE,
        key="order-1",
        before=lambda system: world.forget(),
    )


# C6


def test_C6_reserve_and_authorize_wait_for_nobody_but_themselves(tmp_path: Path) -> None:
    """Each of the two functions returns only once the other has begun."""
    begun = {"reserve": threading.Event(), "authorize": threading.Event()}
    other = {"reserve": "authorize", "authorize": "reserve"}

    def wait(function: str, order_id: str) -> None:
        if function in begun:
            begun[function].set()
            if not begun[other[function]].wait(LONG_S):
                raise Rejected("alone")

    with opened(tmp_path, StandIn(wait)) as checkout:
        assert checkout.process_order(a_request()) is True


def test_C6_a_slow_order_does_not_hold_up_the_others(tmp_path: Path) -> None:
    """While one customer's bank thinks about it, another's order is committed."""
    goes_on, thinks = threading.Event(), threading.Event()

    def think(function: str, order_id: str) -> None:
        if (function, order_id) == ("authorize", "slow"):
            thinks.set()
            if not goes_on.wait(LONG_S):
                raise Rejected("nobody else came")

    with opened(tmp_path, StandIn(think)) as checkout:
        slow = checkout.submit(read_request(a_request("slow")))
        assert thinks.wait(LONG_S)
        assert checkout.process_order(a_request("quick"), timeout_s=LONG_S) is True
        assert not slow.done()
        goes_on.set()
        assert isinstance(slow.result(LONG_S), Completed)


# C7


def test_C7_products_that_nobody_sells_are_refused_here_too(tmp_path: Path) -> None:
    """If it was said which there are."""
    world = StandIn()
    inventory = replace(world.inventory, products={"1"})
    with Checkout(tmp_path, inventory, world.payment) as checkout:
        assert checkout.process_order(a_request()) is True
        with pytest.raises(InputError, match=r"items\[1\].product_id: wanted a product the shop sells, found 2"):
            checkout.process_order(a_request("order-2", (1, 1), (2, 1)))
    assert {order_id for _, order_id in world.calls} == {"order-1"}
