"""The card vault: what a customer pays with becomes a reference that anybody may read.

It stands at the door of every system, before anything is written down. A card becomes a token
that its number decides, under a key of the shop's own, so the same card is known again and
nobody can find the number to it; of the card itself nothing is kept. What is wrong with a payment
is said without repeating any of it. Whether the reference is good for the money is the payment
service's to say.
"""

import os
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from datetime import date
from hashlib import blake2b
from pathlib import Path
from tempfile import NamedTemporaryFile

import msgspec

from amends import InputError, StorageError
from amends.demo.domain import PaymentInfo

UNSPECIFIED = "unspecified"
"""The account of a payment that names none."""

_KEY_BYTES = 32
_NUMBER = re.compile(r"[0-9]{12,19}\Z")
_SEPARATORS = re.compile(r"[ -]")
_EXPIRY = re.compile(r"(?P<month>0[1-9]|1[0-2])/(?P<year>(?:20)?[0-9]{2})\Z")
_CVV = re.compile(r"[0-9]{3,4}\Z")
# A token without digits is never taken for a card number, whoever searches the files for one.
_LETTERS = str.maketrans("0123456789", "ghijklmnop")


def reference(payment_info: Mapping[str, object], secret: bytes, today: date) -> PaymentInfo:
    """What stands for a payment from here on, or an InputError that names the field and repeats no value.

    A card (card_number, expiry_date "MM/YY" or "MM/YYYY", cvv) becomes its token; an account or a token of a
    provider's stays what it is. Everything else is dropped.
    """
    if "card_number" in payment_info:
        return PaymentInfo("card_token", _card_token(payment_info, secret, today))
    if "account" in payment_info:
        return _checked("account", "account", payment_info["account"])
    if "token" in payment_info:
        return _checked("token", "card_token", payment_info["token"])
    return PaymentInfo("account", UNSPECIFIED)


def secret(folder: Path) -> bytes:
    """The key under which a folder's cards have their tokens, made when it is first asked for."""
    path = folder / "card.key"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _write_new(path, secrets.token_bytes(_KEY_BYTES))
    key = path.read_bytes()
    if len(key) != _KEY_BYTES:
        raise StorageError(f"{path}: is no card key; found {len(key)} bytes, wanted {_KEY_BYTES}")
    return key


def _write_new(path: Path, content: bytes) -> None:
    """A file that its owner alone may read: there with all its content, or somebody else's that was there first."""
    with NamedTemporaryFile(dir=path.parent, prefix="card.key.") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(file.name, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _card_token(payment_info: Mapping[str, object], secret: bytes, today: date) -> str:
    digits = _SEPARATORS.sub("", _text(payment_info, "card_number"))
    if not _NUMBER.match(digits):
        raise _wanted("card_number", "12 to 19 digits, as text; spaces and dashes may stand between them")
    if not _passes_luhn(digits):
        raise _wanted("card_number", "a card's number; the check digit is wrong")
    expiry = _EXPIRY.match(_text(payment_info, "expiry_date"))
    if expiry is None:
        raise _wanted("expiry_date", "text like MM/YY or MM/YYYY")
    if (2000 + int(expiry["year"][-2:]), int(expiry["month"])) < (today.year, today.month):
        raise _wanted("expiry_date", "a month that has not passed")
    if not _CVV.match(_text(payment_info, "cvv")):
        raise _wanted("cvv", "3 or 4 digits, as text")
    digest = blake2b(digits.encode(), key=secret, digest_size=12).hexdigest()
    return f"card_{digest.translate(_LETTERS)}"


def _passes_luhn(digits: str) -> bool:
    """Whether the last digit is the one that the others call for (ISO/IEC 7812-1)."""
    doubled = sum(sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (doubled + sum(map(int, digits[-1::-2]))) % 10 == 0


def _checked(field: str, method: str, account: object) -> PaymentInfo:
    with suppress(msgspec.ValidationError):
        return msgspec.convert({"method": method, "account": account}, PaymentInfo)
    raise _wanted(field, "1 to 64 letters, digits and . : @ + - _ that are no card number")


def _text(payment_info: Mapping[str, object], field: str) -> str:
    value = payment_info.get(field)
    return value if isinstance(value, str) else ""


def _wanted(field: str, what: str) -> InputError:
    return InputError("order", f"payment_info.{field}", f"wanted {what}")
