"""The broker and the database server of a run: found or started, with a prefix and a schema of the run's own.

What the run left there is taken away at its end, however it ends. Of the shared servers nothing
else is touched; servers of one's own go as a whole.
"""

import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import pika
import psycopg
from psycopg import sql

from amends import AmendsError
from amends.actors import postgres
from amends.actors.transport.rabbitmq.queues import Queues
from amends.demo.cluster.own_postgres import OwnPostgres, programs
from amends.demo.cluster.own_rabbitmq import OwnBroker, binary
from amends.demo.systems.coordinator import SERVICES, PlaceOrder

BROKER_VARIABLE: Final = "AMENDS_TEST_RABBITMQ"
DATABASE_VARIABLE: Final = "AMENDS_TEST_POSTGRES"
_BROKER: Final = "amqp://guest:guest@localhost:5672"
_DATABASE: Final = "postgresql://postgres@localhost:5432/test?connect_timeout=3"

# The server finishes what it was doing for those that were killed before the run's schemas can go.
_CLEAN_UP_S: Final = 10.0
_OPEN_OF: Final = "select saga_id from {0}.instances join {0}.nodes using (node) where name = %s and state = 'open'"
_ENDS: Final = "select max(ended_at) from {0}.instances where saga_id = any(%s)"
_STATES: Final = "select key, state from {0}.instances where saga = %s"


class ServerMissing(AmendsError):  # noqa: N818 - reads as the fact it reports
    """A server is not there; the message says which, and how to have one."""


class Address(NamedTuple):
    """A URL whose host and port may be replaced by those of a wire in front of it."""

    url: str
    host: str
    port: int

    def by(self, port: int) -> str:
        """The same by a port of this machine."""
        parts = urlsplit(self.url)
        login, at, _ = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{login}{at}127.0.0.1:{port}").geturl()


def address(url: str, scheme: str, port: int) -> Address:
    """A URL that a wire can stand in front of, or ServerMissing."""
    parts = urlsplit(url)
    if parts.scheme != scheme or not parts.hostname:
        # Without what was given: it may have a password in it.
        raise ServerMissing(f"what was given is no URL for a wire to stand in front of; wanted {scheme}://user@host...")
    return Address(url, parts.hostname, parts.port or port)


class Servers:
    """Both servers, and what is this run's there.

    Attributes:
        run: what its schemas and queues begin with.
        owned: they are the run's own, so they may be killed and started again.
    """

    def __init__(
        self, broker: str, database: str, own: tuple[OwnBroker, OwnPostgres] | None = None, nodes: tuple[str, ...] = ()
    ) -> None:
        self.run = f"shop_{uuid.uuid4().hex[:8]}"
        self.broker = address(broker, "amqp", 5672)
        self.database = address(database, "postgresql", 5432)
        self.owned = own is not None
        self._own = own
        self._nodes = nodes

    @property
    def url(self) -> str:
        """The database with the run's schema."""
        return self.in_schema(self.database.url)

    def in_schema(self, url: str) -> str:
        """The run's schema in a database."""
        return f"{url}{'&' if '?' in url else '?'}schema={self.run}"

    # What a run does to servers of its own.

    def restart_broker(self) -> None:
        """Kill the broker and start it again."""
        assert self._own is not None
        self._own[0].kill()
        self._own[0].start()

    def restart_database(self) -> None:
        """End the database server as a crash would, and start it again."""
        assert self._own is not None
        self._own[1].kill()
        self._own[1].start()

    # What it reads.

    def open_of(self, node: str) -> list[str]:
        """The instances that a node has open."""
        return [saga_id for (saga_id,) in self._read(_OPEN_OF, node)]

    def last_end(self, saga_ids: list[str]) -> float | None:
        """When the last of them ended, in unix seconds."""
        ((ended_at,),) = self._read(_ENDS, saga_ids)
        return None if ended_at is None else float(ended_at)

    def states(self) -> dict[str, str]:
        """What became of each order, as it is written down."""
        return dict(self._read(_STATES, PlaceOrder.plan.name))

    def _read(self, query: str, *values: object) -> list[Any]:
        with self._connected() as db:
            return db.execute(sql.SQL(query).format(sql.Identifier(self.run)), values).fetchall()

    @contextmanager
    def _connected(self) -> Iterator["psycopg.Connection[Any]"]:
        with psycopg.connect(self.database.url, autocommit=True) as db:
            yield db

    # The end.

    def clean_up(self) -> None:
        """Take away what the run left on servers that others use."""
        if self._own is not None:
            return
        with self._connected() as db:
            db.execute(f"set lock_timeout = '{_CLEAN_UP_S}s'".encode())
            for schema in (self.run, *(_schema_of(self.run, service.name) for service in SERVICES)):
                db.execute(sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(schema)))
        client = pika.BlockingConnection(pika.URLParameters(self.broker.url))
        channel, queues = client.channel(), Queues(self.run)
        for queue in (*map(queues.node, self._nodes), *(queues.service(service.name) for service in SERVICES)):
            channel.queue_delete(queue)
        channel.queue_delete(queues.dead_letters)
        client.close()


def _schema_of(run: str, service: str) -> str:
    return postgres.service_schema(postgres.Target("", run, {}), service)


@contextmanager
def servers(broker: str | None, database: str | None, *, own: bool, nodes: tuple[str, ...]) -> Iterator[Servers]:
    """The servers of one run, or ServerMissing; what is left of it there is gone afterwards.

    Args:
        broker, database: URLs; what the environment names or answers on the local ports if not given.
        own: start both, for this run alone.
        nodes: the names that nodes will have.
    """
    with ExitStack() as stack:
        if own:
            pair = _own(stack)
            made = Servers(pair[0].url, pair[1].url, pair)
        else:
            made = _found(broker, database, nodes)
        stack.callback(made.clean_up)
        yield made


def _found(broker: str | None, database: str | None, nodes: tuple[str, ...]) -> Servers:
    broker = broker or os.environ.get(BROKER_VARIABLE) or _BROKER
    database = database or os.environ.get(DATABASE_VARIABLE) or _DATABASE
    made = Servers(broker, database, nodes=nodes)
    problems = []
    trouble = _broker_trouble(broker)
    if trouble:
        problems.append(
            f"no RabbitMQ answers at {made.broker.host}:{made.broker.port} ({trouble}): start one "
            f"(apt-get install rabbitmq-server), or name another with --broker or {BROKER_VARIABLE}"
        )
    trouble = _database_trouble(database)
    if trouble:
        problems.append(
            f"no PostgreSQL answers at {made.database.host}:{made.database.port} ({trouble}): start one "
            f"(apt-get install postgresql), or name another with --database or {DATABASE_VARIABLE}"
        )
    if problems:
        raise ServerMissing(
            "\n".join([*problems, "--own-servers starts both for this run alone, if they are installed"])
        )
    return made


def _broker_trouble(url: str) -> str:
    try:
        pika.BlockingConnection(pika.URLParameters(url)).close()
    except (pika.exceptions.AMQPError, OSError) as error:
        return type(error).__name__
    return ""


def _database_trouble(url: str) -> str:
    try:
        psycopg.connect(url).close()
    except psycopg.Error as error:
        return postgres.said(error, postgres.target(url))
    return ""


def _own(stack: ExitStack) -> tuple[OwnBroker, OwnPostgres]:
    missing = [
        f"{program}: not found; apt-get install {package}"
        for program, package, found in (
            ("rabbitmq-server", "rabbitmq-server", binary("rabbitmq-server")),
            ("initdb and pg_ctl", "postgresql", programs()),
        )
        if not found
    ]
    if missing:
        raise ServerMissing("\n".join(missing))
    folder = Path(
        stack.enter_context(tempfile.TemporaryDirectory(prefix="amends-rabbitmq-", ignore_cleanup_errors=True))
    )
    broker = OwnBroker(folder)
    stack.callback(broker.kill)
    database = OwnPostgres()
    stack.callback(database.remove)
    broker.start()
    database.start()
    return broker, database
