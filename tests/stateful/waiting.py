"""A saga whose first step may have to wait: one room, for two who want it, each with something else that may fail.

The second waits with `Later` until the first has left the room, at the end of its saga or at its
undo, and is let in by whoever leaves. Waiting leaves a place in a queue behind, and leaving takes
two goes. In the end nobody is in the room or in the queue.
"""

from typing import Any, Final

import msgspec

from amends import Done, IdempotencyKey, Later, Refused, Results, Retry, Saga, Service, handles, retriable, step, undoes
from amends.testing import Schedule, SimulatedSystem
from tests.stateful.asking import Caller, everyone_was_told_the_truth, let_it_end, say_how_to_replay

TROUBLE_S: Final = 60.0
_RETRY: Final = Retry(attempts=4, base_s=0.1, cap_s=1.0, slow_s=10.0)


class Guest(msgspec.Struct, frozen=True):
    """The saga's input; one who is a `nuisance` is let in by nobody, and told so when it is their turn."""

    name: str
    nuisance: bool = False


class Enter(msgspec.Struct, frozen=True):
    """Wants the room."""

    name: str
    nuisance: bool


class Pay(msgspec.Struct, frozen=True):
    """For the room."""

    name: str


class Leave(msgspec.Struct, frozen=True):
    """The room is free again."""

    name: str


_TABLES: Final = """
create table room (name text not null, is_left integer not null default 0);
create table queue (
    id integer primary key, name text not null unique, saga_id text not null, step text not null,
    is_left integer not null default 0
);
"""


class Rooms(Service, name="rooms", migrations=(_TABLES,)):
    """One room, and who waits for it."""

    @handles(Enter)
    def enter(self, command: Enter) -> Done[str] | Refused | Later:
        key = self.key
        self.db.execute(
            "insert or ignore into queue (name, saga_id, step) values (?, ?, ?)", (command.name, key.saga_id, key.step)
        )
        first = self.db.execute("select name from queue order by id limit 1").get
        if first != command.name or self.db.execute("select name from room").get:
            return Later("somebody is in the room")
        if command.nuisance:
            return Refused("not you")
        self.db.execute("delete from queue where name = ?", (command.name,))
        self.db.execute("insert into room (name) values (?)", (command.name,))
        return Done(command.name)

    @undoes(Enter)
    def go_away(self, command: Enter, result: str | None) -> Later | None:
        for place in ("room", "queue"):
            self.db.execute(f"update {place} set is_left = 1 where name = ? and not is_left", (command.name,))
            if self.db.changes():
                return Later("on the way to the door", 0.5)
        self.db.execute("delete from queue where name = ?", (command.name,))
        self._free(command.name)
        return None

    @handles(Leave)
    def leave(self, command: Leave) -> Done[None]:
        self._free(command.name)
        return Done()

    def _free(self, name: str) -> None:
        self.db.execute("delete from room where name = ?", (name,))
        waits: Any = self.db.execute("select saga_id, step from queue order by id limit 1").fetchall()
        for saga_id, name in waits:
            self.again(IdempotencyKey(saga_id, name))


class Bank(Service, name="bank"):
    """Somebody else."""

    @handles(Pay)
    def pay(self, command: Pay) -> Done[None]:
        return Done()

    @undoes(Pay)
    def pay_back(self, command: Pay, result: None) -> None: ...


class Visit(Saga, name="visit"):
    """Into the room, pay, and out again."""

    input: Guest

    @step(to="rooms", timeout_s=2.0, retry=_RETRY)
    def enter(self, guest: Guest, done: Results) -> Enter:
        return Enter(guest.name, guest.nuisance)

    @step(to="bank", after=[enter], timeout_s=2.0, retry=_RETRY)
    def pay(self, guest: Guest, done: Results) -> Pay:
        return Pay(guest.name)

    @retriable(to="rooms", after=[pay], timeout_s=2.0, retry=_RETRY)
    def leave(self, guest: Guest, done: Results) -> Leave:
        return Leave(guest.name)


def run(schedule: Schedule, *, nuisance: bool = False) -> SimulatedSystem:
    """Two guests at about the same time; the bank is slow, so the first stays in the room for a while."""
    system = SimulatedSystem(sagas=[Visit], services=[Rooms, Bank], schedule=schedule)
    system.service("bank").unavailable(Pay, times=3)
    try:
        with system:
            guests = [Guest("g1"), Guest("g2", nuisance)]
            callers = [Caller(system, Visit, guest, guest.name) for guest in guests]
            for number, caller in enumerate(callers):
                caller.ask(number * 0.05)
            system.advance(TROUBLE_S)
            let_it_end(system, callers)
            system.check()
            everyone_was_told_the_truth(system, callers)
            _nobody_is_left(system)
    except Exception as error:
        say_how_to_replay(error, f"waiting.run(schedule, nuisance={nuisance})", system)
        raise
    return system


def _nobody_is_left(system: SimulatedSystem) -> None:
    assert system.query("rooms", "select name from room") == []
    assert system.query("rooms", "select name from queue") == []
    assert system.query("rooms", "select step from amends_fence where state = 'begun'") == []
