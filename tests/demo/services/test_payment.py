"""Payment: double entry, and no card anywhere."""

from typing import Any

import pytest

from amends import Done, Refused
from amends.demo.domain import Money
from amends.demo.messages import AuthorizePayment, CapturePayment
from amends.demo.services.payment import Payment
from amends.demo.versioned import WrongState

AUTHORIZE = AuthorizePayment("o-1", "u-1", "account", "17850", Money(500, "GBP"))


def balances(payment: Payment) -> dict[str, int]:
    """What stands on each account."""
    return dict(payment.db.execute("select account, sum(amount_minor) from entries group by account"))


def state(payment: Payment) -> str:
    """The state of the one payment."""
    return str(payment.db.execute("select state from payments").fetchall()[0][0])


def test_a_captured_amount_is_held_first_and_then_revenue(opened: Any) -> None:
    """Money moves from the customer to what is held and from there to revenue."""
    payment = opened(Payment)
    assert payment.authorize(AUTHORIZE) == Done()
    assert (state(payment), balances(payment)) == ("held", {"customer": -500, "held": 500})
    assert payment.capture(CapturePayment("o-1")) == Done()
    assert (state(payment), balances(payment)) == ("captured", {"customer": -500, "held": 0, "revenue": 500})


def test_a_voided_amount_is_the_customers_again(opened: Any) -> None:
    """The ledger shows both movements, and nothing is left of them."""
    payment = opened(Payment)
    payment.authorize(AUTHORIZE)
    payment.void(AUTHORIZE, None)
    assert (state(payment), balances(payment)) == ("voided", {"customer": 0, "held": 0})


def test_money_moves_once(opened: Any) -> None:
    """What was captured can be neither captured again nor voided."""
    payment = opened(Payment)
    payment.authorize(AUTHORIZE)
    payment.capture(CapturePayment("o-1"))
    with pytest.raises(WrongState):
        payment.capture(CapturePayment("o-1"))
    with pytest.raises(WrongState):
        payment.void(AUTHORIZE, None)
    assert balances(payment) == {"customer": -500, "held": 0, "revenue": 500}


def test_a_declined_payment_moves_nothing(opened: Any) -> None:
    """A business no."""
    payment = opened(Payment, declined=1.0)
    assert payment.authorize(AUTHORIZE) == Refused("card_declined")
    assert balances(payment) == {}
