"""A store in memory, for tests and for sagas that need not outlive their process."""

from collections.abc import Collection
from typing import Final

from amends.actors.journal.store import Batch, Grant, Instance, Key, Stored

_CLOSED: Final = ("completed", "compensated")


class MemoryStore:
    """Keeps everything in dictionaries; `token` rises with every `reopened`."""

    path = ":memory:"
    shared = None

    def __init__(self) -> None:
        self.token = 1
        self._instances: dict[str, Instance] = {}
        self._by_key: dict[tuple[str, str], str] = {}
        self._histories: dict[str, list[Stored]] = {}

    def write(self, batch: Batch) -> Collection[str]:
        for instance in batch.instances:
            if self._instances.setdefault(instance.saga_id, instance) is instance:
                self._by_key[instance.saga, instance.key] = instance.saga_id
                self._histories[instance.saga_id] = []
        for stored in batch.records:
            history = self._histories[stored.saga_id]
            if stored.seq == len(history):
                history.append(stored)
        for state, ended_at, saga_id in batch.ends:
            self._instances[saga_id] = self._instances[saga_id]._replace(state=state, ended_at=ended_at)
        return ()

    def known(self, keys: Collection[Key]) -> dict[Key, str]:
        return {key: self._by_key[key] for key in keys if key in self._by_key}

    def find(self, saga: str, key: str) -> Instance | None:
        saga_id = self._by_key.get((saga, key))
        return None if saga_id is None else self._instances[saga_id]

    def instance(self, saga_id: str) -> Instance | None:
        return self._instances.get(saga_id)

    def history(self, saga_id: str) -> list[Stored]:
        return list(self._histories.get(saga_id, ()))

    def open_grants(self, after: str, limit: int) -> list[Grant]:
        ids = sorted(i.saga_id for i in self._instances.values() if i.state == "open" and i.saga_id > after)
        return [Grant(saga_id, self.token) for saga_id in ids[:limit]]

    def counts(self) -> dict[str, int]:
        counted: dict[str, int] = {}
        for instance in self._instances.values():
            counted[instance.state] = counted.get(instance.state, 0) + 1
        return counted

    def prune(self, before_at: float, limit: int) -> int:
        old = [
            i
            for i in self._instances.values()
            if i.state in _CLOSED and i.ended_at is not None and i.ended_at < before_at
        ][:limit]
        for instance in old:
            del self._instances[instance.saga_id]
            del self._by_key[instance.saga, instance.key]
            del self._histories[instance.saga_id]
        return len(old)

    def close(self) -> None:
        """Nothing to let go of."""

    def reopened(self) -> "MemoryStore":
        """The same memory as a later process would find it, with a higher token."""
        self.token += 1
        return self
