"""The shop on several machines, in small: nodes and services as programs, joined by RabbitMQ and PostgreSQL.

Start reading with `story`.
"""
