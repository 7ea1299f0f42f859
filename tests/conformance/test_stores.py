"""What every journal store does; one suite, each store."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from amends.actors.journal.memory import MemoryStore
from amends.actors.journal.postgres import PostgresStore
from amends.actors.journal.sqlite import SqliteStore
from amends.actors.journal.store import Batch, Instance, Store, Stored, checksum, verify
from amends.protocol import codec
from amends.protocol.errors import RecordCorrupt
from amends.protocol.messages import SagaId
from amends.protocol.records import Ended, Record, Started, StepDone
from tests.open_ids import open_ids
from tests.servers import postgres_schema


class Place:
    """Where a store keeps its content; it can be opened again, as by a later process."""

    def __init__(self, open_store: Callable[[], Store]) -> None:
        self._open = open_store
        self.store = open_store()

    def reopen(self) -> Store:
        self.store.close()
        self.store = self._open()
        return self.store


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Where each of the stores keeps its content."""
    with ExitStack() as stack:
        if request.param == "memory":
            memory = MemoryStore()
            opened = iter([memory])
            place = Place(lambda: next(opened, None) or memory.reopened())
        elif request.param == "sqlite":
            place = Place(lambda: SqliteStore(tmp_path / "journal.db"))
        else:
            url = stack.enter_context(postgres_schema())
            place = Place(lambda: PostgresStore(url))
        yield place
        place.store.close()


@pytest.fixture
def store(place: Place) -> Store:
    """The store, open."""
    return place.store


def instance(saga_id: str, key: str | None = None, saga: str = "s") -> Instance:
    """An open instance."""
    return Instance(saga_id, saga, 1, key or saga_id, "open", 1.5)


def history(saga_id: str, length: int, first: int = 0, before: int = 0, *, ends: bool = False) -> list[Stored]:
    """Sound records, from number `first` on; the last may be an end."""
    made = []
    for seq in range(first, first + length):
        record: Record = StepDone("step", msgspec.Raw(b"%d" % seq))
        if seq == 0:
            record = Started(SagaId(saga_id), "s", 1, saga_id, msgspec.Raw(b"1"), 1.5)
        elif ends and seq == first + length - 1:
            record = Ended(completed=True)
        at, body = 1.5 + seq, codec.encode(record)
        before = checksum(before, saga_id, seq, at, codec.SCHEMA, body)
        made.append(Stored(saga_id, seq, at, codec.SCHEMA, codec.TYPES[type(record)], body.decode(), before))
    return made


def opened(*saga_ids: str) -> Batch:
    """Instances with two records each."""
    return Batch([instance(i) for i in saga_ids], [r for i in saga_ids for r in history(i, 2)], [])


def test_what_is_written_is_read(place: Place) -> None:
    """Instances and records come back as they were, also after reopening."""
    place.store.write(opened("a", "b"))
    for reopen in (False, True):
        store = place.reopen() if reopen else place.store
        assert store.instance("a") == instance("a")
        assert store.history("a") == history("a", 2)
        verify("a", store.history("a"))


def test_opening_changes_nothing_but_the_token(place: Place) -> None:
    """What an opening mends or puts aside is damage; whatever a batch may have written is none."""
    ended = [instance("ended"), instance("ended at once"), instance("aside"), instance("aside at its end")]
    records = [*history("ended", 3, ends=True), *history("ended at once", 2, ends=True), *history("aside", 2)]
    ends = [("completed", 9.0, "ended"), ("completed", 1.5, "ended at once"), ("quarantined", 7.0, "aside")]
    place.store.write(opened("open", "b", "Ab"))
    place.store.write(Batch(ended, [*records, *history("aside at its end", 3, ends=True)], ends))
    place.store.write(Batch([], [], [("quarantined", 8.0, "aside at its end")]))
    everything = [place.store.instance(i.saga_id) for i in ended], place.store.counts(), open_ids(place.store, "", 10)
    for _ in range(2):
        store = place.reopen()
        assert ([store.instance(i.saga_id) for i in ended], store.counts(), open_ids(store, "", 10)) == everything
        assert store.history("aside") == history("aside", 2)


def test_nothing_is_there_at_first(store: Store) -> None:
    """An empty store has no instance, key, record or count."""
    assert (store.instance("a"), store.find("s", "k"), store.history("a")) == (None, None, [])
    assert (open_ids(store, "", 10), store.counts()) == ([], {})


def test_token_rises_with_every_opening(place: Place) -> None:
    """Each opening is a grant of its own."""
    first = place.store.token
    assert first >= 1
    assert [place.reopen().token, place.reopen().token] == [first + 1, first + 2]


def test_history_continues(store: Store) -> None:
    """Records of several batches stand in order."""
    store.write(opened("a"))
    store.write(Batch([], history("a", 2, first=2, before=history("a", 2)[-1].checksum), []))
    assert [record.seq for record in store.history("a")] == [0, 1, 2, 3]
    verify("a", store.history("a"))


def test_the_same_batch_twice(store: Store) -> None:
    """What is there already is left as it is."""
    store.write(opened("a"))
    store.write(Batch([], [], [("completed", 9.0, "a")]))
    store.write(opened("a"))
    assert store.history("a") == history("a", 2)
    assert store.instance("a") == instance("a")._replace(state="completed", ended_at=9.0)


def test_find_by_key(store: Store) -> None:
    """A key belongs to one instance of its saga, and to nobody of another saga."""
    store.write(Batch([instance("a", "k", "s"), instance("b", "k", "t")], [], []))
    found = store.find("s", "k"), store.find("t", "k"), store.find("s", "other")
    assert [i and i.saga_id for i in found] == ["a", "b", None]


def test_known_keys(store: Store) -> None:
    """Of many keys those that are taken come back, each with its instance."""
    store.write(Batch([instance("a", "k", "s"), instance("b", "k", "t"), instance("c", "a\0b", "s")], [], []))
    wanted = [("s", "k"), ("t", "k"), ("s", "a\0b"), ("s", "other"), ("u", "k")]
    assert store.known(wanted) == {("s", "k"): "a", ("t", "k"): "b", ("s", "a\0b"): "c"}
    assert store.known([]) == {}


@pytest.mark.parametrize("key", ["", "a\0b", "a\\0b", "\\", "naïve 🐢", "k" * 100_000], ids=ascii)
def test_any_text_is_a_key(store: Store, key: str) -> None:
    """It is found by what it was, whatever that is, and comes back so."""
    store.write(Batch([instance("a")._replace(key=key), instance("b", "a0b")], [], []))
    found = store.find("s", key)
    assert found == instance("a")._replace(key=key)
    assert store.instance("a") == found


def test_last_of_several_ends(store: Store) -> None:
    """An instance that is put aside in the batch of its end is aside, whether the batch began it or not."""
    ends = [("completed", 7.0, "a"), ("completed", 7.0, "b"), ("quarantined", 8.0, "a"), ("quarantined", 8.0, "b")]
    store.write(opened("a"))
    store.write(opened("b")._replace(ends=ends))
    assert store.counts() == {"quarantined": 2}


def test_end(store: Store) -> None:
    """An instance that ended is no longer open, and keeps when."""
    store.write(opened("a", "b", "c", "d"))
    store.write(Batch([], [], [("completed", 7.0, "a"), ("compensated", 8.0, "b"), ("quarantined", 9.0, "c")]))
    assert open_ids(store, "", 10) == ["d"]
    assert store.counts() == {"completed": 1, "compensated": 1, "quarantined": 1, "open": 1}
    ended = store.instance("b")
    assert ended is not None
    assert (ended.state, ended.ended_at) == ("compensated", 8.0)


def test_open_instances_come_in_pages(store: Store) -> None:
    """Sorted, each once, after the one named."""
    store.write(opened("c", "a", "d", "b"))
    assert open_ids(store, "", 2) == ["a", "b"]
    assert open_ids(store, "b", 2) == ["c", "d"]
    assert open_ids(store, "d", 2) == []


def test_prune(store: Store) -> None:
    """Only what ended before the time goes, with its records and its key, a few at a time."""
    store.write(opened("a", "b", "c", "open", "quarantined"))
    ends = [
        ("completed", 1.0, "a"),
        ("compensated", 2.0, "b"),
        ("completed", 50.0, "c"),
        ("quarantined", 1.0, "quarantined"),
    ]
    store.write(Batch([], [], ends))
    assert [store.prune(10.0, 1), store.prune(10.0, 1), store.prune(10.0, 1)] == [1, 1, 0]
    assert (store.history("a"), store.find("s", "a"), store.instance("b")) == ([], None, None)
    assert store.counts() == {"completed": 1, "open": 1, "quarantined": 1}
    assert store.history("quarantined") == history("quarantined", 2)


def test_key_is_free_after_pruning(store: Store) -> None:
    """A key that was forgotten may be used again."""
    store.write(Batch([instance("a", "k")], history("a", 1), [("completed", 1.0, "a")]))
    store.prune(10.0, 10)
    store.write(Batch([instance("b", "k")], history("b", 1), []))
    found = store.find("s", "k")
    assert found is not None
    assert found.saga_id == "b"


def test_empty_batch(store: Store) -> None:
    """Nothing to write is no error."""
    store.write(Batch([], [], []))
    assert store.counts() == {}


CHANGES: list[dict[str, object]] = [
    {"body": "{}"},
    {"body": None},
    {"at": 2.6},
    {"at": "late"},
    {"seq": 5},
    {"schema": codec.SCHEMA + 1},
    {"schema": None},
    {"checksum": 1},
]


@pytest.mark.parametrize("change", CHANGES)
def test_verify_finds_what_was_changed(change: dict[str, object]) -> None:
    """A record that is not the one that was written is named by its number."""
    records = history("a", 3)
    records[1] = records[1]._replace(**change)  # type: ignore[arg-type]
    with pytest.raises(RecordCorrupt) as corrupt:
        verify("a", records)
    assert corrupt.value.seq in (1, 5)


@pytest.mark.parametrize("missing", [0, 1])
def test_verify_finds_what_is_missing(missing: int) -> None:
    """A gap, and a history without any record, are damage too."""
    records = history("a", 3)
    del records[missing]
    with pytest.raises(RecordCorrupt):
        verify("a", records)
    with pytest.raises(RecordCorrupt, match="no record at all"):
        verify("a", [])


def test_verify_finds_records_of_another_instance() -> None:
    """A checksum is worth something for its own instance only."""
    with pytest.raises(RecordCorrupt):
        verify("b", history("a", 2))
