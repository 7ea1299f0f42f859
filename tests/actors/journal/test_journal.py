"""The journal: forced records are on disk before what depends on them leaves, all of a turn in one commit."""

from collections.abc import Callable, Collection
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import msgspec
import pytest

from amends.actors.journal.journal import LAZY_S, RETRY_S, Journal
from amends.actors.journal.memory import MemoryStore
from amends.actors.journal.messages import (
    Append,
    AppendRefused,
    Count,
    Find,
    History,
    Known,
    ListOpen,
    NotOpened,
    Open,
    Opened,
    OpenPage,
    Quarantine,
    ReadBack,
)
from amends.actors.journal.sqlite import SqliteStore
from amends.actors.journal.store import Batch, Blocked, Grant, InDoubt, Instance, Key, Stored
from amends.protocol.errors import JournalUnavailable, StorageError
from amends.protocol.messages import SagaId
from amends.protocol.records import Decided, Direction, Ended, Record, Started, StepDone
from amends.supervisor.actor import Kill, spawn
from tests.actors.world import JournalUnderTest

A, B = SagaId("a"), SagaId("b")
DONE = StepDone("one", msgspec.Raw(b"1"))


class SpyStore(MemoryStore):
    """Remembers its commits, and what had been told by then; can be full."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[Batch] = []
        self.told_by_then: list[int] = []
        self.full = False
        self.prunings = 0
        self.look: Callable[[], int] = lambda: 0

    def write(self, batch: Batch) -> Collection[str]:
        if self.full:
            raise Blocked("disk full")
        self.told_by_then.append(self.look())
        self.writes.append(Batch(list(batch.instances), list(batch.records), list(batch.ends)))
        return super().write(batch)

    def prune(self, before_at: float, limit: int) -> int:
        if self.full:
            raise Blocked("disk full")
        self.prunings += 1
        return super().prune(before_at, limit)


@pytest.fixture
def store() -> SpyStore:
    """A store that is watched."""
    return SpyStore()


@pytest.fixture
def journal(store: SpyStore, nobody_left: None) -> Any:
    """A journal over it."""
    journal = JournalUnderTest(lambda: store)
    store.look = lambda: len(journal.asker.told)
    yield journal
    journal.stop()


def start(saga_id: str, key: str | None = None) -> Started:
    """The first record of an instance."""
    return Started(SagaId(saga_id), "s", 1, key or saga_id, msgspec.Raw(b'{"x":1}'), 5.0)


def open_one(journal: JournalUnderTest, saga_id: str, key: str | None = None, closed: str = "") -> Open:
    """Ask for an instance."""
    started = start(saga_id, key)
    return Open(started, (started,), journal.asker, closed)


def append(
    journal: JournalUnderTest,
    first: int,
    *records: Record,
    saga_id: SagaId = A,
    token: int = 1,
    forced: bool = False,
    then: object = None,
) -> Append:
    """Ask for records to be added."""
    after = () if then is None else ((journal.asker, then),)
    ats = (6.0,) * len(records)
    return Append(saga_id, first, records, ats, token=token, forced=forced, then=after, sender=journal.asker)


def kinds(told: list[Any]) -> list[str]:
    """The names of what was told."""
    return [type(message).__name__ for message in told]


def test_open(journal: JournalUnderTest, store: SpyStore) -> None:
    """An instance is on disk before its opening is told."""
    (opened,) = journal.tell(open_one(journal, "a"))
    assert isinstance(opened, Opened)
    assert store.told_by_then == [0]
    assert store.counts() == {"open": 1}


def test_one_commit_for_a_turn(journal: JournalUnderTest, store: SpyStore) -> None:
    """Openings, appends and ends that come at once are one commit."""
    journal.tell(open_one(journal, "a"))
    store.writes.clear()
    ended = Ended(completed=True)
    told = journal.tell(
        *(open_one(journal, f"n{n}") for n in range(50)), append(journal, 1, DONE, ended, forced=True, then="end")
    )
    assert len(store.writes) == 1
    assert len(told) == 51


def test_nothing_depends_on_what_is_not_on_disk(journal: JournalUnderTest, store: SpyStore) -> None:
    """When a forced record is written nothing that depends on it has left; afterwards all has."""
    journal.tell(open_one(journal, "a"))
    store.told_by_then.clear()
    assert journal.tell(append(journal, 1, Decided(Direction.FORWARD), forced=True, then="go")) == ["go"]
    assert store.told_by_then == [0]


def test_lazy_records_wait_for_company(journal: JournalUnderTest, store: SpyStore) -> None:
    """A record nobody waits for is written with the next that must be, or after a little while."""
    journal.tell(open_one(journal, "a"), open_one(journal, "b"))
    store.writes.clear()
    journal.tell(append(journal, 1, DONE))
    assert store.writes == []
    journal.tell(append(journal, 1, Decided(Direction.FORWARD), saga_id=B, forced=True))
    assert [len(batch.records) for batch in store.writes] == [2]
    journal.tell(append(journal, 2, DONE))
    journal.runtime.advance(LAZY_S)
    assert [len(batch.records) for batch in store.writes] == [2, 1]


def test_read_back_sees_what_was_appended_before(journal: JournalUnderTest) -> None:
    """A history that is asked for has whatever was queued in front of the question."""
    journal.tell(open_one(journal, "a"))
    (history,) = journal.tell(append(journal, 1, DONE), ReadBack(A, journal.asker))
    assert isinstance(history, History)
    assert history.records == (start("a"), DONE)


def test_append_that_does_not_continue(journal: JournalUnderTest) -> None:
    """Somebody else has written: it is refused, never merged, and nothing that depends on it leaves."""
    journal.tell(open_one(journal, "a"))
    journal.tell(append(journal, 1, DONE, forced=True))
    (refused,) = journal.tell(append(journal, 1, DONE, forced=True, then="go"))
    assert isinstance(refused, AppendRefused)
    assert (refused.first, refused.wanted) == (1, 2)


def test_known_key(journal: JournalUnderTest) -> None:
    """A key that was used is told with its history; nothing new is written."""
    journal.tell(open_one(journal, "a", "k"))
    (known,) = journal.tell(open_one(journal, "b", "k"))
    assert isinstance(known, Known)
    assert (known.saga_id, known.instance.saga_id, len(known.records)) == ("b", "a", 1)


def test_only_a_known_key_is_opened_when_no_new_one_is_to_be(journal: JournalUnderTest, store: SpyStore) -> None:
    """Nothing is written of the others."""
    journal.tell(open_one(journal, "a", "k"))
    told = journal.tell(open_one(journal, "b", "k", "5 wait"), open_one(journal, "c", "other", "5 wait"))
    refused, known = sorted(told, key=lambda message: kinds([message]), reverse=True)
    assert (known.saga_id, known.instance.saga_id) == ("b", "a")
    assert (refused.saga_id, refused.reason, refused.closed) == ("c", "5 wait", True)
    assert store.counts() == {"open": 1}


def test_same_key_twice_in_a_turn(journal: JournalUnderTest, store: SpyStore) -> None:
    """Of several that ask at once one is opened, and the others hear of it."""
    told = journal.tell(*(open_one(journal, name, "k") for name in "abc"))
    assert sorted(kinds(told)) == ["Known", "Known", "Opened"]
    assert store.counts() == {"open": 1}


def test_end_in_the_opening(journal: JournalUnderTest, store: SpyStore) -> None:
    """An instance may be over as soon as it has begun."""
    started = start("a")
    records = (started, Decided(Direction.BACK, "one", "bad"), Ended(completed=False, step="one", reason="bad"))
    journal.tell(Open(started, records, journal.asker))
    assert store.counts() == {"compensated": 1}


def test_full_disk_refuses_what_is_new(journal: JournalUnderTest, store: SpyStore) -> None:
    """An opening that can't be written is refused, and leaves nothing."""
    store.full = True
    (refused,) = journal.tell(open_one(journal, "a"))
    assert isinstance(refused, NotOpened)
    assert "disk full" in refused.reason
    store.full = False
    assert kinds(journal.tell(open_one(journal, "a"))) == ["Opened"]


def test_full_disk_refuses_an_opening_that_ends(journal: JournalUnderTest, store: SpyStore) -> None:
    """One that is over as soon as it has begun is refused like any other."""
    store.full = True
    started = start("a")
    (refused,) = journal.tell(Open(started, (started, Ended(completed=False, reason="x")), journal.asker))
    assert isinstance(refused, NotOpened)
    store.full = False
    assert kinds(journal.tell(open_one(journal, "b"))) == ["Opened"]
    assert store.counts() == {"open": 1}


def test_full_disk_keeps_what_was_accepted(journal: JournalUnderTest, store: SpyStore) -> None:
    """Appends wait, in order, and what depends on them; both leave when there is space."""
    journal.tell(open_one(journal, "a"))
    store.full = True
    assert journal.tell(append(journal, 1, DONE, forced=True, then="first")) == []
    assert journal.tell(append(journal, 2, Decided(Direction.FORWARD), forced=True, then="second")) == []
    assert kinds(journal.tell(open_one(journal, "b"))) == ["NotOpened"]
    store.full = False
    journal.runtime.advance(RETRY_S)
    assert journal.asker.take() == ["first", "second"]
    assert [record.seq for record in store.history("a")] == [0, 1, 2]
    assert kinds(journal.tell(open_one(journal, "b"))) == ["Opened"]


def test_full_disk_is_looked_at_now_and_then(journal: JournalUnderTest, store: SpyStore) -> None:
    """A journal that is blocked tries again at its own pace, and not with every message."""
    journal.tell(open_one(journal, "a"))
    store.full = True
    journal.tell(append(journal, 1, DONE, forced=True))
    store.full = False
    store.writes.clear()
    journal.tell(append(journal, 2, DONE, forced=True))
    assert store.writes == []
    journal.runtime.advance(RETRY_S)
    assert len(store.writes) == 1


def test_full_disk_and_reading(journal: JournalUnderTest, store: SpyStore) -> None:
    """A history is told once all of it is on disk: whoever reads a decision acts on it."""
    journal.tell(open_one(journal, "a"), open_one(journal, "b"))
    store.full = True
    back = Decided(Direction.BACK, "one", "no")
    reading = ReadBack(A, journal.asker), ReadBack(B, journal.asker)
    (other,) = journal.tell(append(journal, 1, back, forced=True), *reading)
    assert (other.saga_id, len(other.records)) == (B, 1)
    store.full = False
    journal.runtime.advance(RETRY_S)
    (history,) = journal.asker.take()
    assert (history.saga_id, history.records[-1]) == (A, back)


def test_asked_of_an_end_that_is_not_on_disk_yet(journal: JournalUnderTest, store: SpyStore) -> None:
    """An append without records, for whom its answer waits, continues a history whose end is still to be written."""
    journal.tell(open_one(journal, "a"))
    store.full = True
    journal.tell(append(journal, 1, Ended(completed=True), forced=True))
    assert journal.tell(append(journal, 2, then="told")) == []
    store.full = False
    journal.runtime.advance(RETRY_S)
    assert journal.asker.take() == ["told"]


def test_full_disk_at_the_time_of_pruning(journal: JournalUnderTest, store: SpyStore) -> None:
    """Pruning waits for space like everything else, and costs the journal nothing that it keeps."""
    journal.tell(open_one(journal, "a"))
    store.full = True
    journal.tell(append(journal, 1, DONE, forced=True, then="first"))
    journal.runtime.advance(200)
    assert journal.keeper.told == []
    store.full = False
    journal.runtime.advance(200)
    assert journal.asker.take() == ["first"]
    assert store.prunings > 0


class FarStore(SpyStore):
    """A store over a network, which can be away; a write may reach it and its answer be lost."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.answer_lost = False
        self.look_ups = 0

    def write(self, batch: Batch) -> Collection[str]:
        self._reach()
        left_out = super().write(batch)
        if self.answer_lost:
            self.answer_lost, self.away = False, True
            raise InDoubt("connection lost")
        return left_out

    def known(self, keys: Collection[Key]) -> dict[Key, str]:
        self._reach()
        self.look_ups += 1
        return super().known(keys)

    def find(self, saga: str, key: str) -> Instance | None:
        self._reach()
        return super().find(saga, key)

    def instance(self, saga_id: str) -> Instance | None:
        self._reach()
        return super().instance(saga_id)

    def history(self, saga_id: str) -> list[Stored]:
        self._reach()
        return super().history(saga_id)

    def counts(self) -> dict[str, int]:
        self._reach()
        return super().counts()

    def _reach(self) -> None:
        if self.away:
            raise Blocked("no route to host")


@pytest.fixture
def far() -> FarStore:
    """A store over a network."""
    return FarStore()


@pytest.fixture
def far_journal(far: FarStore, nobody_left: None) -> Any:
    """A journal over it."""
    journal = JournalUnderTest(lambda: far)
    yield journal
    journal.stop()


def test_keys_are_looked_up_at_once(far_journal: JournalUnderTest, far: FarStore) -> None:
    """However many instances begin in a turn, it is one way to the store and back; and none in a turn without."""
    far_journal.tell(*(open_one(far_journal, saga_id) for saga_id in "abc"))
    far_journal.tell(append(far_journal, 1, DONE, forced=True, then="go"))
    assert far.look_ups == 1


def test_commit_in_doubt(far_journal: JournalUnderTest, far: FarStore) -> None:
    """Nobody is told yes or no until it is known; then everybody is told yes, and all of it is there once."""
    far_journal.tell(open_one(far_journal, "a"))
    far.answer_lost = True
    assert far_journal.tell(open_one(far_journal, "b"), append(far_journal, 1, DONE, forced=True, then="go")) == []
    far_journal.runtime.advance(RETRY_S)
    assert far_journal.asker.take() == []  # still away, and still in doubt
    assert kinds(far_journal.tell(open_one(far_journal, "c"))) == ["NotOpened"]
    far.away = False
    far_journal.runtime.advance(RETRY_S)
    assert sorted(kinds(far_journal.asker.take())) == ["Opened", "str"]
    assert ([r.seq for r in far.history("a")], [r.seq for r in far.history("b")]) == ([0, 1], [0])
    assert far.instance("c") is None


def test_commit_of_records_nobody_waits_for_in_doubt(far_journal: JournalUnderTest, far: FarStore) -> None:
    """It is looked at again at the journal's own pace."""
    far_journal.tell(open_one(far_journal, "a"))
    far_journal.tell(append(far_journal, 1, DONE))
    far.answer_lost = True
    far_journal.runtime.advance(LAZY_S)
    far.away = False
    far.writes.clear()
    far_journal.runtime.advance(RETRY_S)
    assert [len(batch.records) for batch in far.writes] == [1]


def test_store_away_when_instances_are_opened(far_journal: JournalUnderTest, far: FarStore) -> None:
    """They are refused, a known key among them, and taken as soon as the store is back."""
    far_journal.tell(open_one(far_journal, "a"))
    far.away = True
    refused = far_journal.tell(open_one(far_journal, "b"), open_one(far_journal, "c"), open_one(far_journal, "d", "a"))
    assert kinds(refused) == ["NotOpened"] * 3
    far.away = False
    far_journal.runtime.advance(RETRY_S)
    told = far_journal.tell(open_one(far_journal, "b"), open_one(far_journal, "d", "a"))
    assert kinds(told) == ["Opened", "Known"]
    assert far_journal.keeper.told == []


def test_store_away_when_a_known_instance_is_read(far_journal: JournalUnderTest, far: FarStore) -> None:
    """Its key was found, and its history can't be had: who asks is told to come again."""
    far_journal.tell(open_one(far_journal, "a"))
    look_up = far.known

    def look_up_and_lose(keys: Collection[Key]) -> dict[Key, str]:
        known = look_up(keys)
        far.away = True
        return known

    far.known = look_up_and_lose  # type: ignore[method-assign]
    (refused,) = far_journal.tell(open_one(far_journal, "d", "a"))
    assert isinstance(refused, NotOpened)
    assert not refused.corrupt
    assert far_journal.keeper.told == []


def test_store_away_when_it_is_read(far_journal: JournalUnderTest, far: FarStore) -> None:
    """Readers wait, and are answered when the store is back."""
    far_journal.tell(open_one(far_journal, "a"))
    far.away = True
    future: Future[dict[str, int]] = Future()
    assert far_journal.tell(ReadBack(A, far_journal.asker), Count(future)) == []
    far_journal.runtime.advance(RETRY_S)
    assert not future.done()
    far.away = False
    far_journal.runtime.advance(RETRY_S)
    assert kinds(far_journal.asker.take()) == ["History"]
    assert future.result(0) == {"open": 1}
    assert far_journal.keeper.told == []


def test_who_was_read_back_appends_without_another_look(far: FarStore, nobody_left: None) -> None:
    """What a resumed instance adds waits for a store that is away like any other's."""
    journal = JournalUnderTest(lambda: far)
    journal.tell(open_one(journal, "a"))
    journal.stop()
    journal = JournalUnderTest(lambda: far)
    journal.tell(ReadBack(A, journal.asker))
    far.away = True
    assert journal.tell(append(journal, 1, DONE, forced=True, then="go")) == []
    far.away = False
    journal.runtime.advance(RETRY_S)
    assert journal.asker.take() == ["go"]
    assert journal.keeper.told == []
    journal.stop()


def test_prune(store: SpyStore, nobody_left: None) -> None:
    """What ended before the retention is forgotten in passing."""
    journal = JournalUnderTest(lambda: store, retention_s=10.0)
    started = start("a")
    journal.tell(Open(started, (started, Ended(completed=True)), journal.asker))
    journal.runtime.advance(61)
    assert store.counts() == {}
    journal.stop()


def test_open_instances_come_in_pages(journal: JournalUnderTest, store: SpyStore) -> None:
    """Each instance with its token, and the last page says that it is."""
    journal.tell(*(open_one(journal, name) for name in "abc"))
    pages = journal.tell(ListOpen("", 2, journal.asker, 1), ListOpen("b", 2, journal.asker, 1))
    assert [(page.grants, page.last) for page in pages if isinstance(page, OpenPage)] == [
        ([Grant("a", store.token), Grant("b", store.token)], False),
        ([Grant("c", store.token)], True),
    ]


def test_quarantine(journal: JournalUnderTest, store: SpyStore) -> None:
    """An instance that was put aside is neither open nor ended."""
    journal.tell(open_one(journal, "a"))
    journal.tell(Quarantine(A))
    assert store.counts() == {"quarantined": 1}


def test_damaged_history(journal: JournalUnderTest, store: SpyStore) -> None:
    """A record that was changed is told as a problem, to who reads it and to who uses its key."""
    journal.tell(open_one(journal, "a", "k"))
    store._histories["a"][0] = store._histories["a"][0]._replace(body="{}")
    (history,) = journal.tell(ReadBack(A, journal.asker))
    assert (history.records, "record 0: checksum" in history.problem) == ((), True)
    (refused,) = journal.tell(open_one(journal, "b", "k"))
    assert isinstance(refused, NotOpened)
    assert refused.corrupt


@pytest.mark.parametrize("state", ["completed", "compensated"])
def test_an_end_that_is_lost(journal: JournalUnderTest, store: SpyStore, state: str) -> None:
    """An instance that is listed as ended and whose history has no end is damaged; nobody gets an outcome of it."""
    journal.tell(open_one(journal, "a", "k"))
    journal.tell(append(journal, 1, DONE, forced=True))
    store.write(Batch([], [], [(state, 9.0, "a")]))
    (refused,) = journal.tell(open_one(journal, "b", "k"))
    assert isinstance(refused, NotOpened)
    assert refused.corrupt
    assert f"record 1: is the last one, step_done, and its instance is {state}" in refused.reason
    journal.runtime.advance(LAZY_S)
    assert store.counts() == {"quarantined": 1}


def test_an_end_that_is_not_listed(journal: JournalUnderTest, store: SpyStore) -> None:
    """Nor is one run that has ended and is listed as open."""
    journal.tell(open_one(journal, "a"))
    journal.tell(append(journal, 1, Ended(completed=True), forced=True))
    store.write(Batch([], [], [("open", 9.0, "a")]))
    (history,) = journal.tell(ReadBack(A, journal.asker))
    assert (history.records, "is the last one, ended, and its instance is open" in history.problem) == ((), True)


def test_an_instance_that_is_not_listed(journal: JournalUnderTest, store: SpyStore) -> None:
    """A history of nobody is damage too."""
    journal.tell(open_one(journal, "a"))
    del store._instances["a"]
    (history,) = journal.tell(ReadBack(A, journal.asker))
    assert (history.records, "not listed" in history.problem) == ((), True)


def test_a_store_that_can_not_be_read(store: SpyStore, nobody_left: None) -> None:
    """The journal's actor ends with nobody told anything, and the next one reads what it could not."""
    journal = JournalUnderTest(lambda: store)
    journal.tell(open_one(journal, "a"))

    def damaged() -> dict[str, int]:
        raise StorageError("journal.db: can't be used")

    sound, store.counts = store.counts, damaged  # type: ignore[method-assign]
    future: Future[dict[str, int]] = Future()
    journal.tell(Count(future))
    assert not future.done()
    store.counts = sound  # type: ignore[method-assign]
    spawn(journal.mailbox, lambda: Journal(lambda: store, [], 1e9))
    journal.runtime.run()
    assert future.result(0) == {"open": 1}
    journal.stop()


def test_count(journal: JournalUnderTest) -> None:
    """Whoever asks for the counts gets those of what is written."""
    future: Future[dict[str, int]] = Future()
    journal.tell(open_one(journal, "a"), Count(future))
    assert future.result(0) == {"open": 1}


def find(journal: JournalUnderTest, key: str, *others: object) -> Any:
    """What became of a key, asked in one turn with these other messages before it."""
    future: Future[History | None] = Future()
    journal.tell(*others, Find("s", key, future))
    return future.result(0)


def test_find(journal: JournalUnderTest) -> None:
    """Whoever asks for a key gets its history, with what has just been decided; for an unknown one, None."""
    back = Decided(Direction.BACK, "one", "no")
    journal.tell(open_one(journal, "a", "k"))
    told = find(journal, "k", append(journal, 1, back, forced=True))
    assert (told.saga_id, told.instance.key, told.records, told.problem) == (A, "k", (start("a", "k"), back), "")
    assert find(journal, "j") is None


def test_find_is_told_what_is_on_disk(journal: JournalUnderTest, store: SpyStore) -> None:
    """It makes nobody write, and a disk that is full keeps nobody from looking up what was written before."""
    journal.tell(open_one(journal, "a"))
    store.writes.clear()
    assert find(journal, "a", append(journal, 1, DONE)).records == (start("a"),)
    assert store.writes == []
    store.full = True
    assert find(journal, "a", append(journal, 2, Ended(completed=True), forced=True)).records == (start("a"),)
    assert find(journal, "b", open_one(journal, "b")) is None
    store.full = False
    journal.runtime.advance(RETRY_S)
    assert len(find(journal, "a").records) == 3


def test_find_of_a_damaged_instance(journal: JournalUnderTest, store: SpyStore) -> None:
    """What is wrong is told, and an instance that has ended is put aside: nobody else would look."""
    journal.tell(open_one(journal, "a"))
    journal.tell(append(journal, 1, Ended(completed=True), forced=True))
    store._histories["a"][0] = store._histories["a"][0]._replace(body="{}")
    told = find(journal, "a")
    assert (told.records, "record 0: checksum" in told.problem) == ((), True)
    journal.runtime.advance(LAZY_S)
    assert store.counts() == {"quarantined": 1}


def test_store_away_when_a_key_is_looked_up(far_journal: JournalUnderTest, far: FarStore) -> None:
    """Who asks is told at once; however often that is, what is new is taken as soon as the store is tried again."""
    far_journal.tell(open_one(far_journal, "a"))
    far.away = True
    for _ in range(3):
        with pytest.raises(JournalUnavailable, match="key 'a' can't be looked up: no route to host"):
            find(far_journal, "a")
        far_journal.runtime.advance(RETRY_S * 0.3)
    far.away = False
    assert find(far_journal, "a").records == (start("a"),)
    far_journal.runtime.advance(RETRY_S * 0.2)
    assert kinds(far_journal.tell(open_one(far_journal, "b"))) == ["Opened"]
    assert far_journal.keeper.told == []


def test_killed_with_a_key_to_look_up(store: SpyStore, nobody_left: None) -> None:
    """The next incarnation answers; nobody waits for one that is gone."""
    journal = JournalUnderTest(lambda: store)
    journal.tell(open_one(journal, "a"))
    future: Future[History] = Future()
    journal.tell(Find("s", "a", future), Kill())
    assert not future.done()
    spawn(journal.mailbox, lambda: Journal(lambda: store, [], 1e9))
    journal.runtime.run()
    assert future.result(0).records == (start("a"),)
    journal.stop()


def test_killed_in_a_turn(store: SpyStore, nobody_left: None) -> None:
    """A turn that fails has told nobody; the next incarnation takes its messages and writes each once."""
    journal = JournalUnderTest(lambda: store)
    journal.tell(open_one(journal, "a"))
    store.writes.clear()
    assert journal.tell(open_one(journal, "b"), append(journal, 1, DONE, forced=True, then="go"), Kill()) == []
    assert store.writes == []
    spawn(journal.mailbox, lambda: Journal(lambda: store, [], 1e9))
    journal.runtime.run()
    assert sorted(kinds(journal.asker.take())) == ["Opened", "str"]
    assert [record.seq for record in store.history("a")] == [0, 1]
    journal.stop()


def test_commits_on_a_real_file(tmp_path: Path, nobody_left: None) -> None:
    """A turn is one commit of the file, counted by SQLite itself."""
    opened: list[SqliteStore] = []

    def open_store() -> SqliteStore:
        opened.append(SqliteStore(tmp_path / "journal.db"))
        return opened[-1]

    journal = JournalUnderTest(open_store)
    commits: list[bool] = []

    def count() -> bool:
        commits.append(True)
        return False

    opened[0]._db.set_commit_hook(count)
    assert len(journal.tell(*(open_one(journal, f"n{n}") for n in range(100)))) == 100
    assert len(commits) == 1
    journal.stop()
