"""Payment: double entry, and no card anywhere."""

from typing import Any

import pytest

from amends import Done, Refused
from amends.demo.domain import Money
from amends.demo.messages import (
    AuthorizePayment,
    Blacklist,
    CapturePayment,
    ChargePayment,
    PaymentRecords,
    RefundPayment,
    SetBlacklist,
    SetLimits,
    SetPaymentRecords,
)
from amends.demo.services.payment import Payment
from amends.demo.versioned import WrongState
from tests.demo.services.meddling import before_each, someone_changes

AUTHORIZE = AuthorizePayment("o-1", "u-1", "account", "17850", Money(500, "GBP"))
CHARGE = ChargePayment("o-1", "u-1", "account", "17850", Money(500, "GBP"))


def balances(payment: Payment) -> dict[str, int]:
    """What stands on each account."""
    return dict(payment.db.execute("select account, sum(amount_minor) from entries group by account"))


def state(payment: Payment) -> str:
    """The state of the one payment."""
    return str(payment.db.execute("select state from payments").fetchall()[0][0])


def movements(payment: Payment) -> list[tuple[str, str, int]]:
    """The ledger, in order."""
    rows = payment.db.execute("select movement, account, amount_minor from entries order by id")
    return [(str(movement), str(account), int(str(minor))) for movement, account, minor in rows]


def used(payment: Payment) -> list[tuple[Any, ...]]:
    """What counts against each account's limit, and the version of that."""
    return payment.db.execute("select account, limit_minor, used_minor, version from limits order by 1").fetchall()


def a_payment(number: int, minor: int, account: str = "17850") -> AuthorizePayment:
    """One of several orders' payments."""
    return AuthorizePayment(f"o-{number}", "u-1", "account", account, Money(minor, "GBP"))


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


def test_a_charge_goes_from_the_customer_to_revenue_at_once(opened: Any) -> None:
    """One movement, and the order's record says so."""
    payment = opened(Payment)
    assert payment.charge(CHARGE) == Done()
    assert (state(payment), balances(payment)) == ("charged", {"customer": -500, "revenue": 500})
    assert [movement for movement, _, _ in movements(payment)] == ["charge", "charge"]
    assert payment.records(PaymentRecords()) == {"o-1": "processed"}


def test_an_order_is_charged_once(opened: Any) -> None:
    """Whoever charges it again hears that it is done, and no money moves."""
    payment = opened(Payment)
    payment.charge(CHARGE)
    assert payment.charge(CHARGE) == Done()
    assert balances(payment) == {"customer": -500, "revenue": 500}


@pytest.mark.parametrize(
    "terms",
    [
        ("u-1", "account", "17850", Money(501, "GBP")),
        ("u-1", "account", "17850", Money(500, "EUR")),
        ("u-2", "account", "17850", Money(500, "GBP")),
        ("u-1", "card_token", "17850", Money(500, "GBP")),
        ("u-1", "account", "17851", Money(500, "GBP")),
    ],
    ids=["amount", "currency", "user", "method", "account"],
)
def test_an_order_is_charged_on_one_set_of_terms(opened: Any, terms: Any) -> None:
    """Whoever charges it on others hears that it was not, and the reason repeats none of them."""
    payment = opened(Payment)
    payment.charge(CHARGE)
    assert payment.charge(ChargePayment("o-1", *terms)) == Refused("order_exists: it was charged on other terms")
    assert (state(payment), balances(payment)) == ("charged", {"customer": -500, "revenue": 500})


@pytest.mark.parametrize("by_command", [False, True])
def test_a_refund_gives_the_charge_back_and_empties_the_record(opened: Any, by_command: bool) -> None:
    """As the undo of a charge and as a command of its own."""
    payment = opened(Payment)
    payment.charge(CHARGE)
    if by_command:
        assert payment.refund(RefundPayment("o-1")) == Done()
    else:
        payment.give_back(CHARGE, None)
    assert (state(payment), balances(payment)) == ("refunded", {"customer": 0, "revenue": 0})
    assert payment.records(PaymentRecords()) == {"o-1": None}


def test_an_order_is_refunded_once(opened: Any) -> None:
    """By command twice and then by the undo: the money comes back once."""
    payment = opened(Payment)
    payment.charge(CHARGE)
    payment.refund(RefundPayment("o-1"))
    before = payment.db.total_changes()
    assert payment.refund(RefundPayment("o-1")) == Done()
    payment.give_back(CHARGE, None)
    assert payment.db.total_changes() == before


def test_what_was_never_charged_is_not_refunded(opened: Any) -> None:
    """An order nobody knows, and one whose money is only held: nothing is written, no record either."""
    payment = opened(Payment)
    payment.authorize(AUTHORIZE)
    before = payment.db.total_changes()
    assert payment.refund(RefundPayment("o-1")) == Done()
    assert payment.refund(RefundPayment("o-2")) == Done()
    assert payment.db.total_changes() == before


def test_a_refunded_order_can_be_charged_again(opened: Any) -> None:
    """At the terms of the new charge; the ledger keeps the old ones."""
    payment = opened(Payment)
    payment.charge(CHARGE)
    payment.refund(RefundPayment("o-1"))
    assert payment.charge(ChargePayment("o-1", "u-1", "account", "17850", Money(300, "GBP"))) == Done()
    assert (state(payment), balances(payment)) == ("charged", {"customer": -300, "revenue": 300})
    assert payment.records(PaymentRecords()) == {"o-1": "processed"}


def test_what_is_held_can_not_be_charged_as_well(opened: Any) -> None:
    """A transition the shop does not know is not made."""
    payment = opened(Payment)
    payment.authorize(AUTHORIZE)
    with pytest.raises(WrongState, match="held, wanted refunded"):
        payment.charge(CHARGE)


def test_an_order_on_the_blacklist_is_refused(opened: Any) -> None:
    """Until it is taken off; nothing is written meanwhile."""
    payment = opened(Payment)
    payment.set_blacklist(SetBlacklist(add=("o-1",)))
    assert payment.charge(CHARGE) == Refused("blacklisted")
    assert (balances(payment), payment.records(PaymentRecords())) == ({}, {})
    payment.set_blacklist(SetBlacklist(remove=("o-1",)))
    assert payment.charge(CHARGE) == Done()


def test_a_planned_decline_refuses_a_charge_too(opened: Any) -> None:
    """The fault looks like a bank's no."""
    payment = opened(Payment, declined=1.0)
    assert payment.charge(CHARGE) == Refused("card_declined")
    assert balances(payment) == {}


def test_the_blacklist_keeps_the_order_in_which_it_grew(opened: Any) -> None:
    """What stands on it already keeps its place; what comes back goes to the end."""
    payment = opened(Payment)
    payment.set_blacklist(SetBlacklist(add=("o-3", "o-1")))
    payment.set_blacklist(SetBlacklist(add=("o-2", "o-3")))
    assert payment.blacklist(Blacklist()) == ["o-3", "o-1", "o-2"]
    payment.set_blacklist(SetBlacklist(remove=("o-3", "o-9")))
    payment.set_blacklist(SetBlacklist(add=("o-3",)))
    assert payment.blacklist(Blacklist()) == ["o-1", "o-2", "o-3"]


def test_records_behave_like_a_dict(opened: Any) -> None:
    """A changed key keeps its place; one removed and set again goes to the end."""
    payment = opened(Payment)
    payment.set_records(SetPaymentRecords({"o-3": "processed", "o-1": None, "o-2": "odd"}))
    payment.set_records(SetPaymentRecords({"o-3": None}, remove=("o-1", "o-9")))
    payment.set_records(SetPaymentRecords({"o-1": "processed"}))
    assert list(payment.records(PaymentRecords()).items()) == [("o-3", None), ("o-2", "odd"), ("o-1", "processed")]


def test_the_record_of_one_order_can_be_asked_for(opened: Any) -> None:
    """Those that are known, of those that were named; no name, no record."""
    payment = opened(Payment)
    payment.set_records(SetPaymentRecords({"o-3": "processed", "o-1": None, "o-2": "odd"}))
    assert payment.records(PaymentRecords(("o-1", "o-3", "o-9"))) == {"o-3": "processed", "o-1": None}
    assert payment.records(PaymentRecords(())) == {}


def test_an_account_pays_up_to_its_limit(opened: Any) -> None:
    """What is held, captured and charged counts; what is above the limit is refused and moves nothing."""
    payment = opened(Payment)
    payment.set_limits(SetLimits({"17850": 1000}))
    assert payment.authorize(a_payment(1, 400)) == Done()
    assert payment.authorize(a_payment(2, 601)) == Refused("insufficient_funds")
    payment.capture(CapturePayment("o-1"))
    assert payment.charge(ChargePayment("o-3", "u-1", "account", "17850", Money(601, "GBP"))) == Refused(
        "insufficient_funds"
    )
    assert payment.charge(ChargePayment("o-4", "u-1", "account", "17850", Money(600, "GBP"))) == Done()
    assert payment.authorize(a_payment(5, 1)) == Refused("insufficient_funds")
    assert balances(payment) == {"customer": -1000, "held": 0, "revenue": 1000}
    assert used(payment) == [("17850", 1000, 1000, 3)]


def test_a_void_and_a_refund_free_the_limit_again(opened: Any) -> None:
    """What was given back can be spent again."""
    payment = opened(Payment)
    payment.set_limits(SetLimits({"17850": 500}))
    payment.authorize(AUTHORIZE)
    payment.void(AUTHORIZE, None)
    again = ChargePayment("o-2", "u-1", "account", "17850", Money(500, "GBP"))
    assert payment.charge(again) == Done()
    payment.give_back(again, None)
    assert payment.authorize(a_payment(3, 500)) == Done()
    assert used(payment) == [("17850", 500, 500, 6)]


def test_a_limit_counts_what_was_paid_before_it_was_set(opened: Any) -> None:
    """Of each account its own payments, and none that were given back."""
    payment = opened(Payment)
    payment.authorize(a_payment(1, 100))
    payment.authorize(a_payment(2, 200))
    payment.void(a_payment(2, 200), None)
    payment.authorize(a_payment(3, 300, account="other"))
    payment.charge(ChargePayment("o-4", "u-1", "account", "17850", Money(400, "GBP")))
    payment.set_limits(SetLimits({"17850": 1000, "nobody's": 0}))
    assert used(payment) == [("17850", 1000, 500, 1), ("nobody's", 0, 0, 1)]


def test_a_limit_can_be_changed_and_lifted(opened: Any) -> None:
    """A changed one keeps what counts against it; an account whose limit is lifted, or never was, pays anything."""
    payment = opened(Payment)
    payment.set_limits(SetLimits({"17850": 1000, "other": 0}))
    payment.authorize(a_payment(1, 400))
    payment.set_limits(SetLimits({"17850": 500, "other": None}))
    assert payment.authorize(a_payment(2, 101)) == Refused("insufficient_funds")
    assert payment.authorize(a_payment(3, 2**60, account="other")) == Done()
    assert used(payment) == [("17850", 500, 400, 3)]


@pytest.mark.parametrize("undo", ["void", "refund"])
def test_two_writers_of_one_limit_lose_nothing_that_is_given_back(opened: Any, undo: str) -> None:
    """A row that changed between the read and the write is read again."""
    payment = opened(Payment)
    payment.set_limits(SetLimits({"17850": 1000}))
    if undo == "void":
        payment.authorize(AUTHORIZE)
        tried = someone_changes(payment.db, "limits")
        payment.void(AUTHORIZE, None)
    else:
        payment.charge(CHARGE)
        tried = someone_changes(payment.db, "limits")
        payment.refund(RefundPayment("o-1"))
    assert len(tried) == 2, "it was not tried again"
    assert used(payment) == [("17850", 1000, 0, 4)]


def test_what_is_given_back_is_never_above_the_limit(opened: Any) -> None:
    """Not if that is lower by now than what is still used."""
    payment = opened(Payment)
    payment.authorize(a_payment(1, 400))
    payment.authorize(a_payment(2, 300))
    payment.set_limits(SetLimits({"17850": 100}))
    payment.void(a_payment(1, 400), None)
    assert used(payment) == [("17850", 100, 300, 2)]


def test_two_writers_of_one_limit_lose_nothing(opened: Any) -> None:
    """A row that changed between the read and the write is read again, and then the limit may be too near."""
    payment = opened(Payment)
    payment.set_limits(SetLimits({"17850": 1000}))
    db, left = payment.db, [1]

    def someone_pays(sql: str, _: object) -> None:
        if sql.startswith("update limits") and left[0]:
            left[0] -= 1
            db.execute("update limits set used_minor = 600, version = version + 1 where account = '17850'")

    before_each(db, someone_pays)
    assert payment.authorize(AUTHORIZE) == Refused("insufficient_funds")
    assert used(payment) == [("17850", 1000, 600, 2)]
