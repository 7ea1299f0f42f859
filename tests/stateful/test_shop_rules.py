"""A running shop under rules: customers, operators and trouble in any order, and what must be true after each.

A failure prints the rules that replay it; what else goes wrong is drawn from the seed it began with. The default run
tries the same histories every time; `AMENDS_EXAMPLES=20000` in the environment tries that many new ones.
"""

import os
from itertools import count
from typing import Final

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from amends import CancelAnswer, Compensated, KeyConflict
from amends.demo.domain import Order
from amends.demo.stocking import Delivery, StockUp
from amends.demo.systems.coordinator import PlaceOrder
from amends.protocol.messages import SagaId
from amends.protocol.saga import Kind, PlannedStep
from amends.testing import Schedule
from amends.testing.system import PATIENCE_S
from tests.stateful.asking import Caller, is_up, retry, say_how_to_replay, stuck_steps, unless_in_trouble
from tests.stateful.histories import plan_of
from tests.stateful.shop import COUNTRIES, NAMES, PRICES, USERS, Shop, an_order

# A failure is made as small as can be before it is told, and that may take minutes.
pytestmark = pytest.mark.timeout(600)

EXAMPLES = int(os.environ.get("AMENDS_EXAMPLES", "150"))
RULES = 25

STEPS: Final = (*PlaceOrder.plan.steps.values(), *StockUp.plan.steps.values())
ACTORS: Final = (*NAMES, "journal", "coordinator", "timers")

lines = st.lists(st.tuples(st.sampled_from(list(PRICES)), st.integers(1, 5)), min_size=1, max_size=3)
picks = st.integers(0, 5)
times = st.sampled_from([1, 2, float("inf")])


def can_be_undone(step: PlannedStep) -> bool:
    """Whether there is an undo that may fail."""
    return step.kind is Kind.COMPENSATABLE


class ShopRules(RuleBasedStateMachine):
    """One shop.

    Attributes:
        orders: all that were ever handed in; the key is the order's own number.
        conflicts: callers who came with a key that was taken for another order.
        given_up: keys whose instance somebody was promised to be undone.
    """

    shop: Shop
    crashed = False

    @initialize(seed=st.integers(0, 2**32 - 1))
    def opens(self, seed: int) -> None:
        self.shop = Shop(Schedule(seed=seed, faults=plan_of(seed)))
        self.system = self.shop.system
        self.orders: list[Order] = []
        self.conflicts: list[Caller] = []
        self.given_up: set[str] = set()
        self.numbers = count(1)
        self.system.open()
        self.shop.stock_up()

    # Customers. Without a process they wait for one.

    @rule(lines=lines, country=st.sampled_from(COUNTRIES), user=st.sampled_from(USERS))
    def somebody_orders(self, lines: list[tuple[str, int]], country: str, user: str) -> None:
        self.orders.append(an_order(next(self.numbers), lines, country, user))
        self.shop.order(self.orders[-1])

    @precondition(lambda self: self.orders)
    @rule(pick=picks)
    def somebody_orders_again(self, pick: int) -> None:
        self.shop.order(self._order(pick))

    @precondition(lambda self: self.orders)
    @rule(pick=picks)
    def a_key_is_used_for_another_order(self, pick: int) -> None:
        key = self._order(pick).order_id
        # Before it is on disk, nobody knows whose it will be.
        if key in dict(self.instances).values():
            self.conflicts.append(Caller(self.system, PlaceOrder, an_order(0, [("plum", 77)]), key))
            self.conflicts[-1].ask()

    @rule(units=st.dictionaries(st.sampled_from(list(PRICES)[:3]), st.integers(0, 4), min_size=1))
    def goods_arrive(self, units: dict[str, int]) -> None:
        self.shop.stock_up(Delivery(f"d{next(self.numbers)}", units))

    @precondition(lambda self: self.instances and not self.crashed)
    @rule(pick=picks)
    def somebody_cancels(self, pick: int) -> None:
        saga_id, key = self._on_disk(pick)
        with unless_in_trouble():
            answer = self.system.cancel(saga_id)
            if answer is CancelAnswer.ACCEPTED:
                self.given_up.add(key)
            if answer is CancelAnswer.ALREADY_ENDED:
                state = self.system.world.instances[saga_id].state
                assert state is not None, key
                assert state.ended is not None, f"{key}: {answer}, and it is {state.direction or 'open'}"

    # Time.

    @rule(seconds=st.sampled_from([0.01, 0.3, 2.0, 9.0]))
    def time_passes(self, seconds: float) -> None:
        self.system.advance(seconds)

    @precondition(lambda self: not self.crashed)
    @rule()
    def all_comes_to_rest(self) -> None:
        self.system.run_until_quiet()

    # Trouble.

    @rule(step=st.sampled_from(STEPS), times=times, undo=st.booleans(), reason=st.sampled_from(["busy", "closed"]))
    def a_handler_is_unavailable(self, step: PlannedStep, times: float, undo: bool, reason: str) -> None:
        self.system.service(step.to).unavailable(
            step.command, times=times, undo=undo and can_be_undone(step), reason=reason
        )

    @rule(step=st.sampled_from(STEPS), times=times, undo=st.booleans(), after=st.booleans())
    def a_handler_raises(self, step: PlannedStep, times: float, undo: bool, after: bool) -> None:
        self.system.service(step.to).raises(step.command, times=times, undo=undo and can_be_undone(step), after=after)

    @rule(step=st.sampled_from([step for step in STEPS if step.kind is Kind.COMPENSATABLE]), times=times)
    def a_handler_refuses(self, step: PlannedStep, times: float) -> None:
        self.system.service(step.to).refuses(step.command, times=times, reason="out of order")

    @rule(step=st.sampled_from(STEPS), times=st.integers(1, 4), undo=st.booleans())
    def a_handler_hangs(self, step: PlannedStep, times: int, undo: bool) -> None:
        self.system.service(step.to).hangs(step.command, times=times, undo=undo and can_be_undone(step))

    @rule(name=st.sampled_from(NAMES))
    def a_service_recovers(self, name: str) -> None:
        self.system.service(name).recovers()

    @rule(name=st.sampled_from(ACTORS))
    def an_actor_fails(self, name: str) -> None:
        with unless_in_trouble():
            self.system.kill(name)

    @precondition(lambda self: self.instances)
    @rule(pick=picks)
    def an_instance_fails(self, pick: int) -> None:
        with unless_in_trouble():
            self.system.kill(self._on_disk(pick)[0])

    @precondition(lambda self: is_up(self.system))
    @rule()
    def the_process_dies(self) -> None:
        self.system.crash()
        self.crashed = True

    @precondition(lambda self: self.crashed)
    @rule()
    def a_new_process_starts(self) -> None:
        self.system.restart()
        self.crashed = False

    # Operators. They only retry: what they supply or skip would be nowhere in the shop's books.

    @precondition(lambda self: not self.crashed and bool(stuck_steps(self.system)))
    @rule(pick=picks)
    def an_operator_retries(self, pick: int) -> None:
        stuck = stuck_steps(self.system)
        saga_id, _, step = stuck[pick % len(stuck)]
        with unless_in_trouble():
            retry(self.system, saga_id, step)

    @precondition(lambda self: not self.crashed)
    @rule()
    def an_operator_looks(self) -> None:
        with unless_in_trouble():
            status = self.system.status(timeout_s=PATIENCE_S)
            assert status.quarantined == 0, status
            if status.recovered:
                assert status.open + status.completed + status.compensated >= len(self.instances), status

    @invariant()
    def the_books_are_right(self) -> None:
        if hasattr(self, "shop"):
            self.shop.always()

    def teardown(self) -> None:
        if hasattr(self, "shop"):
            try:
                self._ends_well()
            except Exception as error:
                say_how_to_replay(error, "the rules above", self.system)
                raise
            finally:
                self.system.close()

    def _ends_well(self) -> None:
        if self.crashed:
            self.system.restart()
        self.shop.close_well(self.conflicts)
        for caller in self.conflicts:
            assert isinstance(caller.outcome, KeyConflict), f"{caller.key} is another order's; told {caller.outcome!r}"
        for caller in self.shop.callers:
            if caller.key in self.given_up:
                assert isinstance(caller.outcome, Compensated), f"{caller.key} was cancelled, then {caller.outcome!r}"

    # What there is.

    @property
    def instances(self) -> list[tuple[SagaId, str]]:
        """Id and key of every instance on disk."""
        return [(saga_id, known.who) for saga_id, known in self.system.world.instances.items()]

    def _on_disk(self, pick: int) -> tuple[SagaId, str]:
        return self.instances[-1 - pick % len(self.instances)]

    def _order(self, pick: int) -> Order:
        return self.orders[-1 - pick % len(self.orders)]


TestShopRules = ShopRules.TestCase
TestShopRules.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=RULES,
    deadline=None,
    derandomize="AMENDS_EXAMPLES" not in os.environ,
    database=None,
    print_blob=True,
)
