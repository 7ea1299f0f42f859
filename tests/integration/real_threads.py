"""Actors, runtimes and systems under as many thread switches as the interpreter makes, and what has to hold.

Each function plays one scene and asserts; how much of it is an argument. Effects are counted
only when a turn has settled, as those of a service are.
"""

import itertools
import random
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pykka

from amends import Completed, Handle, System
from amends.protocol.events import CancelAnswer
from amends.supervisor.actor import Actor, Kill, spawn
from amends.supervisor.baton import Baton
from amends.supervisor.child import ChildSpec
from amends.supervisor.intensity import RestartWindow
from amends.supervisor.mailbox import DeadLetter, Mailbox
from amends.supervisor.runtime import Runtime, SystemClock
from amends.supervisor.runtimes.pool import Pool
from amends.supervisor.runtimes.threads import Threads
from amends.supervisor.strategy import Strategy
from amends.supervisor.supervisor import Supervisor
from amends.supervisor.telemetry import Counters
from tests.actors.patience import until
from tests.actors.trip import LONG_S, BookTrip, Fares, Script, Seats, Tickets, Trip, all_or_nothing

HASTY_S = 1e-6

NewRuntime = Callable[[], Runtime]

RUNTIMES: dict[str, NewRuntime] = {
    "pool": lambda: Pool(SystemClock()),
    "threads": lambda: Threads(SystemClock()),
    "threads with a baton": lambda: Threads(SystemClock(), Baton()),
}

Note = tuple[int, int]
"""Who sent it, and the how manieth of that sender's it is."""


@contextmanager
def hasty() -> Iterator[None]:
    """Threads are interrupted as often as can be."""
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(HASTY_S)
    try:
        yield
    finally:
        sys.setswitchinterval(interval_s)


class Keeping(Actor):
    """Keeps what a turn was told once the turn settles; a turn that fails has happened to nobody.

    Args:
        kept: outlives it.
    """

    turn_budget = 7

    def __init__(self, kept: list[Note]) -> None:
        super().__init__()
        self._kept = kept
        self._turn: list[Note] = []

    def on_receive(self, message: Note) -> Note:
        self._turn.append(message)
        return message

    def settle(self) -> None:
        self._kept.extend(self._turn)
        self._turn.clear()


class Unlisted(Keeping):
    """One that Pykka's registry does not list, so that its mailbox may be closed under it."""

    registered = False


class Buried:
    """An address that keeps what is buried."""

    name = "buried"

    def __init__(self) -> None:
        self.letters: list[DeadLetter] = []

    def tell(self, message: object) -> None:
        assert isinstance(message, DeadLetter)
        self.letters.append(message)

    @property
    def notes(self) -> list[Note]:
        return [letter.message for letter in self.letters if isinstance(letter.message, tuple)]


class Street:
    """A few actors under a real supervisor, each with what it has kept."""

    def __init__(self, runtime: Runtime, count: int) -> None:
        self.buried = Buried()
        self.kept: list[list[Note]] = [[] for _ in range(count)]
        self.boxes = [Mailbox(f"actor-{number}", runtime, dead=self.buried) for number in range(count)]
        self.counters = Counters()
        self._runtimes = (Pool(runtime.clock, "watching"), runtime)
        self._root = Mailbox("root", self._runtimes[0])

    def open(self) -> None:
        """Start the supervisor, which starts the actors."""
        specs = [
            ChildSpec(box, lambda kept=kept: Keeping(kept))  # type: ignore[misc]  # mypy infers no such lambda
            for box, kept in zip(self.boxes, self.kept, strict=True)
        ]
        # A short period, so that restarts wait for little and never become too many.
        window = RestartWindow(intensity=1000, period_s=0.001)
        spawn(
            self._root,
            lambda: Supervisor(specs, strategy=Strategy.ONE_FOR_ONE, window=window, counters=self.counters),
        )

    def close(self) -> None:
        """End them all."""
        for runtime in self._runtimes:
            assert runtime.stop(LONG_S)
        for box in (self._root, *self.boxes):
            if box.actor is not None:
                box.actor.retire()


@contextmanager
def street(runtime: Runtime, count: int) -> Iterator[Street]:
    """Actors that are gone when the block ends."""
    made = Street(runtime, count)
    try:
        yield made
    finally:
        made.close()


def at_once(calls: int, call: Callable[[int], None]) -> None:
    """Call in as many threads, all of which begin together; what one raises is raised."""
    together = threading.Barrier(calls)

    def begin(number: int) -> None:
        together.wait(LONG_S)
        call(number)

    with ThreadPoolExecutor(calls) as pool:
        for done in [pool.submit(begin, number) for number in range(calls)]:
            done.result(LONG_S)


def tell_and_ask(runtime: NewRuntime, *, senders: int, messages: int, kills: int) -> int:
    """Senders tell and ask three actors, which are killed meanwhile; how many messages were sent.

    Every message told is kept once, in its sender's order. Every ask has an answer; one that failed was not kept.
    """
    actors = 3
    asked: list[list[tuple[Note, pykka.Future[Note]]]] = [[] for _ in range(senders)]
    told: list[list[list[Note]]] = [[[] for _ in range(senders)] for _ in range(actors)]

    def send(sender: int) -> None:
        for number in range(messages):
            note, to = (sender, number), (sender + number) % actors
            actor = there.boxes[to].actor
            if number % 8 == 3 and actor is not None:
                asked[sender].append((note, actor.actor_ref.ask(note, block=False)))
            else:
                told[to][sender].append(note)
                there.boxes[to].tell(note)
            if sender == 0 and number % (messages // kills) == 0:
                there.boxes[to].tell(Kill())

    with street(runtime(), actors) as there:
        there.open()
        at_once(senders, send)
        answered = {note for asks in asked for note, future in asks if _answer(note, future)}
        until(lambda: all(_kept_all(*both) for both in zip(there.kept, told, strict=True)))
        assert there.counters.restarts > 0
    everything = [note for asks in asked for note, _ in asks]
    for kept, mine in zip(there.kept, told, strict=True):
        times = Counter(kept)
        assert all(count == 1 for count in times.values())
        for sender in range(senders):
            wanted = set(mine[sender])
            assert [note for note in kept if note in wanted] == mine[sender]
        assert set(times) <= {note for notes in mine for note in notes} | answered
    assert there.buried.notes == []
    return len(everything) + sum(len(notes) for mine in told for notes in mine)


def _answer(note: Note, future: "pykka.Future[Note]") -> bool:
    """Whether it was answered with what was asked, and not with the end of who was asked."""
    try:
        assert future.get(timeout=LONG_S) == note
    except pykka.ActorDeadError:
        return False
    return True


def _kept_all(kept: list[Note], told: list[list[Note]]) -> bool:
    return len(kept) >= sum(map(len, told)) and set(itertools.chain(*told)) <= set(kept)


def begin_while_told(runtime: NewRuntime, *, rounds: int, messages: int) -> int:
    """Actors begin to read while others write to them: nothing is left lying."""
    for _ in range(rounds):
        with street(runtime(), 2) as there:

            def write_or_open(number: int, there: Street = there) -> None:
                if number == 0:
                    there.open()
                    return
                for place in range(messages):
                    there.boxes[number % 2].tell((number, place))

            at_once(5, write_or_open)
            until(lambda there=there: sum(map(len, there.kept)) == 4 * messages)  # type: ignore[misc]
            assert all(len(set(kept)) == len(kept) for kept in there.kept)
            assert there.buried.letters == []
    return rounds * 4 * messages


def end_while_told(runtime: NewRuntime, *, rounds: int, messages: int) -> int:
    """Actors are stopped, retired or cut off while others write to them: what was told is kept or buried, once.

    A turn that is taken away by `retire` may have settled already, as if the actor had crashed right after it:
    then its messages are kept and buried.
    """
    ways: list[Callable[[Mailbox], None]] = [_close, _stop_and_close, _retire_and_close]
    for number in range(rounds):
        end = ways[number % len(ways)]
        with street(runtime(), 1) as there:
            (box,), (kept,) = there.boxes, there.kept
            spawn(box, lambda kept=kept: Unlisted(kept))  # type: ignore[misc]  # as above

            def write_or_end(number: int, box: Mailbox = box, end: Callable[[Mailbox], None] = end) -> None:
                for place in range(messages):
                    if number:
                        box.tell((number, place))
                    elif place == messages // 2:
                        end(box)

            at_once(4, write_or_end)
        assert len(box) == 0
        told = {(sender, place) for sender in (1, 2, 3) for place in range(messages)}
        once = Counter(there.buried.notes)
        assert set(once) | set(kept) == told
        assert len(once) == once.total()
        assert len(set(kept)) == len(kept)
        assert end is _retire_and_close or not set(once) & set(kept)
    return rounds * 3 * messages


def _close(box: Mailbox) -> None:
    box.close()


def _retire_and_close(box: Mailbox) -> None:
    if box.actor is not None:
        box.actor.retire()
    box.close()


def _stop_and_close(box: Mailbox) -> None:
    if box.actor is not None:
        box.actor.actor_ref.stop(timeout=LONG_S)
    box.close()


def same_keys(folder: Path, *, callers: int, keys: int, seed: int) -> int:
    """Callers start, start again and cancel the same keys at once, while a service is killed; how many calls.

    One instance for each key, and whoever asked for it is told the same; a cancel that was accepted undid it.
    """
    script = Script()
    services = [Seats.spec(script), Fares.spec(script), Tickets.spec(script)]
    names = [f"trip-{number}" for number in range(keys)]
    lock = threading.Lock()
    handles: dict[str, list[Handle]] = {name: [] for name in names}
    cancelled: set[str] = set()

    def call(caller: int) -> None:
        chance = random.Random(f"{seed} {caller}")
        for name in chance.sample(names, keys):
            handle = (system.start if chance.random() < 0.5 else system.submit)(BookTrip, Trip(name), key=name)
            if chance.random() < 0.2 and handle.cancel(LONG_S) is CancelAnswer.ACCEPTED:
                cancelled.add(name)
            if chance.random() < 0.05:
                system.kill(chance.choice(["seats", "fares", "tickets"]))
            with lock:
                handles[name].append(handle)

    with System(folder, sagas=[BookTrip], services=services) as system:
        at_once(callers, call)
        for name, several in handles.items():
            assert len({handle.accepted(LONG_S) for handle in several}) == 1
            told = [handle.result(LONG_S) for handle in several]
            assert len(told) == callers
            assert all(outcome == told[0] for outcome in told)
            assert not (name in cancelled and isinstance(told[0], Completed))
        until(lambda: system.status().open == 0)
    assert all_or_nothing(folder, names) == []
    return callers * keys
