"""The virtual disk: what is committed is there after any crash, in full, and nothing else is."""

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from amends import Database, DatabaseError
from amends.actors.database.scripts import by_dialect
from amends.actors.database.sqlite import SqliteDatabase
from amends.actors.journal.store import Batch, Blocked, Instance, Store, Stored, checksum
from amends.actors.storage.folder import Folder
from amends.actors.storage.port import Storage
from amends.protocol import codec
from amends.protocol.messages import SagaId
from amends.protocol.records import Started
from amends.testing import Schedule
from amends.testing.disk import MemoryDisk, VirtualDisk, note
from amends.testing.life import Life
from amends.testing.world import World
from tests.actors.trip import BookTrip

SCRIPTS = {"service": by_dialect("t", ("create table t (x integer)",))}
SAGA = SagaId("1")


class Machine:
    """A disk, and the process that uses it."""

    def __init__(self, inner: Storage, **deviations: str) -> None:
        plan = BookTrip.plan
        schedule = Schedule({label.replace("_", " ") + " #1": fate for label, fate in deviations.items()})
        self.world = World(schedule, {(plan.name, plan.version): plan}, ["s"])
        self.disk = VirtualDisk(self.world, inner)
        self.stores: list[Store] = []
        self.reboot()

    def open_store(self) -> Store:
        """The journal; closed when the process ends."""
        self.stores.append(self.disk.open_store())
        return self.stores[-1]

    def power_off(self) -> None:
        """The process is gone, and holds nothing any more."""
        self.life.end()
        for store in self.stores:
            store.close()

    def reboot(self) -> None:
        """Another process."""
        self.life = self.disk.life = Life(self.world, lambda so, within_s: None, lambda actor: None)

    def open(self) -> SqliteDatabase:
        """The service's database."""
        return self.disk.open_service("s", SCRIPTS)

    def rows(self) -> list[object]:
        return [x for (x,) in self.disk.query("s", "select x from t order by x", ())]


MakeMachine = Callable[..., Machine]


@pytest.fixture(params=["memory", "files"])
def a_machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakeMachine]:
    """Makes machines whose disk is in memory, or a folder of real files."""
    made: list[Machine] = []

    def make(**deviations: str) -> Machine:
        made.append(Machine(MemoryDisk() if request.param == "memory" else Folder(tmp_path), **deviations))
        return made[-1]

    yield make
    for machine in made:
        machine.power_off()


def write(db: Database, x: int) -> None:
    """One row, and the note that somebody did it."""
    with db:
        db.execute("insert into t values (?)", (x,))
        note(db, SAGA, "seat", "take", "do", 1)


def one_record() -> Batch:
    """The beginning of an instance."""
    body = codec.encode(Started(SAGA, "book-trip", 1, "ann", msgspec.Raw(b'{"name":"ann"}'), 1.0))
    stored = Stored(SAGA, 0, 1.0, codec.SCHEMA, "started", body.decode(), checksum(0, SAGA, 0, 1.0, codec.SCHEMA, body))
    return Batch([Instance(SAGA, "book-trip", 1, "ann", "open", 1.0)], [stored], [])


def test_a_commit_outlives_the_process(a_machine: MakeMachine) -> None:
    """And what was begun and not committed does not."""
    machine = a_machine()
    db = machine.open()
    write(db, 1)
    db.execute("begin immediate")
    db.execute("insert into t values (2)")
    machine.life.end()
    db.close()
    machine.reboot()
    assert machine.open().execute("select x from t").fetchall() == [(1,)]


@pytest.mark.parametrize(("fate", "left"), [("crash before", []), ("crash after", [1])])
def test_a_crash_at_a_commit(a_machine: MakeMachine, fate: str, left: list[int]) -> None:
    """Right before it nothing is there, right after it all of it; and the process is gone either way."""
    machine = a_machine(commit_of_s=fate)
    db = machine.open()
    if left:
        write(db, 1)
    else:
        with pytest.raises(DatabaseError):
            write(db, 1)
    assert machine.life.ended
    assert machine.rows() == left
    assert [effect.name for effect in machine.disk.new_effects("s")] == ["s.take"] * len(left)


def test_a_full_disk(a_machine: MakeMachine) -> None:
    """That commit fails, the process lives, and the next one finds room."""
    machine = a_machine(commit_of_s="full")
    db = machine.open()
    with pytest.raises(DatabaseError):
        write(db, 1)
    write(db, 2)
    assert not machine.life.ended
    assert machine.rows() == [2]


def test_a_dead_process_commits_nothing(a_machine: MakeMachine) -> None:
    """Whatever its actors still try."""
    machine = a_machine()
    db, store = machine.open(), machine.open_store()
    machine.life.end()
    with pytest.raises(DatabaseError):
        write(db, 1)
    with pytest.raises(Blocked):
        store.write(one_record())
    assert machine.rows() == []
    assert store.history(SAGA) == []
    assert machine.world.instances == {}


def test_an_effect_counts_if_its_transaction_does(a_machine: MakeMachine) -> None:
    """Rolled back to a savepoint it never happened; each is told once."""
    machine = a_machine()
    db = machine.open()
    db.execute("begin immediate")
    db.execute("savepoint s")
    note(db, SAGA, "seat", "take", "do", 1)
    db.execute("rollback to s")
    note(db, SAGA, "fare", "take", "do", 1)
    assert machine.disk.new_effects("s") == []
    db.execute("commit")
    assert [effect.step for effect in machine.disk.new_effects("s")] == ["fare"]
    assert machine.disk.new_effects("s") == []


@pytest.mark.parametrize(("fate", "there"), [("crash before", False), ("crash after", True), ("full", False)])
def test_the_journal_is_on_the_same_disk(a_machine: MakeMachine, fate: str, *, there: bool) -> None:
    """A batch is there in full or not at all, and the world knows what is."""
    machine = a_machine(commit_of_journal=fate)
    store = machine.open_store()
    if there:
        store.write(one_record())
    else:
        with pytest.raises(Blocked):
            store.write(one_record())
    assert machine.life.ended == fate.startswith("crash")
    assert bool(store.history(SAGA)) == (store.instance(SAGA) is not None) == (SAGA in machine.world.instances) == there


def test_the_token_rises_with_every_process(a_machine: MakeMachine) -> None:
    """As on a real disk."""
    machine = a_machine()
    first = machine.open_store().token
    machine.power_off()
    machine.reboot()
    assert machine.open_store().token == first + 1
