"""The five order systems as programs: `python -m amends.demo fulfilment`, and so on.

Answers go to standard output, one line for each order; all else goes to standard error. What a
system reads and says is its own; see `runnable`.
"""

import itertools
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import click
from msgspec import Meta, Struct
from rich.console import Console

from amends.console import journal, show
from amends.demo.domain import ItemId, Order
from amends.demo.messages import Price
from amends.demo.options import FILE, FOLDER, fault_options, in_folder, plan_of, telling_errors
from amends.demo.real_orders import FileUnreadable, Reading, RefusedLines, lines_of, read_catalogue, read_orders
from amends.demo.screen import show_counts, show_reading
from amends.demo.stocking import Delivery, Stalled, delivery, share_of, stock_up
from amends.demo.systems.answering import Answering, Input, read_inputs
from amends.demo.systems.runnable import SYSTEMS, Runnable, runnable
from amends.protocol import codec
from amends.protocol.errors import InputError

PRICE = "1"
"""What an item is sold for if nobody says."""

FINISH_S = 60.0
"""Longer than an order's deadline, and what it takes to undo it."""

_NOT_FOR_IT = "not taken by this system"
_PLACE = re.compile(r"\[\d+\]")

_HELP = """{about}

Orders come from FILE, or from standard input ("-"), a line for each; empty lines count for nothing. A line that can't
be read, or taken, is told of on standard error with its number, and the next ones go on. With --orders and --catalogue
they are real ones instead; those that can't be read, or be orders of this system, are counted by reason.

The shelves are filled from --stock; without it all input is read first, and they get --stock-share of what it wants,
at the catalogue's prices, or 1 without a catalogue. With --stock or a share of 0 (take the shelves as they are in
--data) an answer may come before the next line does.

Exit status: 0 all is well, 1 a line was not taken or the audit found something, 2 the command was wrong.
"""


class Stocked(Struct, frozen=True, forbid_unknown_fields=True):
    """A line of a file of stock."""

    item_id: ItemId
    quantity: Annotated[int, Meta(ge=0, le=2**40)]
    price: Price = PRICE


def add_systems(main: click.Group) -> None:
    """A command for each system."""
    for name, about in SYSTEMS.items():
        command = click.Command(name, callback=_program(name), help=_HELP.format(about=about), short_help=about)
        main.add_command(_options(command))


def _options(command: click.Command) -> click.Command:
    options: list[Callable[[Any], Any]] = [
        click.argument("file", type=click.File("rb"), required=False),
        click.option("--orders", type=FILE, help="Real orders, as JSON lines, plain or gzipped; instead of FILE."),
        click.option("--catalogue", type=FILE, help="Items and their prices, as JSON lines."),
        click.option("--stock", type=FILE, help='What is there, as JSON lines: {"item_id", "quantity", "price"}.'),
        click.option("--stock-share", type=click.FloatRange(0.0), default=1.0, help="See above."),
        click.option("--limit", type=click.IntRange(1), help="Take the first so many orders only."),
        click.option("--in-flight", type=click.IntRange(1, 9_000), default=100, help="Orders at once."),
        click.option("--as-they-finish", is_flag=True, help="Answers as orders end, not in the order of the input."),
        click.option("--times", is_flag=True, help="Tell at the end where the time went, step by step."),
        click.option("--data", type=FOLDER, help="Where the databases are; a temporary folder if not given."),
        click.option("--seed", type=int, default=1, help="Decides the faults."),
        fault_options(by_default=False, without=("killed",)),
    ]
    for option in reversed(options):
        command = option(command)
    command.context_settings["show_default"] = True
    return command


def _program(name: str) -> Callable[..., None]:
    def program(file: BinaryIO | None, data: Path | None, **chosen: Any) -> None:
        if (chosen["orders"] is not None) and (file is not None or chosen["catalogue"] is None):
            raise click.UsageError("--orders: wanted with --catalogue, and without FILE")
        if chosen["orders"] is None and file is None:
            if sys.stdin.isatty():
                raise click.UsageError("FILE: wanted a file, '-', or --orders and --catalogue")
            file = sys.stdin.buffer
        with telling_errors():
            # In a file or a pipe there is room for whole tables.
            run = Run(runnable(name), file, chosen, Console(stderr=True, width=None if sys.stderr.isatty() else 120))
        in_folder(data, run.console, run, in_short=True)

    return program


class Run:
    """One run of one system, as the options have it."""

    def __init__(
        self, kind: Runnable[Any, Any], file: BinaryIO | None, chosen: Mapping[str, Any], console: Console
    ) -> None:
        self.console = console
        self._kind = kind
        self._file = file
        self._chosen = chosen
        self._complaints = 0
        catalogue = chosen["catalogue"]
        self._catalogue = {} if catalogue is None else read_catalogue(catalogue)

    def __call__(self, folder: Path) -> bool:
        """Answer all inputs; True if every one of them was taken and none is left under way."""
        inputs, stock = self._prepared()
        with self._kind.open(folder, plan_of(self._chosen)) as system:
            if stock is not None:
                stock_up(system.system, stock)
            answering = Answering(
                system,
                self._kind,
                tell,
                self._complain,
                in_flight=self._chosen["in_flight"],
                as_they_finish=self._chosen["as_they_finish"],
            )
            answering.answer(inputs)
            counts = answering.tally.counts()
            try:
                system.finish(FINISH_S)
            except Stalled as error:
                self._complain(str(error))
            show_counts(self.console, counts, self._kind.numbers(system))
            if self._chosen["times"]:
                self.console.print(show.timings(journal.timings(folder, sagas=system.sagas)))
        return not self._complaints

    def _prepared(self) -> tuple[Iterable[Input], Delivery | None]:
        """The orders, and what there is to be on the shelves; read as a whole only if that has to be known before."""
        chosen = self._chosen
        prices = {item.item_id: str(item.unit_price) for item in self._catalogue.values()}
        inputs = itertools.islice(self._inputs(), chosen["limit"])
        if chosen["stock"] is not None:
            stock = read_stock(chosen["stock"])
            return inputs, delivery(stock.units, prices | stock.prices)
        if chosen["stock_share"] == 0:
            return inputs, delivery({}, prices) if prices else None
        listed = list(inputs)
        units = dict.fromkeys(prices, 0) | share_of(
            (self._kind.units(given.value) for given in listed), chosen["stock_share"]
        )
        return listed, delivery(units, dict.fromkeys(units, PRICE) | prices)

    def _inputs(self) -> Iterator[Input]:
        if self._file is not None:
            yield from read_inputs(self._file, self._kind.read, self._complain)
            return
        inputs, reading = self._fitting(read_orders(self._chosen["orders"], self._catalogue))
        show_reading(self.console, reading)
        yield from inputs

    def _fitting(self, reading: Reading) -> tuple[list[Input], Reading]:
        """The orders as inputs of this system, and the reading with the others among the refused lines."""
        inputs: list[Input] = []
        orders: list[Order] = []
        refused = dict(reading.refused)
        for order in reading.orders:
            try:
                inputs.append(Input(f"order {order.order_id}", self._kind.from_order(order)))
                orders.append(order)
            except InputError as error:
                reason = f"{_NOT_FOR_IT}: {_PLACE.sub('[]', error.path)}"
                known = refused.get(reason) or RefusedLines(0, f"order {order.order_id}: {error}")
                refused[reason] = RefusedLines(known.count + 1, known.example)
        return inputs, Reading(reading.lines, orders, refused)

    def _complain(self, problem: str) -> None:
        self._complaints += 1
        click.echo(problem, err=True)


def tell(line: str) -> None:
    """A line on standard output, at once."""
    click.echo(line)


def read_stock(file: Path) -> Delivery:
    """What a file of stock says; one bad line makes all of it unusable."""
    units: dict[str, int] = {}
    prices: dict[str, Price] = {}
    for number, line in lines_of(file):
        try:
            item = codec.decode(Stocked, line, "stock")
        except InputError as error:
            raise FileUnreadable(f"{file}: line {number}: {error}") from None
        if item.item_id in units:
            raise FileUnreadable(f"{file}: line {number}: item {item.item_id!r} stands there twice")
        units[item.item_id], prices[item.item_id] = item.quantity, item.price
    return Delivery("stock", units, prices)
