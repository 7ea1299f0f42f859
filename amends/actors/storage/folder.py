"""A folder of SQLite files: `journal.db`, and a `<service>.db` for each service."""

from pathlib import Path

from amends.actors import database
from amends.actors.database.scripts import Scripts, in_dialect
from amends.actors.database.sqlite import SqliteDatabase
from amends.actors.journal.sqlite import SqliteStore


class Folder:
    """Opens the files of one folder, which is made when the journal is first opened."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path

    def open_store(self) -> SqliteStore:
        self._path.mkdir(parents=True, exist_ok=True)
        return SqliteStore(self._path / "journal.db")

    def open_service(self, service: str, scripts: Scripts) -> SqliteDatabase:
        return open_file(self._path / f"{service}.db", scripts)


def open_file(path: Path, scripts: Scripts) -> SqliteDatabase:
    """A service's file, made or migrated as needed."""
    in_sqlite = in_dialect(str(path), scripts, SqliteDatabase.dialect)
    return SqliteDatabase(database.open_database(path, database.SERVICE_ID, in_sqlite))
