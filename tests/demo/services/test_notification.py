"""Notification: what customers are told, and told again."""

from collections.abc import Iterator
from typing import Any

import pytest

from amends import Compensated, Completed, Done, Results, Saga, step
from amends.demo.domain import Money
from amends.demo.faults import FaultPlan, Faults
from amends.demo.messages import CreateOrder, NotifyCustomer, ResendConfirmation, SendConfirmation
from amends.demo.services.notification import RESEND_AFTER_S, Notification
from amends.demo.services.orders import Orders
from amends.testing import SimulatedSystem


def test_a_confirmation_is_written_to_the_outbox(opened: Any) -> None:
    """It says what the order costs and waits for the mailer."""
    notification = opened(Notification)
    assert notification.notify(NotifyCustomer("o-1", "u-1", Money(500, "GBP"), Money(395, "GBP"))) == Done()
    rows = notification.db.execute("select order_id, user_id, kind, body, state from outbox").fetchall()
    body = "Your order o-1 is confirmed: 500 + 395 for shipping, in minor units of GBP."
    assert rows == [("o-1", "u-1", "confirmation", body, "queued")]


def test_a_confirmation_without_a_parcel_does_not_speak_of_one(opened: Any) -> None:
    """Only of what the goods cost."""
    notification = opened(Notification)
    assert notification.notify(NotifyCustomer("o-1", "u-1", Money(500, "GBP"))) == Done()
    body = "Your order o-1 is confirmed: 500, in minor units of GBP."
    assert notification.db.execute("select body from outbox").get == body


def test_a_confirmation_can_say_nothing_of_amounts(opened: Any) -> None:
    """That the order holds, and no more."""
    notification = opened(Notification)
    assert notification.confirm(SendConfirmation("o-1", "u-1")) == Done()
    rows = notification.db.execute("select order_id, user_id, kind, body, state from outbox").fetchall()
    assert rows == [("o-1", "u-1", "confirmation", "Your order o-1 is confirmed.", "queued")]


# Telling again, in a running system.


class Tell(Saga, name="tell"):
    """A confirmation, and an order that may be refused after it."""

    input: SendConfirmation

    @step(to="notification")
    def send(self, told: SendConfirmation, done: Results) -> SendConfirmation:
        return told

    @step(to="orders", after=[send])
    def create(self, told: SendConfirmation, done: Results) -> CreateOrder:
        return CreateOrder(told.order_id, told.user_id, (), Money(0, "GBP"))


class TellAgain(Saga, name="tell-again"):
    """Somebody asks for the confirmation once more, and may think better of it."""

    input: ResendConfirmation

    @step(to="notification")
    def resend(self, again: ResendConfirmation, done: Results) -> ResendConfirmation:
        return again


@pytest.fixture
def system() -> Iterator[SimulatedSystem]:
    """A running shop with an outbox."""
    faults = Faults(FaultPlan())
    services = [Notification.spec(faults), Orders.spec(faults)]
    with SimulatedSystem(sagas=[Tell, TellAgain], services=services) as running:
        yield running


TOLD = SendConfirmation("o-1", "u-1")
AGAIN = ResendConfirmation("o-1", "u-1")


def kinds(system: SimulatedSystem) -> list[object]:
    """What was written to the outbox, in order."""
    return [kind for (kind,) in system.query("notification", "select kind from outbox order by id")]


def resends(system: SimulatedSystem) -> list[tuple[Any, ...]]:
    """What is to be told again, and the version of that."""
    return system.query("notification", "select order_id, state, version from resends")


def test_the_undo_of_a_confirmation_sends_it_again_after_a_while(system: SimulatedSystem) -> None:
    """Not at once, and before the instance has ended."""
    system.service("orders").refuses(CreateOrder, reason="no")
    handle = system.start(Tell, TOLD)
    system.run_until(lambda: bool(resends(system)))
    begun_s = system.now_s
    system.advance(RESEND_AFTER_S / 2)
    assert kinds(system) == ["confirmation"]
    assert handle.result() == Compensated("create", "no")
    assert kinds(system) == ["confirmation", "resend"]
    assert RESEND_AFTER_S <= system.now_s - begun_s < RESEND_AFTER_S + 1.0


def test_a_confirmation_is_sent_again_when_somebody_asks(system: SimulatedSystem) -> None:
    """To the same customer, after the same while."""
    system.run(Tell, TOLD)
    begun_s = system.now_s
    assert isinstance(system.run(TellAgain, AGAIN), Completed)
    assert kinds(system) == ["confirmation", "resend"]
    assert RESEND_AFTER_S <= system.now_s - begun_s < RESEND_AFTER_S + 1.0
    assert resends(system) == [("o-1", "written", 2)]


def test_a_confirmation_is_sent_again_once(system: SimulatedSystem) -> None:
    """However often it is asked for, one after the other or at the same time, and by the undo as well."""
    system.service("orders").refuses(CreateOrder)
    handles = [system.start(Tell, TOLD), system.start(TellAgain, AGAIN), system.start(TellAgain, AGAIN)]
    system.advance(RESEND_AFTER_S / 2)
    assert kinds(system) == ["confirmation"]
    system.run_until_quiet()
    assert all(handle.done() for handle in handles)
    assert isinstance(system.run(TellAgain, AGAIN), Completed)
    assert kinds(system) == ["confirmation", "resend"]


def test_what_was_never_sent_is_not_sent_again(system: SimulatedSystem) -> None:
    """Another order's confirmation does not count, and nobody waits."""
    system.run(Tell, SendConfirmation("o-2", "u-1"))
    begun_s = system.now_s
    assert isinstance(system.run(TellAgain, AGAIN), Completed)
    assert (kinds(system), resends(system)) == (["confirmation"], [])
    assert system.now_s - begun_s < RESEND_AFTER_S


def test_who_thinks_better_of_it_in_time_is_not_told_again(system: SimulatedSystem) -> None:
    """The undo drops what is not due yet."""
    system.run(Tell, TOLD)
    handle = system.start(TellAgain, AGAIN)
    system.run_until(lambda: bool(resends(system)))
    handle.cancel()
    assert isinstance(handle.result(), Compensated)
    system.advance(60.0)
    assert (kinds(system), resends(system)) == (["confirmation"], [])


def test_a_crash_does_not_begin_the_while_anew(system: SimulatedSystem) -> None:
    """When it is due stands in the database: whoever asks after that need not wait."""
    system.run(Tell, TOLD)
    system.start(TellAgain, AGAIN)
    system.run_until(lambda: bool(resends(system)))
    due_at = system.query("notification", "select due_at from resends")
    system.crash()
    system.restart()
    system.run_until(lambda: len(kinds(system)) == 2, within_s=60.0)
    assert system.query("notification", "select due_at from resends") == due_at
    system.run_until_quiet()
    assert kinds(system) == ["confirmation", "resend"]
