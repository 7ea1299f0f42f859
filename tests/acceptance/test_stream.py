"""The stream: what its customer was promised, S1 to S6."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amends import Compensated, Completed, InputError
from amends.demo.audit import audit
from amends.demo.domain import Wanted
from amends.demo.messages import AuthorizePayment
from amends.demo.stocking import Delivery, StockUp
from amends.demo.systems.stream import Request, Stream, StreamedOrder, read
from amends.protocol.messages import Do
from amends.testing import FaultPlan, Schedule, SimulatedSystem, check_saga
from amends.testing.facts import Effect, Sent
from tests.acceptance.streaming import (
    OTHERS,
    STOCK,
    UNSPECIFIED,
    HurriedOrder,
    an_order,
    left_over,
    line,
    run,
    services,
    shelves,
    simulated,
    stock_up,
)

CUSTOMERS_LINE = "Order 123, User 456, Items: [{A, 2}, {B, 1}], Payment: CreditCard, Address: 1 High Street, Leeds"
AS_JSON: dict[str, object] = {
    "order_id": "123",
    "user_id": 456,
    "items": [{"item_id": "A", "quantity": 2}, {"item_id": "B", "quantity": 1}],
    "payment_info": "CreditCard",
    "shipping_address": "1 High Street, Leeds",
}

# S1: a line for each order, in their order.


def test_S1_lines_come_out_in_the_order_they_came_in(tmp_path: Path) -> None:
    """However the orders overtake each other; with the option, as they finish."""
    lines = [line(number) for number in range(120)]
    wanted = [f"Order {number} confirmed" for number in range(120)]
    late = ("--delayed-share", "0.2", "--in-flight", "40")
    in_order = run(tmp_path, lines, *late)
    (tmp_path / "again").mkdir()
    as_they_finish = run(tmp_path / "again", lines, *late, "--as-they-finish")
    assert (in_order.exit_code, as_they_finish.exit_code) == (0, 0), in_order.stderr + as_they_finish.stderr
    assert in_order.stdout.splitlines() == wanted
    assert sorted(as_they_finish.stdout.splitlines()) == sorted(wanted)
    assert as_they_finish.stdout.splitlines() != wanted, "nothing overtook anything, so the order proves nothing"


def test_S1_every_order_gets_one_line(tmp_path: Path) -> None:
    """Confirmed or failed."""
    told = run(tmp_path, [line(1), line(2, [("B", 4)]), line(3, [("B", 3)]), line(4, [("C", 1)])])
    assert told.stdout.splitlines() == ["Order 1 confirmed", "Order 2 failed", "Order 3 confirmed", "Order 4 failed"]


TURNED_AWAY: dict[str, dict[str, object]] = {
    "a card whose check digit is wrong": {"payment_info": {"card_number": "4111 1111 1111 1112"}},
    "other content under the same number": {"order_id": "1"},
    "a country that is no text": {"shipping_address": {"country": 44}},
}


@pytest.mark.parametrize("why", TURNED_AWAY)
@pytest.mark.parametrize("option", [(), ("--as-they-finish",)], ids=["in order", "as they finish"])
def test_S1_an_order_that_is_turned_away_gets_its_line_too(tmp_path: Path, why: str, option: tuple[str, ...]) -> None:
    """At its place, and beside it on stderr the reason with the number of the line."""
    order = AS_JSON | TURNED_AWAY[why]
    told = run(tmp_path, [line(1), json.dumps(order), line(3)], *option)
    wanted = ["Order 1 confirmed", f"Order {order['order_id']} failed", "Order 3 confirmed"]
    assert (sorted(told.stdout.splitlines()) if option else told.stdout.splitlines()) == (
        sorted(wanted) if option else wanted
    )
    assert "line 2: " in told.stderr
    assert told.exit_code == 1


# S2: both forms.


def test_S2_both_forms_say_the_same() -> None:
    """The customer's own example, as text and as JSON."""
    assert read(CUSTOMERS_LINE) == read(json.dumps(AS_JSON))
    items = (Wanted("A", 2), Wanted("B", 1))
    assert read(CUSTOMERS_LINE) == Request("123", 456, items, "CreditCard", "1 High Street, Leeds")


@given(
    order_id=st.from_regex(r"[A-Za-z0-9-]{1,12}", fullmatch=True),
    user=st.integers(0, 10**9),
    items=st.lists(
        st.tuples(st.from_regex(r"[A-Z0-9]{1,6}", fullmatch=True), st.integers(1, 1000)), min_size=1, max_size=5
    ),
    address=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9 ,\]\[{}:]{0,30}[A-Za-z0-9]", fullmatch=True),
)
def test_S2_text_reads_as_it_was_written(order_id: str, user: int, items: list[tuple[str, int]], address: str) -> None:
    """Whatever stands in the fields, an address with commas and brackets too."""
    wanted = ", ".join(f"{{{item}, {quantity}}}" for item, quantity in items)
    text = f"Order {order_id}, User {user}, Items: [{wanted}], Payment: Invoice, Address: {address}"
    units = tuple(Wanted(item, quantity) for item, quantity in items)
    assert read(text) == Request(order_id, user, units, "Invoice", address)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("Order 1", "$"),
        (CUSTOMERS_LINE.replace("456", "Ann"), "$.user_id"),
        (CUSTOMERS_LINE.replace("{B, 1}", "B"), "$.items[1]"),
        (CUSTOMERS_LINE.replace("{B, 1}", "{B, 0}"), "$.items[1].quantity"),
        (CUSTOMERS_LINE.replace("{B, 1}", "{B, 1.5}"), "$.items[1].quantity"),
        (CUSTOMERS_LINE.replace("{A, 2}, {B, 1}", ""), "$.items"),
        (json.dumps(AS_JSON | {"user_id": "456"}), "$.user_id"),
        (json.dumps(AS_JSON | {"user_id": True}), "$.user_id"),
        (json.dumps({name: AS_JSON[name] for name in AS_JSON if name != "items"}), "$"),
        (json.dumps(AS_JSON | {"colour": "red"}), "$"),
        ('{"order_id": "1"', "$"),
    ],
)
def test_S2_a_bad_line_names_its_field(text: str, where: str) -> None:
    """What is wrong, and where."""
    with pytest.raises(InputError) as caught:
        read(text)
    assert caught.value.path == where


def test_S2_a_bad_line_is_told_of_and_the_stream_goes_on(tmp_path: Path) -> None:
    """On stderr, with the number of the line; card data in it is not repeated."""
    card = json.dumps(AS_JSON | {"payment_info": {"card_number": "4111 1111 1111 1112", "cvv": "987"}})
    told = run(tmp_path, [line(1), "rubbish", line(2, [("A", 0)]), card, line(3)])
    assert told.stdout.splitlines() == ["Order 1 confirmed", "Order 123 failed", "Order 3 confirmed"]
    problems = [text for text in told.stderr.splitlines() if re.match(r"line \d+:", text)]
    assert [text.partition(":")[0] for text in problems] == ["line 2", "line 3", "line 4"]
    assert "items[0].quantity" in problems[1]
    assert "payment_info.card_number" in problems[2]
    assert "1112" not in told.output
    assert "987" not in problems[2]
    assert told.exit_code == 1, "who runs it in a script must be able to see that a line was not taken"


def test_S2_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    """As some editors write it: that is not part of the first line."""
    told = run(tmp_path, ["\ufeff" + line(1), line(2), "\ufeff" + line(3)])
    assert told.stdout.splitlines() == ["Order 1 confirmed", "Order 2 confirmed"]


# S3: what happens, and what is undone.

PARIS = "5 Rue de Rivoli, Paris"
ADDRESSES: dict[str, tuple[object, tuple[object, ...]]] = {
    "one line that ends with a country": (f"{PARIS}, France", ("France", f"{PARIS}, France", 1035)),
    "one line without a country": ("1 High Street, Leeds", ("United Kingdom", "1 High Street, Leeds", 415)),
    "fields, the country among them": (
        {"country": "France", "postcode": 75001, "city": "Paris", "floor": "2", "street": "5 Rue de Rivoli"},
        ("France", f"{PARIS}, 75001, 2", 1035),
    ),
    "fields without a country": (
        {"street": "5 Rue de Rivoli", "city": "Paris, France", "country": None},
        ("France", f"{PARIS}, France", 1035),
    ),
    "a country alone": ({"country": "EIRE"}, ("EIRE", None, 625)),
}


@pytest.mark.parametrize("form", ADDRESSES)
def test_S3_the_parcel_goes_to_the_address_and_is_charged_for_it(tmp_path: Path, form: str) -> None:
    """However it is written; what shipping was told is what it keeps."""
    told, kept = ADDRESSES[form]
    assert run(tmp_path, [json.dumps(AS_JSON | {"shipping_address": told})]).exit_code == 0
    assert _rows(tmp_path, "shipping", "select country, address, cost_minor from shipments") == [kept]


def test_S3_the_address_of_the_text_form_counts(tmp_path: Path) -> None:
    """Its last part may be a country."""
    run(tmp_path, [CUSTOMERS_LINE.replace("1 High Street, Leeds", f"{PARIS}, France")])
    kept = _rows(tmp_path, "shipping", "select country, address, cost_minor, state from shipments")
    assert kept == [("France", f"{PARIS}, France", 1035, "dispatched")]


@pytest.mark.parametrize("address", ["", " ", {}, {"country": ""}, {"street": None}])
def test_S3_without_an_address_there_is_no_order(tmp_path: Path, address: object) -> None:
    """Shipping refuses it."""
    told = run(tmp_path, [json.dumps(AS_JSON | {"shipping_address": address})])
    assert told.stdout == "Order 123 failed\n"
    assert "bad_address 1" in told.stderr


@pytest.mark.parametrize(
    ("address", "where"),
    [
        ({"country": 44}, "shipping_address.country: wanted text, found int"),
        ({"street": ["5"]}, "shipping_address.street: wanted text, found list"),
        ({"4111111111111111": {}}, "shipping_address: wanted text, found dict"),
    ],
)
def test_S2_a_field_of_the_address_that_is_no_text_is_named(tmp_path: Path, address: object, where: str) -> None:
    """Before anything is touched."""
    told = run(tmp_path, [json.dumps(AS_JSON | {"shipping_address": address})])
    assert where in told.stderr
    assert _rows(tmp_path, "inventory", "select * from reservations") == []


def _rows(folder: Path, service: str, sql: str) -> list[tuple[object, ...]]:
    """What a service of the run says."""
    with closing(apsw.Connection(str(folder / "data" / f"{service}.db"))) as db:
        return [tuple(row) for row in db.execute(sql)]


def test_S3_everything_about_a_confirmed_order_is_final() -> None:
    """Stock has left, the amount at the catalogue's prices is taken, the parcel is on its way at its cost."""
    with simulated() as system:
        stock_up(system)
        assert isinstance(system.run(StreamedOrder, an_order("o-1", units=3), key="o-1"), Completed)
        assert shelves(system) == {"A": (7, 0, 3), "B": (3, 0, 0)}
        assert system.query("payment", "select amount_minor, state from payments") == [(750, "captured")]
        assert system.query("shipping", "select units, cost_minor, state from shipments") == [(3, 415, "dispatched")]


REFUSED = {
    "reserve": (an_order("o-1", units=11), "short_stock: A"),
    "authorize": (an_order("o-1", account="poor"), "insufficient_funds"),
    "prepare": (an_order("o-1", address=UNSPECIFIED), "bad_address"),
}


@pytest.mark.parametrize("where", REFUSED)
def test_S3_a_failure_undoes_what_was_done(where: str) -> None:
    """Wherever it comes, everything is as it was before."""
    order, reason = REFUSED[where]
    with simulated() as system:
        stock_up(system)
        outcome = system.run(StreamedOrder, order, key=order.order_id)
        assert isinstance(outcome, Compensated)
        assert (outcome.step, outcome.reason) == (where, reason)
        assert shelves(system)["A"] == (10, 0, 0)
        assert left_over(system) == {}


def test_S3_the_saga_stands_everything_that_may_go_wrong() -> None:
    """One thing in each history, on the way forward and on every way back: all or nothing, and stock adds up."""

    def nothing_is_lost(system: SimulatedSystem) -> bool:
        return all(sum(places) == {"A": 10, "B": 3}[item] for item, places in shelves(system).items())

    def nothing_is_half_done(system: SimulatedSystem) -> bool:
        return left_over(system) == {}

    report = check_saga(
        StreamedOrder,
        services(),
        [nothing_is_lost, nothing_is_half_done],
        given=an_order(),
        key="o-1",
        before=stock_up,
        sagas=OTHERS,
    )
    assert len(report.tried) > 50


# S4: idempotent, over a bad network.


def test_S4_the_same_order_again_is_the_same_order(tmp_path: Path) -> None:
    """It gets the same line again, and nothing happens twice; with other items it is refused."""
    told = run(tmp_path, [line(1), line(1), line(2, [("B", 4)]), line(2, [("B", 4)]), line(1, [("A", 5)])])
    assert told.stdout.splitlines() == ["Order 1 confirmed"] * 2 + ["Order 2 failed"] * 2 + ["Order 1 failed"]
    assert "line 5" in told.stderr
    assert not [finding for finding in audit(tmp_path / "data") if finding.rows]


def test_S4_a_bad_network_changes_nothing(tmp_path: Path) -> None:
    """Messages are lost, doubled, late and overtaken; every order gets its line, once, and the databases add up."""
    bad = ("--lost-share", "0.05", "--doubled-share", "0.1", "--delayed-share", "0.2")
    told = run(tmp_path, [line(number) for number in range(25)], *bad)
    assert told.stdout.splitlines() == [f"Order {number} confirmed" for number in range(25)], told.stderr
    assert int(_number(told.stderr, "retries")) > 0, "nothing was lost, so nothing was shown"
    assert not [finding for finding in audit(tmp_path / "data") if finding.rows]


@pytest.mark.parametrize("seed", range(40))
def test_S4_no_schedule_does_anything_twice(seed: int) -> None:
    """Simulated histories with every kind of trouble: each effect once, and nothing left half done."""
    faults = FaultPlan(late=0.3, lost=0.1, doubled=0.2, crashes=0.02, killed=0.03, most=6)
    with simulated(Schedule(seed=seed, faults=faults)) as system:
        while "A" not in shelves(system):  # who asks may be gone with the process before it is answered
            system.submit(StockUp, STOCK, key=STOCK.delivery_id)
            system.run_until_quiet()
        for number in range(4):
            system.submit(StreamedOrder, an_order(f"o-{number}", units=4), key=f"o-{number}")
        system.run_until_quiet()
        captured = system.query("payment", "select count(*) from payments where state = 'captured'")
        sold = int(str(captured[0][0]))
        assert shelves(system)["A"] == (10 - 4 * sold, 0, 4 * sold)
        assert left_over(system) == {}
        system.check()


# S5: optimistic locking.


def test_S5_every_table_has_a_version(tmp_path: Path) -> None:
    """In every service's database, whichever system uses it."""
    assert run(tmp_path, [line(1)]).exit_code == 0
    for service in ("inventory", "payment", "shipping"):
        with closing(apsw.Connection(str(tmp_path / "data" / f"{service}.db"))) as db:
            tables = db.execute("select name from sqlite_schema where type = 'table' and name not like 'amends%'")
            for (table,) in tables.fetchall():
                columns = {str(row[1]) for row in db.execute(f"pragma table_info({table})")}
                assert "version" in columns, f"{service}.{table}"


def test_S5_two_processes_sell_from_the_same_shelves(tmp_path: Path) -> None:
    """Their updates meet, which is counted, and no unit is lost or sold twice; what is not there nobody gets."""
    units, rounds, rush = 300, 6, 200
    folders = [tmp_path / "one", tmp_path / "two"]
    with Stream(folders[0]) as stream:
        to_sell = Delivery("opening", {"A": units}, {"A": 1})
        stream.system.run(StockUp, to_sell, key=to_sell.delivery_id)
    folders[1].mkdir()
    (folders[1] / "inventory.db").symlink_to(folders[0] / "inventory.db")
    with seller(folders[0]) as one, seller(folders[1]) as two:
        # In turn, so that each finds the row changed since it last saw it; then both at once.
        confirmed = sum(_sell(either, 1)["confirmed"] for _ in range(rounds) for either in (one, two))
        assert confirmed == 2 * rounds
        for either in (one, two):
            _ask(either, rush)
        told = [_answer(either) for either in (one, two)]
    with closing(apsw.Connection(str(folders[0] / "inventory.db"))) as db:
        assert db.execute("select on_hand, reserved, shipped from stock").fetchall() == [(0, 0, units)]
        sold = db.execute("select count(*), sum(quantity) from reservations where state = 'committed'").fetchall()
    assert sold == [(units, units)]
    assert confirmed + sum(last["confirmed"] for last in told) == units
    assert all(last["conflicts"] >= rounds - 1 for last in told), told


def test_S5_one_process_alone_meets_nobody(tmp_path: Path) -> None:
    """What it remembers of a turn that was taken back is no conflict."""
    told = run(tmp_path, [line(number, [("A", 1), ("B", 1)]) for number in range(40)], "--raises-share", "0.2")
    assert len(told.stdout.splitlines()) == 40
    assert _number(told.stderr, "conflicts") == "0"


@contextmanager
def seller(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that sells."""
    command = [sys.executable, "-m", "tests.acceptance.streaming", str(folder), folder.name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _ask(process: subprocess.Popen[str], count: int) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{count}\n")
    process.stdin.flush()


def _answer(process: subprocess.Popen[str]) -> dict[str, int]:
    assert process.stdout is not None
    answer: dict[str, int] = json.loads(process.stdout.readline())
    return answer


def _sell(process: subprocess.Popen[str], count: int) -> dict[str, int]:
    _ask(process, count)
    return _answer(process)


# S6: no more than needed.


@pytest.mark.parametrize("where", REFUSED)
def test_S6_a_refusal_is_never_retried(where: str) -> None:
    """One message asks, one handler answers no, and that is the last anybody hears of the step."""
    order, _ = REFUSED[where]
    with simulated() as system:
        stock_up(system)
        system.run(StreamedOrder, order, key=order.order_id)
        asked = [fact.message for fact in system.facts if isinstance(fact, Sent) and isinstance(fact.message, Do)]
        assert sum(message.step == where for message in asked) == 1
        assert system.status().retries == 0


@pytest.mark.parametrize(("where", "undone"), [("reserve", 0), ("authorize", 1), ("prepare", 2)])
def test_S6_only_what_was_done_is_compensated(where: str, undone: int) -> None:
    """The steps go one after the other, so nothing was begun that a refusal would have saved."""
    order, _ = REFUSED[where]
    with simulated() as system:
        stock_up(system)
        system.run(StreamedOrder, order, key=order.order_id)
        assert system.status().undone == undone
        assert sum(isinstance(fact, Effect) and fact.kind == "undo" for fact in system.facts) == undone


def test_S6_a_retry_that_would_come_too_late_is_not_sent() -> None:
    """With a service that is down, nothing is sent forward once the deadline's part for undoing has begun."""
    with simulated() as system:
        stock_up(system)
        began_s = system.now_s
        system.service("payment").unavailable(AuthorizePayment)
        outcome = system.run(HurriedOrder, an_order(), key="o-1")
        assert isinstance(outcome, Compensated)
        asked = [fact.at_s for fact in system.facts if isinstance(fact, Sent) and isinstance(fact.message, Do)]
        until_s = HurriedOrder.plan.forward_until(began_s)
        assert until_s is not None
        assert max(asked) < until_s
        assert 0 < system.status().retries < HurriedOrder.plan.steps["authorize"].retry.attempts - 1


def test_S6_both_numbers_are_told_at_the_end(tmp_path: Path) -> None:
    """Retries and compensations, on stderr."""
    told = run(tmp_path, [line(1), line(2, [("A", 1), ("B", 4)])])
    assert _number(told.stderr, "retries") == "0"
    assert _number(told.stderr, "compensations") == "0"
    nowhere = json.dumps(AS_JSON | {"shipping_address": {"country": UNSPECIFIED}})
    (tmp_path / "again").mkdir()
    assert _number(run(tmp_path / "again", [nowhere]).stderr, "compensations") == "2"


def _number(text: str, name: str) -> str:
    found = re.search(rf"^{name}: (\S+)$", text, re.MULTILINE)
    assert found is not None, text
    return found[1]
