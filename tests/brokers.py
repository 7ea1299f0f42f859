"""The brokers as tests see them: RabbitMQ and PostgreSQL, each with queues of a test's own."""

from collections.abc import Iterator
from typing import Any, Protocol

import psycopg
import pytest

from amends.actors import postgres
from amends.actors.transport.port import Broker
from amends.actors.transport.postgres import PostgresQueue
from amends.actors.transport.postgres.broker import SCHEMA
from tests.rabbitmq import Rabbit
from tests.servers import admin, need_postgres


class ABroker(Protocol):
    """A broker, and queues that only one test knows."""

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        ...

    @property
    def place(self) -> tuple[str, str]:
        """For a client of another kind: a URL, and what is this test's own there."""
        ...

    def settings(self, **rest: Any) -> Broker:
        """For a line or a system of this test."""
        ...

    def beyond(self, port: int) -> str:
        """Its URL, by another port of this machine."""
        ...

    def waiting_for(self, service: str) -> int:
        """Messages for a service that nobody was given."""
        ...


class Table:
    """The queue over PostgreSQL, in a schema of its own."""

    def __init__(self, url: str, db: "psycopg.Connection[Any]") -> None:
        self.url = url
        self.db = db

    @property
    def address(self) -> tuple[str, int]:
        settings = self._settings()
        return str(settings.get("host") or "localhost"), int(settings.get("port") or 5432)

    @property
    def place(self) -> tuple[str, str]:
        return need_postgres(), postgres.target(self.url, SCHEMA).schema

    def settings(self, **rest: Any) -> PostgresQueue:
        return PostgresQueue(**{"url": self.url} | rest)

    def beyond(self, port: int) -> str:
        settings = self._settings()
        user, password = settings.get("user", "postgres"), settings.get("password", "")
        place = f"postgresql://{user}:{password}@127.0.0.1:{port}/{settings.get('dbname', 'test')}"
        return f"{place}?schema={postgres.target(self.url, SCHEMA).schema}"

    def _settings(self) -> dict[str, Any]:
        return dict(postgres.target(self.url, SCHEMA).settings)

    def waiting_for(self, service: str) -> int:
        return int(
            self.one("select count(*) from messages where queue = %s and taken_by is null", f"service.{service}")
        )

    def one(self, query: str, *values: object) -> Any:
        """The first column of the first row; None if there is no row."""
        row = self.db.execute(query.encode(), values).fetchone()
        return None if row is None else row[0]


@pytest.fixture
def table(schema: str) -> Iterator[Table]:
    """The queue over PostgreSQL, or no test; its tables come with the first line."""
    with admin(postgres.target(schema, SCHEMA).schema) as db:
        yield Table(schema, db)


@pytest.fixture(params=["rabbitmq", "postgres"])
def broker(request: pytest.FixtureRequest) -> ABroker:
    """Each of them."""
    found: Rabbit | Table = request.getfixturevalue("rabbit" if request.param == "rabbitmq" else "table")
    return found
