"""Node leases: which node may run which instances of a journal on a server.

An opening of the journal is granted a token, higher than any before, and a lease, which it
renews. What it begins is its own, to be run under that token. When a lease has lapsed, any
other node may end it for good and adopt what was run under it, under a token that is granted
then and so is higher than the lapsed one: a command of the old owner that is still on its way
is refused by every fence that has heard of the new one. All times are the server's, so nodes'
clocks may differ as they like. Every transaction that grants a token or ends a lease begins by
locking the row of `grants`; two of them never wait for each other in a circle.
"""

from collections.abc import Collection
from typing import Any, Final

from amends.actors import postgres
from amends.actors.journal.store import Grant, PlanId

LEASE_S: Final = 6.0
"""How long a node may go without renewing its lease before others adopt what it had, in seconds."""

RENEW_EVERY_S: Final = 1.0
"""How often a lease is renewed, and looked for lapsed ones, in seconds."""

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

RENEW: Final = f"""
update nodes set until = {_UNTIL} where node = %(node)s and not over
returning exists (select from nodes n where (over or until < clock_timestamp()) and exists {_OPEN})"""
"""One row if it is renewed, which says whether others have lapsed and left something open; none if it is over."""

LEAVE: Final = "update nodes set over = true where node = %(node)s returning node"

_END_LAPSED: Final = "update nodes set over = true where not over and until < clock_timestamp()"
_LEFT_OPEN: Final = """
select i.saga_id from instances i join nodes n on n.node = i.node and n.over
    join unnest(%(names)s::text[], %(versions)s::bigint[]) as plan (saga, version) using (saga, version)
where i.state = 'open' order by i.saga_id limit %(limit)s"""
_TAKE: Final = "update instances set node = %(node)s, token = %(token)s where saga_id = any(%(ids)s) and state = 'open'"
_FORGET_EMPTY: Final = f"delete from nodes n where over and not exists {_OPEN}"


def begin(db: postgres.Connection, name: str) -> int:
    """Grant an opening its token and its lease, and with them all that earlier ones of its name have left open."""
    with db.transaction():
        ((token,),) = db.execute(_NEXT_TOKEN).fetchall()
        values: dict[str, Any] = {"node": token, "name": name, "lease": LEASE_S}
        values["from"] = [node for (node,) in db.execute(_END_NAMESAKES, values)]
        # Each in a statement of its own, which sees what the writes that the one before has waited for have written.
        db.execute(_TAKE_ALL, values)
        db.execute(_FORGET, values)
        db.execute(_BEGIN, values)
    return int(token)


def adopt(db: postgres.Connection, node: int, plans: Collection[PlanId], limit: int) -> list[Grant]:
    """End the leases that have lapsed, and grant a node up to `limit` open instances of these plans that they left."""
    with db.transaction():
        db.execute(_LOCK)
        db.execute(_END_LAPSED)
        names, versions = [name for name, _ in plans], [version for _, version in plans]
        values: dict[str, Any] = {"node": node, "names": names, "versions": versions, "limit": limit}
        values["ids"] = [saga_id for (saga_id,) in db.execute(_LEFT_OPEN, values)]
        if values["ids"]:
            ((values["token"],),) = db.execute(_NEXT_TOKEN).fetchall()
            db.execute(_TAKE, values)
        db.execute(_FORGET_EMPTY)
    return [Grant(saga_id, values["token"]) for saga_id in values["ids"]]
