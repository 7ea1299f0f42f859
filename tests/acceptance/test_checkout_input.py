"""The checkout, C7: what can't be an order is refused with the field's name, before anything is touched."""

import json
import logging
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from amends import InputError
from amends.demo.systems.checkout import Checkout
from amends.demo.systems.checkout_request import read_line
from tests.acceptance.checking_out import a_request, instances, shop
from tests.actors.trip import rows_of

CARD = {"card_number": "4539578763621486", "expiry_date": "12/49", "cvv": "739"}
MISSING = object()


def changed(path: str, value: object) -> dict[str, Any]:
    """A sound request of two lines, with another value at a path, or none."""
    request = a_request("order-1", (1, 2), (2, 1))
    *way, last = path.replace("[", ".[").split(".")
    at: Any = request
    for name in way:
        at = at[int(name[1:-1])] if name.startswith("[") else at[name]
    key: Any = int(last[1:-1]) if last.startswith("[") else last
    if value is MISSING:
        del at[key]
    else:
        at[key] = value
    return request


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[tuple[Checkout, Path]]:
    """An open checkout, and where it is."""
    with shop(tmp_path) as checkout:
        yield checkout, tmp_path


def rows(folder: Path) -> list[list[Any]]:
    """All that an order could leave in the services' databases and the journal."""
    tables = {
        "orders": ("orders", "amends_fence"),
        "inventory": ("stock", "reservations", "amends_fence"),
        "payment": ("payments", "entries", "amends_fence"),
        "journal": ("instances",),
    }
    return [rows_of(folder / f"{db}.db", f"select * from {table}") for db, names in tables.items() for table in names]


@pytest.mark.parametrize(
    ("path", "value", "wanted"),
    [
        ("user_id", MISSING, "is missing"),
        ("order_id", MISSING, "is missing"),
        ("items", MISSING, "is missing"),
        ("payment_info", MISSING, "is missing"),
        ("items[1].product_id", MISSING, "is missing"),
        ("items[1].quantity", MISSING, "is missing"),
        ("colour", "red", "no such field is wanted"),
        ("items[1].colour", "red", "no such field is wanted"),
        ("user_id", "7", "wanted `int`, found '7'"),
        ("user_id", True, "wanted `int`, found True"),
        ("user_id", 7.5, "wanted `int`, found 7.5"),
        ("user_id", None, "wanted `int`, found None"),
        ("user_id", -1, "wanted `int` >= 0, found -1"),
        ("user_id", 2**70, "wanted `int` <= "),
        ("order_id", 1, "wanted `str`, found 1"),
        ("order_id", "", "wanted 1 to 64 letters, digits and"),
        ("order_id", "two words", "found 'two words'"),
        ("order_id", "x" * 65, "found str of 67 characters"),
        ("items", [], "wanted `array` of length >= 1, found a list of 0"),
        ("items", "1", "wanted `array`, found '1'"),
        ("items", {"product_id": 1}, "wanted `array`, found a dict of 1"),
        ("items[1]", 3, "wanted `object`, found 3"),
        ("items[1].product_id", "2", "wanted `int`, found '2'"),
        ("items[1].product_id", True, "wanted `int`, found True"),
        ("items[1].product_id", 999, "wanted a product the shop sells, found 999"),
        ("items[1].quantity", "3", "wanted `int`, found '3'"),
        ("items[1].quantity", True, "wanted `int`, found True"),
        ("items[1].quantity", 1.0, "wanted `int`, found 1.0"),
        ("items[1].quantity", Decimal(1), "wanted `int`, found a Decimal"),
        ("items[1].quantity", 0, "wanted `int` >= 1, found 0"),
        ("items[1].quantity", -2, "wanted `int` >= 1, found -2"),
        ("items[1].quantity", 1_000_001, "wanted `int` <= 1000000, found 1000001"),
        ("payment_info", "cash", "wanted `object`"),
        ("payment_info.amount", MISSING, "is missing"),
    ],
)
def test_C7_a_field_that_can_not_be_is_named(
    opened: tuple[Checkout, Path], path: str, value: object, wanted: str
) -> None:
    """With what is wanted there, and what was found; nothing was touched."""
    checkout, folder = opened
    before = rows(folder)
    with pytest.raises(InputError) as refused:
        checkout.process_order(changed(path, value))
    assert refused.value.path == path
    assert f"{path}: " in str(refused.value)
    assert wanted in str(refused.value)
    assert rows(folder) == before


@pytest.mark.parametrize(
    "amount",
    ["", "abc", "12,50", "-1", -1, "1e2", "0x10", " 12.50", "1_000", "١٢", "12.505", 12.505, 0.1 + 0.2, "NaN",
     float("nan"), float("inf"), "Infinity", Decimal("NaN"), Decimal(-1), True, None, [12], {"amount": 12}, b"12",
     "9" * 30, 10**30, 10**5000, 5 * 10**16, "1." + "0" * 40],
    ids=lambda amount: repr(amount)[:20] if not isinstance(amount, int) or abs(amount) < 10**9 else "huge",
)  # fmt: skip
def test_C7_an_amount_that_does_not_parse_is_refused(opened: tuple[Checkout, Path], amount: object) -> None:
    """The message says what is wanted, and repeats nothing of what stands in a payment."""
    checkout, folder = opened
    before = rows(folder)
    with pytest.raises(InputError) as refused:
        checkout.process_order(a_request(payment_info={"account": "a-7", "amount": amount}))
    assert str(refused.value) == (
        "order: payment_info.amount: wanted an amount of GBP in whole units, 0 or more and with at most 2 decimals, "
        "as a number or as text like '12.50'"
    )
    assert rows(folder) == before


@pytest.mark.parametrize("currency", ["gbp", "", 5, "POUNDS", None])
def test_C7_a_currency_that_is_none_is_refused(opened: tuple[Checkout, Path], currency: object) -> None:
    """Three capital letters are wanted."""
    payment = {"account": "a-7", "amount": 1, "currency": currency}
    with pytest.raises(InputError, match=r"payment_info\.currency: wanted three capital letters"):
        opened[0].process_order(a_request(payment_info=payment))


@pytest.mark.parametrize(
    ("path", "payment"),
    [
        ("payment_info.card_number", CARD | {"card_number": "4539578763621487"}),
        ("payment_info.card_number", CARD | {"card_number": 4539578763621486}),
        ("payment_info.expiry_date", CARD | {"expiry_date": "12/19"}),
        ("payment_info.cvv", CARD | {"cvv": "73"}),
        ("payment_info.account", {"account": "4539578763621486"}),
        ("payment_info", "4539, Anna"),
        ("order_id", None),
        ("user_id", None),
        ("(a field)", None),
    ],
)
def test_C7_nothing_that_is_paid_with_is_repeated(
    opened: tuple[Checkout, Path], path: str, payment: dict[str, object] | str | None
) -> None:
    """Not in the message, whatever field it got into."""
    number = CARD["card_number"]
    if payment is not None:
        request = a_request(payment_info={**payment, "amount": 1} if isinstance(payment, dict) else payment)
    elif path == "(a field)":
        request = a_request(**{number: 1})  # type: ignore[arg-type]
    else:
        request = a_request(**{path: " ".join([number[:4], number[4:8], number[8:12], number[12:]])})
    with pytest.raises(InputError) as refused:
        opened[0].process_order(request)
    assert refused.value.path == path
    assert refused.value.__cause__ is None
    assert "4539" not in str(refused.value)
    assert "1486" not in str(refused.value)


def test_C7_a_card_is_a_reference_before_anything_is_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither number nor code is in any file or in the log; the same card is the same order."""
    caplog.set_level(logging.DEBUG)
    request = a_request(payment_info=CARD | {"amount": 5})
    with shop(tmp_path) as checkout:
        assert checkout.process_order(request) is True
        assert checkout.process_order(request) is True
    written = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    for secret in (CARD["card_number"], '"739"', CARD["expiry_date"]):
        assert secret.encode() not in written
        assert secret not in caplog.text
    assert rows_of(tmp_path / "payment.db", "select method from payments") == [("card_token",)]


def test_C7_lines_of_the_same_product_are_added_up(tmp_path: Path) -> None:
    """As one line of all of it would be; more than a line may have is refused."""
    with shop(tmp_path) as checkout:
        assert checkout.process_order(a_request("order-1", (1, 2), (2, 1), (1, 3))) is True
        with pytest.raises(InputError, match=r"items\[1\].quantity: wanted at most 1000000 of product 1 .* 1000001"):
            checkout.process_order(a_request("order-2", (1, 1_000_000), (1, 1)))
    reserved = rows_of(tmp_path / "inventory.db", "select item_id, quantity from reservations order by item_id")
    assert reserved == [("1", 5), ("2", 1)]
    assert instances(tmp_path) == 1


@pytest.mark.parametrize("line", ["", "{", "[]", "3", '"\\ud800"', "[" * 5_000, "\ud800"])
def test_C7_a_line_that_is_no_request_is_refused(line: str) -> None:
    """Whatever stands there, the error is one for people."""
    with pytest.raises(InputError, match=r"order: \$: wanted"):
        read_line(line)


def test_C7_a_line_is_read_like_a_request() -> None:
    """JSON has the same fields, and the same bounds."""
    assert read_line(json.dumps(a_request())).units == {"1": 2}
    with pytest.raises(InputError, match=r"items\[1\].quantity: wanted `int` >= 1, found 0"):
        read_line(json.dumps(changed("items[1].quantity", 0)))
