"""The cluster demo: two machines in small run the shop over RabbitMQ and PostgreSQL, and all goes wrong that may.

Orders come in waves. In the middle of each something befalls: a program is killed or paused, or a
connection is cut, while customers go on asking at whichever node hears them. The demo ends when
every order has an outcome and every program is well, and was told to end. That nothing is left half
done is the audit's to say, from copies of the databases.
"""

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from random import Random
from types import FrameType
from typing import Final

from msgspec import Struct
from rich.console import Console

from amends import AmendsError
from amends.demo.cluster.board import FRAME_S, Board
from amends.demo.cluster.customers import Answer, Customers
from amends.demo.cluster.programs import MACHINES, NODES, Machine
from amends.demo.cluster.servers import Servers, servers
from amends.demo.cluster.troubles import Troubles
from amends.demo.copying import copy
from amends.demo.databases import SERVICES
from amends.demo.domain import Order
from amends.demo.load import STALL_S, Tally
from amends.demo.screen import show_counts
from amends.demo.stocking import Stalled
from amends.demo.workload import Settings, Workload

START_S: Final = 60.0
END_S: Final = 30.0
_LOOK_S: Final = 0.05


class Chosen(Struct, frozen=True):
    """What is chosen beside a demo's settings.

    Attributes:
        broker, database: URLs of servers; None is those that are found.
        own_servers: start both, and let troubles befall them, too.
        troubles: how many.
        away_s: how long what is killed, paused or cut off stays away.
    """

    broker: str | None
    database: str | None
    own_servers: bool
    troubles: int
    away_s: float


def run(folder: Path, work: Workload, settings: Settings, console: Console, chosen: Chosen) -> bool:
    """Place all orders on a cluster in trouble; True if each got the outcome that is written down, and all ended well.

    What is to be audited, and what the programs logged, is in the folder afterwards.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with _signals(), ExitStack() as stack:
            found = stack.enter_context(servers(chosen.broker, chosen.database, own=chosen.own_servers, nodes=NODES))
            machines = stack.enter_context(_machines(found, settings, folder))
            # A second Ctrl-C is none that keeps anything from being taken away.
            stack.callback(signal.signal, signal.SIGINT, signal.SIG_IGN)
            story = Story(found, machines, work, settings, console, chosen)
            try:
                story.play()
            except AmendsError:
                # It may tell why.
                with suppress(AmendsError):
                    copy(found.url, SERVICES, folder)
                raise
            problems = story.end()
            copy(found.url, SERVICES, folder)
            story.tell()
            problems += story.contradictions()
    except KeyboardInterrupt:
        for log in folder.glob("*.log"):
            log.unlink()
        raise
    for problem in problems:
        console.print(problem, style="red", markup=False, soft_wrap=True)
    return not problems


@contextmanager
def _signals() -> Iterator[None]:
    """SIGTERM and SIGHUP are Ctrl-C here: whatever ends the demo, its programs are to end first."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    ours = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, interrupt) for number in ours]
    try:
        yield
    finally:
        for number, handler in zip(ours, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def _machines(found: Servers, settings: Settings, folder: Path) -> Iterator[list[Machine]]:
    """The machines, with nothing running; whatever was started is gone afterwards."""
    machines: list[Machine] = []
    try:
        machines += (Machine(name, found, settings.plan, folder) for name in MACHINES)
        yield machines
    finally:
        for machine in machines:
            for program in machine.programs:
                program.over()
            machine.close()


class Story:
    """One run."""

    def __init__(
        self,
        found: Servers,
        machines: Sequence[Machine],
        work: Workload,
        settings: Settings,
        console: Console,
        chosen: Chosen,
    ) -> None:
        self._servers = found
        self._machines = machines
        self._programs = [program for machine in machines for program in machine.programs]
        self._work = work
        self._settings = settings
        self._console = console
        self._chosen = chosen
        self._chance = Random(settings.seed)
        self._well_s = START_S + chosen.away_s
        self._tally = Tally()
        self._began_s = time.monotonic()
        self._over = threading.Event()
        self._troubles = Troubles(machines, found, self._chance, chosen.away_s, self._say)
        self._customers: Customers | None = None

    # Before, meanwhile, and after.

    def play(self) -> None:
        """Start everything, place all orders, and let troubles befall; returns when all is well."""
        what = f"{self._servers.run}: {len(self._programs)} programs on {len(self._machines)} machines ..."
        self._console.print(what, highlight=False)
        for program in self._programs:
            program.start()
        self._wait(lambda: all(program.is_ready for program in self._programs), START_S, "the programs were not ready")
        self._say("all programs are ready")
        self._tally = Tally()
        nodes = [machine.node.at for machine in self._machines]
        customers = self._customers = Customers(nodes, self._settings.in_flight, self._tally)
        try:
            customers.stock_up(self._work.stock)
            with Board(self._console, self._machines, len(self._work.orders)) as board:
                self._watch(lambda: self._perform(customers), board)
        finally:
            self._over.set()
            customers.leave()

    def _perform(self, customers: Customers) -> None:
        kinds = self._troubles.draw(self._chosen.troubles)
        orders, waves = self._work.orders, len(kinds) + 1
        ends = [len(orders) * number // waves for number in range(waves + 1)]
        for kind, begin, end in zip(kinds, ends, ends[1:], strict=False):
            self._wait(partial(self._troubles.can_begin, kind), self._well_s, "no machine got well")
            customers.hand_in(orders[begin:end])
            # Some orders of the wave are over then and some are not, unless something earlier holds them up.
            self._wait(
                partial(self._have_ended, begin + int(self._chance.random() * (end - begin))), self._chosen.away_s
            )
            self._troubles.begin(kind)
            self._wait(lambda: False, self._chance.uniform(0.1, 0.4) * self._chosen.away_s)
        customers.hand_in(orders[ends[-2] :])
        self._wait(lambda: self._troubles.are_over, self._well_s, "no machine got well")
        while (ended := self._ended) < len(orders):
            self._wait(partial(self._have_ended, ended + 1), STALL_S, f"{ended} orders ended, and no further one")

    def _have_ended(self, orders: int) -> bool:
        return self._ended >= orders

    @property
    def _ended(self) -> int:
        return self._tally.counts(recent=True).ended

    def _wait(self, true: Callable[[], bool], limit_s: float, otherwise: str = "") -> None:
        """Wait for something, looking after all troubles meanwhile; Stalled, if it is to come true and does not."""
        give_up_s = time.monotonic() + limit_s
        while not true():
            if time.monotonic() > give_up_s:
                if otherwise:
                    raise Stalled(f"{otherwise} in {limit_s:g} s")
                return
            self._troubles.look()
            for program in self._programs:
                program.look()
            self._over.wait(_LOOK_S)

    def _watch(self, work: Callable[[], None], board: Board) -> None:
        errors: list[Exception] = []
        done = threading.Event()

        def perform() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - raised again by the one who waits
                errors.append(error)
            finally:
                done.set()

        # A daemon: whoever presses Ctrl-C does not want to wait for it.
        threading.Thread(target=perform, name="story", daemon=True).start()
        while not done.wait(FRAME_S):
            board.show(self._tally.counts(recent=True))
        board.show(self._tally.counts(recent=True))
        if errors:
            raise errors[0]

    def end(self) -> list[str]:
        """Tell every program to end: those that did not end well."""
        for program in self._programs:
            program.end()
        statuses = [(program.name, program.wait(END_S)) for program in self._programs]
        return [f"{name} was told to end, and ended with status {status}" for name, status in statuses if status != 0]

    # What came of it.

    def contradictions(self) -> list[str]:
        """Where customers heard nothing, or something else than is written down."""
        assert self._customers is not None
        return contradictions(self._work.orders, self._customers.answers, self._servers.states())

    def tell(self) -> None:
        """How many orders ended how, what befell, and what the programs say of it."""
        assert self._customers is not None
        events = [event for program in self._programs for event in program.events()]
        of_kind = Counter(event["event"] for event in events)
        adoptions = [event["instances"] for event in events if event["event"] == "saga.adopted"]
        numbers = {
            "requests": f"{self._customers.requests:,}, {self._customers.asked_again:,} of them to ask again",
            "what befell": ", ".join(f"{kind} {times}" for kind, times in sorted(self._troubles.befell.items())),
            "adopted": f"{sum(adoptions):,} orders by the other node, {len(adoptions)} times",
            "from a node's death to the end of the last order it had": self._told_deaths(),
            "retried steps, dead letters, restarts": " ".join(
                f"{of_kind[name]:,}" for name in ("saga.step_retried", "message.dead_lettered", "actor.restarted")
            ),
        }
        show_counts(self._console, self._tally.counts(), numbers)

    def _told_deaths(self) -> str:
        took: list[tuple[float, int]] = []
        for death in self._troubles.deaths:
            ended_at = self._servers.last_end(death.left)
            if ended_at is not None:
                took.append((ended_at - death.at, len(death.left)))
        if not took:
            return "no node that was killed had one"
        longest_s, orders = max(took)
        return f"at most {longest_s:.1f} s ({orders} orders; {len(took)} of {len(self._troubles.deaths)} deaths)"

    def _say(self, what: str) -> None:
        self._console.print(f"{time.monotonic() - self._began_s:6.1f}s  {what}", highlight=False, markup=False)


def contradictions(orders: Iterable[Order], answers: Mapping[str, Answer], states: Mapping[str, str]) -> list[str]:
    """Orders of which nobody heard, and those whose customers heard something else than is written down."""
    found = []
    for order_id in (order.order_id for order in orders):
        heard = answers[order_id].kind if order_id in answers else "nothing"
        if heard != states.get(order_id):
            found.append(f"order {order_id}: its customer heard {heard}; {states.get(order_id)} is written down")
    return found
