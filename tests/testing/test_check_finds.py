"""What `check_saga` finds: the mistakes people make, each told so that it can be mended."""

import itertools
import re

import pytest

from amends import Done, Refused, Results, Service, handles, step, undoes
from amends.testing import Schedule, SimulatedSystem
from amends.testing.cases import Case
from amends.testing.report import Report, SagaFailed, Tried
from tests.testing.buying import (
    QUICK,
    SHELF,
    SLIPS,
    UNITS,
    Buy,
    Charge,
    Order,
    Payment,
    Reserve,
    Ship,
    Shipping,
    Stock,
    check,
    failure,
    names,
    units,
)

# What is found.


class Leaky(Stock, name="stock", migrations=SHELF):
    """Its undo undoes nothing."""

    @undoes(Reserve)
    def put_back(self, command: Reserve, result: None) -> None: ...


class Generous(Stock, name="stock", migrations=SHELF):
    """Its undo gives back more than was taken."""

    @undoes(Reserve)
    def put_back(self, command: Reserve, result: None) -> None:
        self.db.execute("update shelf set units = units + ? + 1", (command.quantity,))


@pytest.mark.parametrize(("wrong", "shelf"), [(Leaky, 8), (Generous, 11)])
def test_undo_that_is_not_the_inverse(wrong: type[Service], shelf: int) -> None:
    """The user's own invariant sees it as soon as anything is undone."""
    failed = failure(wrong)
    assert f"invariant nothing_vanishes: {shelf} units on the shelf and 0 shipped, wanted 10" in str(failed)
    assert "payment.charge refuses" in names(failed.report)


class Caching(Stock, name="stock", migrations=SHELF):
    """Counts in an attribute, and writes down where the count stands."""

    def __init__(self) -> None:
        super().__init__()
        self.units = UNITS

    def count(self, change: int) -> None:
        self.units += change
        self.db.execute("update shelf set units = ?", (self.units,))

    @handles(Reserve)
    def reserve(self, command: Reserve) -> Done[None] | Refused:
        self.count(-command.quantity)
        return Done()

    @undoes(Reserve)
    def put_back(self, command: Reserve, result: None) -> None:
        self.count(command.quantity)


@pytest.mark.parametrize(
    ("case", "shelf"),
    [
        ("stock.reserve raises after its work", "6 units on the shelf and 2 shipped"),
        ("the process dies right before the 1st commit of stock", ""),
        ("payment.charge refuses, then stock fails at its 3rd turn", "12 units on the shelf and 0 shipped"),
    ],
)
def test_state_in_attributes(case: str, shelf: str) -> None:
    """A rollback does not take it back, so it counts twice; a restart forgets it, so it does not count at all."""
    report = failure(Caching).report
    found = {tried.case.name: tried.found for tried in report.tried}
    assert found[case].startswith(f"invariant nothing_vanishes: {shelf}, wanted 10" if shelf else "")
    assert bool(found[case]) is bool(shelf)


class Remembering(Stock, name="stock", migrations=SHELF):
    """Its undo needs what only this incarnation of the service knows."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: dict[int, int] = {}

    @handles(Reserve)
    def reserve(self, command: Reserve) -> Done[None] | Refused:
        self.taken[command.quantity] = command.quantity
        return super().reserve(command)

    @undoes(Reserve)
    def put_back(self, command: Reserve, result: None) -> None:
        self.db.execute("update shelf set units = units + ?", (self.taken[command.quantity],))


def test_undo_that_raises_after_a_restart() -> None:
    """It is stuck for ever; the message names the step, the error and the line it comes from."""
    failed = failure(Remembering)
    text = str(failed)
    assert "it never ends, and is stuck: step 'reserve': the handler raised KeyError" in text
    assert re.search(r"stock.put_back raised KeyError: .*, at test_check_finds.py:\d+", text)
    assert "payment.charge refuses, then stock fails at its 3rd turn" in names(failed.report)
    assert not any(name.startswith("payment.charge hangs") for name in names(failed.report))


MAILS: list[str] = []


class Mailing(Shipping, name="shipping", migrations=Shipping.migrations):
    """Writes to the customer inside its turn."""

    @handles(Ship)
    def ship(self, command: Ship) -> Done[None]:
        MAILS.append("it is on its way")
        return super().ship(command)


def test_call_outside_inside_a_turn() -> None:
    """What a rollback can't take back happens twice when the process dies before the commit."""

    def one_mail(system: SimulatedSystem) -> None:
        assert len(MAILS) <= 1, f"{len(MAILS)} mails for one parcel"

    failed = failure(Mailing, invariants=(one_mail,), before=lambda system: MAILS.clear())
    assert "invariant one_mail: 2 mails for one parcel" in str(failed)
    assert "the process dies right before the 1st commit of shipping" in names(failed.report)
    assert "shipping.ship raises after its work" in names(failed.report)
    assert "shipping.ship raises before its work" not in names(failed.report)


TICKS = itertools.count()


class Ticking(Buy, name="ticking"):
    """A step's command has a number that is another one each time."""

    @step(to="payment", after=[Buy.__dict__["reserve"]], retry=QUICK)
    def charge(self, order: Order, done: Results) -> Charge:
        return Charge(next(TICKS))


def test_step_that_is_not_deterministic() -> None:
    """A step that builds another command when it is built again is named, with the rule it breaks."""
    failed = failure(saga=Ticking)
    assert "step 'charge' of check is sent again with another payload" in str(failed)
    assert "the process dies right after the 1st commit of payment" in names(failed.report)


class Shrugging(Payment, name="payment", migrations=SLIPS):
    """Swallows what it should refuse."""

    @undoes(Charge)
    def refund(self, command: Charge, result: int) -> None:
        raise ValueError("no refunds")


def test_undo_that_always_raises() -> None:
    """A way back that never works is found as soon as somebody cancels."""
    failed = failure(Shrugging)
    assert "it never ends, and is stuck: step 'charge': the handler raised ValueError" in str(failed)
    assert "cancelled when charge is sent" in names(failed.report)


# How it is told.


def test_an_assertion_without_words() -> None:
    """A bare assert of a module that pytest does not rewrite is told by its line."""

    def silent(system: SimulatedSystem) -> None:
        raise AssertionError

    assert re.search(r"invariant silent: line \d+: raise AssertionError", str(failure(invariants=(silent,))))


def test_failing_cases_of_one_cause_are_told_together() -> None:
    """One cause is told in full once, and every case that shares it by name."""
    failed = failure(Leaky)
    text = str(failed)
    cases = len(failed.report.failed)
    assert f"{len(failed.report.tried)} tried, {cases} failed" in text
    assert all(name in text for name in names(failed.report))
    assert f"the same in {cases - 1} more:" in text
    assert text.count("invariant nothing_vanishes") == 1
    assert len(text.splitlines()) < 60 + cases


def test_the_simplest_case_of_a_cause_is_told() -> None:
    """Of all cases of one cause the one with the fewest things going wrong is told in full."""
    one, two = Case("a", "lost", {"a #1": "lost"}), Case("a, then b", "lost", {"a #1": "lost", "b #1": "lost"})
    told = str(SagaFailed("Buy", Report("buy", (Tried(two, "", "half"), Tried(one, "", "half")))))
    assert "1. a\n" in told
    assert "the same in 1 more:\n     a, then b" in told


def test_a_failing_case_is_replayed_by_its_line() -> None:
    """`only`, as it is printed, gives the same finding, with the whole trace."""
    first = failure(Remembering).report.failed[0]
    again = failure(Remembering, only=first.case.name)
    assert [tried.found for tried in again.report.failed] == [first.found]
    assert f"only={first.case.name!r}" in str(again)
    assert "more before" not in str(again)
    assert first.trace[0] in str(again)


def test_a_failing_case_is_replayed_by_its_schedule() -> None:
    """The schedule, as it is printed, gives the same history by hand."""
    failed = failure(Leaky)
    printed = re.search(r"Schedule.from_json\('(.*)'\)", str(failed))
    assert printed is not None
    schedule = Schedule.from_json(printed[1])
    with SimulatedSystem(sagas=[Buy], services=[Leaky, Payment, Shipping], schedule=schedule) as system:
        system.submit(Buy, Order(2), key="check")
        system.run_until_quiet()
        assert units(system) == 8
        assert tuple(system.trace.splitlines()) == failed.report.failed[0].trace


def test_the_log_is_silent_meanwhile(caplog: pytest.LogCaptureFixture) -> None:
    """Hundreds of planned errors don't flood whoever reads the log; afterwards it speaks again."""
    check(only="payment.charge raises before its work")
    assert not caplog.records
    with SimulatedSystem(sagas=[Buy], services=[Stock, Payment, Shipping]) as system:
        system.service("payment").raises(Charge, times=1)
        system.run(Buy, Order(1))
    assert [r for r in caplog.records if "handler.failed" in r.getMessage()]
