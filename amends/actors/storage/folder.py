"""A folder of SQLite files: `journal.db`, and a `<service>.db` for each service."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import apsw

from amends.actors import database
from amends.actors.journal.sqlite import SqliteStore
from amends.protocol.errors import StorageError


class Folder:
    """Opens the files of one folder, which is made when the first of them is opened."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path

    def open_store(self) -> SqliteStore:
        return SqliteStore(self._made() / "journal.db")

    def open_service(self, service: str, scripts: Mapping[str, Sequence[str]]) -> apsw.Connection:
        return database.open_database(self._made() / f"{service}.db", database.SERVICE_ID, scripts)

    def _made(self) -> Path:
        try:
            self._path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{self._path}: can't be made: {error.strerror}") from None
        return self._path
