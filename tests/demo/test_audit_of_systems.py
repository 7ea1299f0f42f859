"""The audit's question about each order: is what every service says of it what its system's saga came to?"""

from collections.abc import Iterator

import apsw
import pytest

from amends.actors.journal.sqlite import SCRIPTS
from amends.demo.audit import ENDS, SAGAS, findings
from amends.demo.databases import SERVICES, attach_unused

ROWS = {
    "orders": "insert into orders.orders (order_id, user_id, items, amount_minor, currency, state) "
    "values ('o', 'u', '[]', 7, 'GBP', ?)",
    "inventory": "insert into inventory.reservations (order_id, item_id, quantity, state) values ('o', 'A', 2, ?)",
    "payment": "insert into payment.payments (order_id, user_id, method, account, amount_minor, currency, state) "
    "values ('o', 'u', 'account', 'a', 7, 'GBP', ?)",
    "shipping": "insert into shipping.shipments (order_id, address, state) values ('o', '{}', ?)",
    "notification": "insert into notification.outbox (order_id, user_id, kind, body, state) "
    "values ('o', 'u', ?, '', 'queued')",
}
BETWEEN = {"orders": "pending", "inventory": "held", "payment": "held", "shipping": "prepared"}
KINDS = {"told": ["confirmation"], "told again": ["confirmation", "resend"]}


@pytest.fixture
def db() -> Iterator[apsw.Connection]:
    """Databases in which nothing has happened."""
    made = apsw.Connection(":memory:")
    for service in SERVICES:
        attach_unused(made, service)
    journal = apsw.Connection(":memory:")
    for script in SCRIPTS:
        journal.execute(script)
    made.execute("attach ':memory:' as journal")
    made.deserialize("journal", journal.serialize("main"))
    yield made
    made.close()


def ended(db: apsw.Connection, saga: str, state: str, at: float = 1.0, key: str = "o") -> None:
    """An instance in the journal."""
    db.execute(
        "insert into journal.instances values (?, ?, 1, ?, ?, ?, ?)", (f"{saga}-{at}", saga, key, state, at, at + 1)
    )


def says(db: apsw.Connection, service: str, state: str) -> None:
    """What a service has of the order."""
    for value in KINDS[state] if service == "notification" else [state]:
        db.execute(ROWS[service], (value,))


def is_off(db: apsw.Connection, check: str = "all_or_nothing") -> bool:
    """Whether the check finds the order."""
    (found,) = [finding for finding in findings(db) if finding.check == check]
    return bool(found.rows)


def place(db: apsw.Connection, saga: str, *, without: str = "") -> None:
    """The order, placed by a saga, as all services but one have it in the end."""
    ended(db, saga, "completed")
    for service in SAGAS[saga]:
        if service != without:
            says(db, service, ENDS[service][0][-1])


@pytest.mark.parametrize("saga", SAGAS)
def test_an_order_that_was_placed_is_done_in_every_service_its_system_uses(db: apsw.Connection, saga: str) -> None:
    """And nowhere else is anything known of it."""
    place(db, saga)
    assert not is_off(db)
    for service in set(SERVICES) - set(SAGAS[saga]):
        with db:
            says(db, service, ENDS[service][0][0])
            assert is_off(db), service
            db.execute(f"delete from {ROWS[service].split()[2]}")


@pytest.mark.parametrize(("saga", "service"), [(saga, service) for saga in SAGAS for service in SAGAS[saga]])
def test_no_service_may_lag_behind(db: apsw.Connection, saga: str, service: str) -> None:
    """Nothing, something in between, or the opposite: all of it is off."""
    place(db, saga, without=service)
    assert is_off(db)
    wrong = {BETWEEN.get(service), *ENDS[service][1]} - {None, *ENDS[service][0]}
    for state in wrong:
        says(db, service, str(state))
        assert is_off(db), state
        db.execute(f"delete from {ROWS[service].split()[2]}")


@pytest.mark.parametrize(("saga", "service"), [(saga, service) for saga in SAGAS for service in SAGAS[saga]])
def test_an_order_that_was_not_placed_is_undone_wherever_it_was_begun(
    db: apsw.Connection, saga: str, service: str
) -> None:
    """Undone or never begun is well, anything else is off."""
    ended(db, saga, "compensated")
    assert not is_off(db)
    done, undone = ENDS[service]
    for state in {*done, *undone, BETWEEN.get(service, "told")}:
        says(db, service, state)
        assert is_off(db) == (state not in undone), state
        db.execute(f"delete from {ROWS[service].split()[2]}")


@pytest.mark.parametrize(
    ("accepted", "rest", "off"),
    [
        ("completed", "completed", False),
        ("completed", "compensated", True),
        ("completed", "open", False),
        ("compensated", "completed", False),
    ],
)
def test_of_an_order_that_was_split_the_second_saga_has_the_last_word(
    db: apsw.Connection, accepted: str, rest: str, off: bool
) -> None:
    """Whatever the first one came to; while the second is open, it is too early to say."""
    place(db, "placement-rest")
    db.execute("delete from journal.instances")
    ended(db, "placement-accept", accepted)
    ended(db, "placement-rest", rest, at=2.0)
    assert is_off(db) == off
    assert not is_off(db, "orders_known")


def test_an_order_that_was_handed_over_to_nobody_is_off(db: apsw.Connection) -> None:
    """The first saga of a split order has completed, and there is no second one."""
    ended(db, "placement-accept", "completed")
    says(db, "orders", "handed_over")
    assert is_off(db)


@pytest.mark.parametrize(("state", "off"), [("refunded", False), ("charged", False), ("held", True)])
def test_what_a_person_took_back_is_taken_back(db: apsw.Connection, state: str, off: bool) -> None:
    """A refund after success is no error; something that is neither done nor undone is."""
    place(db, "fulfilment", without="payment")
    says(db, "payment", state)
    assert is_off(db) == (state != "charged")
    ended(db, "fulfilment-refund", "completed", at=2.0, key="k")
    body = '{"type":"started","input":{"order_id":"o"}}'
    db.execute("insert into journal.records values ('fulfilment-refund-2.0', 1, 2.0, 1, 'started', ?, 0)", (body,))
    assert is_off(db) == off


def test_what_was_done_by_hand_alone_needs_no_order(db: apsw.Connection) -> None:
    """The journal knows who did it; of what it knows nothing, nothing may be there."""
    says(db, "inventory", "taken")
    assert is_off(db, "orders_known")
    ended(db, "fulfilment-reserve", "completed", key="k")
    body = '{"type":"started","input":{"order_id":"o"}}'
    db.execute("insert into journal.records values ('fulfilment-reserve-1.0', 1, 1.0, 1, 'started', ?, 0)", (body,))
    assert not is_off(db, "orders_known")


@pytest.mark.parametrize(("times", "off"), [(["confirmation"], False), (["confirmation"] * 2, True)])
def test_nobody_is_told_twice(db: apsw.Connection, times: list[str], off: bool) -> None:
    """A confirmation that stands in the outbox twice was sent twice."""
    for kind in times:
        db.execute(ROWS["notification"], (kind,))
    assert is_off(db, "effects_once") == off


def test_a_confirmation_that_was_only_sent_for_the_second_time_is_off(db: apsw.Connection) -> None:
    """The second one is for those who got a first."""
    place(db, "fulfilment", without="notification")
    db.execute(ROWS["notification"], ("resend",))
    assert is_off(db)


@pytest.mark.parametrize(
    ("movements", "by_hand", "off"),
    [
        (["charge"], False, False),
        (["charge", "refund"], False, False),
        (["charge", "refund", "charge"], False, True),
        (["charge", "refund", "charge"], True, False),
        (["charge", "charge"], True, True),
        (["charge", "refund", "refund"], True, True),
    ],
)
def test_money_moves_once_unless_a_person_moves_it_again(
    db: apsw.Connection, movements: list[str], by_hand: bool, off: bool
) -> None:
    """And then never more often there than back."""
    for movement in movements:
        sign = 1 if movement == "charge" else -1
        for account, amount in (("customer", -7 * sign), ("revenue", 7 * sign)):
            db.execute(
                "insert into payment.entries (order_id, movement, account, amount_minor, currency) "
                "values ('o', ?, ?, ?, 'GBP')",
                (movement, account, amount),
            )
    if by_hand:
        ended(db, "fulfilment-pay", "completed", key="k")
        body = '{"type":"started","input":{"order_id":"o"}}'
        db.execute("insert into journal.records values ('fulfilment-pay-1.0', 1, 1.0, 1, 'started', ?, 0)", (body,))
    assert is_off(db, "effects_once") == off


def test_a_limit_counts_what_is_held_and_taken(db: apsw.Connection) -> None:
    """And nothing that went back."""
    db.execute("insert into payment.limits (account, limit_minor, used_minor) values ('a', 100, 7)")
    assert is_off(db, "limits_as_payments")
    says(db, "payment", "charged")
    assert not is_off(db, "limits_as_payments")
    db.execute("update payment.payments set state = 'refunded'")
    assert is_off(db, "limits_as_payments")
