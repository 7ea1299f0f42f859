"""`check_saga`: a sound saga passes every case, and each mistake people make is found and told so that it helps."""

import itertools
import re

import msgspec
import pytest

from amends import InputError, PlanError, Results, Retry, Saga, retriable, step
from amends.protocol.errors import AmendsError
from amends.testing import HistoryFailed, Schedule, SimulatedSystem, check_saga
from amends.testing.cases import cases_of, ordinal
from amends.testing.report import Report, SagaFailed
from tests.testing.buying import (
    Buy,
    Order,
    Payment,
    Reserve,
    Ship,
    Shipping,
    Stock,
    check,
    failure,
    nothing_vanishes,
    sent,
)


@pytest.fixture(scope="module")
def sound() -> Report:
    """All cases of the shop as it should be."""
    return check()


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
    """An invariant that can't look has not held, and its error is told; neither has one that returns False."""

    def typo(system: SimulatedSystem) -> None:
        system.query("stock", "select unit from shelf")

    with pytest.raises(SagaFailed, match=r"invariant typo: DatabaseError: no such column: unit, in line \d+"):
        check(invariants=[typo])
    with pytest.raises(SagaFailed, match="it is not so"):
        check(invariants=[lambda system: False])
