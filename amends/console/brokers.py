"""The broker that an address names: RabbitMQ, or a queue over PostgreSQL; either is loaded only where it is wanted."""

from amends.actors.transport.port import Broker
from amends.protocol.errors import AmendsError, InputError

_WANTED = "wanted an address as in amqp://user:password@host:5672, or postgresql://user:password@host:5432/database"


def broker_at(url: str, prefix: str | None, **limits: int) -> Broker:
    """A broker to connect to; InputError, which quotes nothing of the address, if it names none.

    Args:
        prefix: what the names of RabbitMQ's queues begin with.
        limits: as both brokers have them.
    """
    try:
        if url.startswith(("amqp://", "amqps://")):
            from amends.actors.transport.rabbitmq import RabbitMq  # noqa: PLC0415 - an extra

            return RabbitMq(url, **({} if prefix is None else {"prefix": prefix}), **limits)  # type: ignore[arg-type]
        if url.startswith(("postgresql://", "postgres://")):
            from amends.actors.transport.postgres import PostgresQueue  # noqa: PLC0415 - an extra

            if prefix is not None:
                wanted = "wanted none; a queue over PostgreSQL has its schema instead, as in ?schema=shop_queue"
                raise InputError("broker", "prefix", f"found {prefix!r}, {wanted}")
            return PostgresQueue(url, **limits)
    except ImportError as error:
        extra = "rabbitmq" if url.startswith("amqp") else "postgres"
        raise AmendsError(f"broker: {error}; this one needs `pip install 'amends[{extra}]'`") from None
    raise InputError("broker", "url", _WANTED)
