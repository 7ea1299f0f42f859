"""The transaction coordinator, T1 to T6: everything about an order over four services, or nothing."""

import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count, pairwise
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

import amends
from amends import Compensated, Completed, Outcome
from amends.demo.__main__ import main
from amends.demo.audit import audit
from amends.demo.domain import Address
from amends.demo.faults import FaultPlan, Faults
from amends.demo.load import Tally, place_all
from amends.demo.stocking import StockUp, stock_up
from amends.demo.systems.coordinator import SERVICES, Coordinator, PlaceOrder
from amends.protocol.saga import Kind
from amends.testing import Schedule, SimulatedSystem, check_saga
from amends.testing.facts import Answered, Sent
from tests.acceptance.coordinating import ENDINGS, LONG_S, ROOT, STOCK, Killed, Request, an_order, killed, told
from tests.actors.trip import rows_of
from tests.stateful.shop import audit as audit_simulated

SPECS = [service.spec(Faults(FaultPlan())) for service in SERVICES]
UNDONE = {"orders": "cancelled", "reservations": "released", "payments": "voided", "shipments": "cancelled"}
DONE = {"orders": "confirmed", "reservations": "committed", "payments": "captured", "shipments": "dispatched"}
TABLES = {"orders": "orders", "inventory": "reservations", "payment": "payments", "shipping": "shipments"}


def off(folder: Path) -> list[str]:
    """The checks of the audit that found something."""
    return [finding.check for finding in audit(folder) if finding.rows]


def states(folder: Path) -> dict[str, str]:
    """What each service says of the only order; a service that says nothing is missing."""
    found = {}
    for service, table in TABLES.items():
        for (state,) in rows_of(folder / f"{service}.db", f"select distinct state from {table}"):
            found[table] = str(state)
    return found


def place_one(folder: Path, plan: FaultPlan, apples: int = 2, country: str = "France") -> Outcome:
    """One order on a folder of its own."""
    with Coordinator(folder, plan) as coordinator:
        stock_up(coordinator.system, STOCK)
        return coordinator.place(an_order(apples=apples, country=country), LONG_S)


def simulated(schedule: Schedule | None = None) -> SimulatedSystem:
    """The coordinator in a world without chance."""
    return SimulatedSystem(sagas=[PlaceOrder, StockUp], services=SPECS, schedule=schedule)


def filled(system: SimulatedSystem) -> None:
    """Goods on the shelves."""
    stock_up(system, STOCK)


def test_T1_an_order_that_holds_is_final_in_every_service(tmp_path: Path) -> None:
    """Confirmed, committed, captured, dispatched."""
    assert isinstance(place_one(tmp_path, FaultPlan()), Completed)
    assert states(tmp_path) == DONE
    assert off(tmp_path) == []


@pytest.mark.parametrize(
    ("given", "outcome", "begun"),
    [
        ({"apples": 11}, Compensated("reserve", "short_stock: apple"), {"orders", "payments"}),
        ({"plan": FaultPlan(declined=1.0)}, Compensated("authorize", "card_declined"), {"orders", "reservations"}),
        (
            {"country": "Unspecified"},
            Compensated("prepare", "bad_address"),
            {"orders", "reservations", "payments"},
        ),
    ],
    ids=["stock short", "payment declined", "address invalid"],
)
def test_T1_a_refusal_undoes_everything_and_cancels_the_order(
    tmp_path: Path, given: dict[str, object], outcome: Compensated, begun: set[str]
) -> None:
    """Whatever was begun is undone, and nothing is left set aside."""
    assert place_one(tmp_path, **{"plan": FaultPlan()} | given) == outcome  # type: ignore[arg-type]
    found = states(tmp_path)
    # Of two steps that run side by side, the one that is not refused may not have been begun.
    assert {"orders"} <= set(found) <= begun
    assert found == {table: UNDONE[table] for table in found}
    assert off(tmp_path) == []


def test_T1_the_parcel_goes_to_the_address_and_is_charged_for_it(tmp_path: Path) -> None:
    """All of it is what shipping keeps; the country decides the cost."""
    address = Address("France", name="Ann", street="5 Rue de Rivoli", postcode="75001")
    with Coordinator(tmp_path) as coordinator:
        stock_up(coordinator.system, STOCK)
        order = msgspec.structs.replace(an_order(), shipping_address=address)
        assert isinstance(coordinator.place(order, LONG_S), Completed)
    kept = rows_of(tmp_path / "shipping.db", "select country, address, cost_minor from shipments")
    assert kept == [("France", "Ann, 5 Rue de Rivoli, 75001", 1035)]


def test_T1_what_was_done_is_undone_in_reverse(tmp_path: Path) -> None:
    """A bad address is found last; the order itself is cancelled when all that was made for it is gone."""
    with simulated() as system:
        filled(system)
        handle = system.submit(PlaceOrder, an_order(country="Unspecified"), key="o-1")
        handle.result()
        done, undone = system.effects(handle)[:3], system.effects(handle)[3:]
    assert set(done) == {"orders.create", "inventory.reserve", "payment.authorize"}
    assert set(undone[:2]) == {"inventory.release", "payment.void"}
    assert undone[2:] == ["orders.cancel"]


def test_T2_each_service_has_a_queue_and_a_message_that_comes_again_changes_nothing(tmp_path: Path) -> None:
    """Every message doubled, many late and some lost: each order still happens once, and fully."""
    orders = [an_order(f"o-{number}", apples=1) for number in range(8)]
    with Coordinator(tmp_path, FaultPlan(seed=1, doubled=1.0, delayed=0.3, lost=0.02)) as coordinator:
        assert set(coordinator.services) <= set(coordinator.system.status().mailboxes)
        stock_up(coordinator.system, STOCK)
        handles = [coordinator.submit(order) for order in orders]
        assert all(isinstance(handle.result(LONG_S), Completed) for handle in handles)
        coordinator.finish(LONG_S)
    assert off(tmp_path) == []
    assert rows_of(tmp_path / "inventory.db", "select on_hand, shipped from stock where item_id = 'apple'") == [(2, 8)]
    assert rows_of(tmp_path / "payment.db", "select count(*) from entries where movement = 'capture'") == [(16,)]


def test_T2_delivery_is_at_least_once(tmp_path: Path) -> None:
    """A message that is lost is sent again, and the second one is enough."""
    with simulated() as system:
        filled(system)
        system.run(PlaceOrder, an_order("before"), key="before")
        lost = [label for label in system.world.fates.possible if "inventory" in label and "do reserve" in label]
    with simulated(Schedule({lost[-1]: "lost"})) as system:
        filled(system)
        handle = system.submit(PlaceOrder, an_order("before"), key="before")
        assert isinstance(handle.result(), Completed)
        assert system.effects(handle).count("inventory.reserve") == 1
        asked = [f for f in system.facts if isinstance(f, Sent) and f.message.step == "reserve"]
        assert len(asked) == 2


@pytest.fixture(scope="module")
def programs() -> Iterator[tuple[Killed, Killed]]:
    """The coordinator in two processes that can be killed, side by side."""
    with killed() as one, killed() as other:
        yield one, other


@pytest.mark.parametrize("again", [1, 2], ids=["then at its first", "then at its second"])
@pytest.mark.parametrize("after", [False, True], ids=["before it is on disk", "once it is on disk"])
def test_T3_killed_at_every_write_of_the_journal_in_turn(
    tmp_path: Path, programs: tuple[Killed, Killed], after: bool, again: int
) -> None:
    """The 1st, the 2nd ... until a life needs no further kill; the next life is killed too, the third one ends it.

    Three orders: one that holds, one refused in the middle, one whose address no parcel can go to.
    """

    def killed_at(program: Killed, k: int) -> bool:
        folder = tmp_path / str(k)
        folder.mkdir()
        lives = [program.run(Request(str(folder), at, after)) for at in (k, again, 0)]
        assert lives[-1] == 0, f"write {k}: {lives}"
        assert off(folder) == [], f"write {k}"
        # Whoever was told an outcome in one life was told the same in the others.
        assert set(told(folder)) == set(ENDINGS.items()), f"write {k}"
        instances = "select key, count(*) from instances where saga = 'place-order' group by key having count(*) > 1"
        assert rows_of(folder / "journal.db", instances) == [], f"write {k}"
        return lives[0] != 0

    with ThreadPoolExecutor(len(programs)) as side_by_side:
        for first in count(1, len(programs)):
            if not all(side_by_side.map(killed_at, programs, count(first))):
                break
    # One start, one decision and one end for each order at least, and the goods before them.
    assert first > 9


def test_T3_whatever_goes_wrong_an_order_is_all_or_nothing() -> None:
    """Each message, write and handler in turn is lost, doubled, late, refused, raises, or the process dies at it."""

    def adds_up(system: SimulatedSystem) -> None:
        assert audit_simulated(system) == []

    check_saga(PlaceOrder, SPECS, [adds_up], given=an_order(), key="o-1", before=filled, sagas=[StockUp])


def test_T4_steps_that_do_not_depend_on_each_other_run_side_by_side() -> None:
    """Seen in the trace: the next question leaves before the last answer is there."""
    with simulated() as system:
        filled(system)
        handle = system.submit(PlaceOrder, an_order(), key="o-1")
        handle.result()
        sent = {f.message.step: n for n, f in enumerate(system.facts) if isinstance(f, Sent) and f.who == "o-1"}
        answered = {f.reply.step: n for n, f in enumerate(system.facts) if isinstance(f, Answered) and f.who == "o-1"}
    together = [{"create"}, {"reserve", "authorize"}, {"prepare"}, {"confirm", "commit", "capture", "dispatch"}]
    for steps in together:
        assert max(sent[step] for step in steps) < min(answered[step] for step in steps), steps
    for earlier, later in pairwise(together):
        assert max(answered[step] for step in earlier) < min(sent[step] for step in later), later


def test_T4_many_orders_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    """More customers than goods: exactly so many get them, and the total time of each is measured."""
    orders = [an_order(f"o-{number}", apples=1) for number in range(60)]
    tally = Tally()
    with Coordinator(tmp_path) as coordinator:
        stock_up(coordinator.system, STOCK)
        place_all(coordinator.submit, orders, tally, in_flight=60)
        times = [coordinator.progress(order.order_id) for order in orders]
    counts = tally.counts()
    assert (counts.completed, counts.reasons) == (10, {"short_stock": 50})
    assert off(tmp_path) == []
    measured = dict(rows_of(tmp_path / "journal.db", "select key, ended_at - started_at from instances"))
    assert all(told is not None and told.duration_s == measured[told.key] for told in times)


def test_T4_the_total_time_is_reported_with_each_order_and_for_all(tmp_path: Path) -> None:
    """On the command line: behind each answer, over all at the end, and step by step if that is asked for."""
    orders = tmp_path / "orders.jsonl"
    orders.write_bytes(b"\n".join(amends.protocol.codec.encode(an_order(f"o-{number}")) for number in range(3)))
    result = CliRunner().invoke(main, ["coordinator", str(orders), "--data", str(tmp_path / "data"), "--times"])
    assert result.exit_code == 0, result.output
    assert [line.rpartition(" (")[0] for line in result.stdout.splitlines()] == [f"o-{n} confirmed" for n in range(3)]
    assert all(line.endswith(" ms)") for line in result.stdout.splitlines())
    assert "from start to answer p50" in result.stderr
    assert "authorize" in result.stderr


@pytest.mark.parametrize("step", [step.name for step in PlaceOrder.plan.steps.values()])
def test_T5_every_step_has_its_compensation(step: str) -> None:
    """Before the decision a step is undone by its service; behind it nothing can ask for that any more."""
    planned = PlaceOrder.plan.steps[step]
    (service,) = [service for service in SERVICES if service.name == planned.to]
    handlers = list(service.handlers.values())
    (handler,) = [handler for handler in handlers if handler.command is planned.command]
    if planned.kind is Kind.COMPENSATABLE:
        assert handler.undo
    else:
        assert planned.kind is Kind.RETRIABLE


def test_T5_an_order_can_be_followed_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its start by its number, each step by the instance's id, what was refused and why, and how it ended."""
    with caplog.at_level(logging.INFO, logger="amends"):
        place_one(tmp_path, FaultPlan(), country="Unspecified")
    events = [json.loads(record.message) for record in caplog.records if record.name == "amends"]
    (started,) = [event for event in events if event["event"] == "saga.started" and event["key"] == "o-1"]
    story = [event for event in events if event.get("saga_id") == started["saga_id"]]
    seen = [(event["event"], event.get("step"), event.get("reason")) for event in story]
    assert seen[0][0] == "saga.started"
    assert {step for event, step, _ in seen if event == "saga.step_done"} == {"create", "reserve", "authorize"}
    assert ("saga.step_refused", "prepare", "bad_address") in seen
    assert {step for event, step, _ in seen if event == "saga.step_undone"} == {"create", "reserve", "authorize"}
    assert seen[-1] == ("saga.compensated", "prepare", "bad_address")
    assert "tok_1" not in caplog.text


def test_T5_progress_status_and_errors_of_an_order_can_be_looked_up(tmp_path: Path) -> None:
    """While it runs and afterwards: where each step is, how often it was tried, what failed, why it went back."""
    with Coordinator(tmp_path, FaultPlan(raises=1.0)) as coordinator:
        stock_up(coordinator.system, STOCK)
        coordinator.place(an_order(country="Unspecified"), LONG_S)
        found = coordinator.progress("o-1")
        assert coordinator.progress("o-2") is None
    assert found is not None
    assert (found.state, found.why) == ("compensated", amends.console.progress.WentBack("prepare", "bad_address"))
    steps = {step.step: step for step in found.steps}
    assert (steps["prepare"].status, steps["prepare"].refused) == ("refused", "bad_address")
    assert {name for name, step in steps.items() if step.status == "undone"} == {"create", "reserve", "authorize"}
    assert "InjectedFault" in steps["create"].failures[0].reason
    assert found.duration_s is not None
    shown = CliRunner().invoke(main, ["look", "--data", str(tmp_path), "o-1"])
    assert shown.exit_code == 0
    assert "bad_address" in shown.output


@pytest.mark.parametrize(
    ("demo", "promise"),
    [
        (["duplicates", "--orders-count", "40"], "40 orders, each handed in 4 times: 0 told differently"),
        (["crash", "--orders-count", "60", "--kills", "3"], "killed 3 times"),
    ],
)
def test_T6_a_person_can_see_idempotency_and_durability(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, demo: list[str], promise: str
) -> None:
    """Real threads, real kills; the audit of what is on disk says that nothing happened twice or was lost."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    calm = ["--hangs-share", "0", "--lost-share", "0"]
    result = CliRunner().invoke(main, [*demo, *calm, "--data", str(tmp_path / "data")])
    assert result.exit_code == 0, result.output
    assert promise in result.output
    assert off(tmp_path / "data") == []
