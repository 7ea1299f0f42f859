"""The journal on a PostgreSQL server: commits of the store alone, and the shop's saga with its services in files.

Both are measured beside the same with SQLite, each in a schema of its own that is gone afterwards.
"""

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import psycopg
from psycopg import sql

from amends import System
from amends.actors.journal.postgres import PostgresStore
from amends.actors.journal.sqlite import SqliteStore
from amends.actors.journal.store import Batch, Store, Stored
from amends.demo.faults import Faults
from amends.demo.stocking import StockUp
from amends.demo.systems.coordinator import SERVICES, PlaceOrder
from bench import sagas
from bench.trips import measure as measure_trips
from bench.work import PLAN, Timing

URL = "AMENDS_BENCH_POSTGRES"
_LOCAL = "postgresql://postgres@localhost:5432/test"


class Batches(msgspec.Struct, frozen=True):
    """Batches of `rows` records each that a store commits in a second, and records."""

    what: str
    rows: int
    rate: float
    rows_rate: float
    load: float


def commits(_folder: Path, rows: int, count: int) -> Batches:
    """Commit `count` times to a journal on the server."""
    with _schema() as url, closing(PostgresStore(url)) as store:
        return _commit("PostgreSQL", store, rows, count)


def commits_to_file(folder: Path, rows: int, count: int) -> Batches:
    """The same to a file."""
    with closing(SqliteStore(folder / "journal.db")) as store:
        return _commit("SQLite", store, rows, count)


def _commit(what: str, store: Store, rows: int, count: int) -> Batches:
    body = '{"type":"step_done","step":"authorize","result":{"authorization":"%s"}}' % ("x" * 60)
    began_s = time.perf_counter()
    for number in range(count):
        store.write(Batch([], [Stored(f"{number}-{r}", 0, 1.5, 1, "step_done", body, 2**31) for r in range(rows)], []))
    rate = count / (time.perf_counter() - began_s)
    return Batches(what, rows, rate, rate * rows, os.getloadavg()[0])


def measure(folder: Path, in_flight: int, count: int) -> Timing:
    """The shop's saga with its journal on the server."""
    with _schema() as url:
        specs = [service.spec(Faults(PLAN)) for service in SERVICES]
        with System(folder, sagas=[PlaceOrder, StockUp], services=specs, journal=url) as system:
            return sagas.time_system(system, "journal in PostgreSQL", in_flight, count)


def trips(_folder: Path, in_flight: int, count: int) -> Timing:
    """Trips with everything on the server."""
    with _schema() as url:
        return measure_trips(url, "all in PostgreSQL", in_flight, count)


@contextmanager
def _schema() -> Iterator[str]:
    url, schema = os.environ.get(URL) or _LOCAL, f"bench_{uuid.uuid4().hex}"
    yield f"{url}{'&' if '?' in url else '?'}schema={schema}"
    with psycopg.connect(url, autocommit=True) as db:
        found = db.execute("select nspname from pg_namespace where starts_with(nspname, %s)", (schema,)).fetchall()
        for (name,) in found:
            db.execute(sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(name)))
