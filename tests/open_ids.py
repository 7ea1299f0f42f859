"""Which instances a store has open, without the tokens they are run under."""

from amends.actors.journal.store import Store


def open_ids(store: Store, after: str, limit: int) -> list[str]:
    """Up to `limit` of them that sort after `after`."""
    return [grant.saga_id for grant in store.open_grants(after, limit)]
