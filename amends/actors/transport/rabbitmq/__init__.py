"""RabbitMQ: commands and replies in durable queues, for services and nodes in processes of their own.

Needs the extra: `pip install amends[rabbitmq]`.
"""

from amends.actors.transport.rabbitmq.broker import RabbitMq, RabbitMqLine, RabbitMqStatus

__all__ = ["RabbitMq", "RabbitMqLine", "RabbitMqStatus"]
