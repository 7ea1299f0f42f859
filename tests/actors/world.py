"""Actors in one thread, on a clock that only a test moves: everything that happens, happens in a known order."""

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw

from amends.actors.database.port import Database
from amends.actors.database.scripts import Scripts
from amends.actors.database.sqlite import SqliteDatabase
from amends.actors.journal.journal import Journal
from amends.actors.journal.store import PlanId, Store
from amends.actors.service import Service, ServiceHome, ServiceSpec
from amends.actors.storage.folder import open_file
from amends.actors.transport.in_process import InProcess
from amends.protocol import codec
from amends.protocol.messages import Answer, Do, Reply, Resolve, SagaId, Undo
from amends.supervisor.actor import Actor, spawn
from amends.supervisor.mailbox import Mailbox
from amends.supervisor.runtime import Clock

SAGA = SagaId(f"{1_700_000_000_000:012x}70000000000000000001")
"""An id as the system's clock makes them: it begins with the time it was made, here that of `ManualClock` at 0."""
DAY_S = 86_400.0


def sqlite(db: Database) -> apsw.Connection:
    """What a service's database is made of."""
    assert isinstance(db, SqliteDatabase)
    return db.connection


class ManualClock:
    """Time stands still until `OneThread.advance`."""

    def __init__(self) -> None:
        self.s = 1000.0
        self.ids = 0

    def now_s(self) -> float:
        return self.s

    def now_at(self) -> float:
        return 1_700_000_000.0 + self.s

    def chance(self) -> float:
        return 0.5

    def new_id(self) -> str:
        self.ids += 1
        return f"id-{self.ids:04}"


class OneThread:
    """A runtime without threads: `run` gives turns until nobody has anything to do.

    Attributes:
        time: the clock, for a test to move by hand.
        calls: calls outside that wait for the test to run them.
    """

    def __init__(self) -> None:
        self.time = ManualClock()
        self.clock: Clock = self.time
        self.calls: deque[Callable[[], None]] = deque()
        self._ready: deque[Mailbox] = deque()
        self._alarms: dict[Mailbox, float] = {}

    def ready(self, mailbox: Mailbox) -> None:
        self._ready.append(mailbox)

    def replace(self, mailbox: Mailbox) -> None:
        """There is no other thread."""

    def in_turn(self) -> list[Mailbox]:
        return []

    def release(self, mailbox: Mailbox) -> None:
        self._alarms.pop(mailbox, None)

    def outside(self, call: Callable[[], None]) -> None:
        self.calls.append(call)

    def stop(self, timeout_s: float) -> bool:
        return True

    def turn(self) -> bool:
        """One turn of whoever is next; False if there is nobody."""
        if not self._ready:
            return False
        mailbox = self._ready.popleft()
        mailbox.run_turn()
        actor = mailbox.actor
        self._alarms.pop(mailbox, None)
        if actor is not None and actor.wakes_at_s is not None:
            self._alarms[mailbox] = actor.wakes_at_s
        return True

    def run(self) -> None:
        """Until all is quiet; what is due now is done, time does not pass."""
        while self.turn() or self._wake():
            pass

    def advance(self, seconds: float) -> None:
        """Let time pass, from alarm to alarm."""
        until = self.time.s + seconds
        self.run()
        while self._alarms and (next_s := min(self._alarms.values())) <= until:
            self.time.s = max(self.time.s, next_s)
            self.run()
        self.time.s = until
        self.run()

    def _wake(self) -> bool:
        due = [mailbox for mailbox, at_s in self._alarms.items() if at_s <= self.time.s]
        for mailbox in due:
            del self._alarms[mailbox]
            mailbox.notify()
        return bool(self._ready)


class Probe:
    """An address that keeps what it is told."""

    def __init__(self, name: str = "probe") -> None:
        self.name = name
        self.told: list[Any] = []

    def tell(self, message: object) -> None:
        self.told.append(message)

    def take(self) -> list[Any]:
        """What it was told since the last time."""
        told, self.told = self.told, []
        return told


class ServiceUnderTest:
    """One service on a real database, by default a file, with this test as its only saga."""

    def __init__(
        self,
        place: Path | Callable[[Scripts], Database],
        spec: ServiceSpec,
        retention_s: float = 30 * DAY_S,
    ) -> None:
        self.runtime = OneThread()
        self.saga, self.dead, self.keeper = Probe("saga"), Probe("dead"), Probe("keeper")
        self.mailbox = Mailbox(spec.service.name, self.runtime, keeper=self.keeper, dead=self.dead)
        transport = InProcess({spec.service.name: self.mailbox}, {SAGA: self.saga})
        scripts = spec.service.scripts()
        home = ServiceHome(
            lambda: open_file(place, scripts) if isinstance(place, Path) else place(scripts), transport, retention_s
        )

        def make() -> Actor:
            service = spec.make()
            service.settle_in(home)
            return service

        self._make = make
        spawn(self.mailbox, make)
        self.runtime.run()

    @property
    def service(self) -> Service:
        assert isinstance(self.mailbox.actor, Service)
        return self.mailbox.actor

    def tell(self, *messages: object) -> list[Reply]:
        """One turn with these messages, and what it answered."""
        for message in messages:
            self.mailbox.tell(message)
        self.runtime.run()
        return self.saga.take()

    def ask(self, message: object) -> Answer:
        """The answer to one message."""
        (reply,) = self.tell(message)
        return reply.answer

    def run_calls(self) -> list[Reply]:
        """Let the calls outside happen, and those that follow from them."""
        while self.runtime.calls:
            self.runtime.calls.popleft()()
            self.runtime.run()
        return self.saga.take()

    def restart(self) -> None:
        """Another incarnation, as after a failure; calls that are under way stay so."""
        self.stop()
        spawn(self.mailbox, self._make)
        self.runtime.run()

    def stop(self) -> None:
        if self.mailbox.actor is not None:
            self.mailbox.actor.retire()

    # Messages.

    def do(self, command: object, step: str = "step", **rest: Any) -> Do:
        rest = {"attempt": 1, "token": 1, "expires_at": self.runtime.clock.now_at() + DAY_S, **rest}
        name, payload = type(command).__name__, codec.encode(command)
        return Do(service=self.mailbox.name, saga_id=SAGA, step=step, command=name, payload=payload, **rest)

    def undo(self, step: str = "step", **rest: Any) -> Undo:
        return Undo(service=self.mailbox.name, saga_id=SAGA, step=step, **{"attempt": 1, "token": 1, **rest})

    def resolve(self, step: str = "step", **rest: Any) -> Resolve:
        return Resolve(service=self.mailbox.name, saga_id=SAGA, step=step, **{"attempt": 1, "token": 1, **rest})


class JournalUnderTest:
    """A journal actor over a store, with probes around it."""

    def __init__(self, open_store: Callable[[], Store], retention_s: float = 30 * DAY_S) -> None:
        self.runtime = OneThread()
        self.keeper, self.asker = Probe("keeper"), Probe("asker")
        self.mailbox = Mailbox("journal", self.runtime, keeper=self.keeper)
        self._make = lambda: Journal(open_store, [PlanId("s", 1, "d1")], retention_s)
        spawn(self.mailbox, self._make)
        self.runtime.run()

    def tell(self, *messages: object) -> list[Any]:
        """One turn with these messages, and what it told the asker."""
        for message in messages:
            self.mailbox.tell(message)
        self.runtime.run()
        return self.asker.take()

    def stop(self) -> None:
        if self.mailbox.actor is not None:
            self.mailbox.actor.retire()
