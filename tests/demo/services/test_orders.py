"""Orders: the book of what was asked for."""

from collections.abc import Iterator
from typing import Any

import pytest

from amends import Compensated, Completed, Done, Handle, Outcome, Refused, Results, Saga, pivot, retriable, step
from amends.demo.domain import Money
from amends.demo.faults import FaultPlan, Faults, InjectedFault
from amends.demo.messages import AwaitApproval, ConfirmOrder, CreateOrder, Line, RecordApproval, TakeOverOrder
from amends.demo.services.orders import Orders
from amends.demo.versioned import WrongState
from amends.testing import SimulatedSystem

CREATE = CreateOrder("o-1", "u-1", (Line("A", 2, 250), Line("B", 1)), Money(500, "GBP"))


def book(orders: Orders) -> list[tuple[Any, ...]]:
    """What stands in the book."""
    return orders.db.execute("select order_id, state, amount_minor, shipping_minor, version from orders").fetchall()


def test_an_order_is_pending_and_then_confirmed(opened: Any) -> None:
    """The confirmation brings what shipping costs."""
    orders = opened(Orders)
    assert orders.create(CREATE) == Done()
    assert book(orders) == [("o-1", "pending", 500, None, 1)]
    assert orders.confirm(ConfirmOrder("o-1", Money(395, "GBP"))) == Done()
    assert book(orders) == [("o-1", "confirmed", 500, 395, 2)]


def test_an_order_without_a_parcel_is_confirmed_too(opened: Any) -> None:
    """Then nothing is said of what shipping costs."""
    orders = opened(Orders)
    orders.create(CREATE)
    assert orders.confirm(ConfirmOrder("o-1")) == Done()
    assert book(orders) == [("o-1", "confirmed", 500, None, 2)]


def test_a_created_order_can_be_cancelled_but_not_confirmed_then(opened: Any) -> None:
    """What was undone stays undone."""
    orders = opened(Orders)
    orders.create(CREATE)
    orders.cancel(CREATE, None)
    assert book(orders) == [("o-1", "cancelled", 500, None, 2)]
    with pytest.raises(WrongState):
        orders.confirm(ConfirmOrder("o-1", Money(395, "GBP")))


def test_an_order_number_is_taken_once(opened: Any) -> None:
    """Someone else's order under the same number is refused."""
    orders = opened(Orders)
    orders.create(CREATE)
    assert orders.create(CREATE) == Refused("order_exists")


def test_the_lines_are_kept_and_can_be_read_by_sql(opened: Any) -> None:
    """The book is of use to people."""
    orders = opened(Orders)
    orders.create(CREATE)
    each = "json_each(items)" if orders.db.dialect == "sqlite" else "json_array_elements(items::json)"
    lines = orders.db.execute(f"select value ->> 'item_id', cast(value ->> 'quantity' as bigint) from orders, {each}")
    assert lines.fetchall() == [("A", 2), ("B", 1)]


def test_a_fault_strikes_after_the_write(opened: Any) -> None:
    """Where it hurts most."""
    orders = opened(Orders, raises=1.0)
    with pytest.raises(InjectedFault):
        orders.create(CREATE)
    assert len(book(orders)) == 1


def test_an_order_that_was_taken_over_is_confirmed_like_any_other(opened: Any) -> None:
    """Who took it over has the last word."""
    orders = opened(Orders)
    orders.create(CREATE)
    assert orders.take_over(TakeOverOrder("o-1")) == Done()
    assert book(orders) == [("o-1", "handed_over", 500, None, 2)]
    assert orders.confirm(ConfirmOrder("o-1")) == Done()
    assert book(orders) == [("o-1", "confirmed", 500, None, 3)]


def test_who_took_an_order_over_cancels_it(opened: Any) -> None:
    """And nobody else: who made it no longer can."""
    orders = opened(Orders)
    orders.create(CREATE)
    orders.take_over(TakeOverOrder("o-1"))
    with pytest.raises(WrongState, match="handed_over, wanted pending"):
        orders.cancel(CREATE, None)
    orders.cancel_taken_over(TakeOverOrder("o-1"), None)
    assert book(orders) == [("o-1", "cancelled", 500, None, 3)]


def test_only_a_pending_order_can_be_taken_over(opened: Any) -> None:
    """By one, once; any other answer is a business no."""
    orders = opened(Orders)
    assert orders.take_over(TakeOverOrder("o-1")) == Refused("unknown_order")
    orders.create(CREATE)
    orders.take_over(TakeOverOrder("o-1"))
    assert orders.take_over(TakeOverOrder("o-1")) == Refused("order_handed_over")
    orders.confirm(ConfirmOrder("o-1"))
    assert orders.take_over(TakeOverOrder("o-1")) == Refused("order_confirmed")


def test_the_first_word_on_an_order_counts(opened: Any) -> None:
    """Of several about the same; what is said about something else is another word."""
    orders = opened(Orders)
    orders.create(CREATE)
    assert orders.record_approval(RecordApproval("o-1", "check", False, "ann")) == Done(True)
    assert orders.record_approval(RecordApproval("o-1", "check", True, "ben")) == Done(False)
    assert orders.record_approval(RecordApproval("o-1", "supplier", True, "ben")) == Done(True)
    said = orders.db.execute("select of, approved, by, version from approvals").fetchall()
    assert said == [("check", 0, "ann", 1), ("supplier", 1, "ben", 1)]


def test_nothing_is_said_to_an_order_nobody_knows(opened: Any) -> None:
    """A word about a typing error would wait for ever."""
    orders = opened(Orders)
    assert orders.record_approval(RecordApproval("o-9", "check", True, "ann")) == Refused("unknown_order")
    assert orders.db.execute("select count(*) from approvals").get == 0


# Waiting, in a running system.


class Enter(Saga, name="enter"):
    """An order in the book."""

    input: CreateOrder

    @step(to="orders")
    def create(self, order: CreateOrder, done: Results) -> CreateOrder:
        return order


class Decide(Saga, name="decide"):
    """An order that is confirmed if somebody approves."""

    input: AwaitApproval

    @step(to="orders", timeout_s=3600.0)
    def wait(self, asked: AwaitApproval, done: Results) -> AwaitApproval:
        return asked

    @retriable(to="orders")
    def confirm(self, asked: AwaitApproval, done: Results) -> ConfirmOrder:
        return ConfirmOrder(asked.order_id)


class Say(Saga, name="say"):
    """Somebody's word."""

    input: RecordApproval

    @pivot(to="orders")
    def record(self, said: RecordApproval, done: Results) -> RecordApproval:
        return said


@pytest.fixture
def system() -> Iterator[SimulatedSystem]:
    """A running shop that is nothing but its book, with one order in it."""
    orders = Orders.spec(Faults(FaultPlan()))
    with SimulatedSystem(sagas=[Enter, Decide, Say], services=[orders]) as running:
        running.run(Enter, CREATE)
        yield running


def waiting_for(system: SimulatedSystem, of: str = "check") -> Handle:
    """An instance that waits for somebody's word on the order."""
    handle = system.start(Decide, AwaitApproval("o-1", of))
    system.advance(600.0)
    return handle


def say(system: SimulatedSystem, approved: bool, by: str = "ann") -> Outcome:
    """Somebody says yes or no to the order, in the check."""
    return system.run(Say, RecordApproval("o-1", "check", approved, by))


def waits(system: SimulatedSystem) -> int:
    """How many steps wait for a word."""
    return len(system.query("orders", "select * from waiting"))


def ordered(system: SimulatedSystem) -> object:
    """The state of the order."""
    return system.query("orders", "select state from orders")[0][0]


def test_an_order_waits_until_somebody_approves(system: SimulatedSystem) -> None:
    """The step comes to its end with the word itself, and tells who said it."""
    handle = waiting_for(system)
    assert (waits(system), ordered(system)) == (1, "pending")
    before_s = system.now_s
    say(system, approved=True)
    outcome = handle.result()
    assert isinstance(outcome, Completed)
    assert outcome.results.of("wait", str) == "ann"
    assert (waits(system), ordered(system)) == (0, "confirmed")
    assert system.now_s - before_s < 60.0


def test_a_rejection_is_a_business_no(system: SimulatedSystem) -> None:
    """It says what was refused, and nobody waits any more."""
    handle = waiting_for(system)
    say(system, approved=False)
    assert handle.result() == Compensated("wait", "check_refused")
    assert (waits(system), ordered(system)) == (0, "pending")


@pytest.mark.parametrize("approved", [True, False])
def test_a_word_may_come_before_anybody_waits_for_it(system: SimulatedSystem, approved: bool) -> None:
    """It is found there, whatever it is."""
    say(system, approved)
    outcome = system.run(Decide, AwaitApproval("o-1", "check"))
    assert isinstance(outcome, Completed) if approved else outcome == Compensated("wait", "check_refused")
    assert waits(system) == 0


def test_a_later_word_changes_nothing_for_who_waits(system: SimulatedSystem) -> None:
    """The first was no."""
    handle = waiting_for(system)
    say(system, approved=False)
    say(system, approved=True, by="ben")
    assert handle.result() == Compensated("wait", "check_refused")


def test_another_word_helps_nobody(system: SimulatedSystem) -> None:
    """Who waits for the supplier waits on, whether the check was before or comes meanwhile."""
    before = waiting_for(system, of="supplier")
    say(system, approved=True)
    after = waiting_for(system, of="supplier")
    assert not before.done()
    assert not after.done()
    assert waits(system) == 2


def test_who_is_cancelled_waits_no_more(system: SimulatedSystem) -> None:
    """Its undo takes the waiting back, and a word after that finds nobody."""
    handle = waiting_for(system)
    handle.cancel()
    assert isinstance(handle.result(), Compensated)
    assert waits(system) == 0
    say(system, approved=True)
    assert ordered(system) == "pending"


def test_waiting_outlives_a_crash(system: SimulatedSystem) -> None:
    """A word said to the next process reaches the instance of the one before."""
    waiting_for(system)
    system.crash()
    system.restart()
    say(system, approved=True)
    system.run_until_quiet()
    assert (waits(system), ordered(system)) == (0, "confirmed")


def test_nobody_waits_for_a_word_on_an_order_nobody_knows(system: SimulatedSystem) -> None:
    """None could ever come."""
    assert system.run(Decide, AwaitApproval("o-9", "check")) == Compensated("wait", "unknown_order")
