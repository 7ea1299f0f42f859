"""A queue over PostgreSQL: commands and replies as rows of a table, for services and nodes that have no broker.

Needs the extra: `pip install amends[postgres]`.
"""

from amends.actors.transport.postgres.broker import PostgresQueue, PostgresQueueLine

__all__ = ["PostgresQueue", "PostgresQueueLine"]
