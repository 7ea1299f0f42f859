"""The servers that tests use: one the environment names, else one on its default port, else a throw-away one.

Where none can be had, their tests are skipped, and the last lines of the run say so; or they fail,
where AMENDS_REQUIRE_SERVERS=1 asks for that.
"""

import atexit
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import psycopg
import pytest
from psycopg import sql

from amends.demo.cluster.own_postgres import OwnPostgres, programs

NO_POSTGRES = (
    "no PostgreSQL: install your system's package `postgresql`, or name a server in AMENDS_TEST_POSTGRES,"
    " or start one on port 5432 with a database `test`"
)

_LOCAL = "postgresql://postgres@localhost:5432/test?connect_timeout=3"


@lru_cache
def _postgres() -> tuple[str, str]:
    """A database's URL, or why there is none."""
    named = os.environ.get("AMENDS_TEST_POSTGRES")
    try:
        psycopg.connect(named or _LOCAL).close()
        return named or _LOCAL, ""
    except psycopg.Error as error:
        if named or programs() is None:
            return "", str(error)
    server = OwnPostgres()
    atexit.register(server.remove)
    server.start()
    return server.url, ""


def need_postgres() -> str:
    """The URL of a database for tests, or the end of this test."""
    url, problem = _postgres()
    if not url:
        _miss(problem)
    return url


@pytest.fixture(scope="session")
def own_postgres() -> Iterator[OwnPostgres]:
    """A server that tests may kill; each leaves it running, and has a schema of its own in it."""
    if programs() is None:
        _miss("initdb and pg_ctl are not found")
    with OwnPostgres() as server:
        yield server


def _miss(problem: str) -> None:
    if os.environ.get("AMENDS_REQUIRE_SERVERS") == "1":
        pytest.fail(f"{NO_POSTGRES}; {problem}")
    pytest.skip(NO_POSTGRES)


@contextmanager
def postgres_schema() -> Iterator[str]:
    """A URL with a schema of the test's own, which is gone afterwards."""
    url, schema = need_postgres(), f"test_{uuid.uuid4().hex}"
    yield f"{url}{'&' if '?' in url else '?'}schema={schema}"
    with admin() as db:
        # Whoever still works there is a failing test's leftover.
        db.execute("set lock_timeout = '5s'")
        # Those of the services of a system, too.
        found = db.execute("select nspname from pg_namespace where starts_with(nspname, %s)", (schema,)).fetchall()
        for (name,) in found:
            db.execute(sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(name)))


@pytest.fixture
def schema() -> Iterator[str]:
    """The same for a whole test."""
    with postgres_schema() as url:
        yield url


@contextmanager
def admin(schema: str = "public") -> Iterator["psycopg.Connection[Any]"]:
    """A session beside the store's, which sees its tables."""
    with psycopg.connect(need_postgres(), autocommit=True) as db:
        db.execute("select set_config('search_path', %s, false)", (schema,))
        yield db
