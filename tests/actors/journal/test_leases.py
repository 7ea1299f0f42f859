"""Several nodes on one journal: whose an instance is, and when it becomes somebody else's."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from amends.actors import postgres
from amends.actors.journal import postgres as postgres_store
from amends.actors.journal.postgres import PostgresStore
from amends.actors.journal.store import Batch, Blocked, Grant, InDoubt, PlanId, Request, Stored, checksum
from amends.demo.cluster.proxy import Proxy
from amends.protocol import codec
from amends.protocol.errors import JournalHeld, StorageError
from amends.protocol.messages import SagaId
from amends.protocol.records import Started
from tests.actors.journal.test_postgres import db, far, meanwhile, store, url, waits, wire
from tests.actors.patience import until
from tests.actors.trip import LONG_S
from tests.conformance.test_stores import history, instance, opened
from tests.open_ids import open_ids
from tests.servers import admin, postgres_schema

__all__ = ["db", "far", "store", "url", "wire"]

PLANS = [PlanId("s", 1, "d1")]


@pytest.fixture
def node(url: str) -> Iterator[Callable[[str], PostgresStore]]:
    """Opens the journal under a name."""
    with ExitStack() as stack:

        def open_as(name: str) -> PostgresStore:
            store = PostgresStore(url, name)
            stack.callback(store.close)
            return store

        yield open_as


def lapse(db: "psycopg.Connection[Any]", store: PostgresStore) -> None:
    """Its node has not renewed the lease for too long."""
    db.execute("update nodes set until = clock_timestamp() - interval '1 ms' where node = %s", (store.token,))


def test_two_nodes_write_side_by_side(node: Callable[[str], PostgresStore]) -> None:
    """Each has what it began, under the token of its own opening, and sees what the other wrote."""
    one, two = node("one"), node("two")
    one.write(opened("a"))
    two.write(opened("b"))
    assert one.open_grants("", 10) == [Grant("a", one.token)]
    assert two.open_grants("", 10) == [Grant("b", two.token)]
    assert (one.history("b"), two.counts()) == (history("b", 2), {"open": 2})
    assert two.token > one.token


def test_second_opener_of_a_name(node: Callable[[str], PostgresStore]) -> None:
    """Is told who has it."""
    one = node("one")
    with pytest.raises(JournalHeld, match=f"session {one._db.info.backend_pid}, as node 'one'"):
        node("one")


def test_key_that_another_node_has_used(node: Callable[[str], PostgresStore]) -> None:
    """It is left out with its records, and all else of the batch is written."""
    one, two = node("one"), node("two")
    one.write(Batch([instance("a", "k")], history("a", 2), []))
    batch = Batch([instance("b", "k"), instance("c")], [*history("b", 2), *history("c", 2)], [])
    for _ in range(2):  # a batch that was in doubt comes again
        assert list(two.write(batch)) == ["b"]
        assert (two.instance("b"), two.history("b"), two.history("c")) == (None, [], history("c", 2))
    found = two.find("s", "k")
    assert found is not None
    assert found.saga_id == "a"


def test_the_same_keys_at_the_same_moment(node: Callable[[str], PostgresStore]) -> None:
    """Each key has one instance, whoever was first, and nobody's batch fails over it."""
    keys = [f"k{number}" for number in range(200)]
    nodes = [node("one"), node("two")]
    left_out: dict[str, list[str]] = {}

    def begin(store: PostgresStore, name: str, keys: list[str]) -> None:
        left_out[name] = []
        for start in range(0, len(keys), 20):
            some = [f"{name}-{key}" for key in keys[start : start + 20]]
            batch = [instance(saga_id, saga_id.split("-")[1]) for saga_id in some]
            left_out[name] += store.write(Batch(batch, [r for saga_id in some for r in history(saga_id, 2)], []))

    with (
        meanwhile(lambda: begin(nodes[0], "one", keys)) as one,
        meanwhile(lambda: begin(nodes[1], "two", keys[::-1])) as two,
    ):
        pass
    assert (one, two) == ([], [])
    assert nodes[0].counts() == {"open": len(keys)}
    assert sorted(saga_id.split("-")[1] for saga_id in left_out["one"] + left_out["two"]) == sorted(keys)
    for name, beginner in zip(("one", "two"), nodes, strict=True):
        assert not set(open_ids(beginner, "", 1000)) & set(left_out[name])


def test_lapsed_lease(node: Callable[[str], PostgresStore], db: "psycopg.Connection[Any]") -> None:
    """What was run under it goes to another node, under a token higher than any before; its old owner can't write."""
    two, one = node("two"), node("one")
    one.write(opened("a", "ended"))
    one.write(Batch([], [], [("completed", 9.0, "ended")]))
    two.write(opened("b"))
    assert not two.shared.renew()
    lapse(db, one)
    assert two.shared.renew()
    (adopted,) = two.shared.adopt(PLANS, 10)
    assert adopted.saga_id == "a"
    assert adopted.token > one.token > two.token
    assert two.open_grants("", 10) == [adopted, Grant("b", two.token)]
    more = history("a", 1, first=2, before=history("a", 2)[-1].checksum)
    uses: list[Callable[[], object]] = [
        lambda: one.write(Batch([], more, [])),
        lambda: one.write(opened("c")),
        lambda: one.prune(99.0, 10),
        one.shared.renew,
    ]
    for use in uses:
        with pytest.raises(StorageError, match="granted to another process"):
            use()
    two.write(Batch([], more, [("completed", 9.0, "a")]))
    assert (two.history("a"), two.counts()) == ([*history("a", 2), *more], {"completed": 2, "open": 1})
    assert not two.shared.renew()


def test_first_adoption_ends_the_lease(node: Callable[[str], PostgresStore], db: "psycopg.Connection[Any]") -> None:
    """What is still to be adopted its old owner can't touch either."""
    two, one = node("two"), node("one")
    one.write(opened("a", "b"))
    lapse(db, one)
    assert [grant.saga_id for grant in two.shared.adopt(PLANS, 1)] == ["a"]
    for use in (lambda: one.write(Batch([], [], [("completed", 9.0, "b")])), one.shared.renew):
        with pytest.raises(StorageError, match="granted to another process"):
            use()
    assert two.shared.renew()
    assert [grant.saga_id for grant in two.shared.adopt(PLANS, 1)] == ["b"]
    assert two.counts() == {"open": 2}


def test_renewed_lease(node: Callable[[str], PostgresStore], db: "psycopg.Connection[Any]") -> None:
    """Who renews in time keeps what it has; so does who is late, if nobody has looked meanwhile."""
    two, one = node("two"), node("one")
    one.write(opened("a"))
    for late in (False, True):
        if late:
            lapse(db, one)
        one.shared.renew()
        assert not two.shared.renew()
        assert two.shared.adopt(PLANS, 10) == []
    assert open_ids(one, "", 10) == ["a"]


def test_end_of_a_lease_waits_for_a_write(node: Callable[[str], PostgresStore], db: "psycopg.Connection[Any]") -> None:
    """What a node was writing when its lease lapsed is adopted with the rest."""
    two, one = node("two"), node("one")
    two.write(opened("b"))
    lapse(db, one)
    adopted: list[Grant] = []
    with ExitStack() as afterwards, db.transaction(force_rollback=True):
        # Whoever comes with the same key waits for what becomes of this row.
        db.execute("update instances set key_digest = %s where saga_id = 'b'", (postgres_store._digest("s", "a"),))
        written = afterwards.enter_context(meanwhile(lambda: one.write(opened("a"))))
        until(lambda: waits(db, one._db.info.backend_pid))
        raised = afterwards.enter_context(meanwhile(lambda: adopted.extend(two.shared.adopt(PLANS, 10))))
        until(lambda: waits(db, two._db.info.backend_pid))
    assert (written, raised) == ([], [])
    assert [grant.saga_id for grant in adopted] == ["a"]
    assert two.history("a") == history("a", 2)


def test_plans_that_a_node_has_not(node: Callable[[str], PostgresStore], db: "psycopg.Connection[Any]") -> None:
    """It leaves their instances to one that has them."""
    three, two, one = node("three"), node("two"), node("one")
    one.write(Batch([instance("a"), instance("b", saga="t")], [*history("a", 1), *history("b", 1)], []))
    lapse(db, one)
    assert [grant.saga_id for grant in two.shared.adopt([PlanId("t", 1, "d1"), PlanId("s", 2, "d1")], 10)] == ["b"]
    assert [grant.saga_id for grant in three.shared.adopt(PLANS, 10)] == ["a"]


def test_plans_whose_steps_have_changed(node: Callable[[str], PostgresStore], db: "psycopg.Connection[Any]") -> None:
    """An instance is left to a node that has the steps it began with."""

    def begun_with(saga_id: str, digest: str) -> Stored:
        body = codec.encode(Started(SagaId(saga_id), "s", 1, saga_id, msgspec.Raw(b'{"digest":"d9"}'), 1.5, digest))
        return Stored(
            saga_id, 0, 1.5, codec.SCHEMA, "started", body.decode(), checksum(0, saga_id, 0, 1.5, codec.SCHEMA, body)
        )

    two, one = node("two"), node("one")
    one.write(Batch([instance("a"), instance("b")], [begun_with("a", "d1"), begun_with("b", "d2")], []))
    lapse(db, one)
    assert [grant.saga_id for grant in two.shared.adopt(PLANS, 10)] == ["a"]
    assert [grant.saga_id for grant in two.shared.adopt([PlanId("s", 1, "d2")], 10)] == ["b"]


def test_adoption_by_several_a_few_at_a_time(
    node: Callable[[str], PostgresStore], db: "psycopg.Connection[Any]"
) -> None:
    """Each instance goes to one of them."""
    one, nodes = node("one"), [node("two"), node("three")]
    ids = [f"{number:03}" for number in range(300)]
    one.write(opened(*ids))
    lapse(db, one)
    found: list[list[Grant]] = [[], []]

    def adopt(number: int) -> None:
        while grants := nodes[number].shared.adopt(PLANS, 7):
            found[number] += grants

    with meanwhile(lambda: adopt(0)) as first, meanwhile(lambda: adopt(1)) as second:
        pass
    assert (first, second) == ([], [])
    assert sorted(grant.saga_id for some in found for grant in some) == ids
    assert [sorted(grant.saga_id for grant in some) for some in found] == [open_ids(n, "", 1000) for n in nodes]
    assert db.execute("select count(*) from nodes").fetchall() == [(2,)]


def test_left_in_order(node: Callable[[str], PostgresStore]) -> None:
    """Nobody waits for the lease of one that has said goodbye."""
    two, one = node("two"), node("one")
    one.write(opened("a"))
    one.shared.leave()
    assert two.shared.renew()
    assert [grant.saga_id for grant in two.shared.adopt(PLANS, 10)] == ["a"]


def test_next_of_its_name(node: Callable[[str], PostgresStore]) -> None:
    """It goes on with what the one before had, at once, under its own token."""
    one = node("one")
    one.write(opened("a"))
    one.close()
    again = node("one")
    assert again.open_grants("", 10) == [Grant("a", again.token)]
    assert not again.shared.renew()


def test_put_aside_by_a_node_whose_it_is_not(node: Callable[[str], PostgresStore]) -> None:
    """Nobody ends an open instance of another node; one that is over anybody may."""
    one, two = node("one"), node("two")
    one.write(opened("a", "ended"))
    one.write(Batch([], [], [("completed", 9.0, "ended")]))
    two.write(Batch([], [], [("quarantined", 9.5, "a"), ("quarantined", 9.5, "ended")]))
    assert one.counts() == {"open": 1, "quarantined": 1}


def test_no_longer_open(node: Callable[[str], PostgresStore]) -> None:
    """Whoever runs them."""
    one, two = node("one"), node("two")
    one.write(opened("a", "b", "c"))
    one.write(Batch([], [], [("completed", 9.0, "a"), ("quarantined", 9.0, "b")]))
    assert two.shared.no_longer_open(["a", "b", "c", "never there"]) == ["a", "b", "never there"]


def test_adoption_whose_answer_is_lost(
    far: PostgresStore, wire: Proxy, node: Callable[[str], PostgresStore], db: "psycopg.Connection[Any]"
) -> None:
    """It is in doubt; what is ours tells."""
    one = node("one")
    one.write(opened("a"))
    lapse(db, one)

    def cut_once_it_is_there() -> None:
        wire.swallowed.wait(LONG_S)
        # Every answer of the transaction is held back, so the next statement goes out when the proxy lets one through.
        wire.swallows = False
        wire.cut()

    wire.swallows = True
    with meanwhile(cut_once_it_is_there), pytest.raises(InDoubt):
        far.shared.adopt(PLANS, 10)
    try:
        grants = far.open_grants("", 10) or far.shared.adopt(PLANS, 10)
    except Blocked:
        grants = far.open_grants("", 10) or far.shared.adopt(PLANS, 10)
    assert [grant.saga_id for grant in grants] == ["a"]


def test_both_prune(node: Callable[[str], PostgresStore]) -> None:
    """Each forgets what the other has not."""
    one, two = node("one"), node("two")
    ids = [f"{number:03}" for number in range(200)]
    one.write(opened(*ids)._replace(ends=[("completed", 1.0, saga_id) for saga_id in ids]))
    forgotten: list[int] = []

    def prune(store: PostgresStore) -> None:
        while some := store.prune(9.0, 9):
            forgotten.append(some)

    with meanwhile(lambda: prune(one)) as first, meanwhile(lambda: prune(two)) as second:
        pass
    prune(one)
    assert (first, second, sum(forgotten), one.counts()) == ([], [], 200, {})


class Nodes(RuleBasedStateMachine):
    """Nodes come, write, lapse, adopt, are killed and come back; a model says whose each instance is."""

    names = st.sampled_from(["one", "two", "three"])

    @initialize()
    def begin(self) -> None:
        self.stack = ExitStack()
        self.url = self.stack.enter_context(postgres_schema())
        self.stores: dict[str, PostgresStore] = {"one": PostgresStore(self.url, "one")}
        self.db = self.stack.enter_context(admin(postgres.target(self.url).schema))
        self.lapsed: set[str] = set()
        self.owner: dict[str, str] = {}
        self.token: dict[str, int] = {}
        self.lengths: dict[str, int] = {}
        self.highest = self.stores["one"].token

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            for store in self.stores.values():
                store.close()
            self.stack.close()

    @rule(name=names)
    def comes(self, name: str) -> None:
        """Anew, or after it was killed or has lost its lease: with all that is still its name's."""
        if name in self.stores:
            self.stores.pop(name).close()
        store = self.stores[name] = PostgresStore(self.url, name)
        assert store.token > self.highest
        self.highest = store.token
        self.lapsed.discard(name)
        for saga_id, owner in self.owner.items():
            if owner == name:
                self.token[saga_id] = store.token

    @rule(name=names)
    def begins(self, name: str) -> None:
        """Instances, unless its lease is over."""
        if name not in self.stores:
            return
        saga_id = f"{len(self.owner):04}"
        if self.is_over(name):
            with pytest.raises(StorageError):
                self.stores[name].write(opened(saga_id))
            return
        self.stores[name].write(opened(saga_id))
        self.owner[saga_id], self.lengths[saga_id] = name, 2
        self.token[saga_id] = self.stores[name].token

    @precondition(lambda self: self.owner)
    @rule(data=st.data())
    def goes_on(self, data: st.DataObject) -> None:
        """Its owner writes the next record."""
        saga_id = data.draw(st.sampled_from(sorted(self.owner)))
        name = self.owner[saga_id]
        if name not in self.stores or self.is_over(name):
            return
        store = self.stores[name]
        before = store.history(saga_id)
        store.write(Batch([], history(saga_id, 1, first=len(before), before=before[-1].checksum), []))
        self.lengths[saga_id] += 1

    @rule(name=names)
    def lapses(self, name: str) -> None:
        """It is paused for too long."""
        if name in self.stores and not self.is_over(name):
            lapse(self.db, self.stores[name])
            self.lapsed.add(name)

    @rule(name=names)
    def wakes(self, name: str) -> None:
        """It renews, which counts if nobody has looked meanwhile."""
        if name not in self.stores:
            return
        if self.is_over(name):
            with pytest.raises(StorageError):
                self.stores[name].shared.renew()
        else:
            self.stores[name].shared.renew()
            self.lapsed.discard(name)

    @rule(name=names)
    def is_killed(self, name: str) -> None:
        """Its session ends; its lease runs on until it lapses."""
        if name in self.stores:
            self.stores.pop(name).close()

    @rule(name=names, limit=st.integers(1, 3))
    def adopts(self, name: str, limit: int) -> None:
        """From those whose leases have lapsed, the oldest first."""
        if name not in self.stores or name in self.lapsed:
            return
        over = {
            name for name, done in self.db.execute("select name, over or until < clock_timestamp() from nodes") if done
        }
        wanted = sorted(saga_id for saga_id, owner in self.owner.items() if owner in over)[:limit]
        grants = self.stores[name].shared.adopt(PLANS, limit)
        assert [grant.saga_id for grant in grants] == wanted
        for grant in grants:
            assert grant.token > self.highest
            self.owner[grant.saga_id], self.token[grant.saga_id] = name, grant.token
        self.highest = max([self.highest, *(grant.token for grant in grants)])

    def is_over(self, name: str) -> bool:
        return not self.db.execute(
            "select from nodes where node = %s and not over", (self.stores[name].token,)
        ).fetchall()

    @invariant()
    def everything_is_somebodys(self) -> None:
        """Each instance has the owner, the token and the records that the model says."""
        if not hasattr(self, "stack"):
            return
        for name, opening in self.stores.items():
            if not self.is_over(name):
                ours = [Grant(i, self.token[i]) for i, owner in sorted(self.owner.items()) if owner == name]
                assert opening.open_grants("", 100) == ours
        counted = self.db.execute("select saga_id, count(*) from records group by saga_id").fetchall()
        assert dict(counted) == self.lengths


Nodes.TestCase.settings = settings(
    max_examples=15, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
test_nodes_come_and_go = Nodes.TestCase


# Requests.


def test_request_and_its_answer(node: Callable[[str], PostgresStore]) -> None:
    """It is there for whoever runs the instance, until it is answered; the first answer stands."""
    one, two = node("one"), node("two")
    one.write(opened("a", "b"))
    requests = [Request("r1", "a", "cancel"), Request("r2", "b", "retry")]
    for request in (*requests, *requests):  # one that was in doubt is left again
        two.shared.post(request)
    assert (one.shared.requests(), two.shared.requests()) == (requests, [])
    for answer in ("accepted", "too late"):
        one.shared.answer("r1", answer)
    assert one.shared.requests() == requests[1:]
    assert two.shared.answers(["r1", "r2"]) == {"r1": "accepted"}


def test_request_goes_with_its_instance(node: Callable[[str], PostgresStore], db: "psycopg.Connection[Any]") -> None:
    """To whoever adopts it; and to nobody once it has ended."""
    one, two = node("one"), node("two")
    one.write(opened("a"))
    two.shared.post(Request("r", "a", "cancel"))
    lapse(db, one)
    two.shared.adopt(PLANS, 10)
    assert [request.request_id for request in two.shared.requests()] == ["r"]
    two.write(Batch([], [], [("completed", 9.0, "a")]))
    assert two.shared.requests() == []


def test_old_requests_are_forgotten(node: Callable[[str], PostgresStore], db: "psycopg.Connection[Any]") -> None:
    """Whoever asked waits no more, or had read the answer long ago."""
    one = node("one")
    one.write(opened("a"))
    one.shared.post(Request("old", "a", "cancel"))
    db.execute("update requests set at = at - interval '2 days'")
    one.shared.post(Request("new", "a", "cancel"))
    assert [request.request_id for request in one.shared.requests()] == ["new"]
