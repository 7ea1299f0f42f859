"""Drawn sagas under drawn trouble, in whole simulated systems: the plans are Hypothesis', the schedules labelled seeds.

A failure prints the spec and the schedule that replay it. The default run tries the same histories every time;
`AMENDS_EXAMPLES=20000` in the environment tries that many new plans, with eight schedules each.
"""

import os
from random import Random
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amends.protocol.records import Ended, Record
from amends.testing import Schedule, SimulatedSystem
from tests.stateful.drawn import from_json, run, to_json
from tests.stateful.histories import plan_of, shop_history
from tests.stateful.plans import PlanSpec, drawn_spec, plans

# A failure is made as small as can be before it is told, and that may take minutes.
pytestmark = pytest.mark.timeout(600)

EXAMPLES = int(os.environ.get("AMENDS_EXAMPLES", "100"))
SEEDS_PER_EXAMPLE = 8
SHOP_HISTORIES = 300

RUN = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="AMENDS_EXAMPLES" not in os.environ,
    database=None,
    print_blob=True,
)


def drawn_history(spec: PlanSpec, seed: int) -> SimulatedSystem:
    """One history; how many instances it has, and what goes wrong, is the seed's to say."""
    return run(spec, Schedule(seed=seed, faults=plan_of(seed)), instances=1 + seed % 3)


@RUN
@given(spec=plans(), seed=st.integers(0, 2**32 - 1))
def test_drawn_sagas_end_well_whatever_goes_wrong(spec: PlanSpec, seed: int) -> None:
    """Lost, doubled, late, killed, crashed, full or hung: every checker holds and every caller is told the truth."""
    for number in range(SEEDS_PER_EXAMPLE):
        drawn_history(spec, seed * SEEDS_PER_EXAMPLE + number)


@pytest.mark.parametrize("orders", [3, 4, 5, 6])
def test_the_shop_ends_well_whatever_goes_wrong(orders: int) -> None:
    """A few orders for scarce goods, and anything may go wrong: the audit finds nothing."""
    for seed in range(orders, SHOP_HISTORIES + orders, 4):
        shop_history(Schedule(seed=seed, faults=plan_of(seed)), orders)


def test_the_histories_are_worth_checking() -> None:
    """They meet each fate there is, each kind of record, and both ends: the checkers have something to check."""
    possible: set[str] = set()
    met: set[str] = set()
    records: set[type] = set()
    ends: set[bool] = set()
    for seed in range(300):
        system = drawn_history(drawn_spec(Random(seed).choice), seed)
        possible.update(fate for fates in system.world.fates.possible.values() for fate in fates)
        met.update(system.world.fates.met.values())
        for known in system.world.instances.values():
            records.update(type(record) for record in known.records)
            ends.update(record.completed for record in known.records if isinstance(record, Ended))
    assert met == possible
    assert records == set(get_args(Record))
    assert ends == {True, False}


@RUN
@given(spec=plans())
def test_a_spec_survives_its_line_of_json(spec: PlanSpec) -> None:
    """What a failure prints is the spec it ran."""
    assert from_json(to_json(spec)) == spec
