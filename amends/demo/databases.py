"""The shop's databases in a folder or on a server, on one connection that can change none of them.

A service without a file is one that nobody used; its tables are there all the same, and empty.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from amends import AmendsError
from amends.actors.fence_sql import SCRIPTS
from amends.demo.services import migrations

DATABASES = ("journal", "orders", "inventory", "payment", "shipping", "notification")
SERVICES = DATABASES[1:]


class NotAuditable(AmendsError):  # noqa: N818 - reads as the fact it reports
    """A database is missing or can't be read; the message names the file."""


def attach_unused(db: apsw.Connection, service: str) -> None:
    """Attach the tables of a service that nobody used, with nothing in them."""
    unused = apsw.Connection(":memory:")
    for script in (*SCRIPTS["sqlite"], *migrations(service)["sqlite"]):
        unused.execute(script)
    db.execute("attach ':memory:' as " + service)
    db.deserialize(service, unused.serialize("main"))
    unused.close()


@contextmanager
def opened(place: Path | str) -> Iterator[apsw.Connection]:
    """One connection that sees all databases of a folder, or copies of those a URL names, and can change none."""
    if isinstance(place, Path):
        with _opened(place) as db:
            yield db
        return
    from amends.demo.copying import NotCopied, copy  # noqa: PLC0415 - an extra

    with tempfile.TemporaryDirectory(prefix="amends-audit-") as folder:
        try:
            copy(place, SERVICES, Path(folder))
        except NotCopied as error:
            raise NotAuditable(str(error)) from None
        with _opened(Path(folder)) as db:
            yield db


@contextmanager
def _opened(folder: Path) -> Iterator[apsw.Connection]:
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI
    db = apsw.Connection(":memory:", flags=flags)
    try:
        for name in DATABASES:
            file = folder / f"{name}.db"
            if name in SERVICES and not file.exists():
                attach_unused(db, name)
                continue
            try:
                db.execute("attach ? as " + name, (f"{file.resolve().as_uri()}?mode=ro",))
                db.execute(f"select count(*) from {name}.sqlite_master").fetchall()
            except apsw.Error as error:
                raise NotAuditable(f"{file}: can't be read: {error}") from None
        try:
            yield db
        except apsw.SQLError as error:
            raise NotAuditable(f"{folder}: not the databases of the shop: {error}") from None
    finally:
        db.close()
