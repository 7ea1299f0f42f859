"""Continuing a history: with which plan an instance goes on, and where it stands."""

from collections.abc import Mapping

from amends.protocol.errors import AmendsError
from amends.protocol.records import Ended, Record, Started
from amends.protocol.saga import Plan
from amends.protocol.state import State, replay

Plans = Mapping[tuple[str, int], Plan]
"""By name and version."""


def state_of(plans: Plans, records: tuple[Record, ...]) -> tuple[Plan, State]:
    """The plan and the state of a history, or AmendsError if this program can't continue it."""
    if not records:
        raise AmendsError("it has no record")
    started = records[0]
    if not isinstance(started, Started):
        raise AmendsError(f"the first record is {type(started).__name__}, wanted Started")
    plan = plans.get((started.saga, started.version))
    if plan is None:
        known = sorted(f"{name} version {version}" for name, version in plans)
        raise AmendsError(f"no plan for saga {started.saga!r} version {started.version}; this system has {known}")
    # One that has ended goes on with nothing; what it came to can be told all the same.
    if not (fits(plan, started) or isinstance(records[-1], Ended)):
        raise AmendsError(
            f"saga {plan.name!r} version {plan.version}: it began with the steps {started.digest}, and this program's "
            f"are {plan.digest}; give the changed class version={plan.version + 1} and keep the old one beside it"
        )
    try:
        return plan, replay(plan, records)
    except KeyError as error:
        raise AmendsError(f"saga {plan.name!r} version {plan.version} has no step {error}, the history has") from None


def fits(plan: Plan, started: Started) -> bool:
    """Whether an instance can go on with the plan of its saga and version: that has the steps it began with."""
    return started.digest in ("", plan.digest)
