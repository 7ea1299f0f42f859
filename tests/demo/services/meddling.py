"""Another writer, who comes between the read of a change and its write."""

import apsw

from amends import Database
from tests.actors.world import sqlite


def someone_changes(db: Database, table: str) -> list[str]:
    """Let somebody change all rows of a table before the next write to one; that write, and the one after it."""
    tried: list[str] = []

    def meddle(cursor: apsw.Cursor, statement: str, bindings: object) -> bool:
        if statement.startswith((f"update {table} ", f"delete from {table} ")) and "someone" not in statement:
            tried.append(statement)
            if len(tried) == 1:
                db.execute(f"update {table} set version = version + 1 /* someone */")
            else:
                sqlite(db).exec_trace = None
        return True

    sqlite(db).exec_trace = meddle
    return tried
