"""Sharing a store with other nodes: a lease is kept, what others left is adopted, what they run is watched.

Where nobody else can have the store open all of this comes to nothing: there is no lease to
renew, and no instance that another node could run. Whom to tell is the journal's business.
"""

from collections.abc import Collection, Sequence
from contextlib import suppress
from math import inf
from typing import Final

from amends.actors.journal.store import Blocked, Grant, InDoubt, PlanId, Store
from amends.protocol.messages import SagaId
from amends.supervisor.mailbox import Address

WATCH_S: Final = 0.1
"""How often the store is asked what became of instances that other nodes run, in seconds."""

ADOPTED_MAX: Final = 500
"""Instances adopted at a time."""


class Sharing:
    """One opening's part in a store.

    Args:
        plans: those that this process can run, and so may adopt instances of.

    Attributes:
        tokens: those that were granted to this opening; what is run under any other one is not ours.
        renew_due_s, watch_due_s: when there is something to do, in monotonic seconds.
    """

    def __init__(self, store: Store, plans: Collection[PlanId], now_s: float) -> None:
        self._store = store
        self._plans = plans
        self._in_doubt = False
        # Who wants to read of an instance that another node runs, by instance.
        self._watched: dict[SagaId, list[Address]] = {}
        self.tokens = {store.token}
        self.away = ""
        self.renew_due_s = now_s + store.renew_every_s
        self.watch_due_s = inf

    def keep_lease(self, now_s: float) -> Sequence[Grant]:
        """Renew it; what was adopted, perhaps with some that were ours before. StorageError if it is over."""
        self.renew_due_s = now_s + self._store.renew_every_s
        grants: Sequence[Grant] = ()
        # Who can't reach the store can't lose to others what is in it, nor adopt.
        try:
            if self._store.renew() or self._in_doubt:
                grants = self._all_ours() if self._in_doubt else self._adopt()
                self._in_doubt = False
            self.away = ""
        except Blocked as error:
            self.away = str(error)
        self.tokens.update(grant.token for grant in grants)
        if len(grants) == ADOPTED_MAX:
            self.renew_due_s = now_s
        return grants

    def _adopt(self) -> Sequence[Grant]:
        try:
            return self._store.adopt(self._plans, ADOPTED_MAX)
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
        self._store.leave()
        self.renew_due_s = inf

    def watch(self, saga_id: SagaId, reader: Address, now_s: float) -> None:
        """Look now and then whether it is still open."""
        self._watched.setdefault(saga_id, []).append(reader)
        self.watch_due_s = min(self.watch_due_s, now_s + WATCH_S)

    def no_longer_open(self, now_s: float) -> list[tuple[SagaId, list[Address]]]:
        """Of those watched, which are not open any more, and who wants to read of them."""
        found: list[str] = []
        with suppress(Blocked):
            found = self._store.no_longer_open(self._watched)
        told = [(SagaId(saga_id), self._watched.pop(SagaId(saga_id))) for saga_id in found]
        self.watch_due_s = now_s + WATCH_S if self._watched else inf
        return told
