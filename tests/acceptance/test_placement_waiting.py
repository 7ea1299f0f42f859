"""The placement system: what can be seen of it, who waits for whom, and what takes longer. Time is virtual."""

import logging
import os
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import partial
from io import StringIO
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any, Final

import msgspec
import pytest
from rich.console import Console

from amends import Compensated, Handle, InputError
from amends.console import journal, show
from amends.console.progress import Progress, WentBack
from amends.demo.domain import PaymentInfo
from amends.demo.messages import AuthorizePayment, CreateOrder, Line, RecordApproval
from amends.demo.stocking import Delivery, StockUp
from amends.demo.systems.placement import SAGAS
from amends.demo.systems.placement_sagas import Accept, Approval, Place, PlacementOrder, StartRest
from amends.testing import FaultPlan, Schedule, SimulatedSystem
from tests.acceptance.placing import (
    FOR_EVER,
    GOODS,
    LATE,
    PENDING,
    SUCCESS,
    SimulatedPlacement,
    a_request,
    all_is_well,
    come_to_rest,
    rows,
    simulated,
    start,
    stuck,
    take,
)
from tests.stateful.asking import Caller, is_up, let_it_end

ROOT: Final = Path(__file__).parents[2]
HISTORIES: Final = int(os.environ.get("AMENDS_EXAMPLES", "40"))
SET_ASIDE: Final = "select item_id, reserved from stock where reserved <> 0"
STATE: Final = "select state from orders where order_id = 'o1'"


# P6: what is going on, and why.


def _progress(placement: SimulatedPlacement, key: str) -> Progress:
    found = journal.progress(placement.folder, key=key, sagas=SAGAS)
    assert found is not None
    return found


def test_P6_the_state_of_every_order_and_why_it_failed_can_be_looked_up(tmp_path: Path) -> None:
    """By the order's number, while the system runs: what is done, what is under way, which step failed and why."""
    with simulated(tmp_path) as placement:
        placement.place(a_request(order_id="good"))
        placement.place(a_request(("apple", 99), order_id="short"))
        placement.system.service("payment").unavailable(AuthorizePayment, reason="bank is away", times=FOR_EVER)
        start(placement, ("apple", 1), order_id="open")
        placement.system.advance(0.5)
        good, short, open_ = (_progress(placement, key) for key in ("good", "short", "open"))
        listed = {instance.key: instance.state for instance in journal.instances(tmp_path, saga="placement")}
        come_to_rest(placement)
    assert (good.state, {step.status for step in good.steps}) == ("completed", {"done"})
    assert (short.state, short.why) == ("compensated", WentBack("reserve_first", "short_stock: apple"))
    assert {step.step: step.status for step in short.steps if step.status != "waiting"} == {
        "create": "undone",
        "pay": "undone",
        "reserve_first": "refused",
    }
    (paying,) = (step for step in open_.steps if step.step == "pay")
    assert (open_.state, open_.direction, paying.status) == ("open", None, "sent")
    assert {failure.reason for failure in paying.failures} == {"bank is away"}
    assert listed == {"good": "completed", "short": "compensated", "open": "open"}


def test_P6_the_bottleneck_shows_in_the_time_of_each_step_and_queue(tmp_path: Path) -> None:
    """A slow service stands out: in the time of its step, in its retries, and in how long its queue kept others."""
    with simulated(tmp_path) as placement:
        placement.system.service("payment").hangs(AuthorizePayment, times=1)
        handles = [start(placement, ("apple", 1), order_id=f"o{n}") for n in range(3)]
        placement.system.run_until(lambda: all(handle.done() for handle in handles))
        (saga,) = (told for told in journal.timings(tmp_path, sagas=SAGAS).sagas if told.saga == "placement")
        queues = placement.system.status().mailboxes
        come_to_rest(placement)
    steps = {step.step: step for step in saga.steps}
    assert [step.step for step in saga.steps if step.retries] == ["pay"]
    assert steps["pay"].answered.count == 3
    assert steps["pay"].answered.max_s >= 1.0 > max(steps[name].answered.max_s for name in ("reserve_first", "confirm"))
    assert saga.completed.count == 3
    assert max(queues, key=lambda name: queues[name].longest_s) == "payment"


def test_P6_all_of_it_can_be_shown_to_a_person(tmp_path: Path) -> None:
    """As tables: one order's steps, the newest orders, times, queues."""
    with simulated(tmp_path) as placement:
        placement.place(a_request(("apple", 99)))
        tables = {
            "went back because of step reserve_first: short_stock: apple": show.progress(_progress(placement, "o1")),
            "compensated": show.instances(journal.instances(tmp_path)),
            "reserve_first: short_stock: apple": show.timings(journal.timings(tmp_path, sagas=SAGAS)),
            "inventory": show.queues(placement.system.status().mailboxes),
        }
    for words, table in tables.items():
        console = Console(width=160, record=True, file=StringIO())
        console.print(table)
        assert words in console.export_text()


# P7: who waits for whom.


def _stock(*items: str, units: int = 1) -> Delivery:
    return Delivery("opening", dict.fromkeys(items, units), dict.fromkeys(items, 1))


def _start_together(
    placement: SimulatedPlacement, orders: Mapping[str, Sequence[tuple[str, int]]]
) -> dict[str, Handle]:
    """Orders that come at the same moment, in this order."""
    taken = [take(placement, *items, order_id=order_id) for order_id, items in orders.items()]
    return {order.order_id: placement.start(order) for order in taken}


def _run(placement: SimulatedPlacement, handles: dict[str, Handle]) -> dict[str, dict[str, str]]:
    placement.system.run_until(lambda: all(handle.done() for handle in handles.values()))
    return {order_id: placement.answer(order_id) for order_id in handles}


@pytest.mark.parametrize("size", [2, 3, 5])
def test_P7_a_circle_is_found_at_once_and_one_of_it_refused(tmp_path: Path, size: int) -> None:
    """No time passes; the reason names the circle; whoever waited for the one that is refused gets all it wants."""
    items = [f"item{n}" for n in range(size)]
    orders = {f"o{n}": [(items[n], 1), (items[(n + 1) % size], 1)] for n in range(size)}
    with simulated(tmp_path, _stock(*items)) as placement:
        handles = _start_together(placement, orders)
        began_s = placement.now_s()
        answers = _run(placement, handles)
        assert placement.now_s() == began_s
        (victim,) = (o for o, answer in answers.items() if answer.get("reason", "").startswith("deadlock: "))
        assert answers[victim]["status"] == "failure"
        assert answers[victim]["error"] == "Reservation failed"
        number = int(victim.removeprefix("o"))
        circle = [f"o{(number + n) % size}" for n in range(size + 1)]
        assert answers[victim]["reason"] == f"deadlock: {' -> '.join(circle)}"
        assert answers[circle[-2]] == {"status": "success", "order_id": circle[-2]}
        come_to_rest(placement)


@pytest.mark.parametrize("first", ["big", "small"])
def test_P7_the_order_with_least_to_undo_is_refused(tmp_path: Path, first: str) -> None:
    """Whoever came first: the one that holds fewer units gives up, and the other one gets its goods."""
    orders = {"big": [("apple", 3), ("pear", 1)], "small": [("pear", 1), ("apple", 2)]}
    with simulated(tmp_path, Delivery("opening", {"apple": 3, "pear": 1}, GOODS.prices)) as placement:
        come = {first: orders.pop(first), **orders}
        answers = _run(placement, _start_together(placement, come))
        assert answers["big"]["status"] == "success"
        assert answers["small"]["reason"] == "deadlock: small -> big -> small"
        come_to_rest(placement)


def test_P7_an_order_waits_for_goods_that_another_one_may_give_back(tmp_path: Path) -> None:
    """It gets them as soon as they come free, and is refused as soon as they are gone for good."""
    with simulated(tmp_path, made_to_order={"vase"}) as placement:
        placement.place(a_request(("apple", 10), ("vase", 1)))
        waiting = start(placement, ("apple", 4), order_id="o2")
        placement.system.advance(1.0)
        assert not waiting.done()
        placement.approve("o1", of="supplier", approved=False, by="ann")
        assert _run(placement, {"o2": waiting})["o2"]["status"] == "success"
        placement.place(a_request(("apple", 6), ("vase", 1), order_id="o3"))
        waiting = start(placement, ("apple", 1), order_id="o4")
        placement.system.advance(1.0)
        assert not waiting.done()
        placement.approve("o3", of="supplier", approved=True, by="ann")
        assert _run(placement, {"o4": waiting})["o4"]["reason"] == "Out of stock: apple"
        come_to_rest(placement)


def _say(system: SimulatedSystem, word: RecordApproval) -> None:
    system.submit(Approval, word)


def _crowd(placement: SimulatedPlacement, random: Random, *, ordered: bool) -> dict[str, PlacementOrder]:
    """Orders that come together, hold and wait; some of them for a supplier, who says yes or no after a while."""
    system, came = placement.system, {}
    for number in range(100):
        together = []
        for letter in "xyz"[: random.randint(1, 3)]:
            items = random.sample("abcd", random.randint(1, 2 if ordered else 3))
            lines = [(item, random.randint(1, 2)) for item in (sorted(items) if ordered else items)]
            late = [("z", 1)] if random.random() < 0.3 else []
            together.append(take(placement, *lines, *late, order_id=f"{letter}{number}"))
        for order in together:
            came[order.order_id] = order
            placement.start(order)
            if order.awaits:
                word = RecordApproval(order.order_id, "supplier", random.random() < 0.5, "ann")
                system.world.agenda.put(1 + random.random() * 2, partial(_say, system, word))
        system.submit(StockUp, Delivery(f"more{number}", dict.fromkeys(random.sample("abcd", 3), 1)))
        system.advance(random.random() * 0.4)
    system.run_until_quiet()
    return came


def _deadlocks(placement: SimulatedPlacement, orders: dict[str, PlacementOrder]) -> list[str]:
    """The circles that were found; everybody else has what they wanted, or heard why not."""
    answers = [placement.answer(order_id) for order_id in orders]
    reasons = [answer.get("reason", "") for answer in answers if answer["status"] != "success"]
    heads = {reason.partition(":")[0] for reason in reasons}
    assert heads - {"deadlock"} == {"Out of stock", "Not deliverable"}
    return [reason for reason in reasons if reason.startswith("deadlock")]


def test_P7_where_no_circle_can_be_none_is_found(tmp_path: Path) -> None:
    """Orders that take one item after the other, all in the same order, only wait; nobody is refused for it."""
    with simulated(tmp_path, _stock(*"abcdz", units=4), made_to_order={"z"}) as placement:
        placement.system.run(StockUp, Delivery("z", {"z": 500}))
        orders = _crowd(placement, Random(5), ordered=True)
        assert _deadlocks(placement, orders) == []
        steps = [step for told in journal.timings(tmp_path, sagas=SAGAS).sagas for step in told.steps]
        assert max(step.answered.p99_s for step in steps if step.step.startswith("reserve")) > 0.5  # they did wait
        come_to_rest(placement)


def test_P7_every_circle_that_is_found_is_one(tmp_path: Path) -> None:
    """It comes back to where it began, and each order of it wants something that the next one wants, too."""
    with simulated(tmp_path, _stock(*"abcdz", units=4), made_to_order={"z"}) as placement:
        placement.system.run(StockUp, Delivery("z", {"z": 500}))
        orders = _crowd(placement, Random(6), ordered=False)
        found = _deadlocks(placement, orders)
        assert found
        for reason in found:
            circle = reason.removeprefix("deadlock: ").split(" -> ")
            assert circle[0] == circle[-1]
            assert len(circle) == len(set(circle)) + 1 > 2
            for waits, holds in pairwise(circle):
                assert orders[waits].units.keys() & orders[holds].units.keys()
        come_to_rest(placement)


# P8: a compensation that fails.


def test_P8_a_compensation_that_fails_is_tried_again(tmp_path: Path) -> None:
    """A few failures are nobody's business."""
    with simulated(tmp_path) as placement:
        placement.system.service("payment").raises(AuthorizePayment, undo=True, times=3)
        placement.place(a_request(("apple", 99)))
        placement.system.run_until_quiet()
        assert stuck(placement) == []
        placement.system.check()
    all_is_well(tmp_path)


def test_P8_one_that_keeps_failing_goes_to_a_person_while_the_rest_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is shown and logged as stuck; all other steps are undone; and the person who is asked can finish it."""
    caplog.set_level(logging.INFO)
    with simulated(tmp_path) as placement:
        placement.system.service("payment").raises(AuthorizePayment, undo=True, times=FOR_EVER)
        answer = placement.place(a_request(("apple", 99)))
        assert answer["reason"] == "Out of stock: apple"
        placement.system.run_until_quiet()
        ((saga_id, step),) = stuck(placement)
        assert step == "pay"
        assert "saga.stuck" in caplog.text
        assert rows(placement, "payment", "select state from payments") == [("held",)]
        assert rows(placement, "orders", STATE) == [("cancelled",)]
        placement.system.service("payment").recovers()
        placement.system.retry(saga_id, step, by="ann", reason="the bank is back")
        placement.system.run_until_quiet()
        assert rows(placement, "payment", "select state from payments") == [("voided",)]
        told = next(step for step in _progress(placement, "o1").steps if step.step == "pay")
        assert [(done.action, done.by, done.reason) for done in told.interventions] == [
            ("retry", "ann", "the bank is back")
        ]
        come_to_rest(placement)


def test_P8_a_person_may_also_do_without_it(tmp_path: Path) -> None:
    """Who gave the money back by hand skips the step, with a reason, and the order is over."""
    with simulated(tmp_path) as placement:
        placement.system.service("payment").raises(AuthorizePayment, undo=True, times=FOR_EVER)
        placement.place(a_request(("apple", 99)))
        placement.system.run_until_quiet()
        ((saga_id, step),) = stuck(placement)
        placement.system.skip(saga_id, step, by="ann", reason="paid back in cash")
        placement.system.run_until_quiet()
        assert stuck(placement) == []
        assert _progress(placement, "o1").state == "compensated"


# P9: what takes longer.

LONG: Final[list[tuple[dict[str, Any], list[tuple[str, int]], list[str]]]] = [
    ({"review_above": Decimal("1.00")}, [("apple", 4)], ["review"]),
    ({"made_to_order": {"vase"}}, [("apple", 1), ("vase", 1)], ["supplier"]),
    ({"review_above": Decimal("1.00"), "made_to_order": {"vase"}}, [("vase", 1)], ["review", "supplier"]),
]
IDS: Final = ["review", "supplier", "both"]


@pytest.mark.parametrize(("options", "items", "words"), LONG, ids=IDS)
def test_P9_a_long_order_is_pending_and_then_a_success(
    tmp_path: Path, options: dict[str, Any], items: list[tuple[str, int]], words: list[str]
) -> None:
    """The answer comes at once; hours later, when everybody has said yes, all of it is made final."""
    with simulated(tmp_path, **options) as placement:
        began_s = placement.now_s()
        assert placement.place(a_request(*items)) == PENDING
        assert placement.now_s() - began_s <= 5.0
        for word in words:
            placement.system.advance(3600.0)
            assert placement.answer("o1") == PENDING
            assert rows(placement, "notification", "select * from outbox") == []
            placement.approve("o1", of=word, approved=True, by="ann")
        # At once, and not when the step that waits looks again.
        placement.system.run_until(lambda: placement.answer("o1") == SUCCESS, 1.0)
        placement.system.run_until_quiet()
        assert placement.place(a_request(*items)) == SUCCESS
        assert rows(placement, "orders", STATE) == [("confirmed",)]
        assert len(rows(placement, "notification", "select * from outbox")) == 1
        come_to_rest(placement)


@pytest.mark.parametrize(("options", "items", "words"), LONG, ids=IDS)
def test_P9_a_long_order_that_is_refused_is_undone_as_a_whole(
    tmp_path: Path, options: dict[str, Any], items: list[tuple[str, int]], words: list[str]
) -> None:
    """What the first saga wrote down, too: nothing is left of anything, and the answer says why."""
    with simulated(tmp_path, **options) as placement:
        assert placement.place(a_request(*items)) == PENDING
        placement.system.advance(3600.0)
        assert rows(placement, "inventory", SET_ASIDE) != []
        for word in words[:-1]:
            placement.approve("o1", of=word, approved=True, by="ann")
        placement.approve("o1", of=words[-1], approved=False, by="ann")
        placement.system.run_until_quiet()
        error, reason = {
            "review": ("Review failed", "Not approved"),
            "supplier": ("Supplier failed", "Not deliverable"),
        }[words[-1]]
        assert placement.answer("o1") == {"status": "failure", "error": error, "reason": reason}
        assert rows(placement, "orders", STATE) == [("cancelled",)]
        assert rows(placement, "payment", "select state from payments") == [("voided",)]
        assert rows(placement, "inventory", SET_ASIDE) == []
        assert rows(placement, "notification", "select * from outbox") == []
        come_to_rest(placement)


def test_P9_a_payment_that_fails_later_undoes_the_whole(tmp_path: Path) -> None:
    """A refusal in the further saga cancels the order that the first one wrote."""
    with simulated(tmp_path, made_to_order={"vase"}) as placement:
        placement.system.service("payment").refuses(AuthorizePayment, reason="card_declined")
        assert placement.place(a_request(("vase", 1))) == PENDING
        placement.system.run_until_quiet()
        assert placement.answer("o1") == {"status": "failure", "error": "Payment failed", "reason": "Card declined"}
        assert rows(placement, "orders", STATE) == [("cancelled",)]
        come_to_rest(placement)


def test_P9_only_what_needs_it_waits(tmp_path: Path) -> None:
    """An order at the limit that a supplier has no part in is answered for good."""
    with simulated(tmp_path, review_above=Decimal("0.90"), made_to_order={"vase"}) as placement:
        assert placement.place(a_request(("apple", 3)))["status"] == "success"
        assert placement.place(a_request(("apple", 4), order_id="o2"))["status"] == "pending"
        placement.approve("o2", of="review", approved=True, by="ann")
        come_to_rest(placement)


def test_P9_a_long_order_that_can_not_be_written_down_fails_in_time(tmp_path: Path) -> None:
    """Nothing is handed over then, and nothing goes on behind the answer."""
    with simulated(tmp_path, made_to_order={"vase"}) as placement:
        placement.system.service("orders").hangs(CreateOrder, times=FOR_EVER)
        began_s = placement.now_s()
        assert placement.place(a_request(("vase", 1))) == LATE
        assert placement.now_s() - began_s <= 5.0
        come_to_rest(placement)
        assert [known.records[0].saga for known in placement.system.world.instances.values()] == [  # type: ignore[union-attr]
            "stock-up",
            "placement-accept",
        ]


@pytest.mark.parametrize("crash", ["crash before", "crash after"])
def test_P9_a_crash_between_the_two_sagas_loses_and_doubles_nothing(tmp_path: Path, crash: str) -> None:
    """Whether the process dies before the further saga is started or after it, there is one, and it ends well."""
    schedule = Schedule({"call outside #1": crash})
    with simulated(tmp_path, schedule=schedule, made_to_order={"vase"}) as placement:
        handle = start(placement, ("vase", 1), order_id="o1")
        placement.system.run_until(lambda: handle.done() and is_up(placement.system))
        placement.system.run_until(lambda: placement.answer("o1") == PENDING)
        placement.system.advance(60.0)
        placement.approve("o1", of="supplier", approved=True, by="ann")
        come_to_rest(placement)
        assert placement.answer("o1") == SUCCESS
        assert len(journal.instances(tmp_path, saga="placement-rest")) == 1
        assert placement.system.effects().count("payment.authorize") == 1


def test_P9_a_desk_that_fails_is_asked_again(tmp_path: Path) -> None:
    """The customer has an answer meanwhile: the order is written down and will be gone on with."""
    with simulated(tmp_path, made_to_order={"vase"}) as placement:
        placement.system.service("desk").unavailable(StartRest, times=30)
        began_s = placement.now_s()
        assert placement.place(a_request(("vase", 1))) == PENDING
        assert placement.now_s() - began_s <= 5.0
        placement.approve("o1", of="supplier", approved=True, by="ann")
        come_to_rest(placement)
        assert placement.answer("o1") == SUCCESS


def test_P9_an_approval_may_come_before_anybody_waits_for_it(tmp_path: Path) -> None:
    """It is written down, and found when the further saga gets there."""
    with simulated(tmp_path, made_to_order={"vase"}) as placement:
        placement.system.service("payment").unavailable(AuthorizePayment, times=3)
        assert placement.place(a_request(("vase", 1))) == PENDING
        placement.approve("o1", of="supplier", approved=True, by="ann")
        assert rows(placement, "payment", "select * from payments") == []
        placement.system.run_until(lambda: placement.answer("o1") == SUCCESS, 10.0)
        come_to_rest(placement)
        assert placement.answer("o1") == SUCCESS


def test_P9_the_first_word_counts(tmp_path: Path) -> None:
    """Whoever says yes and then no has said yes."""
    with simulated(tmp_path, made_to_order={"vase"}) as placement:
        placement.system.service("payment").unavailable(AuthorizePayment, times=3)
        placement.place(a_request(("vase", 1)))
        placement.approve("o1", of="supplier", approved=True, by="ann")
        placement.approve("o1", of="supplier", approved=False, by="ben")
        come_to_rest(placement)
        assert placement.answer("o1") == SUCCESS


@pytest.mark.parametrize(
    ("word", "field"),
    [
        ({"order_id": "o9", "of": "review", "by": "ann"}, "order_id"),
        ({"order_id": "o1", "of": "weather", "by": "ann"}, "of"),
        ({"order_id": "o1", "of": "review", "by": ""}, "by"),
    ],
)
def test_P9_a_word_to_no_order_is_refused(tmp_path: Path, word: dict[str, str], field: str) -> None:
    """The error names the field, and nothing is left waiting for a person."""
    with simulated(tmp_path) as placement:
        placement.place(a_request())
        with pytest.raises(InputError) as caught:
            placement.approve(word["order_id"], of=word["of"], approved=True, by=word["by"])
        assert caught.value.path == f"$.{field}"
        assert stuck(placement) == []


def test_P9_an_unknown_number_has_no_answer(tmp_path: Path) -> None:
    """Which is said, and not taken for an order that is pending."""
    with simulated(tmp_path) as placement:
        assert placement.answer("o9")["error"] == "Invalid request"


def test_P9_a_long_order_survives_restarts_and_its_approval_is_heard(tmp_path: Path) -> None:
    """Whoever approves in another process than the one that took the order is heard in time."""
    with simulated(tmp_path, made_to_order={"vase"}) as placement:
        assert placement.place(a_request(("vase", 1))) == PENDING
        for _ in range(3):
            placement.system.advance(600.0)
            placement.system.crash()
            placement.system.restart()
        placement.system.kill("orders")
        placement.approve("o1", of="supplier", approved=True, by="ann")
        come_to_rest(placement)
        assert placement.answer("o1") == SUCCESS


# P5 and P9 at random: everybody gets an answer, and the books are right, whatever goes wrong.

TROUBLE: Final = FaultPlan(
    late=0.03, lost=0.03, doubled=0.03, unavailable=0.02, raises=0.03, hangs=0.01, killed=0.02, crashes=0.01, most=12
)
PRICES: Final = {"apple": 30, "pear": 45, "vase": 9900}


def _customer(placement: SimulatedPlacement, random: Random, number: int) -> list[Caller]:
    """Someone who wants something, perhaps twice, and whoever says yes or no to it early."""
    items = random.sample([("apple", random.randint(1, 9)), ("pear", random.randint(1, 4)), ("vase", 1)], 2)
    lines = tuple(Line(item, units, PRICES[item]) for item, units in items)
    order = PlacementOrder(f"o{number}", "user123", lines, PaymentInfo("account", "A-17"))
    order = msgspec.structs.replace(order, awaits=placement._awaits(order))
    saga = Accept if order.awaits else Place
    callers = [Caller(placement.system, saga, order, order.order_id) for _ in range(random.choice((1, 1, 2)))]
    for of in order.awaits:
        word = RecordApproval(order.order_id, of, random.random() < 0.7, "ann")
        callers.append(Caller(placement.system, Approval, word, f"{order.order_id} {of} early"))
    for caller in callers:
        caller.ask(random.random() * 10.0)
    return callers


# A process that dies in the middle of a turn leaves its files to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("seed", range(HISTORIES))
def test_P5_P9_whatever_goes_wrong_every_order_is_whole_or_gone(tmp_path: Path, seed: int) -> None:
    """Crashes, hangs, lost, doubled and late messages: every caller hears how it ended, and the audit finds nothing."""
    logging.getLogger("amends").setLevel(logging.CRITICAL + 1)
    random = Random(seed)
    schedule = Schedule(seed=seed, faults=TROUBLE)
    placement = SimulatedPlacement(tmp_path, schedule, made_to_order={"vase"}, review_above=Decimal("3.00"))
    system = placement.system
    try:
        system.open()
        callers = [Caller(system, StockUp, GOODS, GOODS.delivery_id)]
        callers[0].ask()
        for number in range(8):
            callers += _customer(placement, random, number)
        system.advance(60.0)
        system.calm()
        system.run_until(lambda: is_up(system))
        # For what hangs outside: nobody gives that up but the next process.
        system.crash()
        system.restart()
        for caller in [caller for caller in callers if caller.saga is Accept]:
            for of in caller.value.awaits:  # type: ignore[attr-defined]
                word = RecordApproval(caller.key, of, True, "ann")
                callers.append(Caller(system, Approval, word, f"{caller.key} {of}"))
                callers[-1].ask()
        let_it_end(system, callers)
        system.check()
        all_is_well(tmp_path)
        for caller in callers:
            if caller.saga is Place:
                assert (placement.answer(caller.key)["status"] == "failure") is isinstance(caller.outcome, Compensated)
    finally:
        logging.getLogger("amends").setLevel(logging.NOTSET)
        placement.close()


# P10: why it is done so.


def test_P10_the_choice_is_argued_with_its_trade_offs() -> None:
    """There is a page, the README leads to it, and it weighs all three against each other under each heading."""
    page = (ROOT / "docs" / "orchestration.md").read_text(encoding="utf-8")
    assert "docs/orchestration.md" in (ROOT / "README.md").read_text(encoding="utf-8")
    sections = dict(part.split("\n", 1) for part in page.split("\n## ")[1:])
    for heading in ("Complexity", "Performance", "Consistency"):
        for choice in ("orchestrat", "choreography", "two-phase commit"):
            assert choice in sections[heading].lower(), (heading, choice)
