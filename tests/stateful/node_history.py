"""The history of two nodes on one journal that crash, are paused, are cut off, as a seed has it."""

from random import Random
from typing import Any

from amends import Handle, JournalUnavailable, SystemStopped
from amends.protocol.errors import AmendsError
from amends.protocol.saga import RETRIABLE
from amends.testing import Schedule
from amends.testing.checkers import CHECKERS
from amends.testing.checkers.promises import EverybodyIsAnswered, RestartIntensity
from amends.testing.schedule import FaultPlan
from tests.stateful.cluster import Cluster, Node
from tests.stateful.drawn import North, South
from tests.stateful.plans import build, drawn_spec

KEYS = ("o1", "o2", "o3", "o4")
FAULTS = FaultPlan(late=0.05, lost=0.02, doubled=0.05, killed=0.005, crashes=0.005, most=6)

# Two nodes have actors of the same names, and who waits at one that crashes is told so: these two look at one process.
LOOK_FOR = [checker for checker in CHECKERS if checker not in (RestartIntensity, EverybodyIsAnswered)]


class History:
    """One history; everything in it is the seed's to say."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = Random(seed)
        spec = drawn_spec(self.random.choice)
        self.saga = build(spec, set()).saga
        # What a person would have to mend is looked at with one node.
        refusing = frozenset(step.name for step in spec.steps if step.refuses and step.kind is not RETRIABLE)
        services = [North.spec(refusing), South.spec(refusing)]
        self.cluster = Cluster([self.saga], services, Schedule(seed=seed, faults=FAULTS), LOOK_FOR)
        self.handles: list[tuple[str, Handle]] = []

    def run_and_close(self) -> None:
        """To its end, whatever that is."""
        try:
            self.run()
        except BaseException as error:
            error.add_note(f"the same again: History({self.seed}).run()")
            raise
        finally:
            self.cluster.close()

    def run(self) -> None:
        """Until every instance has ended and everybody is told."""
        cluster, random = self.cluster, self.random
        cluster.open()
        for number, key in enumerate(KEYS):
            for node in random.choices(("one", "two"), k=random.choice((1, 1, 2))):
                self.at(random.uniform(0, 5), lambda node=node, key=key, number=number: self.ask(node, key, number))
        for _ in range(random.choice((1, 2, 3))):
            what, seconds = random.choice((self.crash, self.pause, self.cut_off)), random.choice((2.0, 8.0, 30.0))
            node = random.choice(("one", "two"))
            self.at(random.uniform(0, 12), lambda what=what, node=node, seconds=seconds: what(node, seconds))
        self.pass_time(60.0)
        cluster.home.calm()
        cluster.run_until(self.is_over, what="every instance has ended")
        self.everyone_is_told_the_same()
        cluster.world.at_rest()
        cluster.home._raise_problem()

    def pass_time(self, until_s: float) -> None:
        self.cluster.run_until(lambda: self.cluster.world.now_s > until_s)

    def at(self, at_s: float, act: Any) -> None:
        self.cluster.world.agenda.put(at_s, act)

    def ask(self, node: str, key: str, value: int) -> None:
        """A caller starts it at a node, or at that node a little later if it is down."""
        try:
            self.handles.append((key, self.cluster.nodes[node].submit(self.saga, value, key=key)))
        except SystemStopped:
            self.at(1.0, lambda: self.ask(node, key, value))

    def crash(self, node: str, seconds: float) -> None:
        if self.cluster.nodes[node]._tree is not None:
            self.cluster.crash(node)

    def pause(self, node: str, seconds: float) -> None:
        if self.cluster.nodes[node]._tree is not None:
            self.cluster.pause(node, seconds)

    def cut_off(self, node: str, seconds: float) -> None:
        if self.cluster.nodes[node]._tree is not None:
            self.cluster.cut_off(node, seconds)

    def is_over(self) -> bool:
        known = self.cluster.world.instances.values()
        return all(node.is_well for node in self.cluster.nodes.values()) and all(not each.lags for each in known)

    def everyone_is_told_the_same(self) -> None:
        """Whoever asks again, at either node, hears the same outcome as all who were told one before."""
        for number, key in enumerate(KEYS):
            told = {repr(handle.result(0)) for asked, handle in self.handles if asked == key and self.is_told(handle)}
            told |= {repr(self.outcome_at(node, key, number)) for node in self.cluster.nodes.values()}
            assert len(told) == 1, f"{key} was told {told}"

    def outcome_at(self, node: Node, key: str, value: int) -> object:
        """What a caller is told who asks until he is."""
        while True:
            try:
                return node.submit(self.saga, value, key=key).result(120.0)
            except JournalUnavailable:  # it has only just come back
                self.pass_time(self.cluster.world.now_s + 1.0)

    @staticmethod
    def is_told(handle: Handle) -> bool:
        """Whether its caller got an outcome; one whose node crashed, or could not reach the journal, got none."""
        try:
            return handle.done() and handle.result(0) is not None
        except AmendsError:
            return False
