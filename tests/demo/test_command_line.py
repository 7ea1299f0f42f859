"""The systems' command line: lines in, lines out, and what is told of lines that can't be taken."""

import dataclasses
import io
import json
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from amends import AmendsError, InputError, KeyConflict, Overloaded, SystemStopped
from amends.demo.__main__ import main
from amends.demo.domain import Order
from amends.demo.real_orders import FileUnreadable
from amends.demo.stocking import Stalled
from amends.demo.systems import coordinator
from amends.demo.systems.answering import Answering, Input, read_inputs
from amends.demo.systems.command_line import read_stock
from amends.demo.systems.runnable import SYSTEMS, Runnable
from tests.actors.trip import rows_of


def a_line(order_id: str, *, units: int = 2, **changes: Any) -> str:
    """An order of apples, as the coordinator reads them."""
    order = {
        "order_id": order_id,
        "user_id": "u-1",
        "items": [{"item_id": "apple", "quantity": units, "unit_price_minor": 30}],
        "payment_info": {"method": "account", "account": "a-1"},
        "shipping_address": {"country": "France"},
    }
    return json.dumps(order | changes)


def run(*arguments: str, lines: str = "") -> Result:
    """The coordinator with these options, and lines on its standard input."""
    return CliRunner().invoke(main, ["coordinator", *arguments], input=lines)


def answers(result: Result) -> list[str]:
    """The lines that came out, without the times."""
    return [line.rpartition(" (")[0] for line in result.stdout.splitlines()]


@pytest.fixture
def data(tmp_path: Path) -> str:
    """Where the databases go."""
    return str(tmp_path / "data")


def test_a_line_comes_out_for_each_that_goes_in(data: str) -> None:
    """In their order; all else is told on the other stream."""
    result = run("--data", data, lines="\n".join(a_line(f"o-{n}") for n in range(30)))
    assert result.exit_code == 0, result.output
    assert answers(result) == [f"o-{n} confirmed" for n in range(30)]
    assert "30 orders in" in result.stderr
    assert "all ok" in result.stderr


def test_a_file_may_be_named_or_be_a_dash(tmp_path: Path, data: str) -> None:
    """The same lines give the same answers, once more too."""
    file = tmp_path / "orders.jsonl"
    file.write_text(a_line("o-1"))
    for arguments, lines in (([str(file)], ""), (["-"], a_line("o-1"))):
        assert answers(run(*arguments, "--data", data, lines=lines)) == ["o-1 confirmed"]
    assert rows_of(Path(data) / "payment.db", "select count(*) from payments") == [(1,)]


def test_a_line_that_can_not_be_read_is_told_of_and_the_next_ones_go_on(data: str) -> None:
    """With its number, the field and what is wanted there; exit status 1 says that not all were taken."""
    lines = [a_line("o-1"), "", "{", a_line("o-4", units=0), a_line("o-5")]
    result = run("--data", data, lines="\n".join(lines))
    assert result.exit_code == 1
    assert answers(result) == ["o-1 confirmed", "o-5 confirmed"]
    assert "line 3: " in result.stderr
    assert "line 4: order: $.items[0].quantity: Expected `int` >= 1" in result.stderr


def test_what_a_text_may_be_is_said_in_words(data: str) -> None:
    """And not as a pattern."""
    payment = {"method": "account", "account": "a b"}
    result = run("--data", data, lines="\n".join([a_line("o 1"), a_line("o-2", payment_info=payment)]))
    assert "line 1: order: $.order_id: wanted 1 to 64 letters, digits and _ . : / -" in result.stderr
    assert "line 2: order: $.payment_info.account: wanted 1 to 64 letters, digits and" in result.stderr
    assert "regex" not in result.stderr


def test_what_stands_in_a_payment_is_not_repeated(data: str) -> None:
    """A card number in any field of it is no account."""
    card = "4111111111111111"
    for payment in ({"method": "account", "account": card}, {"method": card, "account": "a"}, {card: card}):
        result = run("--data", data, lines=a_line("o-1", payment_info=payment))
        assert result.exit_code == 1
        assert "line 1: order: $.payment_info" in result.stderr
        assert card not in result.output


def test_an_order_that_is_another_one_by_now_is_told_of(data: str) -> None:
    """A key that was used for something else."""
    result = run("--data", data, "--in-flight", "1", lines="\n".join([a_line("o-1"), a_line("o-1", units=1)]))
    assert result.exit_code == 1
    assert answers(result) == ["o-1 confirmed"]
    assert "line 2: saga 'place-order': key 'o-1' belongs to instance" in result.stderr


def test_without_a_file_of_stock_there_is_a_share_of_what_is_wanted(data: str) -> None:
    """Half of it does for one of two."""
    lines = "\n".join([a_line("o-1"), a_line("o-2")])
    result = run("--data", data, "--in-flight", "1", "--stock-share", "0.5", lines=lines)
    assert result.exit_code == 0
    assert answers(result) == ["o-1 confirmed", "o-2 cancelled at reserve: short_stock: apple"]
    assert "not completed: short_stock 1" in result.stderr


def test_a_file_of_stock_is_what_there_is(tmp_path: Path, data: str) -> None:
    """Goods and prices; the lines need not all be there before the first is answered."""
    stock = tmp_path / "stock.jsonl"
    stock.write_text('{"item_id": "apple", "quantity": 3, "price": "0.30"}\n')
    lines = "\n".join([a_line("o-1"), a_line("o-2")])
    result = run("--data", data, "--in-flight", "1", "--stock", str(stock), lines=lines)
    assert answers(result) == ["o-1 confirmed", "o-2 cancelled at reserve: short_stock: apple"]
    # The shelves and prices as they are: one is left.
    result = run("--data", data, "--stock-share", "0", lines=a_line("o-3", units=1))
    assert answers(result) == ["o-3 confirmed"]
    assert rows_of(Path(data) / "inventory.db", "select item_id, price from prices") == [("apple", '"0.30"')]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"item_id": "A", "quantity": -1}', r"stock\.jsonl: line 1: stock: \$\.quantity"),
        ('{"item_id": "A", "quantity": 1}\n{"item_id": "A", "quantity": 1}', "line 2: item 'A' stands there twice"),
        ('{"item_id": "A"}', "`quantity`"),
    ],
)
def test_a_file_of_stock_must_be_right(tmp_path: Path, text: str, message: str) -> None:
    """It is the shop's own, so its errors are errors."""
    file = tmp_path / "stock.jsonl"
    file.write_text(text)
    with pytest.raises(FileUnreadable, match=message):
        read_stock(file)


def real_files(tmp_path: Path) -> list[str]:
    """Options for four real orders, one of them cancelled, and their catalogue."""
    orders, catalogue = tmp_path / "orders.jsonl", tmp_path / "catalogue.jsonl"
    line = {
        "user_id": 7,
        "items": [{"item_id": "A", "quantity": 3, "unit_price": "2.55"}],
        "payment_info": {"method": "account", "account": "7"},
        "shipping_address": {"country": "France"},
    }
    orders.write_text("\n".join(json.dumps({"order_id": number, **line}) for number in ("1", "C2", "3", "4")))
    catalogue.write_text(json.dumps({"item_id": "A", "description": "", "unit_price": "2.60", "units_sold": 6}))
    return ["--orders", str(orders), "--catalogue", str(catalogue)]


def test_real_orders_come_with_the_catalogue_and_its_prices(tmp_path: Path, data: str) -> None:
    """As the demos read them; the first so many of them, if not all are wanted."""
    result = run(*real_files(tmp_path), "--data", data, "--limit", "2")
    assert result.exit_code == 0, result.output
    assert answers(result) == ["1 confirmed", "3 confirmed"]
    assert "4 lines: 3 orders, 1 refused" in result.stderr
    assert rows_of(Path(data) / "inventory.db", "select item_id, price from prices") == [("A", '"2.60"')]


def test_a_real_order_that_does_not_fit_a_system_is_told_of(
    tmp_path: Path, data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among the refused lines, by field and with the first as an example; that is no error of the command's."""

    def only_some(order: Order) -> Order:
        if order.order_id != "1":
            raise InputError("order", f"$.items[{order.order_id}].item_id", "wanted another one")
        return order

    fussy = dataclasses.replace(coordinator.RUNNABLE, from_order=only_some)
    monkeypatch.setattr(coordinator, "RUNNABLE", fussy)
    result = run(*real_files(tmp_path), "--data", data)
    assert result.exit_code == 0
    assert answers(result) == ["1 confirmed"]
    assert "4 lines: 1 orders, 3 refused" in result.stderr
    (row,) = [text for text in result.stderr.splitlines() if "$.items[].item_id" in text]
    assert "not taken by this system" in row
    assert " 2 " in row
    assert "order 3: order: $.items[3].item_id" in row


def test_faults_are_those_that_are_asked_for(data: str) -> None:
    """None, unless they are."""
    result = run("--data", data, "--declined-share", "1", lines=a_line("o-1"))
    assert result.exit_code == 0
    assert answers(result) == ["o-1 cancelled at authorize: card_declined"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--orders", __file__], "wanted with --catalogue"),
        (["--orders", __file__, "--catalogue", __file__, __file__], "without FILE"),
        (["/no/such/file"], "No such file"),
        (["--stock", "/no/such/file"], "does not exist"),
        (["--in-flight", "0"], "0 is not in the range"),
    ],
)
def test_a_wrong_command_is_refused(arguments: list[str], said: str) -> None:
    """Exit status 2 and a sentence that says why."""
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in result.output


def test_on_a_terminal_nobody_is_left_waiting_for_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who names no file there has forgotten to."""
    monkeypatch.setattr(
        "amends.demo.systems.command_line.sys", SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True))
    )
    result = run()
    assert result.exit_code == 2
    assert "wanted a file, '-', or --orders" in result.output


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_has_a_command_that_says_what_it_does(name: str) -> None:
    """And how its lines look is its own business."""
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0
    assert " ".join(SYSTEMS[name].split()) in " ".join(result.output.split())


def test_what_an_audit_finds_is_an_exit_status_and_keeps_the_databases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where to look is said."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("amends.demo.audit.CHECKS", (lambda _: [{"order_id": "o-7"}],))
    result = run(lines=a_line("o-1"))
    assert result.exit_code == 1
    assert "order_id=o-7" in result.stderr
    (kept,) = tmp_path.iterdir()
    assert str(kept) in result.stderr


# Without a shop behind it.


class Slow:
    """A system whose orders end when the test says so."""

    def __init__(self) -> None:
        self.under_way: dict[str, Future[str]] = {}
        self.taken = threading.Semaphore(0)

    def submit(self, value: str) -> Future[str]:
        if value == "bad":
            raise InputError("order", "$.name", "wanted a good one")
        self.under_way[value] = Future()
        self.taken.release()
        return self.under_way[value]

    def end(self, *values: str) -> None:
        """These end, once all of them have been taken."""
        for _ in values:
            assert self.taken.acquire(timeout=10)
        for value in values:
            self.under_way[value].set_result(f"answer to {value}")


def answering(system: Any, tell: Callable[[str], None], complaints: list[str], **options: Any) -> Answering:
    """Answers that are themselves the lines."""
    kind: Runnable[str, str] = Runnable(
        open=lambda *_: system,
        read=str,
        from_order=lambda order: order.order_id,
        units=lambda value: {},
        say=lambda value, answer, _: answer,
        refused=lambda answer: None,
    )
    return Answering(system, kind, tell, complaints.append, **{"in_flight": 9, "as_they_finish": False} | options)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (InputError("order", "$", "wanted a good one"), ["a failed"]),
        (KeyConflict("saga", "a", "01a"), ["a failed"]),
        (Overloaded(1, 1), ["a failed"]),
        (SystemStopped("it stops"), []),
    ],
)
def test_only_who_was_surely_turned_away_is_told_so(error: AmendsError, line: list[str]) -> None:
    """An order of which nobody knows yet how it ends may still end well."""
    slow, lines = Slow(), list[str]()
    work = answering(slow, lines.append, [])
    work._kind = dataclasses.replace(work._kind, turned_away=lambda value: f"{value} failed")
    thread = threading.Thread(target=work.answer, args=([Input("line 1", "a")],))
    thread.start()
    assert slow.taken.acquire(timeout=10)
    slow.under_way["a"].set_exception(error)
    thread.join(10)
    assert lines == line


@pytest.mark.parametrize(("as_they_finish", "order"), [(False, "ab"), (True, "ba")])
def test_answers_come_in_the_order_of_the_input_or_as_orders_end(as_they_finish: bool, order: str) -> None:
    """Whoever ends first waits, unless it is wanted otherwise."""
    slow, lines, complaints = Slow(), list[str](), list[str]()
    work = answering(slow, lines.append, complaints, as_they_finish=as_they_finish)
    inputs = [Input("line 1", "a"), Input("line 2", "bad"), Input("line 3", "b")]
    thread = threading.Thread(target=work.answer, args=(inputs,))
    thread.start()
    assert slow.taken.acquire(timeout=10)
    slow.end("b")
    slow.taken.release()
    slow.end("a")
    thread.join(10)
    assert lines == [f"answer to {value}" for value in order]
    assert complaints == ["line 2: order: $.name: wanted a good one"]
    assert work.tally.counts().reasons == {"error: InputError": 1}


def test_no_more_are_under_way_than_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one goes in when one has ended; that none does for a long time is an error."""
    monkeypatch.setattr("amends.demo.systems.answering.STALL_S", 0.01)
    slow = Slow()

    def inputs() -> Any:
        for value in "abc":
            yield Input(value, value)
            if value == "b":
                slow.end("a")
        yield Input("d", "d")

    with pytest.raises(Stalled, match="3 orders started, 1 ended"):
        answering(slow, lambda line: None, [], in_flight=2).answer(inputs())
    assert list(slow.under_way) == ["a", "b", "c"]


def test_an_answer_comes_before_the_next_line_does() -> None:
    """So a person, or a program, can wait for it."""
    slow, answered = Slow(), threading.Event()

    def inputs() -> Any:
        yield Input("line 1", "a")
        slow.end("a")
        assert answered.wait(10)
        yield Input("line 2", "bad")

    answering(slow, lambda line: answered.set(), []).answer(inputs())


def test_when_nobody_listens_any_more_nothing_more_is_taken() -> None:
    """As with `| head`."""
    slow, told = Slow(), threading.Event()

    def tell(line: str) -> None:
        told.set()
        raise BrokenPipeError

    work = answering(slow, tell, [])

    def inputs() -> Any:
        yield Input("line 1", "a")
        slow.end("a")
        assert told.wait(10)
        while not work._nobody_listens:
            pass
        yield Input("line 2", "b")

    work.answer(inputs())
    assert list(slow.under_way) == ["a"]


def test_lines_are_numbered_as_they_stand_in_the_file() -> None:
    """Empty ones too; one that is no text is told of like the others."""
    complaints: list[str] = []

    def read(line: str) -> int:
        return int(line)

    found = list(read_inputs(io.BytesIO(b"\xef\xbb\xbf1\r\n\n\xff\nx\n5"), read, complaints.append))
    assert found == [Input("line 1", 1), Input("line 5", 5)]
    assert complaints[0] == "line 3: wanted UTF-8"
    assert complaints[1].startswith("line 4: ")
