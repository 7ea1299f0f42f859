"""Another writer, who comes between the read of a change and its write."""

import apsw


def someone_changes(db: apsw.Connection, table: str) -> list[str]:
    """Let somebody change all rows of a table before the next write to one; the writes that are tried from here on."""
    tried: list[str] = []

    def meddle(cursor: apsw.Cursor, statement: str, bindings: object) -> bool:
        if statement.startswith((f"update {table} ", f"delete from {table} ")) and "someone" not in statement:
            tried.append(statement)
            if len(tried) == 1:
                db.execute(f"update {table} set version = version + 1 /* someone */")
        return True

    db.exec_trace = meddle
    return tried
