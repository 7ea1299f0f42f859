"""Damage to a journal's file, and how it is found when the file is opened.

SQLite's own check sees pages, keys and indexes that are out of order. Beside that, what a journal
says twice must agree: the list of instances with the histories, the schema with the scripts, the
token with its copy. All of it is read once at every opening, and nothing of it while the file is
open. That a record's content was changed is found where it is read, by `store.verify`.
"""

from collections.abc import Sequence
from contextlib import closing
from typing import Any, Final

import apsw

from amends.actors import database

DAMAGE: Final = (apsw.CorruptError, apsw.NotADBError, apsw.SQLError, apsw.MismatchError, UnicodeDecodeError)
"""What is raised by a file that does not say what was written; all else is about the disk or its other users."""

_TOKEN_MAX: Final = 2**31 - 1
_EVERY: Final = 1_000_000

# Each counts what can't be in a sound file: what the tables say twice, and differently. What is quarantined may.
_RULES: Final = {
    "histories with a gap, or that the list of instances does not tell of": """
        select count(*)
        from (select saga_id, count(*) as length, max(seq) as last, type from records group by saga_id) h
        left join instances i on i.saga_id = h.saga_id
        where i.saga_id is null or i.state <> 'quarantined'
            and (h.last <> h.length - 1 or (h.type = 'ended') <> (i.state <> 'open'))""",
    "instances that do not follow from a history": """
        select count(*)
        from instances i left join records r on r.saga_id = i.saga_id and r.seq = 0
        where i.state <> 'quarantined' and (r.saga_id is null or r.at <> i.started_at
            or json_valid(r.body) and r.body ->> 'version' <> i.version)""",
}


def find_damage(db: apsw.Connection, scripts: Sequence[str]) -> list[str]:
    """What is wrong with a journal's file that was made by these scripts; nothing if it is sound."""
    found: list[str] = []
    try:
        for (problem,) in db.execute(f"pragma integrity_check({_EVERY})"):
            found += [line for line in str(problem).splitlines() if line != "ok" and not line.startswith("***")]
        for problem, query in _RULES.items():
            if count := db.execute(query).get:
                found.append(f"{count} {problem}")
        # A word of it that has flipped may still be one that SQLite understands, in another way.
        with closing(apsw.Connection(":memory:")) as made:
            database.create(made, database.JOURNAL_ID, {"amends": scripts})
            if missing := _schema(made) - _schema(db):
                found.append(f"the schema is not the one that was written: {sorted(name for name, _ in missing)}")
        tokens = _tokens(db)
        if len(tokens) != 2 or tokens[0] != tokens[1]:
            found.append(f"the last token is kept twice, as {tokens}")
    except DAMAGE as error:
        found.append(str(error))
    return found


def _schema(db: apsw.Connection) -> set[tuple[Any, ...]]:
    return set(db.execute("select name, sql from sqlite_schema"))


def last_token(db: apsw.Connection) -> int:
    """The last token that was granted.

    It stands in two places. A flip may make one of them larger, which does no harm, but can't take it back.
    """
    return max((token for token in _tokens(db) if type(token) is int and 0 <= token < _TOKEN_MAX), default=0)


def _tokens(db: apsw.Connection) -> list[Any]:
    return [*(token for (token,) in db.execute("select token from grants where id = 1")), db.pragma("user_version")]


def keep_token(db: apsw.Connection, token: int) -> None:
    """Keep it in both places; part of the caller's transaction."""
    db.execute("insert or replace into grants values (1, ?)", (token,))
    db.pragma("user_version", token)
