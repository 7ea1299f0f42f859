"""`check_saga`: a sound saga passes every case, and each mistake people make is found and told so that it helps."""

import itertools
import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import msgspec
import pykka
import pytest

from amends import Done, InputError, PlanError, Refused, Results, Retry, Saga, Service, handles, retriable, step, undoes
from amends.protocol.errors import AmendsError
from amends.testing import HistoryFailed, Schedule, SimulatedSystem, check_saga
from amends.testing.cases import Case, cases_of, ordinal
from amends.testing.check import Invariant
from amends.testing.report import Report, SagaFailed, Tried

UNITS = 10
SHELF = ("create table shelf (units int not null); insert into shelf values (10)",)
SLIPS = ("create table slips (id integer primary key)",)
QUICK = Retry(attempts=4, base_s=0.1, cap_s=1.0, slow_s=10.0)


class Order(msgspec.Struct, frozen=True):
    """The saga's input."""

    quantity: int


class Reserve(msgspec.Struct, frozen=True):
    """Take units from the shelf."""

    quantity: int


class Charge(msgspec.Struct, frozen=True):
    """Take the money."""

    amount: int


class Ship(msgspec.Struct, frozen=True):
    """Send the parcel."""

    quantity: int


class Stock(Service, name="stock", migrations=SHELF):
    """Units on a shelf."""

    @handles(Reserve)
    def reserve(self, command: Reserve) -> Done[None] | Refused:
        self.db.execute("update shelf set units = units - ?1 where units >= ?1", (command.quantity,))
        return Done() if self.db.changes() else Refused("short stock")

    @undoes(Reserve)
    def put_back(self, command: Reserve, result: None) -> None:
        self.db.execute("update shelf set units = units + ?", (command.quantity,))


class Payment(Service, name="payment", migrations=SLIPS):
    """A slip for each charge."""

    @handles(Charge)
    def charge(self, command: Charge) -> Done[int]:
        self.db.execute("insert into slips default values")
        return Done(self.db.last_insert_rowid())

    @undoes(Charge)
    def refund(self, command: Charge, result: int) -> None:
        self.db.execute("delete from slips where id = ?", (result,))


class Shipping(Service, name="shipping", migrations=("create table parcels (quantity int not null)",)):
    """Parcels that have left."""

    @handles(Ship)
    def ship(self, command: Ship) -> Done[None]:
        self.db.execute("insert into parcels values (?)", (command.quantity,))
        return Done()


class Buy(Saga, name="buy"):
    """Stock and money, then the parcel."""

    input: Order

    @step(to="stock", retry=QUICK)
    def reserve(self, order: Order, done: Results) -> Reserve:
        return Reserve(order.quantity)

    @step(to="payment", after=[reserve], retry=QUICK)
    def charge(self, order: Order, done: Results) -> Charge:
        return Charge(order.quantity * 5)

    @retriable(to="shipping", retry=QUICK)
    def ship(self, order: Order, done: Results) -> Ship:
        return Ship(order.quantity)


def nothing_vanishes(system: SimulatedSystem) -> None:
    """What is not on the shelf is in a parcel."""
    shelf, shipped = units(system), sent(system)
    assert shelf + shipped == UNITS, f"{shelf} units on the shelf and {shipped} shipped, wanted {UNITS}"


def paid_is_shipped(system: SimulatedSystem) -> None:
    """A slip for each parcel."""
    slips = system.query("payment", "select count(*) from slips")
    assert slips == system.query("shipping", "select count(*) from parcels"), f"{slips} slips"


def units(system: SimulatedSystem) -> Any:
    """On the shelf."""
    return system.query("stock", "select units from shelf")[0][0]


def sent(system: SimulatedSystem) -> Any:
    """In parcels."""
    return system.query("shipping", "select coalesce(sum(quantity), 0) from parcels")[0][0]


def check(
    *instead: type[Service], saga: type[Saga] = Buy, invariants: Sequence[Invariant] | None = None, **rest: Any
) -> Report:
    """The shop, with other services instead of those of the same name."""
    shop: tuple[type[Service], ...] = (Stock, Payment, Shipping, *instead)
    by_name = {service.name: service for service in shop}
    kept = (nothing_vanishes, paid_is_shipped) if invariants is None else invariants
    return check_saga(saga, list(by_name.values()), kept, given=rest.pop("given", Order(2)), **rest)


@cache
def failure(*instead: type[Service], **rest: Any) -> SagaFailed:
    """What is said of a wrong shop; said once."""
    with pytest.raises(SagaFailed) as failed:
        check(*instead, **rest)
    return failed.value


def names(report: Report) -> set[str]:
    """Cases that fail."""
    return {tried.case.name for tried in report.failed}


@pytest.fixture(scope="module")
def sound() -> Report:
    """All cases of the shop as it should be."""
    return check()


@pytest.fixture(autouse=True)
def nobody_left() -> Iterator[None]:
    """Each test ends with an empty registry."""
    yield
    assert pykka.ActorRegistry.get_all() == []


# What is tried.


def test_a_sound_saga_passes(sound: Report) -> None:
    """Nothing is found in a saga whose services are right, and nothing is left untold."""
    assert not sound.failed
    assert all(tried.ended in ("completed", "compensated") for tried in sound.tried)


@pytest.mark.parametrize("handler", ["stock.reserve", "payment.charge", "shipping.ship"])
def test_every_handler_goes_wrong_in_every_way(sound: Report, handler: str) -> None:
    """Unavailable, raising before and after, hanging; and refusing, but where a step must not."""
    raises = ["raises before its work", "raises after its work", "raises after its work, and again"]
    ways = ["is unavailable", "hangs", *raises]
    tried = {one.case.name for one in sound.tried}
    assert {f"{handler} {way}" for way in ways} <= tried
    assert (f"{handler} refuses" in tried) is (handler != "shipping.ship")


def test_every_undo_goes_wrong_too(sound: Report) -> None:
    """The way back from a refusal is walked with the same troubles."""
    tried = {one.case.name for one in sound.tried}
    for trouble in (
        "stock.put_back raises after its work",
        "stock.put_back hangs",
        "undo reserve: the message is doubled",
        "undo reserve: the reply comes late",
        "the process dies right before the 2nd commit of stock",
        "stock fails at its 3rd turn",
    ):
        assert f"payment.charge refuses, then {trouble}" in tried


@pytest.mark.parametrize("phase", ["do reserve", "do charge", "do ship"])
def test_every_message_and_reply_is_lost_doubled_and_late(sound: Report, phase: str) -> None:
    """The network does all it can to each."""
    tried = {one.case.name for one in sound.tried}
    for what, fate in itertools.product(("message", "reply"), ("is lost", "is doubled", "comes late")):
        assert f"{phase}: the {what} {fate}" in tried


def test_the_process_dies_around_every_commit(sound: Report) -> None:
    """Before and after each write of the journal and of every service; and each finds the disk full."""
    tried = {one.case.name for one in sound.tried}
    writes = [f"{ordinal(n)} journal write" for n in (1, 2, 3)]
    for write in [*writes, "1st commit of stock", "1st commit of payment", "1st commit of shipping"]:
        for case in ("the process dies right before", "the process dies right after", "the disk is full at"):
            assert f"{case} the {write}" in tried


def test_cancelled_at_every_point(sound: Report) -> None:
    """Whenever a step is sent its caller cancels: undone before the decision, too late after it."""
    ended = {one.case.name: one.ended for one in sound.tried}
    assert ended["cancelled when reserve is sent"] == "compensated"
    assert ended["cancelled when charge is sent"] == "compensated"
    assert ended["cancelled when ship is sent"] == "completed"


def test_every_case_meets_its_fates() -> None:
    """A case that is counted happened: the history met what it was to meet."""
    calm = Schedule()
    with SimulatedSystem(sagas=[Buy], services=[Stock, Payment, Shipping], schedule=calm) as system:
        system.run(Buy, Order(2), key="check")
        possible = dict(system.world.fates.possible)
    report = check()
    again = {case.name for case in cases_of(possible, Buy.plan, "check", report.tried[0].case)}
    assert again <= {tried.case.name for tried in report.tried}
    for tried in report.tried:
        with SimulatedSystem(sagas=[Buy], services=[Stock, Payment, Shipping], schedule=tried.case.schedule) as system:
            system.submit(Buy, Order(2), key="check")
            system.run_until_quiet()
            assert system.schedule == tried.case.schedule, tried.case.name


def test_the_report_reads(sound: Report) -> None:
    """It counts the cases, how they ended by kind, and says what was not tried and why."""
    text = str(sound)
    assert text.startswith(f"saga 'buy': {len(sound.tried)} tried, none failed")
    assert re.search(r"^  refused +2 compensated$", text, re.MULTILINE)
    assert "not tried: ship refused: a retriable step must not refuse" in text


def test_before_prepares_each_history() -> None:
    """What `before` does happens in each history anew, and nothing goes wrong in it."""

    def stock_up(system: SimulatedSystem) -> None:
        assert system.run(Buy, Order(1), key="earlier") is not None

    def earlier_is_there(system: SimulatedSystem) -> None:
        assert sent(system) in (1, 3)

    report = check(before=stock_up, invariants=[nothing_vanishes, earlier_is_there])
    assert not report.failed


def test_a_key_that_another_saga_uses_too() -> None:
    """Keys belong to sagas, so what `before` has started under the same key takes no case away."""

    class Refill(Buy, name="refill"):
        """Another saga."""

    def stock_up(system: SimulatedSystem) -> None:
        system.run(Refill, Order(1), key="check")

    report = check(before=stock_up, sagas=[Refill], invariants=[nothing_vanishes])
    tried = {one.case.name for one in report.tried}
    assert {"do charge: the reply is lost", "payment.charge hangs, 2nd time"} & tried == {
        "do charge: the reply is lost"
    }
    assert "payment.charge hangs" in tried


def test_a_key_that_is_taken() -> None:
    """An instance that `before` has run already can't be checked, and that is said."""
    with pytest.raises(AmendsError, match="key is 'check', which `before` has started already"):
        check(before=lambda system: system.run(Buy, Order(2), key="check"))


class Hasty(Saga, name="hasty"):
    """Counts a step as failed at once."""

    input: Order
    once = Retry(attempts=1, slow_s=10.0)

    @step(to="stock", retry=once)
    def reserve(self, order: Order, done: Results) -> Reserve:
        return Reserve(order.quantity)

    @retriable(to="shipping", retry=once)
    def ship(self, order: Order, done: Results) -> Ship:
        return Ship(order.quantity)


def test_stuck_for_a_while_is_no_failure() -> None:
    """A step that is stuck after one fault goes on at the slow pace, and the history ends."""
    ended = {one.case.name: one.ended for one in check(saga=Hasty, invariants=[nothing_vanishes]).tried}
    assert ended["shipping.ship raises before its work"] == "completed"


def test_what_amends_promises_is_looked_for_at_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the checkers find once all has come to rest is a finding like any other."""

    def broken(system: SimulatedSystem) -> None:
        raise HistoryFailed from AssertionError("all or nothing: half")

    monkeypatch.setattr(SimulatedSystem, "check", broken)
    with pytest.raises(SagaFailed, match="all or nothing: half"):
        check()


def test_only_one_case() -> None:
    """`only` runs the case of that name and no other."""
    report = check(only="payment.charge refuses, then stock.put_back hangs")
    assert [tried.case.name for tried in report.tried] == ["payment.charge refuses, then stock.put_back hangs"]


def test_only_unknown() -> None:
    """A name that is no case's is told with the nearest that are."""
    with pytest.raises(AmendsError, match=r"only is 'payment.charge hang', .*'payment.charge hangs'"):
        check(only="payment.charge hang")


# What is wrong before anything runs.


def test_input_that_does_not_fit() -> None:
    """The field is named, and no history is run."""
    with pytest.raises(InputError, match=r"saga 'buy': \$.quantity: Expected `int`, got `str`"):
        check(given=msgspec.json.decode(b'{"quantity": "two"}'), before=lambda system: pytest.fail("it ran"))


def test_service_that_is_missing() -> None:
    """A plan that does not fit the services is told, and no history is run."""
    with pytest.raises(PlanError, match="step 'charge': unknown service 'payment'"):
        check_saga(Buy, [Stock, Shipping], given=Order(2), before=lambda system: pytest.fail("it ran"))


def test_input_that_can_not_complete() -> None:
    """If nothing goes wrong and the saga is refused all the same, the check would see nothing: it says so."""
    failed = failure(given=Order(11))
    assert "nothing goes wrong, and the outcome is Compensated(step='reserve', reason='short stock')" in str(failed)
    assert len(failed.report.tried) == 1


def test_an_invariant_that_is_itself_wrong() -> None:
    """An error of the invariant's own comes through as it is, with the case's name."""

    def typo(system: SimulatedSystem) -> None:
        system.query("stock", "select unit from shelf")

    with pytest.raises(Exception, match="no such column: unit") as error:
        check(invariants=[typo])
    assert error.value.__notes__ == ["in the case 'nothing goes wrong' of check_saga"]


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
    assert re.search(r"stock, undo of step 'reserve': KeyError, .*test_check.py:\d+ in put_back", text)
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
