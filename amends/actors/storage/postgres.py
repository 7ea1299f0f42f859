"""A journal on a PostgreSQL server, and the services' SQLite files in a folder of this machine."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import apsw

from amends.actors import postgres
from amends.actors.journal.postgres import PostgresStore
from amends.actors.storage.folder import Folder


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

    def open_service(self, service: str, scripts: Mapping[str, Sequence[str]]) -> apsw.Connection:
        return self._folder.open_service(service, scripts)
