"""A journal whose store other nodes have open, too: it keeps its lease, adopts, and looks after what others run."""

from collections.abc import Collection, Iterator
from concurrent.futures import Future
from typing import Any

import msgspec
import pytest

from amends.actors.journal.memory import MemoryStore
from amends.actors.journal.messages import Adopted, History, Known, Leave, ListOpen, OpenPage, Relay, Watch
from amends.actors.journal.relay import body_of
from amends.actors.journal.sharing import ADOPTED_MAX, WATCH_S
from amends.actors.journal.store import Batch, Blocked, Grant, InDoubt, Instance, PlanId, Request
from amends.protocol.errors import AmendsError, JournalUnavailable, StorageError
from amends.protocol.events import CancelAnswer, CancelAsked, RetryNow, Skip, SupplyResult
from amends.protocol.messages import SagaId
from amends.protocol.records import Decided, Direction, Ended
from amends.supervisor.mailbox import Caller
from tests.actors.journal.test_journal import A, append, kinds, open_one
from tests.actors.world import JournalUnderTest


class SharedStore(MemoryStore):
    """One that others may have open, as the test says; it is its own `shared`.

    Attributes:
        lapsed: what there is to adopt.
        taken: ids of instances whose keys others have used meanwhile.
        wishes: what others ask of instances here.
        posted, told: what was asked of others' instances, and what they answered.
        given: the answers that were left for others.
    """

    renew_every_s = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.renewals = 0
        self.lapsed: list[Grant] = []
        self.asked: list[tuple[list[PlanId], int]] = []
        self.over = self.away = self.answer_lost = self.left = False
        self.taken: set[str] = set()
        self.wishes: list[Request] = []
        self.posted: list[Request] = []
        self.told: dict[str, str] = {}
        self.given: dict[str, str] = {}

    @property
    def shared(self) -> "SharedStore":  # type: ignore[override]  # nobody shares the other one
        return self

    def _reach(self) -> None:
        if self.away:
            raise Blocked("away")

    def renew(self) -> bool:
        self._reach()
        if self.over:
            raise StorageError("granted to another process since")
        self.renewals += 1
        return bool(self.lapsed)

    def adopt(self, plans: Collection[PlanId], limit: int) -> list[Grant]:
        self.asked.append((list(plans), limit))
        adopted, self.lapsed = self.lapsed[:limit], self.lapsed[limit:]
        self.token = max([self.token, *(grant.token for grant in adopted)])
        super().write(Batch([Instance(saga_id, "s", 1, saga_id, "open", 1.0) for saga_id, _ in adopted], [], []))
        if self.answer_lost:
            self.answer_lost = False
            raise InDoubt("connection lost")
        return adopted

    def write(self, batch: Batch) -> Collection[str]:
        out = {i.saga_id for i in batch.instances} & self.taken
        instances = [i for i in batch.instances if i.saga_id not in out]
        super().write(Batch(instances, [r for r in batch.records if r.saga_id not in out], batch.ends))
        return out

    def leave(self) -> None:
        self.left = True

    def no_longer_open(self, saga_ids: Collection[str]) -> list[str]:
        self._reach()
        found = {saga_id: self.instance(saga_id) for saga_id in saga_ids}
        return [saga_id for saga_id, instance in found.items() if instance is None or instance.state != "open"]

    def post(self, request: Request) -> None:
        self._reach()
        self.posted.append(request)

    def requests(self) -> list[Request]:
        return [wish for wish in self.wishes if wish.request_id not in self.given]

    def answer(self, request_id: str, answer: str) -> None:
        self._reach()
        self.given.setdefault(request_id, answer)

    def answers(self, request_ids: Collection[str]) -> dict[str, str]:
        self._reach()
        return {request_id: self.told[request_id] for request_id in request_ids if request_id in self.told}


@pytest.fixture
def store() -> SharedStore:
    """Nothing has lapsed yet."""
    return SharedStore()


@pytest.fixture
def journal(store: SharedStore, nobody_left: None) -> Iterator[JournalUnderTest]:
    """A journal over it, whose coordinator is `asker`."""
    journal = JournalUnderTest(lambda: store)
    journal.tell(ListOpen("", 10, journal.asker, 1))
    yield journal
    journal.stop()


def pass_time(journal: JournalUnderTest, seconds: float) -> list[Any]:
    """Let it pass, and see what was told."""
    journal.runtime.advance(seconds)
    return journal.asker.take()


def test_lease_is_renewed(journal: JournalUnderTest, store: SharedStore) -> None:
    """At its pace, whether anything else happens or not."""
    pass_time(journal, 10.5)
    assert store.renewals == 10


def test_nobody_else_has_it_open(nobody_left: None) -> None:
    """Then there is no lease, and nothing to wake up for but old instances."""
    store = MemoryStore()
    journal = JournalUnderTest(lambda: store)
    actor = journal.mailbox.actor
    assert actor is not None
    assert (store.shared, actor.wakes_at_s) == (None, journal.runtime.clock.now_s() + 60.0)
    journal.stop()


def test_adopted(journal: JournalUnderTest, store: SharedStore) -> None:
    """What others have left is told to the coordinator, with its token, which appends may carry from then on."""
    store.lapsed = [Grant("a", 7)]
    (adopted,) = pass_time(journal, 1.5)
    assert isinstance(adopted, Adopted)
    assert adopted.grants == [Grant("a", 7)]
    assert store.asked == [([PlanId("s", 1, "d1")], ADOPTED_MAX)]
    record = Decided(Direction.FORWARD)
    assert journal.tell(append(journal, 0, record, token=7, forced=True, then="go")) == ["go"]


def test_many_are_adopted_without_a_wait(journal: JournalUnderTest, store: SharedStore) -> None:
    """As long as a look finds as many as it may."""
    store.lapsed = [Grant(f"{number:05}", 7) for number in range(2 * ADOPTED_MAX + 1)]
    told = pass_time(journal, 1.1)
    assert [len(adopted.grants) for adopted in told] == [ADOPTED_MAX, ADOPTED_MAX, 1]


def test_adoption_in_doubt(journal: JournalUnderTest, store: SharedStore) -> None:
    """When its answer is lost, everything that is ours is told the next time; who runs it already knows."""
    journal.tell(open_one(journal, "b"))
    store.lapsed, store.answer_lost = [Grant("a", 7)], True
    assert pass_time(journal, 1.5) == []
    (adopted,) = pass_time(journal, 1.0)
    assert [grant.saga_id for grant in adopted.grants] == ["a", "b"]
    assert pass_time(journal, 5.0) == []


def test_store_that_is_away(journal: JournalUnderTest, store: SharedStore) -> None:
    """Nobody can adopt anything either; it goes on when it is back."""
    store.away = True
    assert pass_time(journal, 5.0) == []
    assert journal.keeper.told == []
    store.away = False
    pass_time(journal, 2.0)
    assert store.renewals == 2


def test_lease_is_over(journal: JournalUnderTest, store: SharedStore) -> None:
    """The incarnation ends; the next one begins with a lease of its own."""
    store.over = True
    pass_time(journal, 1.5)
    (failed,) = journal.keeper.told
    assert failed.error == "StorageError"


def test_append_under_a_token_of_an_earlier_opening(journal: JournalUnderTest, store: SharedStore) -> None:
    """It is not heard: another node may have adopted its instance."""
    journal.tell(open_one(journal, "a"))
    record = Decided(Direction.FORWARD)
    assert journal.tell(append(journal, 1, record, token=0, forced=True, then="go")) == []
    assert len(store.history("a")) == 1


def test_key_that_another_node_has_used_meanwhile(journal: JournalUnderTest, store: SharedStore) -> None:
    """Who asked is told of the instance that has it, as if it had been found at once."""
    journal.tell(open_one(journal, "a", "k"))
    found = store.find
    store.taken = {"b"}
    asked: list[str] = []

    def find_late(saga: str, key: str) -> Any:
        asked.append(key)
        return None if len(asked) == 1 else found(saga, key)

    store.find = find_late  # type: ignore[method-assign]  # it is used between the look and the write
    (known,) = journal.tell(open_one(journal, "b", "k"))
    assert isinstance(known, Known)
    assert (known.saga_id, known.instance.saga_id) == ("b", "a")


def test_history_of_another_nodes_instance_is_not_ours_to_continue(
    journal: JournalUnderTest, store: SharedStore
) -> None:
    """What was read of it when its key was asked for is not what it looks like when it is adopted."""
    other = JournalUnderTest(lambda: store)
    other.tell(open_one(other, "a", "k"))
    (known,) = journal.tell(open_one(journal, "b", "k"))
    assert kinds([known]) == ["Known"]
    other.tell(append(other, 1, Decided(Direction.FORWARD), forced=True, then="go"))
    other.stop()
    assert journal.tell(append(journal, 2, Ended(completed=True), forced=True, then="told")) == ["told"]


def test_watched_instance(journal: JournalUnderTest, store: SharedStore) -> None:
    """Its history is told, once, when the other node has ended it."""
    other = JournalUnderTest(lambda: store)
    other.tell(open_one(other, "a"))
    journal.tell(Watch(A, journal.asker))
    assert pass_time(journal, 5 * WATCH_S) == []
    other.tell(append(other, 1, Ended(completed=True), forced=True, then="told"))
    (told,) = pass_time(journal, 2 * WATCH_S)
    assert isinstance(told, History)
    assert (told.saga_id, told.instance and told.instance.state, len(told.records)) == ("a", "completed", 2)
    assert pass_time(journal, 5 * WATCH_S) == []
    other.stop()


def test_watched_instance_that_is_gone(journal: JournalUnderTest) -> None:
    """Somebody has forgotten it meanwhile; whoever waits is told so."""
    journal.tell(Watch(SagaId("gone"), journal.asker))
    (told,) = pass_time(journal, 2 * WATCH_S)
    assert "no record at all" in told.problem


def test_leave(journal: JournalUnderTest, store: SharedStore) -> None:
    """Everything is written first, and no lease is renewed any more."""
    journal.tell(open_one(journal, "a"))
    future: Future[Any] = Future()
    journal.tell(append(journal, 1, Decided(Direction.FORWARD)), Leave(future))
    assert (future.done(), store.left, len(store.history("a"))) == (True, True, 2)
    renewals = store.renewals
    pass_time(journal, 5.0)
    assert store.renewals == renewals


def test_page_tells_who_has_asked(journal: JournalUnderTest) -> None:
    """So that an answer to an earlier coordinator is known for one."""
    (page,) = journal.tell(ListOpen("", 10, journal.asker, 42))
    assert isinstance(page, OpenPage)
    assert page.asker == 42


# Requests.


def ask(journal: JournalUnderTest, event: Any, saga_id: SagaId = A) -> "Future[Any]":
    """Ask an instance for something, through the journal."""
    future: Future[Any] = Future()
    journal.tell(Relay(saga_id, event, future))
    return future


WISHES = [
    CancelAsked(),
    RetryNow("s", "me", "why"),
    SupplyResult("s", "me", "why", msgspec.Raw(b"[1]")),
    Skip("s", "me", "why"),
]


@pytest.mark.parametrize("wish", WISHES, ids=lambda wish: type(wish).__name__)
@pytest.mark.parametrize("answer", ["accepted", None, AmendsError("can't go on")], ids=str)
def test_request_is_passed_on_and_its_answer_comes_back(
    journal: JournalUnderTest, store: SharedStore, wish: Any, answer: Any
) -> None:
    """From the node that was asked to the one that runs the instance and back, whatever it is."""
    if answer is None and isinstance(wish, CancelAsked):
        answer = CancelAnswer.TOO_LATE
    other_store = SharedStore()
    other = JournalUnderTest(lambda: other_store)
    other.tell(ListOpen("", 10, other.asker, 1))
    journal.tell(open_one(journal, "a"))
    future = ask(journal, wish)
    other_store.wishes = store.posted
    other.runtime.advance(1.5)
    (relayed,) = other.asker.take()
    assert (relayed.saga_id, relayed.event) == ("a", wish)
    pass_time(journal, 1.0)
    assert not future.done()
    Caller(relayed.future).tell(answer)
    other.runtime.run()
    store.told = other_store.given
    pass_time(journal, 2 * WATCH_S)
    if isinstance(answer, AmendsError):
        with pytest.raises(AmendsError, match="can't go on"):
            future.result(0)
    else:
        assert future.result(0) == answer
    other.stop()


def test_request_is_in_hand_once(journal: JournalUnderTest, store: SharedStore) -> None:
    """However long its instance takes, and though the store can't be reached when it answers."""
    journal.tell(open_one(journal, "a"))
    store.wishes = [Request("r", "a", body_of(CancelAsked()))]
    (relayed,) = pass_time(journal, 5.5)
    store.away = True
    Caller(relayed.future).tell(CancelAnswer.ACCEPTED)
    pass_time(journal, 3.0)
    assert store.given == {}
    store.away = False
    assert pass_time(journal, 1.5) == []
    assert list(store.given) == ["r"]


@pytest.mark.parametrize(
    ("wish", "answer"), [(CancelAsked(), CancelAnswer.ALREADY_ENDED), (WISHES[1], "instance a is not open")]
)
def test_asked_of_an_instance_that_is_not_open(
    journal: JournalUnderTest, store: SharedStore, wish: Any, answer: object
) -> None:
    """Anywhere: at once, or when it ends before its node has answered."""
    assert ask(journal, wish).result(0) == answer
    journal.tell(open_one(journal, "a"))
    future = ask(journal, wish)
    pass_time(journal, 1.0)
    assert not future.done()
    journal.tell(append(journal, 1, Ended(completed=True), forced=True, then="told"))
    pass_time(journal, 2 * WATCH_S)
    assert future.result(0) == answer


def test_asked_while_the_store_is_away(journal: JournalUnderTest, store: SharedStore) -> None:
    """The caller hears that nobody was asked."""
    journal.tell(open_one(journal, "a"))
    store.away = True
    with pytest.raises(JournalUnavailable, match="away"):
        ask(journal, CancelAsked()).result(0)


def test_request_of_another_program(journal: JournalUnderTest, store: SharedStore) -> None:
    """One that is not known here is answered with that, and disturbs nothing."""
    journal.tell(open_one(journal, "a"))
    store.wishes = [Request("r", "a", '["Dance",{}]'), Request("s", "a", "no json")]
    assert pass_time(journal, 1.5) == []
    assert ("Dance" in store.given["r"], "request" in store.given["s"], journal.keeper.told) == (True, True, [])
