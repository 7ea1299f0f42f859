"""A PostgreSQL database: the journal in a schema, and each service's tables in one of its own beside it.

Or only the journal is there, and the services have files in a folder of this machine.
"""

import secrets
from pathlib import Path
from typing import Final

from amends.actors import postgres
from amends.actors.database.postgres import PostgresDatabase
from amends.actors.database.scripts import Scripts
from amends.actors.database.sqlite import SqliteDatabase
from amends.actors.journal.postgres import PostgresStore
from amends.actors.journal.store import LEASE_S, Store
from amends.actors.storage.folder import Folder
from amends.protocol.errors import DatabaseError, StorageError

_CONNECT_S: Final = 2
"""How long a service tries to connect: shorter than a turn may last."""


class JournalOnServer:
    """Opens the journal that a URL names, and the services of one folder, which is made with it.

    Args:
        url, node, lease_s: as of `PostgresStore`.
    """

    def __init__(self, path: Path, url: str, node: str, lease_s: float) -> None:
        self.name = postgres.target(url).name
        self._url, self._node, self._lease_s = url, node, lease_s
        self._path = path
        self._folder = Folder(path)

    def open_store(self) -> PostgresStore:
        self._path.mkdir(parents=True, exist_ok=True)
        return PostgresStore(self._url, self._node, self._lease_s)

    def open_service(self, service: str, scripts: Scripts) -> SqliteDatabase:
        return self._folder.open_service(service, scripts)


class Server:
    """Opens the journal and the services' databases of one PostgreSQL database.

    Args:
        url: names the journal's schema, as `shop`; a service's is `shop_<service>`.
        journal: the URL of another journal in place of that one.
        node, lease_s: as of `PostgresStore`.
    """

    def __init__(self, url: str, journal: str | None = None, node: str = "", lease_s: float = LEASE_S) -> None:
        self._place = postgres.target(url)
        self.name = self._place.name
        self._journal = journal or url
        self._node, self._lease_s = node, lease_s
        # Hosts in containers may have one name and one process number; no two of these are the same.
        self._worker = f"{postgres.session_name()} {secrets.token_hex(8)}"
        self._services: dict[str, str] = {}
        self._seen: set[str] = set()

    def open_store(self) -> Store:
        return PostgresStore(self._journal, self._node, self._lease_s)

    def open_service(self, service: str, scripts: Scripts) -> PostgresDatabase:
        made = PostgresDatabase(self.place_of(service), scripts, self._worker)
        try:
            made.connect()
        except DatabaseError as error:
            if service not in self._seen:
                raise StorageError(f"{made.name}: can't be opened: {error}") from error
            # A server that is away for a while: the service waits for it in its turns.
        self._seen.add(service)
        return made

    def place_of(self, service: str) -> postgres.Target:
        """The schema of a service, or StorageError."""
        schema = postgres.service_schema(self._place, service)
        other = self._services.setdefault(schema, service)
        if other != service:
            raise StorageError(f"{self.name}: services {other!r} and {service!r} would share the schema {schema!r}")
        place = postgres.in_schema(self._place, schema)
        return place._replace(settings={**place.settings, "connect_timeout": _CONNECT_S})
