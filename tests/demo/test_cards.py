"""The card vault: a reference says which card it is and nothing of what stands on it."""

import stat
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from amends import InputError, StorageError
from amends.demo import cards
from amends.demo.domain import PaymentInfo

SECRET = b"k" * 32
TODAY = date(2026, 7, 31)
CARD = {"card_number": "4111 1111-1111 1111", "expiry_date": "07/26", "cvv": "123"}


def token(**changed: object) -> str:
    """The account of the card, with some of its fields changed."""
    return cards.reference({**CARD, **changed}, SECRET, TODAY).account


def answer(payment_info: Mapping[str, object]) -> PaymentInfo | InputError:
    """What becomes of a payment."""
    try:
        return cards.reference(payment_info, SECRET, TODAY)
    except InputError as error:
        return error


def problem(payment_info: Mapping[str, object]) -> str:
    """What is said to a payment that is not sound."""
    found = answer(payment_info)
    assert isinstance(found, InputError)
    return str(found)


def with_check_digit(digits: str) -> str:
    """The number that begins so, told by trying: its ten candidates differ in their last digit, and one is sound."""

    def luhn(number: str) -> int:
        total = 0
        for place, digit in enumerate(reversed(number)):
            twice = int(digit) * (1 + place % 2)
            total += twice - 9 if twice > 9 else twice
        return total % 10

    return next(digits + last for last in "0123456789" if luhn(digits + last) == 0)


numbers = st.text("0123456789", min_size=11, max_size=18).map(with_check_digit)
codes = st.text("0123456789", min_size=3, max_size=4)


def test_a_card_becomes_its_token() -> None:
    """Which names the card in letters, and no digit at all."""
    found = cards.reference(CARD, SECRET, TODAY)
    assert found.method == "card_token"
    assert found.account.startswith("card_")
    assert len(found.account) == len("card_") + 24


def test_the_same_card_has_the_same_token() -> None:
    """However it is written, and whatever else stands on it."""
    assert token() == token(card_number="4111111111111111", expiry_date="12/2031", cvv="9876")


def test_another_card_or_another_key_gives_another_token() -> None:
    """Nobody without the key can find the number by trying all of them."""
    assert token() != token(card_number="5500 0000 0000 0004")
    assert token() != cards.reference(CARD, b"l" * 32, TODAY).account


@given(numbers, codes, codes)
@example("4111111111111111", "123", "999")
def test_a_token_repeats_nothing_of_the_card(number: str, cvv: str, other_cvv: str) -> None:
    """No digit of the number, and the code has no part in it; so it is no card number in anybody's eyes."""
    found = token(card_number=number, cvv=cvv)
    assert not any(digit in found for digit in "0123456789")
    assert found == token(card_number=number, cvv=other_cvv)


SAID = {
    "order: payment_info.card_number: wanted 12 to 19 digits, as text; spaces and dashes may stand between them",
    "order: payment_info.card_number: wanted a card's number; the check digit is wrong",
    "order: payment_info.expiry_date: wanted text like MM/YY or MM/YYYY",
    "order: payment_info.expiry_date: wanted a month that has not passed",
    "order: payment_info.cvv: wanted 3 or 4 digits, as text",
    "order: payment_info.account: wanted 1 to 64 letters, digits and . : @ + - _ that are no card number",
    "order: payment_info.token: wanted 1 to 64 letters, digits and . : @ + - _ that are no card number",
}
"""All that is ever said to a payment that is not sound."""

texts = st.text("0123456789 -/.a٤é", max_size=20)
anything = st.none() | st.integers() | texts | numbers | codes | st.lists(texts, max_size=2) | st.just("07/26")


@given(st.fixed_dictionaries({}, optional=dict.fromkeys((*CARD, "account", "token", "method", "pin"), anything)))
@example({**CARD, "card_number": "4111111111111112"})
@example({**CARD, "expiry_date": "06/26"})
@example({**CARD, "cvv": "12345"})
@example({"account": "4111-1111-1111-1111"})
def test_an_error_repeats_nothing_of_the_payment(payment_info: dict[str, object]) -> None:
    """What is said is one of a few sentences, whatever was given; and so is the error itself, to its last attribute."""
    found = answer(payment_info)
    if isinstance(found, InputError):
        assert str(found) in SAID
        assert f"{found.where}: {found.path}: {found.problem}" in SAID
        assert (found.__cause__, found.__context__) == (None, None)


@pytest.mark.parametrize(
    "number",
    ["", "4111", "41111111111", "4" * 20, "4111x1111x1111x1111", "٤" * 16, 4111111111111111, None],
)
def test_a_number_has_12_to_19_digits(number: object) -> None:
    """Spaces and dashes are allowed; letters, other alphabets' digits and numbers that are no text are not."""
    assert problem({**CARD, "card_number": number}).startswith("order: payment_info.card_number: wanted 12 to 19")


@pytest.mark.parametrize("number", ["4111111111111112", "4111111111111101", "1411111111111111"])
def test_a_number_must_pass_its_own_check(number: str) -> None:
    """One wrong digit, or two that changed places."""
    assert "check digit" in problem({**CARD, "card_number": number})


@pytest.mark.parametrize("number", ["378282246310005", "5555555555554444", "6011111111111117", "501800000009"])
def test_numbers_of_all_lengths_are_sound(number: str) -> None:
    """The providers' own examples, and one of twelve digits."""
    assert token(card_number=number)


@pytest.mark.parametrize("expiry", ["07/26", "08/26", "01/27", "07/2026", "12/2099"])
def test_a_card_is_good_to_the_end_of_its_month(expiry: str) -> None:
    """Today is the last day of July 2026."""
    assert token(expiry_date=expiry)


@pytest.mark.parametrize("expiry", ["06/26", "12/25", "06/2026", "12/2001"])
def test_an_expired_card_is_refused(expiry: str) -> None:
    """From the first day of the next month on."""
    assert problem({**CARD, "expiry_date": expiry}).endswith(
        "payment_info.expiry_date: wanted a month that has not passed"
    )


@pytest.mark.parametrize("expiry", ["", "7/26", "13/26", "00/27", "07-26", "07/226", "07/1926", "2026-07", 726, None])
def test_an_expiry_date_is_a_month_and_a_year(expiry: object) -> None:
    """Anything else is refused."""
    assert problem({**CARD, "expiry_date": expiry}).endswith(
        "payment_info.expiry_date: wanted text like MM/YY or MM/YYYY"
    )


@pytest.mark.parametrize("cvv", ["", "12", "12345", "12a", "١٢٣", 123, None])
def test_a_code_has_3_or_4_digits(cvv: object) -> None:
    """Anything else is refused."""
    assert problem({**CARD, "cvv": cvv}).endswith("payment_info.cvv: wanted 3 or 4 digits, as text")


@pytest.mark.parametrize("field", ["expiry_date", "cvv"])
def test_a_card_needs_all_its_fields(field: str) -> None:
    """One that is missing is named."""
    assert f"payment_info.{field}: wanted" in problem({name: value for name, value in CARD.items() if name != field})


@pytest.mark.parametrize(
    ("payment_info", "found"),
    [
        ({"account": "17850"}, PaymentInfo("account", "17850")),
        ({"method": "account", "account": "17850", "amount": 3, "pin": "9999"}, PaymentInfo("account", "17850")),
        ({"token": "tok_abc"}, PaymentInfo("card_token", "tok_abc")),
        ({"method": "CreditCard"}, PaymentInfo("account", "unspecified")),
        ({}, PaymentInfo("account", "unspecified")),
    ],
)
def test_what_is_no_card_is_kept_by_reference(payment_info: dict[str, object], found: PaymentInfo) -> None:
    """An account, a provider's token, or nothing; all other fields are dropped."""
    assert cards.reference(payment_info, SECRET, TODAY) == found


@pytest.mark.parametrize("field", ["account", "token"])
@pytest.mark.parametrize("value", ["4111 1111 1111 1111", "4111111111111111", "", "a" * 65, "no spaces", 17850, None])
def test_an_account_is_no_card_number(field: str, value: object) -> None:
    """A card's number in another field is no way past the vault."""
    assert problem({field: value}).startswith(f"order: payment_info.{field}: wanted 1 to 64 letters")


def test_a_folder_keeps_its_key(tmp_path: Path) -> None:
    """So the same card has the same token after a restart, in this folder only."""
    first = cards.secret(tmp_path / "new" / "shop")
    assert cards.secret(tmp_path / "new" / "shop") == first
    assert len(first) == 32
    assert cards.secret(tmp_path / "other") != first


def test_only_its_owner_may_read_the_key(tmp_path: Path) -> None:
    """And nothing else is left in the folder."""
    cards.secret(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["card.key"]
    assert stat.S_IMODE((tmp_path / "card.key").stat().st_mode) == 0o600


def test_all_who_ask_first_get_the_same_key(tmp_path: Path) -> None:
    """Whoever comes second takes the first one's."""
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: cards.secret(tmp_path), range(32)))) == 1


def test_who_comes_second_keeps_the_firsts_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when it looked before the first one had written."""
    first = cards.secret(tmp_path)
    monkeypatch.setattr(Path, "exists", lambda self: False)
    assert cards.secret(tmp_path) == first


def test_a_damaged_key_is_told(tmp_path: Path) -> None:
    """It is not replaced: every token would change."""
    (tmp_path / "card.key").write_bytes(b"short")
    with pytest.raises(StorageError, match=r"card\.key: is no card key; found 5 bytes, wanted 32"):
        cards.secret(tmp_path)
    assert (tmp_path / "card.key").read_bytes() == b"short"
