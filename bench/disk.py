"""The disk's own limit: commits per second of one connection, with one row and with a hundred."""

import time
from pathlib import Path

import apsw
import msgspec


class Commits(msgspec.Struct, frozen=True):
    """Commits per second of `rows` rows each, synchronous=FULL."""

    rows: int
    rate: float


def measure(folder: Path, rows: int, count: int) -> Commits:
    """Commit `count` times."""
    db = apsw.Connection(str(folder / "disk.db"))
    db.pragma("journal_mode", "wal")
    db.pragma("synchronous", "full")
    db.execute("create table rows (id integer primary key, body text)")
    body = "x" * 100
    began_s = time.perf_counter()
    for _ in range(count):
        with db:
            db.executemany("insert into rows (body) values (?)", [(body,)] * rows)
    elapsed_s = time.perf_counter() - began_s
    db.close()
    return Commits(rows, count / elapsed_s)
