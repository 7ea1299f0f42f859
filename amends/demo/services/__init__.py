"""The shop's five services: each owns a database that no other one reads or writes."""

from pathlib import Path

from amends import sql_files

_MIGRATIONS = Path(__file__).parent.parent / "migrations"


def migrations(service: str) -> tuple[str, ...]:
    """The scripts that make a service's tables, in order."""
    return sql_files(_MIGRATIONS / service)
