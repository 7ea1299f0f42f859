"""A folder of SQLite files: `journal.db`, and a `<service>.db` for each service."""

from pathlib import Path

from amends.actors import database
from amends.actors.database.scripts import Scripts, in_dialect
from amends.actors.database.sqlite import SqliteDatabase
from amends.actors.journal.sqlite import SqliteStore
from amends.protocol.errors import StorageError


class Folder:
    """Opens the files of one folder, which is made when the first of them is opened."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path

    def open_store(self) -> SqliteStore:
        return SqliteStore(self._made() / "journal.db")

    def open_service(self, service: str, scripts: Scripts) -> SqliteDatabase:
        return open_file(self._made() / f"{service}.db", scripts)

    def _made(self) -> Path:
        try:
            self._path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{self._path}: can't be made: {error.strerror}") from None
        return self._path


def open_file(path: Path, scripts: Scripts) -> SqliteDatabase:
    """A service's file, made or migrated as needed."""
    in_sqlite = in_dialect(str(path), scripts, SqliteDatabase.dialect)
    return SqliteDatabase(database.open_database(path, database.SERVICE_ID, in_sqlite))
