"""A journal that several simulated nodes share, in memory: it does what a store on a server promises.

That the one on PostgreSQL does, too, is held by tests of its own.
"""

from collections.abc import Collection
from typing import Protocol

from amends.actors.journal.memory import MemoryStore
from amends.actors.journal.store import LEASE_S, Batch, Blocked, Grant, Instance, Key, PlanId, Request, Stored
from amends.protocol import codec
from amends.protocol.errors import StorageError
from amends.protocol.messages import SagaId
from amends.testing.life import Life
from amends.testing.world import World


class NodeEnd(Protocol):
    """How a node reaches the journal.

    Attributes:
        cut_off: it can't.
    """

    life: Life
    cut_off: bool


class SharedJournal(MemoryStore):
    """What is on the server: instances, records, and whose they are, by the tokens of their grants and openings."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.until_s: dict[int, float] = {}
        self.names: dict[int, str] = {}
        self.grants: dict[str, tuple[int, int]] = {}
        self.requested: dict[str, Request] = {}
        self.answered: dict[str, str] = {}
        self.token = 0

    def begin(self, name: str) -> int:
        """A new opening, with all that earlier ones of its name have left open."""
        self.token += 1
        over = [node for node, whose in self.names.items() if whose == name]
        for saga_id, (node, _) in self.grants.items():
            if node in over:
                self.grants[saga_id] = self.token, self.token
        for node in over:
            self.end(node)
        self.names[self.token], self.until_s[self.token] = name, self.world.now_s + LEASE_S
        return self.token

    def end(self, node: int) -> None:
        """Its lease is over for good."""
        self.names.pop(node, None)
        self.until_s.pop(node, None)


class Opening:
    """The journal as one node has it open; it is its own `shared`.

    Attributes:
        cut_off: it can't be reached from this node.
    """

    path = "shared"
    renew_every_s = LEASE_S / 6

    def __init__(self, journal: SharedJournal, name: str, end: NodeEnd) -> None:
        self._journal = journal
        self._end = end
        self._reach()
        self.token = journal.begin(name)

    @property
    def shared(self) -> "Opening":
        return self

    def _reach(self) -> None:
        if self._end.cut_off or self._end.life.ended:
            raise Blocked("the server can't be reached")

    def _hold(self) -> None:
        self._reach()
        if self.token not in self._journal.names:
            raise StorageError("was granted to another process since")

    def write(self, batch: Batch) -> Collection[str]:
        self._hold()
        journal, world = self._journal, self._journal.world
        fate = world.meet("commit of journal", ("crash before", "crash after"))
        if fate == "crash before":
            self._end.life.end()
            raise Blocked("the process is gone")
        out = {
            i.saga_id for i in batch.instances if journal.find(i.saga, i.key) not in (None, journal.instance(i.saga_id))
        }
        journal.grants.update((i.saga_id, (self.token, self.token)) for i in batch.instances if i.saga_id not in out)
        kept = Batch(
            [i for i in batch.instances if i.saga_id not in out],
            [r for r in batch.records if r.saga_id not in out],
            [end for end in batch.ends if journal.grants[end[2]][0] == self.token],
        )
        journal.write(kept)
        for stored in kept.records:
            record = codec.decode_record(stored.saga_id, stored.seq, stored.schema, stored.body.encode())
            world.on_disk(SagaId(stored.saga_id), stored.seq, record)
        if fate == "crash after":
            self._end.life.end()
        return out

    def known(self, keys: Collection[Key]) -> dict[Key, str]:
        self._reach()
        return self._journal.known(keys)

    def find(self, saga: str, key: str) -> Instance | None:
        self._reach()
        return self._journal.find(saga, key)

    def instance(self, saga_id: str) -> Instance | None:
        self._reach()
        return self._journal.instance(saga_id)

    def history(self, saga_id: str) -> list[Stored]:
        self._reach()
        return self._journal.history(saga_id)

    def counts(self) -> dict[str, int]:
        self._reach()
        return self._journal.counts()

    def open_grants(self, after: str, limit: int) -> list[Grant]:
        self._reach()
        ours = [Grant(i, token) for i, (node, token) in self._journal.grants.items() if node == self.token]
        return [grant for grant in sorted(ours) if self._is_open(grant.saga_id) and grant.saga_id > after][:limit]

    def _is_open(self, saga_id: str) -> bool:
        instance = self._journal.instance(saga_id)
        return instance is not None and instance.state == "open"

    def prune(self, before_at: float, limit: int) -> int:
        return 0

    def close(self) -> None:
        """Its lease runs on."""

    # For other nodes.

    def _lapsed(self) -> list[int]:
        now_s = self._journal.world.now_s
        nodes = {node for node, _ in self._journal.grants.values()}
        return [node for node in nodes if self._journal.until_s.get(node, 0.0) < now_s]

    def _left(self, plans: Collection[PlanId]) -> list[str]:
        lapsed = self._lapsed()
        left = sorted(i for i, (node, _) in self._journal.grants.items() if node in lapsed and self._is_open(i))
        known = {(plan.saga, plan.version) for plan in plans}
        return [i for i in left if (found := self._journal.instance(i)) and (found.saga, found.version) in known]

    def renew(self) -> bool:
        self._hold()
        self._journal.until_s[self.token] = self._journal.world.now_s + LEASE_S
        return any(self._is_open(i) for i, (node, _) in self._journal.grants.items() if node in self._lapsed())

    def adopt(self, plans: Collection[PlanId], limit: int) -> list[Grant]:
        self._reach()
        found = self._left(plans)[:limit]
        for node in self._lapsed():
            self._journal.end(node)
        if found:
            self._journal.token += 1
        token = self._journal.token
        self._journal.grants.update((saga_id, (self.token, token)) for saga_id in found)
        return [Grant(saga_id, token) for saga_id in found]

    def leave(self) -> None:
        self._hold()
        self._journal.end(self.token)

    def no_longer_open(self, saga_ids: Collection[str]) -> list[str]:
        self._reach()
        return [saga_id for saga_id in saga_ids if not self._is_open(saga_id)]

    def post(self, request: Request) -> None:
        self._reach()
        self._journal.requested[request.request_id] = request

    def requests(self) -> list[Request]:
        self._reach()
        ours = {grant.saga_id for grant in self.open_grants("", 1_000)}
        asked = self._journal.requested.values()
        return [r for r in asked if r.saga_id in ours and r.request_id not in self._journal.answered]

    def answer(self, request_id: str, answer: str) -> None:
        self._reach()
        self._journal.answered.setdefault(request_id, answer)

    def answers(self, request_ids: Collection[str]) -> dict[str, str]:
        self._reach()
        told = self._journal.answered
        return {request_id: told[request_id] for request_id in request_ids if request_id in told}
