"""The port: a place that keeps one system's journal and the databases of its services.

What a journal store and a service's database promise is said where they are used; a storage
only knows how to open them, again after every failure.
"""

from typing import Protocol

from amends.actors.database.port import Database
from amends.actors.database.scripts import Scripts
from amends.actors.journal.store import Store


class Storage(Protocol):
    """Opens what a system keeps.

    Attributes:
        name: what errors call it.
    """

    name: str

    def open_store(self) -> Store:
        """The journal; StorageError or JournalHeld if it can't be had."""
        ...

    def open_service(self, service: str, scripts: Scripts) -> Database:
        """The service's own database, at the version its `scripts` (by owner) lead to, or StorageError."""
        ...
