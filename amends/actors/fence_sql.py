"""The fence's table and statements, in each database's own words."""

from typing import Final, NamedTuple

from amends.actors.database.scripts import Dialect, Migrations

SCRIPTS: Final[Migrations] = {
    "sqlite": (
        """
        create table amends_fence (
            saga_id text not null,
            step    text not null,
            state   text not null check (state in ('begun', 'done', 'refused', 'undone')),
            token   integer not null,
            command text,
            payload text,
            answer  text,
            at      real not null,
            primary key (saga_id, step)
        ) without rowid;
        """,
        """
        create index amends_fence_undoing on amends_fence (saga_id, step)
            where state = 'begun' and answer is not null;
        """,
        "alter table amends_fence add column worker text;",
    ),
    "postgres": (
        """
        create table amends_fence (
            saga_id text collate "C" not null,
            step    text collate "C" not null,
            state   text not null check (state in ('begun', 'done', 'refused', 'undone')),
            token   bigint not null,
            command text,
            payload text,
            answer  text,
            at      double precision not null,
            worker  text,
            primary key (saga_id, step)
        );
        create index amends_fence_undoing on amends_fence (saga_id, step)
            where state = 'begun' and answer is not null;
        """,
    ),
}
"""Columns: `command` and `payload` are what was asked, null for a tombstone; `answer` is the result as JSON,
or the reason of a refusal, or what a step becomes that has begun and is being undone; `at` is unix seconds; `worker`
is the process that works on the step outside the database, where there may be several."""


class Statements(NamedTuple):
    """What the fence says to its database.

    Attributes:
        load_one, load_some: what is known of a saga, or of a JSON list of them: saga, step and token, and the rest of
            the row where a round trip costs more than that.
        row: the rest of a step's row, as far as it matters where there is one process only.
        write: rows, as a JSON list of lists; None where it is `write_each` for each.
        prune: of those born, and last written, before a time, some; but for steps that have begun with a command that
            is not in a JSON list.
        late: the steps, as bytes, that are to be undone though nobody asks.
    """

    load_one: str
    load_some: str
    row: str
    write: str | None
    write_each: str
    prune: str
    late: str


_REST: Final = "state, token, command, payload, answer, at, worker"
_LOAD: Final = "select saga_id, step, token from amends_fence where saga_id"
_LOAD_ALL: Final = f"select saga_id, step, token, {_REST} from amends_fence where saga_id"
_ROW: Final = "select state, token, command, payload, answer from amends_fence where saga_id = ? and step = ?"
_PRUNE: Final = (
    "delete from amends_fence where (saga_id, step) in (select saga_id, step from amends_fence"
    " where saga_id < ? and at < ? and (state <> 'begun' or command in ({}))"
    " order by saga_id limit ?)"
)

STATEMENTS: Final[dict[Dialect, Statements]] = {
    "sqlite": Statements(
        load_one=f"{_LOAD} = ?",
        load_some=f"{_LOAD} in (select value from json_each(?))",
        row=_ROW,
        write=None,
        write_each="insert or replace into amends_fence values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        prune=_PRUNE.format("select value from json_each(?)"),
        late=(
            "select cast(saga_id as blob), cast(step as blob) from amends_fence"
            " where state = 'begun' and answer is not null and answer glob 'late: *'"
        ),
    ),
    "postgres": Statements(
        load_one=f"{_LOAD_ALL} = ?",
        load_some=f"{_LOAD_ALL} = any(array(select json_array_elements_text(?)))",
        row=_ROW,
        write=(
            "insert into amends_fence select r ->> 0, r ->> 1, r ->> 2, (r ->> 3)::bigint, r ->> 4, r ->> 5, r ->> 6,"
            " (r ->> 7)::double precision, r ->> 8 from json_array_elements(?) as r"
            " on conflict (saga_id, step) do update set state = excluded.state, token = excluded.token,"
            " command = excluded.command, payload = excluded.payload, answer = excluded.answer, at = excluded.at,"
            " worker = excluded.worker"
        ),
        write_each="",
        prune=_PRUNE.format("select json_array_elements_text(?)"),
        late=(
            "select convert_to(saga_id, 'UTF8'), convert_to(step, 'UTF8') from amends_fence"
            " where state = 'begun' and answer is not null and answer like 'late: %'"
        ),
    ),
}
