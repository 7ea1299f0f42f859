"""What goes wrong with a cluster: programs killed and paused, connections cut, machines cut off, servers restarted.

One trouble at a time befalls a machine, and the next one only when all its programs can work again;
the other machine may have one meanwhile. What an operator would do at the end of a trouble is done:
what was killed is started again.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Final, NamedTuple

from amends.demo.cluster.programs import Machine, Program
from amends.demo.cluster.proxy import Proxy
from amends.demo.cluster.servers import Servers

KINDS: Final = (
    "node killed",
    "node killed, back at once",
    "node paused",
    "service killed",
    "service paused",
    "broker connections cut",
    "database connections cut",
    "cut off from the broker",
    "cut off from the database",
)
OF_SERVERS: Final = ("broker killed", "database killed")


class Death(NamedTuple):
    """A node that was killed.

    Attributes:
        at: when, in unix seconds.
        left: the instances it had open.
    """

    node: str
    at: float
    left: list[str]


class Ongoing(NamedTuple):
    """A trouble of one machine: when its end is due, and what ends it."""

    machine: Machine
    until_s: float
    end: Callable[[], None]


class Troubles:
    """Begins troubles, and ends them when they are due.

    Args:
        away_s: how long what is killed, paused or cut off stays away; longer than the other node waits for it.
        tell: what is to be said of each.

    Attributes:
        befell: how often what befell.
        deaths: of nodes.
    """

    def __init__(
        self,
        machines: Sequence[Machine],
        servers: Servers,
        chance: Random,
        away_s: float,
        tell: Callable[[str], None],
    ) -> None:
        self.befell: Counter[str] = Counter()
        self.deaths: list[Death] = []
        self._machines = machines
        self._servers = servers
        self._chance = chance
        self._away_s = away_s
        self._tell = tell
        self._ongoing: list[Ongoing] = []
        self._coming_back: list[Machine] = []

    def draw(self, count: int) -> list[str]:
        """What is to befall, in this order."""
        return draw([*KINDS, *(OF_SERVERS if self._servers.owned else ())], count, self._chance)

    @property
    def are_over(self) -> bool:
        """Every machine is well."""
        return not (self._ongoing or self._coming_back)

    def can_begin(self, kind: str) -> bool:
        """A machine is well; both of them, for what befalls a server."""
        ill = len(self._ongoing) + len(self._coming_back)
        return ill == 0 if kind in OF_SERVERS else ill < len(self._machines)

    def look(self) -> None:
        """End what is due, and see who is well again."""
        for trouble in [trouble for trouble in self._ongoing if trouble.until_s <= time.monotonic()]:
            self._ongoing.remove(trouble)
            trouble.end()
            self._coming_back.append(trouble.machine)
        for machine in list(self._coming_back):
            for program in machine.programs:
                program.look()
            if all(program.is_ready for program in machine.programs):
                self._coming_back.remove(machine)

    def begin(self, kind: str) -> None:
        """Let something go wrong, now."""
        self.befell[kind] += 1
        if kind in OF_SERVERS:
            self._tell(f"{kind}, and started again")
            self._servers.restart_broker() if kind == "broker killed" else self._servers.restart_database()
            return
        ill = [trouble.machine for trouble in self._ongoing] + self._coming_back
        machine = self._chance.choice([machine for machine in self._machines if machine not in ill])
        who, for_s, end = self._begin(kind, machine)
        self._tell(f"{who}: {kind}" + (f", for {for_s:.1f} s" if for_s else ""))
        self._ongoing.append(Ongoing(machine, time.monotonic() + for_s, end))

    def _begin(self, kind: str, machine: Machine) -> tuple[str, float, Callable[[], None]]:
        place = f"machine {machine.name}"
        service = self._chance.choice(machine.services)
        match kind:
            case "node killed":
                return self._kill_node(machine.node, self._away_s)
            case "node killed, back at once":
                return self._kill_node(machine.node, 0.0)
            case "node paused":
                return self._pause(machine.node)
            case "service killed":
                service.kill()
                return service.name, self._chance.uniform(0.0, self._away_s / 4), service.start
            case "service paused":
                return self._pause(service)
            case "broker connections cut":
                machine.to_broker.cut()
                return place, 0.0, lambda: None
            case "database connections cut":
                machine.to_database.cut()
                return place, 0.0, lambda: None
            case "cut off from the broker":
                return (place, *self._cut_off(machine.to_broker))
            case _:
                return (place, *self._cut_off(machine.to_database))

    def _kill_node(self, node: Program, for_s: float) -> tuple[str, float, Callable[[], None]]:
        at = time.time()
        node.kill()
        self.deaths.append(Death(node.name, at, self._servers.open_of(node.name)))
        return node.name, for_s, node.start

    def _pause(self, program: Program) -> tuple[str, float, Callable[[], None]]:
        program.pause()
        return program.name, self._away_s, program.go_on

    def _cut_off(self, wire: Proxy) -> tuple[float, Callable[[], None]]:
        wire.shut()
        return self._away_s, wire.let_in


def draw(kinds: Sequence[str], count: int, chance: Random) -> list[str]:
    """So many of them, each once before any comes again."""
    drawn: list[str] = []
    while len(drawn) < count:
        drawn += chance.sample(kinds, len(kinds))
    return drawn[:count]
