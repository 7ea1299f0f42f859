"""The machine against random plans, random services, every fault of `world`, and crashes at any point.

A failure prints the plan and the steps that replay it. The default run tries the same examples
every time; `AMENDS_EXAMPLES=20000` in the environment tries that many new ones.
"""

import os
from dataclasses import replace
from itertools import product
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from amends.protocol.events import CancelAnswer
from amends.protocol.records import Ended, Record
from amends.protocol.saga import Kind
from tests.stateful.checkers import always, in_the_end
from tests.stateful.plans import SERVICES, SHAPES, PlanSpec, plans
from tests.stateful.walks import walk
from tests.stateful.world import CrashPoint, World

# A failure is made as small as can be before it is told, and that may take minutes.
pytestmark = pytest.mark.timeout(600)

EXAMPLES = int(os.environ.get("AMENDS_EXAMPLES", "100"))
RUN = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="AMENDS_EXAMPLES" not in os.environ,
    database=None,
    print_blob=True,
)

WALKS_PER_EXAMPLE = 8

picks = st.integers(0, 7)
losses = st.integers(0, 12)


class Histories(RuleBasedStateMachine):
    """One instance in a world of faults."""

    world: World

    @initialize(spec=plans(), doomed=st.none() | st.tuples(st.sampled_from(CrashPoint), losses))
    def begins(self, spec: PlanSpec, doomed: tuple[CrashPoint, int] | None) -> None:
        self.world = World(spec, doomed)

    @precondition(lambda self: self.world.in_flight)
    @rule(order=st.lists(picks, min_size=1, max_size=6))
    def messages_arrive(self, order: list[int]) -> None:
        for pick in order:
            if self.world.in_flight:
                self.world.deliver(pick)

    @precondition(lambda self: self.world.in_flight)
    @rule(pick=picks)
    def an_answer_is_hidden(self, pick: int) -> None:
        self.world.deliver(pick, answers=False)

    @precondition(lambda self: self.world.in_flight)
    @rule(pick=picks)
    def a_message_is_lost(self, pick: int) -> None:
        self.world.lose(pick)

    @precondition(lambda self: self.world.in_flight)
    @rule(pick=picks)
    def a_message_is_doubled(self, pick: int) -> None:
        self.world.double(pick)

    @precondition(lambda self: self.world.wakes)
    @rule(order=st.lists(picks, min_size=1, max_size=4))
    def timers_fire(self, order: list[int]) -> None:
        for pick in order:
            if self.world.wakes:
                self.world.fire(pick)

    @rule(point=st.sampled_from(CrashPoint), lost=losses)
    def the_process_dies(self, point: CrashPoint, lost: int) -> None:
        self.world.crash(point, lost)

    @rule(service=st.sampled_from(SERVICES))
    def a_service_goes_down_or_comes_back(self, service: str) -> None:
        self.world.toggle(service)

    @rule()
    def the_caller_cancels(self) -> None:
        self.world.cancel()

    @precondition(lambda self: self.world.broken)
    @rule()
    def methods_are_repaired(self) -> None:
        self.world.broken.clear()

    @precondition(lambda self: self.world.state.stuck)
    @rule(pick=picks, act=st.sampled_from(["retry_now", "supply", "skip"]))
    def a_person_acts(self, pick: int, act: str) -> None:
        stuck = self.world.state.stuck
        getattr(self.world, act)(stuck[pick % len(stuck)])

    @invariant()
    def always(self) -> None:
        if hasattr(self, "world"):
            always(self.world)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.settle()
            in_the_end(self.world)


TestHistories = Histories.TestCase
TestHistories.settings = settings(RUN, stateful_step_count=30)


@settings(RUN, max_examples=3 * EXAMPLES)
@given(spec=plans(), seed=st.integers(0, 2**32 - 1))
def test_random_histories_of_random_plans(spec: PlanSpec, seed: int) -> None:
    """Whatever is lost, doubled, late, down, cancelled or dies, every checker holds."""
    for number in range(WALKS_PER_EXAMPLE):
        walk(spec, f"{seed}-{number}")


def test_the_histories_are_worth_checking() -> None:
    """Some of them meet each kind of record, each way to end and each answer: the checkers have something to check."""
    worlds = [walk(spec, f"{name}-{number}") for name, spec in SHAPES.items() for number in range(60)]
    met = {type(record) for world in worlds for record in world.records}
    assert met == set(get_args(Record))
    assert {world.ended.completed for world in worlds if world.ended} == {True, False}
    told = {str(told) for world in worlds for told in world.told if isinstance(told, CancelAnswer)}
    assert told == {str(answer) for answer in CancelAnswer}
    assert any(len([effect for effect in world.fence.effects if effect.kind == "undo"]) > 2 for world in worlds)


@settings(RUN)
@given(spec=plans(flawless=True))
def test_without_faults_everything_is_done(spec: PlanSpec) -> None:
    """Where nothing goes wrong nothing is undone: the instance completes with the first attempt of each step."""
    world = World(spec)
    world.settle()
    in_the_end(world)
    assert world.ended == Ended(completed=True)
    assert sorted(departure.send.step for departure in world.departures) == sorted(world.plan.steps)


def runs() -> list[Any]:
    """Each shape as it is, and with each step that may say no saying it."""
    found = []
    for name, shape in SHAPES.items():
        found.append(pytest.param(shape, None, id=name))
        for number, drawn in enumerate(shape.steps):
            if drawn.kind is not Kind.RETRIABLE:
                steps = (*shape.steps[:number], replace(drawn, refuses=True), *shape.steps[number + 1 :])
                found.append(pytest.param(replace(shape, steps=steps), drawn.name, id=f"{name}, {drawn.name} refused"))
    return found


@pytest.mark.parametrize(("spec", "refused"), runs())
def test_a_crash_at_any_point_changes_no_outcome(spec: PlanSpec, refused: str | None) -> None:
    """A crash, whatever it loses, makes a run longer but never makes it end in another way."""
    outcome = Ended(True) if refused is None else Ended(False, refused, f"{refused} says no")
    point_in_run = 0
    while True:
        for point, lost, silent in product(CrashPoint, (0, 1, 99), (False, True)):
            world = World(spec)
            for _ in range(point_in_run):
                world.deliver()
            in_flight = bool(world.in_flight)
            world.crash(point, lost)
            if in_flight and point is not CrashPoint.NOW:
                world.deliver()
            if silent:
                world.in_flight.clear()
            world.settle()
            in_the_end(world)
            assert world.ended == outcome, f"crash {point} losing {lost}, {point_in_run} messages into the run"
        if not in_flight:
            return
        point_in_run += 1
