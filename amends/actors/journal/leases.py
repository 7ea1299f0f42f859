"""Node leases: which node may run which instances of a journal on a server.

An opening of the journal is granted a token, higher than any before, and a lease, which it
renews. What it begins is its own, to be run under that token. When a lease has lapsed, any
other node may end it for good and adopt what was run under it, under a token that is granted
then and so is higher than the lapsed one: a command of the old owner that is still on its way
is refused by every fence that has heard of the new one. All times are the server's, so nodes'
clocks may differ as they like. Every transaction that grants a token or ends a lease begins by
locking the row of `grants`; two of them never wait for each other in a circle.
"""

from collections.abc import Callable, Collection
from typing import Any, Final

from amends.actors import postgres
from amends.actors.journal.store import Grant, PlanId, Request
from amends.protocol.errors import StorageError

RENEWALS: Final = 6
"""How often a lease is renewed, and looked for lapsed ones, before it would lapse."""

_LOCK: Final = "select from grants where id = 1 for update"
_NEXT_TOKEN: Final = "update grants set token = token + 1 where id = 1 returning token"
_UNTIL: Final = "clock_timestamp() + %(lease)s * interval '1 s'"
_END_NAMESAKES: Final = "update nodes set over = true where name = %(name)s returning node"
_TAKE_ALL: Final = (
    "update instances set (node, token) = (%(node)s, %(node)s) where node = any(%(from)s) and state = 'open'"
)
_FORGET: Final = "delete from nodes where node = any(%(from)s)"
_BEGIN: Final = f"insert into nodes (node, name, until) values (%(node)s, %(name)s, {_UNTIL})"

_OPEN: Final = "(select from instances i where i.node = n.node and i.state = 'open')"

_RENEW: Final = f"""
update nodes set until = {_UNTIL} where node = %(node)s and not over
returning exists (select from nodes n where (over or until < clock_timestamp()) and exists {_OPEN})"""
_LEAVE: Final = "update nodes set over = true where node = %(node)s"

_END_LAPSED: Final = "update nodes set over = true where not over and until < clock_timestamp()"
_LEFT_OPEN: Final = """
select i.saga_id from instances i join nodes n on n.node = i.node and n.over
    join unnest(%(plans)s::text[], %(versions)s::bigint[], %(digests)s::text[]) as plan (saga, version, digest)
        using (saga, version)
    join records r on r.saga_id = i.saga_id and r.seq = 0
where i.state = 'open' and digest = coalesce(substring(r.body from '"digest":"([0-9a-f]+)"}$'), digest)
order by i.saga_id limit %(limit)s"""
_TAKE: Final = "update instances set node = %(node)s, token = %(token)s where saga_id = any(%(ids)s) and state = 'open'"
_FORGET_EMPTY: Final = f"delete from nodes n where over and not exists {_OPEN}"

_STILL_OPEN: Final = "select saga_id from instances where saga_id = any(%(ids)s) and state = 'open'"
_POST: Final = """
insert into requests (request_id, saga_id, body) values (%(request_id)s, %(saga_id)s, %(body)s)
on conflict do nothing"""
_REQUESTS: Final = """
select request_id, saga_id, body from requests join instances using (saga_id)
where node = %(node)s and state = 'open' and answer is null order by request_id"""
_ANSWER: Final = "update requests set answer = %(answer)s where request_id = %(request_id)s and answer is null"
_ANSWERS: Final = "select request_id, answer from requests where request_id = any(%(ids)s) and answer is not null"
_FORGET_REQUESTS: Final = "delete from requests where at < clock_timestamp() - interval '1 day'"

Work = Callable[[postgres.Connection], list[Any]]
Do = Callable[..., list[Any]]
"""Does a Work within the store's session; `again` says whether it may be done twice."""


def begin(db: postgres.Connection, name: str, lease_s: float) -> int:
    """Grant an opening its token and its lease, and with them all that earlier ones of its name have left open."""
    with db.transaction():
        ((token,),) = db.execute(_NEXT_TOKEN).fetchall()
        values: dict[str, Any] = {"node": token, "name": name, "lease": lease_s}
        values["from"] = [node for (node,) in db.execute(_END_NAMESAKES, values)]
        # Each in a statement of its own, which sees what the writes that the one before has waited for have written.
        db.execute(_TAKE_ALL, values)
        db.execute(_FORGET, values)
        db.execute(_BEGIN, values)
    return int(token)


class Leases:
    """What a store on a server does for the nodes that share it: the port's `Shared`.

    Args:
        node: the token of this opening.
        not_ours: makes the error for a lease that is over.
    """

    def __init__(self, do: Do, node: int, lease_s: float, not_ours: Callable[[], StorageError]) -> None:
        self._do = do
        self._node = node
        self._lease_s = lease_s
        self._not_ours = not_ours
        self.renew_every_s = lease_s / RENEWALS

    def renew(self) -> bool:
        for (adoptable,) in self._run(_RENEW, lease=self._lease_s):
            return bool(adoptable)
        raise self._not_ours()

    def adopt(self, plans: Collection[PlanId], limit: int) -> list[Grant]:
        return self._do(lambda db: self._adopt(db, plans, limit), again=False)

    def _adopt(self, db: postgres.Connection, plans: Collection[PlanId], limit: int) -> list[Grant]:
        names, versions, digests = map(list, zip(*plans, strict=True)) if plans else ([], [], [])
        values: dict[str, Any] = {"node": self._node, "limit": limit}
        values |= {"plans": names, "versions": versions, "digests": digests}
        with db.transaction():
            db.execute(_LOCK)
            db.execute(_END_LAPSED)
            values["ids"] = [saga_id for (saga_id,) in db.execute(_LEFT_OPEN, values)]
            if values["ids"]:
                ((values["token"],),) = db.execute(_NEXT_TOKEN).fetchall()
                db.execute(_TAKE, values)
            db.execute(_FORGET_EMPTY)
        return [Grant(saga_id, values["token"]) for saga_id in values["ids"]]

    def leave(self) -> None:
        self._run(_LEAVE)

    def no_longer_open(self, saga_ids: Collection[str]) -> list[str]:
        still = {saga_id for (saga_id,) in self._run(_STILL_OPEN, ids=list(saga_ids))}
        return [saga_id for saga_id in saga_ids if saga_id not in still]

    def post(self, request: Request) -> None:
        self._run(_FORGET_REQUESTS)
        self._run(_POST, **request._asdict())

    def requests(self) -> list[Request]:
        return [Request(*row) for row in self._run(_REQUESTS)]

    def answer(self, request_id: str, answer: str) -> None:
        self._run(_ANSWER, request_id=request_id, answer=answer)

    def answers(self, request_ids: Collection[str]) -> dict[str, str]:
        return dict(self._run(_ANSWERS, ids=list(request_ids)))

    def _run(self, query: str, **values: Any) -> list[Any]:
        def work(db: postgres.Connection) -> list[Any]:
            cursor = db.execute(query.encode(), {"node": self._node, **values})
            return cursor.fetchall() if cursor.description else []

        return self._do(work, again=True)
