"""Databases of services for tests, of either kind."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

from amends import Database
from amends.actors import postgres
from amends.actors.database.postgres import PostgresDatabase
from amends.actors.database.scripts import Scripts, by_dialect
from amends.actors.storage.folder import open_file
from tests.servers import postgres_schema

KINDS = ("sqlite", "postgres")

_numbers = count(1)


class Place:
    """Where one database is; it can be opened several times, each time as by another process."""

    def __init__(self, kind: str, where: Path | str) -> None:
        self.kind = kind
        self.where = where
        self._opened: list[Database] = []

    def open(self, scripts: Scripts, worker: str = "") -> Database:
        made: Database
        if isinstance(self.where, Path):
            made = open_file(self.where, scripts)
        else:
            made = on_server(self.where, scripts, worker)
        self._opened.append(made)
        return made

    def open_with(self, *scripts: str) -> Database:
        """With tables of these scripts, the same for both kinds."""
        return self.open(owned(scripts))

    def close(self) -> None:
        for database in self._opened:
            database.close()


def owned(scripts: Sequence[str]) -> Scripts:
    """The scripts of a service."""
    return {"service": by_dialect("s", scripts)}


def on_server(url: str, scripts: Scripts, worker: str = "") -> PostgresDatabase:
    """As by a process of its own."""
    made = PostgresDatabase(postgres.target(url), scripts, worker or f"worker {next(_numbers)}")
    made.connect()
    return made


@contextmanager
def a_place(kind: str, folder: Path) -> Iterator[Place]:
    """One that is gone afterwards."""
    with ExitStack() as stack:
        where: Path | str = folder / "service.db" if kind == "sqlite" else stack.enter_context(postgres_schema())
        place = Place(kind, where)
        try:
            yield place
        finally:
            place.close()


OpenDatabase = Callable[..., Database]
