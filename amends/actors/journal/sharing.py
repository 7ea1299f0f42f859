"""Sharing a store with other nodes: a lease is kept, what others left is adopted, what they run is watched.

Instances that another node runs can be asked for things here all the same: a request is left in
the store, their node finds it there when it next renews its lease, and leaves its answer. Polling
is enough for that: only a node that waits for something looks often, and asks for all at once.
Where nobody else can have the store open, all instances are here, and none of this happens.
"""

from collections.abc import Collection, Sequence
from concurrent.futures import Future
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, Any, Final

from amends.actors.journal import relay
from amends.actors.journal.messages import Adopted, Relay, RelayAnswered, Relayed
from amends.actors.journal.store import Blocked, Grant, InDoubt, PlanId, Request, Store
from amends.protocol.errors import AmendsError, JournalUnavailable
from amends.protocol.messages import SagaId
from amends.supervisor.mailbox import Address

if TYPE_CHECKING:
    from amends.actors.journal.journal import Journal

WATCH_S: Final = 0.1
"""How often the store is asked what became of instances that other nodes run, in seconds."""

ADOPTED_MAX: Final = 500
"""Instances adopted at a time."""


class Sharing:
    """One opening's part in a store that other nodes may have open, too; in the journal's turns.

    Args:
        plans: those that this process can run, and so may adopt instances of.

    Attributes:
        tokens: those that were granted to this opening; what is run under any other one is not ours.
        keeper: who runs instances; None until somebody has asked for them.
        away: why the store could not be reached when the lease was last to be renewed; empty if it could.
    """

    def __init__(self, journal: "Journal", store: Store, plans: Collection[PlanId]) -> None:
        self._journal = journal
        self._store = store
        self._shared = store.shared
        self._plans = plans
        self.tokens = {store.token}
        self.keeper: Address | None = None
        self._in_doubt = False
        # Who wants to read of an instance that another node runs, by instance.
        self._watched: dict[SagaId, list[Address]] = {}
        self.away = ""
        # What callers here are about to ask of such instances, and have asked.
        self._new: list[Relay] = []
        self._asked: dict[str, Relay] = {}
        # What others ask of ours, and the answers they wait for.
        self._in_hand: set[str] = set()
        self._answers: dict[str, str] = {}
        self._renew_due_s = self._next_renewal_s()
        self._look_due_s = inf

    def settle(self, now_s: float) -> float:
        """What is due now; when more is, in monotonic seconds."""
        self._pass_on()
        if now_s >= self._renew_due_s:
            self._keep_lease(now_s)
            self._leave_answers()
            self._take_requests()
        if now_s >= self._look_due_s:
            self._look()
            self._look_due_s = now_s + WATCH_S
        if not (self._watched or self._asked):
            self._look_due_s = inf
        elif self._look_due_s == inf:
            self._look_due_s = now_s + WATCH_S
        return min(self._renew_due_s, self._look_due_s)

    # The lease.

    def _next_renewal_s(self) -> float:
        return inf if self._shared is None else self._journal.clock.now_s() + self._shared.renew_every_s

    def _keep_lease(self, now_s: float) -> None:
        """Renew it, and adopt what others have left; StorageError if it is over."""
        assert self._shared is not None
        self._renew_due_s = self._next_renewal_s()
        grants: Sequence[Grant] = ()
        # Who can't reach the store can't lose to others what is in it, nor adopt.
        try:
            if self._shared.renew() or self._in_doubt:
                grants = self._all_ours() if self._in_doubt else self._adopt()
                self._in_doubt = False
            self.away = ""
        except Blocked as error:
            self.away = str(error)
        if len(grants) == ADOPTED_MAX:
            self._renew_due_s = now_s
        self.tokens.update(grant.token for grant in grants)
        # Who has not asked yet finds them among those that are open.
        if grants and self.keeper is not None:
            self._journal.tell(self.keeper, Adopted(grants))

    def _adopt(self) -> Sequence[Grant]:
        assert self._shared is not None
        try:
            return self._shared.adopt(self._plans, ADOPTED_MAX)
        except InDoubt:
            self._in_doubt = True
            raise

    def _all_ours(self) -> Sequence[Grant]:
        grants: list[Grant] = []
        while page := self._store.open_grants(grants[-1].saga_id if grants else "", ADOPTED_MAX):
            grants += page
        return grants

    def leave(self) -> None:
        """Let others adopt what is open here."""
        if self._shared is not None:
            self._shared.leave()
            self._renew_due_s = inf

    # What others run.

    def watch(self, saga_id: SagaId, reader: Address) -> None:
        """Tell the reader its history once it is not open any more."""
        self._watched.setdefault(saga_id, []).append(reader)

    def ask(self, asked: Relay) -> None:
        """Ask whoever runs the instance, if it is open."""
        self._new.append(asked)

    def _pass_on(self) -> None:
        new, self._new = self._new, []
        for asked in new:
            try:
                instance = self._store.instance(asked.saga_id)
                if self._shared is None or instance is None or instance.state != "open":
                    self._journal.answer(asked.future, relay.not_open(asked.event, asked.saga_id))
                    continue
                request_id = self._journal.clock.new_id()
                self._shared.post(Request(request_id, asked.saga_id, relay.body_of(asked.event)))
                self._asked[request_id] = asked
            except Blocked as error:
                problem = JournalUnavailable(f"instance {asked.saga_id} can't be asked now: {error}")
                self._journal.answer(asked.future, problem)

    def _look(self) -> None:
        """See what is answered, and what is not open any more."""
        with suppress(Blocked):
            if self._shared is not None and self._asked:
                for request_id, answer in self._shared.answers(self._asked).items():
                    asked = self._asked.pop(request_id)
                    self._journal.answer(asked.future, relay.answer_of(asked.event, answer))
            gone = self._no_longer_open()
            for saga_id in [saga_id for saga_id in self._watched if saga_id in gone]:
                self._journal.tell_history(saga_id, self._watched.pop(saga_id))
            # Its node had no time to answer.
            for request_id in [request_id for request_id, asked in self._asked.items() if asked.saga_id in gone]:
                asked = self._asked.pop(request_id)
                self._journal.answer(asked.future, relay.not_open(asked.event, asked.saga_id))

    def _no_longer_open(self) -> set[str]:
        wanted: set[str] = {*self._watched, *(asked.saga_id for asked in self._asked.values())}
        # Nobody else runs it, so it was never ours to wait for.
        return wanted if self._shared is None else set(self._shared.no_longer_open(sorted(wanted)))

    # What others ask of ours.

    def _take_requests(self) -> None:
        requests: list[Request] = []
        with suppress(Blocked):
            if self._shared is not None and self.keeper is not None:
                requests = self._shared.requests()
        for request in requests:
            if request.request_id not in self._in_hand:
                self._in_hand.add(request.request_id)
                self._hand_on(request)

    def _hand_on(self, request: Request) -> None:
        """Ask our instance in the name of another node's caller."""
        future: Future[Any] = Future()
        journal = self._journal.address
        future.add_done_callback(lambda done: journal.tell(RelayAnswered(request.request_id, done)))
        try:
            relayed = Relayed(SagaId(request.saga_id), relay.wish_of(request.body), future)
        except AmendsError as error:
            self._journal.answer(future, error)
        else:
            assert self.keeper is not None
            self._journal.tell(self.keeper, relayed)

    def answered(self, told: RelayAnswered) -> None:
        """Leave the answer for the other node, now or when the store can be reached."""
        self._answers[told.request_id] = relay.text_of(told.future)
        self._leave_answers()

    def _leave_answers(self) -> None:
        with suppress(Blocked):
            for request_id, answer in list(self._answers.items()):
                if self._shared is not None:
                    self._shared.answer(request_id, answer)
                self._in_hand.discard(request_id)
                del self._answers[request_id]
