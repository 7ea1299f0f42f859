"""For users' own tests, and for our own: a world in which nothing is chance.

`SimulatedSystem` runs the same actors as `System` in one thread, on virtual time, disk and
network; a `Schedule` says what goes wrong, or a `FaultPlan` how often. `unreliable` is for drills
on a real one.
"""

from amends.testing.schedule import FaultPlan, Schedule
from amends.testing.system import HistoryFailed, SimulatedSystem, Stalled
from amends.testing.unreliable import unreliable

__all__ = ["FaultPlan", "HistoryFailed", "Schedule", "SimulatedSystem", "Stalled", "unreliable"]
