"""Where the databases' dialects differ in a statement, and not only in the tables: lists as values."""

from amends import Database


def listed(db: Database) -> str:
    """A query of what a JSON list of texts, the first value, has in it."""
    return "select value from json_each(?1)" if db.dialect == "sqlite" else "select json_array_elements_text(?1)"


def paired(db: Database) -> str:
    """A table of what a JSON object of integers, the first value, has in it: key and value."""
    if db.dialect == "sqlite":
        return "json_each(?1)"
    return "(select key, value::bigint as value from json_each_text(?1))"
