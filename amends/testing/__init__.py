"""For users' own tests, and for our own: a world in which nothing is chance.

`SimulatedSystem` runs the same actors as `System` in one thread, on virtual time, disk and
network; a `Schedule` says what goes wrong, or a `FaultPlan` how often. `check_saga` tries
everything that may go wrong with one saga. `unreliable` is for drills on a real system.
"""

from amends.testing.agenda import Stalled
from amends.testing.check import check_saga
from amends.testing.report import Report, SagaFailed
from amends.testing.schedule import FaultPlan, Schedule
from amends.testing.system import HistoryFailed, SimulatedSystem
from amends.testing.unreliable import unreliable

__all__ = [
    "FaultPlan",
    "HistoryFailed",
    "Report",
    "SagaFailed",
    "Schedule",
    "SimulatedSystem",
    "Stalled",
    "check_saga",
    "unreliable",
]
