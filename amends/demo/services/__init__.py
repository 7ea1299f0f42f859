"""The shop's five services: each owns a database that no other one reads or writes."""

from pathlib import Path

from amends import sql_files

_MIGRATIONS = Path(__file__).parent.parent / "migrations"


def migrations(service: str) -> dict[str, tuple[str, ...]]:
    """The scripts that make a service's tables, in order, by dialect."""
    folder = _MIGRATIONS / service
    return {"sqlite": sql_files(folder), "postgres": sql_files(folder / "postgres")}
