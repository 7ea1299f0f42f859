"""Another writer, who comes between the read of a change and its write."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from amends import Database


def before_each(db: Database, look: Callable[[str, Sequence[Any]], None]) -> Callable[[], None]:
    """Look at each statement, or at one of each row, before it is run; until what comes back is called."""
    given: Any = db
    run, run_many = db.execute, db.executemany

    def execute(sql: str, values: Sequence[Any] = ()) -> Any:
        look(sql, values)
        return run(sql, values)

    def executemany(sql: str, rows: Iterable[Sequence[Any]]) -> None:
        look(sql, ())
        run_many(sql, rows)

    def stop() -> None:
        given.execute, given.executemany = run, run_many

    given.execute, given.executemany = execute, executemany
    return stop


def someone_changes(db: Database, table: str) -> list[str]:
    """Let somebody change all rows of a table before the next write to one; that write, and the one after it."""
    tried: list[str] = []
    change = f"update {table} set version = version + 1 /* someone */"

    def meddle(sql: str, _: Sequence[Any]) -> None:
        if sql.startswith((f"update {table} ", f"delete from {table} ")) and sql != change:
            tried.append(sql)
            if len(tried) == 1:
                db.execute(change)
            else:
                stop()

    stop = before_each(db, meddle)
    return tried
