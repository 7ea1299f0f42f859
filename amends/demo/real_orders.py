"""Reading orders as a real shop recorded them, faults included.

A line becomes a sound order, or is counted under each reason that keeps it from being one, and
each reason comes with an example. No example repeats what stands in a payment.
What the lines look like: the README beside the data; orders and catalogue are JSON lines, plain or gzipped.
"""

import gzip
import zlib
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, BinaryIO, cast

import msgspec
from msgspec import Meta, Struct

from amends import AmendsError
from amends.demo.domain import Order, to_minor
from amends.protocol import codec
from amends.protocol.errors import InputError

UNREADABLE = "unreadable line"
CANCELLATION = "cancellation"
NO_USER = "no user"
ZERO_PRICE = "price of zero"
NEGATIVE_PRICE = "price below zero"
PART_OF_A_PENNY = "price with part of a penny"
NOT_POSITIVE = "quantity below one"
UNKNOWN_ITEM = "item not in the catalogue"
SEEN_BEFORE = "order number seen before"
UNSOUND = "field out of bounds"

CURRENCY = "GBP"
_CANCELLED = "C"
_GZIP = b"\x1f\x8b"


class FileUnreadable(AmendsError):  # noqa: N818 - reads as the fact it reports
    """A file as a whole can't be used; the message names it, and the line where there is one."""


class CatalogueItem(Struct, frozen=True):
    """An item the shop sells."""

    item_id: str
    description: str
    unit_price: Decimal
    units_sold: Annotated[int, Meta(ge=0)]


class RefusedLines(Struct, frozen=True):
    """How many lines have a reason to be refused, and where the first of them is."""

    count: int
    example: str


class Reading(Struct, frozen=True):
    """What a file of orders holds: every line is an order or refused for at least one reason."""

    lines: int
    orders: list[Order]
    refused: dict[str, RefusedLines]


class _RawItem(Struct, frozen=True):
    item_id: str
    quantity: int
    unit_price: Decimal


class _RawPayment(Struct, frozen=True, forbid_unknown_fields=True):
    method: str
    account: str | None


class _RawAddress(Struct, frozen=True):
    country: str


class _RawOrder(Struct, frozen=True):
    order_id: str
    user_id: int | str | None
    items: list[_RawItem]
    payment_info: _RawPayment
    shipping_address: _RawAddress


Problem = tuple[str, str]
"""A reason, and where in the line it was found."""


def read_catalogue(file: Path) -> dict[str, CatalogueItem]:
    """The items by id. It is the shop's own file, so one bad line makes all of it unusable."""
    items: dict[str, CatalogueItem] = {}
    for number, line in lines_of(file):
        try:
            item = codec.decode(CatalogueItem, line, "catalogue")
        except InputError as error:
            raise FileUnreadable(f"{file}: line {number}: {error}") from None
        if item.item_id in items:
            raise FileUnreadable(f"{file}: line {number}: item {item.item_id!r} stands there twice")
        items[item.item_id] = item
    return items


def read_orders(file: Path, catalogue: Mapping[str, CatalogueItem]) -> Reading:
    """The orders of a file, and what became of its other lines."""
    orders: dict[str, Order] = {}
    refused: dict[str, RefusedLines] = {}
    number = 0
    for number, line in lines_of(file):
        found = order_or_problems(line, catalogue)
        if isinstance(found, Order) and found.order_id in orders:
            found = [(SEEN_BEFORE, f"order {found.order_id}")]
        if isinstance(found, Order):
            orders[found.order_id] = found
            continue
        # A line may have several things wrong with it, and each of them on several items: it counts once for each.
        for reason, detail in dict(reversed(found)).items():
            known = refused.get(reason) or RefusedLines(0, f"line {number}: {detail}")
            refused[reason] = RefusedLines(known.count + 1, known.example)
    return Reading(number, list(orders.values()), refused)


def order_or_problems(line: bytes, catalogue: Mapping[str, CatalogueItem]) -> Order | list[Problem]:
    """The order a line describes, or all that is wrong with it."""
    try:
        raw = codec.decode(_RawOrder, line, "order")
    except InputError as error:
        return [(UNREADABLE, error.problem if error.path == "$" else f"{error.problem} - at `{error.path}`")]
    problems = [*_problems(raw), *(p for item in raw.items for p in _item_problems(item, raw, catalogue))]
    if problems:
        return problems
    try:
        return _sound_order(raw)
    except msgspec.ValidationError as error:
        return [(UNSOUND, f"order {raw.order_id}: {error}")]


def _problems(raw: _RawOrder) -> Iterator[Problem]:
    if raw.order_id.startswith(_CANCELLED):
        yield CANCELLATION, f"order {raw.order_id}"
    if raw.user_id is None:
        yield NO_USER, f"order {raw.order_id}"


def _item_problems(item: _RawItem, raw: _RawOrder, catalogue: Mapping[str, CatalogueItem]) -> Iterator[Problem]:
    where = f"order {raw.order_id}, item {item.item_id}"
    price = item.unit_price
    if not price.is_finite():
        yield PART_OF_A_PENNY, f"{where}: {price}"
    elif price == 0:
        yield ZERO_PRICE, where
    elif price.is_signed():
        yield NEGATIVE_PRICE, f"{where}: {price}"
    else:
        try:
            to_minor(price, CURRENCY)
        except ValueError:
            yield PART_OF_A_PENNY, f"{where}: {price}"
    if item.quantity < 1:
        yield NOT_POSITIVE, f"{where}: {item.quantity}"
    if item.item_id not in catalogue:
        yield UNKNOWN_ITEM, where


def _sound_order(raw: _RawOrder) -> Order:
    """The order, checked against the bounds of its fields, which a constructor does not look at."""
    fields = {
        "order_id": raw.order_id,
        "user_id": str(raw.user_id),
        "items": [
            {
                "item_id": item.item_id,
                "quantity": item.quantity,
                "unit_price_minor": to_minor(item.unit_price, CURRENCY),
            }
            for item in raw.items
        ],
        "payment_info": {"method": raw.payment_info.method, "account": raw.payment_info.account},
        "shipping_address": {"country": raw.shipping_address.country},
        "currency": CURRENCY,
    }
    return msgspec.convert(fields, Order)


def lines_of(file: Path) -> Iterator[tuple[int, bytes]]:
    """The lines with their numbers; the name does not matter, what the file begins with does."""
    try:
        with file.open("rb") as plain:
            gzipped = plain.read(len(_GZIP)) == _GZIP
            plain.seek(0)
            source = cast("BinaryIO", gzip.GzipFile(fileobj=plain)) if gzipped else plain
            for number, line in enumerate(source, start=1):
                yield number, line.removeprefix(BOM_UTF8) if number == 1 else line
    except (OSError, EOFError, zlib.error) as error:
        raise FileUnreadable(f"{file}: can't be read: {error}") from None
