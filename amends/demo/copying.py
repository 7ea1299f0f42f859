"""The shop's databases on a PostgreSQL server, copied into a folder of SQLite files as the audit reads them.

Rows only, of all tables of the journal and of each service that is there, as they stand at one
moment; nothing is changed on the server, and the copy is of no use for anything but reading.
"""

from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import psycopg
from psycopg import sql
from psycopg.types.string import TextLoader

from amends import AmendsError
from amends.actors import postgres

_TABLES = """
select relname, array_agg(attname order by attnum) from pg_class join pg_attribute on attrelid = pg_class.oid
where relnamespace = to_regnamespace(quote_ident(%s)) and relkind = 'r' and attnum > 0 and not attisdropped
group by relname
"""


class NotCopied(AmendsError):  # noqa: N818 - reads as the fact it reports
    """What is to be audited is not there, or can't be read."""


def copy(url: str, services: Iterable[str], folder: Path) -> None:
    """Make a `journal.db`, and a `<service>.db` of each service that has been used."""
    place = postgres.target(url)
    try:
        with postgres.connect(place) as db:
            for kind in ("timestamp", "timestamptz"):  # which SQLite knows as text
                db.adapters.register_loader(kind, TextLoader)
            db.execute("begin isolation level repeatable read read only")
            if not _copy_schema(db, place.schema, folder / "journal.db"):
                raise NotCopied(f"{place.name}: no journal is there")
            for service in services:
                _copy_schema(db, postgres.service_schema(place, service), folder / f"{service}.db")
    except psycopg.Error as error:
        raise NotCopied(f"{place.name}: can't be read: {postgres.said(error, place)}") from None


def _copy_schema(db: postgres.Connection, schema: str, file: Path) -> bool:
    tables: list[tuple[str, list[str]]] = db.execute(_TABLES, (schema,)).fetchall()
    if not tables:
        return False
    with closing(apsw.Connection(str(file))) as copied, copied:
        for table, columns in tables:
            names = ", ".join(f'"{column}"' for column in columns)
            copied.execute(f'create table "{table}" ({names})')
            places = ", ".join("?" for _ in columns)
            copied.executemany(f'insert into "{table}" values ({places})', _rows(db, schema, table))
    return True


def _rows(db: postgres.Connection, schema: str, table: str) -> Iterator[tuple[Any, ...]]:
    with db.cursor("copying") as cursor:  # on the server: a journal may be larger than memory
        cursor.execute(sql.SQL("select * from {}.{}").format(sql.Identifier(schema), sql.Identifier(table)))
        yield from cursor
