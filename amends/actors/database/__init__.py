"""A service's database: the port, its adapters, and how an SQLite file of ours is opened."""

from amends.actors.database.file import JOURNAL_ID, SERVICE_ID, create, has_log, open_database
from amends.actors.database.scripts import Migrations, Scripts, sql_files

__all__ = [
    "JOURNAL_ID",
    "SERVICE_ID",
    "Migrations",
    "Scripts",
    "create",
    "has_log",
    "open_database",
    "sql_files",
]
