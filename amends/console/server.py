"""What `reading` does, for a journal on a PostgreSQL server; loaded only where it is wanted, since psycopg is an extra.

Rows come some at a time, in a transaction that may only read and sees one moment. Nodes are not kept waiting by it; the
server keeps what they overwrite for as long as it takes.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Final

import psycopg

from amends.actors import postgres
from amends.actors.journal.postgres import SCRIPTS, escaped, unescaped
from amends.actors.journal.store import Instance
from amends.console.reading import Reading, Rows, Value
from amends.protocol.errors import StorageError

_VERSION: Final = "select version from amends_versions where owner = 'amends'"


class ServerReading(Reading):
    """Of a schema on a server."""

    body: ClassVar[str] = "convert_to(body, 'UTF8')"

    def instances(self, condition: str, values: Sequence[Value]) -> list[Instance]:
        return [found._replace(key=unescaped(found.key)) for found in super().instances(condition, values)]

    def of_key(self, key: str, saga: str | None) -> list[Instance]:
        # Keys are only indexed together with their sagas; all instances are looked at once.
        return self.instances("key = ? and (saga = ? or ?::text is null)", [escaped(key), saga, saga])


@contextmanager
def schema(url: str) -> Iterator[Rows]:
    """The schema that a URL names."""
    place = postgres.target(url)
    try:
        with postgres.connect(place) as db:
            db.execute("begin isolation level repeatable read read only")
            _check(place, db)

            def rows(query: str, values: Sequence[Value] = (), /) -> Iterator[tuple[Any, ...]]:
                with db.cursor(name="amends_reading") as cursor:
                    yield from cursor.execute(query.replace("?", "%s").encode(), values)

            yield rows
    except psycopg.Error as error:
        raise StorageError(f"{place.name}: can't be read: {postgres.said(error, place)}") from error


def _check(place: postgres.Target, db: postgres.Connection) -> None:
    ((there,),) = db.execute("select to_regclass('amends_versions') is not null").fetchall()
    versions = db.execute(_VERSION).fetchall() if there else []
    if not versions:
        raise StorageError(f"{place.name}: is not there; wanted a journal")
    ((version,),) = versions
    if version > len(SCRIPTS):
        raise StorageError(f"{place.name}: is of version {version}; this program reads up to {len(SCRIPTS)}")
