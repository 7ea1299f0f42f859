"""Services made of a caller's functions: what they are called with, what their answers mean, when they are given up."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any
from unittest.mock import Mock

import pytest

from amends import Done, IdempotencyKey, InputError, Refused
from amends.demo.domain import Money
from amends.demo.messages import (
    AuthorizePayment,
    CapturePayment,
    CommitStock,
    Reserved,
    ReserveStock,
    StockLevels,
)
from amends.demo.services.functions import (
    TRIES_MAX,
    InventoryByFunctions,
    InventoryFunctions,
    PaymentByFunctions,
    PaymentFunctions,
    Rejected,
    Tries,
)
from amends.protocol.messages import SagaId

KEY = IdempotencyKey(SagaId("s"), "step")
RESERVE = ReserveStock("o", {"1": 2, "2": 3})
AUTHORIZE = AuthorizePayment("o", "7", "account", "a-7", Money(1250, "GBP"))


def served(functions: InventoryFunctions | PaymentFunctions) -> Any:
    """The service over them, for its handlers to be called as the engine would."""
    # An actor is only ever made for a mailbox; a handler needs none, so its service is not made as one.
    service: Any = functions.service.service
    made = service.__new__(service)
    made.functions, made.tries = functions, Tries()
    return made


def nothing(*_: Any) -> None:
    """A function that does as it is told."""


class Heard:
    """Functions that note what they are called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def plain(self, *given: Any) -> None:
        self.calls.append(given)

    def everything(self, *given: Any, **named: Any) -> None:
        self.calls.append((*given, named))

    def keyed(self, order_id: str, *, key: str) -> None:
        self.calls.append((order_id, key))

    def curious(self, order_id: str, amount: Decimal, currency: str, account: str = "") -> None:
        self.calls.append((order_id, amount, currency, account))


# What they are called with.


def test_a_function_is_called_with_what_it_is_there_for() -> None:
    """And nothing else, if it has no parameters for it."""
    heard = Heard()
    inventory = served(InventoryFunctions(heard.plain, heard.plain, heard.plain))
    inventory.reserve(RESERVE, KEY)
    inventory.release(RESERVE, Reserved(5), KEY)
    inventory.commit(CommitStock("o"), KEY)
    payment = served(PaymentFunctions(heard.plain, heard.plain, heard.plain))
    payment.authorize(AUTHORIZE, KEY)
    payment.void(AUTHORIZE, None, KEY)
    payment.capture(CapturePayment("o"), KEY)
    assert heard.calls == [
        ("o", {"1": 2, "2": 3}),
        ("o",),
        ("o",),
        ("o", Decimal("12.50")),
        ("o",),
        ("o",),
    ]


def test_a_function_gets_what_it_has_parameters_for() -> None:
    """The key, and what else the service knows, by name."""
    heard = Heard()
    payment = served(PaymentFunctions(heard.curious, heard.keyed, heard.everything))
    payment.authorize(AUTHORIZE, KEY)
    payment.void(AUTHORIZE, None, KEY)
    payment.capture(CapturePayment("o"), KEY)
    assert heard.calls == [("o", Decimal("12.50"), "GBP", "a-7"), ("o", "s/step"), ("o", {"key": "s/step"})]


def test_the_amount_has_the_digits_of_its_currency() -> None:
    """A yen has no parts."""
    heard = Heard()
    payment = served(PaymentFunctions(heard.plain, nothing, nothing))
    payment.authorize(AuthorizePayment("o", "7", "account", "a-7", Money(1250, "JPY")), KEY)
    assert heard.calls == [("o", Decimal(1250))]


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: InventoryFunctions(lambda order_id: None, nothing, nothing), "reserve"),
        (lambda: InventoryFunctions(nothing, lambda: None, nothing), "release"),
        (lambda: InventoryFunctions(nothing, nothing, lambda order_id, *, why: None), "commit"),
        (lambda: PaymentFunctions(lambda order_id, amount, tax: None, nothing, nothing), "authorize"),
        (lambda: PaymentFunctions(nothing, lambda order_id, reason: None, nothing), "void"),
        (lambda: PaymentFunctions(nothing, nothing, lambda: None), "capture"),
    ],
)
def test_a_function_that_can_not_be_called_is_refused_at_once(make: Callable[[], object], field: str) -> None:
    """With its name, and what is wanted."""
    with pytest.raises(InputError, match="wanted a function of") as refused:
        make()
    assert refused.value.path == field


def test_a_mock_is_a_function() -> None:
    """It takes whatever there is."""
    reserve = Mock(return_value=None)
    assert served(InventoryFunctions(reserve, Mock(), Mock())).reserve(RESERVE, KEY) == Done(Reserved(5))
    reserve.assert_called_once_with("o", {"1": 2, "2": 3}, key="s/step")


# What their answers mean.


@pytest.mark.parametrize("answer", [None, True])
def test_true_and_nothing_are_yes(answer: bool | None) -> None:
    """The step is done."""
    payment = served(PaymentFunctions(lambda *_: answer, nothing, nothing))
    assert payment.authorize(AUTHORIZE, KEY) == Done()


def test_false_is_no() -> None:
    """A business no, without a reason of its own."""
    inventory = served(InventoryFunctions(lambda *_: False, nothing, nothing))
    assert inventory.reserve(RESERVE, KEY) == Refused("rejected")


def test_rejected_is_no() -> None:
    """For the reason it names."""

    def reject(*_: Any) -> None:
        raise Rejected("out of season")

    assert served(InventoryFunctions(reject, nothing, nothing)).reserve(RESERVE, KEY) == Refused("out of season")


@pytest.mark.parametrize("answer", [0, 1, "", "yes", {}])
def test_any_other_answer_is_none(answer: object) -> None:
    """Nobody can say what it means."""
    functions = InventoryFunctions(lambda *_: answer, nothing, nothing)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=f"{type(answer).__name__}, wanted True, False or None"):
        served(functions).reserve(RESERVE, KEY)


@pytest.mark.parametrize("function", ["release", "commit", "void", "capture"])
def test_what_must_succeed_takes_no_no(function: str) -> None:
    """It is an error like any other, so it is asked again."""
    no: Any = lambda *_: False  # noqa: E731 - a function like the others'
    inventory, payment = served(InventoryFunctions(nothing, no, no)), served(PaymentFunctions(nothing, no, no))
    calls: dict[str, Callable[[], object]] = {
        "release": lambda: inventory.release(RESERVE, Reserved(5), KEY),
        "commit": lambda: inventory.commit(CommitStock("o"), KEY),
        "void": lambda: payment.void(AUTHORIZE, None, KEY),
        "capture": lambda: payment.capture(CapturePayment("o"), KEY),
    }
    with pytest.raises(RuntimeError, match="no is no answer"):
        calls[function]()


# When they are given up.


class Unsteady:
    """Something to do, and to take back, that fails as often as it is told."""

    def __init__(self, fails: float = 0, *, then: bool | None = None, back_fails: int = 0) -> None:
        self.fails, self.then, self.back_fails = fails, then, back_fails
        self.done = self.taken_back = 0

    def do(self) -> bool | None:
        self.done += 1
        if self.done <= self.fails:
            raise ConnectionError
        return self.then

    def take_back(self) -> None:
        self.taken_back += 1
        if self.taken_back <= self.back_fails:
            raise ConnectionError

    def asked(self, tries: Tries, times: int) -> list[Refused | str | None]:
        """What comes of asking so many times."""
        heard: list[Refused | str | None] = []
        for _ in range(times):
            try:
                heard.append(tries.ask(KEY, self.do, self.take_back))
            except ConnectionError:
                heard.append("again")
        return heard


def test_a_failure_is_raised_while_it_is_worth_asking_again() -> None:
    """Whoever asks knows that nothing is known."""
    unsteady = Unsteady(TRIES_MAX - 1)
    assert unsteady.asked(Tries(), TRIES_MAX) == ["again"] * (TRIES_MAX - 1) + [None]
    assert unsteady.taken_back == 0


def test_after_so_many_failures_it_is_a_no() -> None:
    """And what may have been done is taken back before."""
    unsteady = Unsteady(float("inf"))
    heard = unsteady.asked(Tries(), TRIES_MAX)
    assert heard == ["again"] * (TRIES_MAX - 1) + [Refused("gave_up: ConnectionError")]
    assert unsteady.taken_back == 1


def test_until_it_is_taken_back_there_is_no_answer() -> None:
    """And nothing else is done meanwhile."""
    unsteady = Unsteady(float("inf"), back_fails=2)
    heard = unsteady.asked(Tries(), TRIES_MAX + 2)
    assert heard == ["again"] * (TRIES_MAX + 1) + [Refused("gave_up: ConnectionError")]
    assert (unsteady.done, unsteady.taken_back) == (TRIES_MAX, 3)


def test_a_no_after_a_failure_is_taken_back() -> None:
    """The one that failed may have been the reason for it."""
    unsteady = Unsteady(1, then=False, back_fails=1)
    assert unsteady.asked(Tries(), 3) == ["again", "again", Refused("rejected")]
    assert (unsteady.done, unsteady.taken_back) == (2, 2)


def test_a_no_at_once_leaves_nothing_to_take_back() -> None:
    """Nobody is bothered with it."""
    unsteady = Unsteady(then=False)
    assert unsteady.asked(Tries(), 1) == [Refused("rejected")]
    assert unsteady.taken_back == 0


def test_calls_that_do_not_come_back_count_as_well() -> None:
    """After so many of them nobody is called any more."""
    goes_on = threading.Event()
    called: list[int] = []
    all_in = threading.Barrier(TRIES_MAX + 1)

    def hang() -> None:
        called.append(1)
        all_in.wait()
        goes_on.wait()

    tries, unsteady = Tries(), Unsteady()
    with ThreadPoolExecutor(TRIES_MAX) as threads:
        for _ in range(TRIES_MAX):
            threads.submit(tries.ask, KEY, hang, unsteady.take_back)
        all_in.wait()
        assert tries.ask(KEY, unsteady.do, unsteady.take_back) == Refused("gave_up: no answer")
        goes_on.set()
    assert len(called) == TRIES_MAX
    assert (unsteady.done, unsteady.taken_back) == (0, 1)


# What is sold.


@pytest.mark.parametrize(
    ("products", "asked", "found"),
    [
        ({"1", "2"}, ("2", "3"), {"2"}),
        ({1: "a lamp", 2: "a vase"}, ("2", "3"), {"2"}),
        (["1", "2"], None, {"1", "2"}),
        (None, ("2", "3"), {"2", "3"}),
        (None, None, set()),
    ],
)
def test_only_what_is_sold_is_found(products: Any, asked: tuple[str, ...] | None, found: set[str]) -> None:
    """If nobody said what is, everything may be."""
    inventory = served(InventoryFunctions(nothing, nothing, nothing, products))
    assert set(inventory.levels(StockLevels(asked))) == found


def test_the_services_have_the_names_of_the_shops_own() -> None:
    """So that the same saga runs on either."""
    assert (InventoryByFunctions.name, PaymentByFunctions.name) == ("inventory", "payment")
