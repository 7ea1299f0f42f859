"""What a customer's caller hands in at the checkout, and what is wrong with it, for people to read.

Everything that can be known without asking a service is checked here, before anything is touched.
An error names the field, what is wanted there and what was found; but nothing that stands in a
payment is repeated, nor what may be a card number that got into the wrong field.
"""

import re
from decimal import Decimal
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from amends import InputError
from amends.demo.domain import CURRENCY, DIGITS, LINES_MAX, Money, OrderId, Quantity, in_words, to_minor, total_units

UNITS_MAX = 1_000_000
"""Of one product, on however many lines: what one line may have."""

Number = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""A customer's or a product's; the services know them as text."""

_PROBLEM = re.compile(r"(?P<problem>.*?)(?: - at (?P<key>`key` in )?`\$\.?(?P<path>.*)`)?", re.DOTALL)
_FIELD = re.compile(r"Object (?P<trouble>missing required|contains unknown) field `(?P<name>.*)`", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_]{1,40}")
_DIGITS_MANY = re.compile(r"(?:[0-9][-.: _]?){12}")
_AMOUNT = re.compile(r"[0-9]{1,18}(?:\.[0-9]{1,9})?")
_SHOWN_MAX = 40


class Wanted(Struct, frozen=True, forbid_unknown_fields=True):
    """So many of one product."""

    product_id: Number
    quantity: Quantity


class Request(Struct, frozen=True, forbid_unknown_fields=True):
    """What the customer's caller sends, sound but for what stands in `payment_info`."""

    user_id: Number
    order_id: OrderId
    items: Annotated[tuple[Wanted, ...], Meta(min_length=1, max_length=LINES_MAX)]
    payment_info: dict[str, Any]

    def __repr__(self) -> str:
        return f"Request(order_id={self.order_id!r})"  # there may be a card in it

    @property
    def units(self) -> dict[str, int]:
        """Units by item, each item once: what stands on several lines is added up."""
        return total_units((str(line.product_id), line.quantity) for line in self.items)


def read_request(request: object) -> Request:
    """The request, or an InputError with the field, what is wanted there, and what was found but in a payment."""
    try:
        sound = msgspec.convert(request, Request)
    except msgspec.ValidationError as error:
        raise _input_error(request, str(error)) from None
    _check_sums(sound)
    return sound


def read_line(line: str) -> Request:
    """The request on a line of JSON."""
    try:
        request: object = msgspec.json.decode(line)
    except (ValueError, RecursionError) as error:
        raise InputError("order", "$", f"wanted JSON, found a line that is none ({type(error).__name__})") from None
    return read_request(request)


def amount_of(request: Request) -> Money:
    """What is to be paid, or an InputError that repeats nothing of it."""
    currency = request.payment_info.get("currency", CURRENCY)
    if not isinstance(currency, str) or not re.fullmatch("[A-Z]{3}", currency):
        raise InputError("order", "payment_info.currency", "wanted three capital letters, as GBP")
    if "amount" not in request.payment_info:
        raise InputError("order", "payment_info.amount", "is missing")
    given = request.payment_info["amount"]
    try:
        text = str(given) if isinstance(given, int | float | Decimal | str) and not isinstance(given, bool) else ""
        if not _AMOUNT.fullmatch(text):
            raise ValueError("is no plain amount")
        return msgspec.convert({"amount_minor": to_minor(Decimal(text), currency), "currency": currency}, Money)
    except ValueError:
        digits = DIGITS.get(currency, 2)
        wanted = f"wanted an amount of {currency} in whole units, 0 or more and with at most {digits} decimals"
        raise InputError("order", "payment_info.amount", f"{wanted}, as a number or as text like '12.50'") from None


def _input_error(request: object, told: str) -> InputError:
    """What msgspec found, with the field's path as a person would write it."""
    match = _PROBLEM.fullmatch(told)
    assert match is not None  # the pattern matches any text
    path, problem = match["path"] or "", in_words(match["problem"])
    field = _FIELD.fullmatch(problem)
    if field is not None:
        # The name of a field that should not be there may be anything, a card number too.
        name = field["name"] if _NAME.fullmatch(field["name"]) else "(a field)"
        path = f"{path}.{name}" if path else name
        missing = field["trouble"] == "missing required"
        return InputError("order", path, "is missing" if missing else "is there, and no such field is wanted")
    if match["key"]:
        return InputError("order", path or "(a field)", "wanted names of fields that are text")
    wanted = re.sub("^Expected", "wanted", problem)
    if not path.startswith("payment_info"):
        wanted = f"{wanted.partition(', got ')[0]}, found {_shown(_at(request, path))}"
    return InputError("order", path or "$", wanted)


def _check_sums(request: Request) -> None:
    """InputError if the lines of one product come to more than a line may."""
    total: dict[int, int] = {}
    for number, line in enumerate(request.items):
        total[line.product_id] = units = total.get(line.product_id, 0) + line.quantity
        if units > UNITS_MAX:
            where, product = f"items[{number}].quantity", f"product {line.product_id} on all lines"
            raise InputError("order", where, f"wanted at most {UNITS_MAX} of {product}, found {units}")


def _at(request: Any, path: str) -> object:
    """The value at a path that msgspec has walked."""
    for name, number in re.findall(r"([A-Za-z_]+)|\[([0-9]+)\]", path):
        request = list(request)[int(number)] if number else request[name]
    return request


def _shown(value: object) -> str:
    """A value for people's eyes; what is long, or may be a card number in the wrong field, is not shown."""
    if isinstance(value, list | tuple | dict):
        return f"a {type(value).__name__} of {len(value)}"
    if value is not None and not isinstance(value, bool | int | float | str):
        return f"a {type(value).__name__}"
    text = repr(value)
    if len(text) > _SHOWN_MAX or _DIGITS_MANY.search(text):
        return f"{type(value).__name__} of {len(text)} characters"
    return text
