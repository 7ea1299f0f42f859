"""Everything that is logged of a bad day; apart from the tests, since a program without them has it too."""

from collections import deque

from amends.supervisor.actor import spawn
from amends.supervisor.child import ChildSpec
from amends.supervisor.dead_letters import DeadLetters
from amends.supervisor.intensity import RestartWindow
from amends.supervisor.mailbox import Mailbox
from amends.supervisor.strategy import Strategy
from amends.supervisor.supervisor import Supervisor
from amends.supervisor.telemetry import Counters
from tests.supervisor.manual import ManualRuntime
from tests.supervisor.probe import SECRET, Once, Probe, fail


def trouble(runtime: ManualRuntime) -> None:
    """A child that hangs, a message that kills three more of it, and a supervisor that gives up."""
    counters = Counters()
    dead = Mailbox("dead-letters", runtime)
    spawn(dead, lambda: DeadLetters(deque(), counters))
    child = Mailbox("child", runtime, dead=dead)
    spec = ChildSpec(child, lambda: Probe([]), turn_limit_s=5.0)
    root = Mailbox("root", runtime)
    window = RestartWindow(3, 1000.0)
    spawn(root, lambda: Supervisor([spec], strategy=Strategy.ONE_FOR_ONE, window=window, counters=counters))
    runtime.run_until_idle()
    child.tell(Once(lambda probe: runtime.advance(6.0)))
    child.tell(SECRET)
    child.tell(fail)
    runtime.advance(60.0)
    assert root.actor is None
    assert counters.dead_letters == 1
    assert dead.actor is not None
    dead.actor.retire()
