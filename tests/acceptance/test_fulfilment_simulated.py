"""Fulfilment on virtual time: what takes a while (F6), and everything that may go wrong, one thing at a time."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pykka
import pytest

from amends import Compensated, Results, step
from amends.demo.domain import PaymentInfo
from amends.demo.faults import FaultPlan, Faults
from amends.demo.messages import ResendConfirmation, ScheduleShipment
from amends.demo.services.notification import RESEND_AFTER_S
from amends.demo.systems.by_hand import BY_HAND
from amends.demo.systems.fulfilment import SAGAS, SERVICES, Fulfil, FulfilmentOrder, Functions
from amends.testing import SimulatedSystem, check_saga

ORDER = FulfilmentOrder("o1", {"apple": 2, "pear": 1}, "ann", PaymentInfo("account", "ann"), {"city": "Leeds"})
SPECS = [service.spec(Faults(FaultPlan())) for service in SERVICES]


class GoesOn(Fulfil, name="goes-on"):
    """An order whose customer is told before all is settled: one more thing comes after, and may fail."""

    @step(to="shipping", after=[Fulfil.confirm])
    def once_more(self, order: FulfilmentOrder, done: Results) -> ScheduleShipment:
        return ScheduleShipment(f"{order.order_id}-again", {})


@pytest.fixture
def system() -> Iterator[SimulatedSystem]:
    """The shop's sagas and services, ten apples and five pears."""
    with SimulatedSystem(sagas=[*SAGAS, GoesOn], services=SPECS) as system:
        stock_up(system)
        yield system
    assert pykka.ActorRegistry.get_all() == []


def functions(system: SimulatedSystem) -> Functions:
    """The customer's names, on a simulated system."""
    return Functions(
        lambda: cast("Any", SimpleNamespace(system=system, secret=bytes(32), new_id=system.world.clock.new_id))
    )


def stock_up(system: SimulatedSystem) -> None:
    """Ten apples at 1.25, five pears at 0.50."""
    shop = functions(system)
    shop.inventory.update({"apple": 10, "pear": 5})
    shop.item_prices.update({"apple": 1.25, "pear": 0.5})


def told(system: SimulatedSystem) -> list[tuple[str, str]]:
    """What customers were told, in order."""
    return cast("list[tuple[str, str]]", system.query("notification", "select order_id, kind from outbox order by id"))


# F1.


def test_F1_the_steps_run_one_after_the_other(system: SimulatedSystem) -> None:
    """Each in its service, and none before the one before it has answered."""
    handle = system.start(Fulfil, ORDER, key="o1")
    handle.result()
    assert system.effects(handle) == ["inventory.take", "payment.charge", "shipping.schedule", "notification.confirm"]


@pytest.mark.parametrize("failing", range(4))
def test_F1_what_was_done_is_undone_in_reverse_order(failing: int, system: SimulatedSystem) -> None:
    """And nothing else is."""
    planned = list(Fulfil.plan.steps.values())[failing]
    system.service(planned.to).refuses(planned.command, reason="no")
    handle = system.start(Fulfil, ORDER, key="o1")
    assert handle.result() == Compensated(planned.name, "no")
    does = ["inventory.take", "payment.charge", "shipping.schedule"][:failing]
    undoes = ["inventory.put_back", "payment.give_back", "shipping.call_off"][:failing]
    assert system.effects(handle) == [*does, *undoes[::-1]]


# F6.


def test_F6_the_undo_of_a_confirmation_tells_the_customer_again_after_the_delay(system: SimulatedSystem) -> None:
    """Once, and not a moment before."""
    functions(system).shipping_error_order_ids.add("o1-again")
    handle = system.start(GoesOn, ORDER, key="o1")
    system.run_until(lambda: told(system) == [("o1", "confirmation")])
    began_s = system.now_s
    system.run_until(lambda: len(told(system)) > 1)
    assert system.now_s - began_s == pytest.approx(RESEND_AFTER_S, abs=0.001)
    assert isinstance(handle.result(), Compensated)
    system.advance(10 * RESEND_AFTER_S)
    assert told(system) == [("o1", "confirmation"), ("o1", "resend")]


def test_F6_a_resend_by_hand_comes_after_the_delay_and_once(system: SimulatedSystem) -> None:
    """The call returns when it is done; a second call changes nothing more."""
    shop = functions(system)
    assert shop.send_confirmation_notification("o1", "ann") is True
    began_s = system.now_s
    for _ in range(2):
        shop.resend_confirmation_notification("o1", "ann")
        assert system.now_s - began_s == pytest.approx(RESEND_AFTER_S, abs=0.001)
        assert told(system) == [("o1", "confirmation"), ("o1", "resend")]


def test_F6_a_resend_outlives_the_process(system: SimulatedSystem) -> None:
    """One that dies while it waits is waited for by the next, and the customer is told once more and not twice."""
    shop = functions(system)
    shop.send_confirmation_notification("o1", "ann")
    system.start(BY_HAND[ResendConfirmation], ResendConfirmation("o1", "ann"))
    system.advance(RESEND_AFTER_S / 2)
    system.crash()
    system.restart()
    system.run_until_quiet()
    assert told(system) == [("o1", "confirmation"), ("o1", "resend")]


def test_F6_nobody_is_told_again_who_was_never_told(system: SimulatedSystem) -> None:
    """Nor does the call wait for anything (F7)."""
    began_s = system.now_s
    functions(system).resend_confirmation_notification("never", "ann")
    assert system.now_s - began_s < RESEND_AFTER_S / 2
    assert told(system) == []


# F9.


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("failing", range(4))
def test_F9_a_service_that_raises_and_raises_is_given_up_within_seconds(
    failing: int, after: bool, system: SimulatedSystem
) -> None:
    """As if it had said no, whether it raises before or after its work; what it did is taken back by its own."""
    planned = list(Fulfil.plan.steps.values())[failing]
    system.service(planned.to).raises(planned.command, after=after)
    began_s = system.now_s
    handle = system.start(Fulfil, ORDER, key="o1")
    assert isinstance(handle.result(), Compensated)
    assert system.now_s - began_s < 5.0
    assert functions(system).inventory == {"apple": 10, "pear": 5}
    system.check()


# All of it.


def stock_adds_up(system: SimulatedSystem) -> None:
    """Each unit is on the shelf, or with the one order."""
    left = units(system, "select item_id, on_hand from stock")
    taken = units(system, "select item_id, quantity from reservations where state = 'taken'")
    assert {item: left[item] + taken.get(item, 0) for item in left} == {"apple": 10, "pear": 5}, (left, taken)


def money_adds_up(system: SimulatedSystem) -> None:
    """What is revenue is what the order cost, if it holds; every movement sums to zero."""
    assert system.query("payment", "select 1 from entries group by order_id, movement having sum(amount_minor)") == []
    revenue = system.query("payment", "select coalesce(sum(amount_minor), 0) from entries where account = 'revenue'")
    assert revenue == [(300 if is_placed(system) else 0,)], revenue


def all_or_nothing(system: SimulatedSystem) -> None:
    """The goods, the record and the parcel agree."""
    placed = is_placed(system)
    levels = units(system, "select item_id, on_hand from stock")
    assert levels == ({"apple": 8, "pear": 4} if placed else {"apple": 10, "pear": 5})
    records = system.query("payment", "select order_id from records where record = 'processed'")
    scheduled = system.query("shipping", "select order_id from shipments where state = 'scheduled'")
    assert records == scheduled == ([("o1",)] if placed else [])


def told_once(system: SimulatedSystem) -> None:
    """Whose order holds was told so once; whose does not was told again at most once."""
    kinds = [kind for _, kind in told(system)]
    assert kinds == ["confirmation"] if is_placed(system) else kinds in ([], ["confirmation", "resend"]), kinds


def units(system: SimulatedSystem, sql: str) -> dict[str, int]:
    """Numbers by item."""
    return {str(item): int(cast("int", number)) for item, number in system.query("inventory", sql)}


def is_placed(system: SimulatedSystem) -> bool:
    """Whether the order of the history has completed."""
    [state] = [known.state for known in system.world.instances.values() if known.who == "check"]
    return state is not None and state.ended is not None and state.ended.completed


INVARIANTS = [stock_adds_up, money_adds_up, all_or_nothing, told_once]


def test_F9_nothing_that_goes_wrong_leaves_half_an_order() -> None:
    """Each place where something may go wrong, on the way forward and on each way back."""
    report = check_saga(Fulfil, SPECS, INVARIANTS, given=ORDER, before=stock_up, sagas=SAGAS[1:])
    assert len(report.tried) > 100
