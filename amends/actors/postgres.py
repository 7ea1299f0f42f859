"""A schema of a PostgreSQL database: ours or nothing, and at the version this program knows.

What is put here is a system's own schema, so that it can share a database with anything else.
Scripts are numbered by their place and each runs once, in one transaction with the row that
says so, under a lock that lets one program at a time do it. No error, name or trace shows a
password.
"""

import os
import select
import socket
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.numeric import Int8BinaryDumper, Int8Dumper

from amends.protocol.errors import StorageError

Connection = psycopg.Connection[tuple[Any, ...]]

SCHEMA: Final = "amends"
MIGRATING: Final = 0x616D6D31
"""The first half of the advisory lock of whoever makes or changes a schema's tables."""

_WANTED = "wanted postgresql://user:password@host:port/database?schema=name, special characters as %XX"
_SECRETS = ("password", "sslpassword")
# The name of the session; PostgreSQL cuts it at 63 bytes.
_HOST_BYTES = 40

# A peer that has gone without a word is given up within 15 s, by either side.
_PATIENCE: Final[Mapping[str, Any]] = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
_SETTINGS = """
select set_config('search_path', %(schema)s, false),
    set_config('synchronous_commit', case when current_setting('synchronous_commit') in ('off', 'local', 'remote_write')
        then 'on' else current_setting('synchronous_commit') end, false),
    set_config('default_transaction_isolation', 'read committed', false),
    set_config('tcp_keepalives_idle', '5', false),
    set_config('tcp_keepalives_interval', '2', false),
    set_config('tcp_keepalives_count', '3', false),
    current_setting('server_encoding')"""

# By an administrator, by a crash of another session, or while the server starts.
_FAREWELLS = ("57P01", "57P02", "57P03")

# Of SQLSTATE: no connection, taken back to let another go on, out of something, ended or cancelled by somebody, a lock
# that took too long, a disk that could not, a server that may only be read now.
_PASSING = ("08", "40", "53", "57", "55P03", "58030", "25006")


class Target(NamedTuple):
    """Where a schema is.

    Attributes:
        name: what errors and logs call it; without any secret.
        settings: of libpq; secrets among them.
    """

    name: str
    schema: str
    settings: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"Target({self.name!r})"

    @property
    def lock(self) -> int:
        """The second half of the schema's advisory locks."""
        return zlib.crc32(self.schema.encode()) & 0x7FFFFFFF

    def lock_of(self, node: str) -> int:
        """The same of a node's name in it."""
        return zlib.crc32(f"{self.schema} {node}".encode()) & 0x7FFFFFFF


def target(url: str, schema: str = SCHEMA) -> Target:
    """The place a URL names, in that schema if it names none; StorageError, which quotes nothing, if it is no URL."""
    before, _, query = url.partition("?")
    options = [option for option in query.split("&") if option]
    schemas = [unquote(option.removeprefix("schema=")) for option in options if option.startswith("schema=")]
    rest = "&".join(option for option in options if not option.startswith("schema="))
    schema = _checked(schemas[-1] if schemas else schema)
    settings = _settings(f"{before}?{rest}" if rest else before)
    user, host, port, database = (str(settings.get(name) or "") for name in ("user", "host", "port", "dbname"))
    # Where a special character of a password stands as it is, these are parts of the password.
    if "@" in host + database or not port.replace(",", "0").isdigit():
        raise StorageError(f"what was given is no PostgreSQL URL; {_WANTED}")
    name = f"postgresql://{user}{user and '@'}{host}:{port}/{database}?schema={schema}"
    ours = {"client_encoding": "utf8", "application_name": session_name()}
    return Target(name, schema, {**_PATIENCE, **settings, **ours})


def in_schema(place: Target, schema: str) -> Target:
    """Another schema of the same database."""
    return Target(f"{place.name.rpartition('=')[0]}={_checked(schema)}", schema, place.settings)


def service_schema(place: Target, service: str) -> str:
    """The schema of a service whose system has its journal in a place."""
    return f"{place.schema}_{service.replace('-', '_')}"


def _checked(schema: str) -> str:
    if not schema.isidentifier() or not schema.isascii() or len(schema) > 63 or schema.startswith("pg_"):
        raise StorageError(f"schema {schema!r}: wanted a name of letters, digits and _, up to 63 of them")
    return schema


def _settings(url: str) -> dict[str, Any]:
    try:
        return {"port": "5432", **(conninfo_to_dict(url) if is_url(url) else {"port": ""})}
    except psycopg.Error:
        return {"port": ""}


def is_url(text: str) -> bool:
    """Whether it names a place on a PostgreSQL server, and not a folder."""
    return text.startswith(("postgresql://", "postgres://"))


def session_name() -> str:
    """What the server calls this process's sessions."""
    return f"amends {socket.gethostname()[:_HOST_BYTES]} {os.getpid()}"


def connect(place: Target) -> Connection:
    """A connection that commits every statement by itself, durably; psycopg.Error or StorageError if there is none."""
    db: Connection = psycopg.connect(**place.settings, autocommit=True)
    try:
        # The same type for small and large numbers: statements are prepared for each combination of types.
        db.adapters.register_dumper(int, Int8Dumper)
        db.adapters.register_dumper(int, Int8BinaryDumper)
        ((*_, encoding),) = db.execute(_SETTINGS, {"schema": _quoted(place.schema)}).fetchall()
        if encoding != "UTF8":
            raise StorageError(f"{place.name}: the database's encoding is {encoding}, wanted UTF8")
    except BaseException:
        db.close()
        raise
    return db


def migrate(db: Connection, place: Target, scripts: Mapping[str, Sequence[str]]) -> None:
    """Make or change the tables of each owner as its scripts say; psycopg.Error or StorageError if that can't be."""
    with db.transaction():
        db.execute("select pg_advisory_xact_lock(%s::int, %s::int)", (MIGRATING, place.lock))
        versions = _versions(db, place, scripts)
        for owner, todo in scripts.items():
            for script in todo[versions[owner] :]:
                db.execute(script.encode())
            if versions[owner] < len(todo):
                db.execute(
                    "insert into amends_versions values (%s, %s)"
                    " on conflict (owner) do update set version = excluded.version",
                    (owner, len(todo)),
                )


def _versions(db: Connection, place: Target, scripts: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """How far each owner's tables have come; makes the schema if there is none."""
    ((there, ours, tables),) = db.execute(
        "select to_regnamespace(%(s)s) is not null, to_regclass(%(s)s || '.amends_versions') is not null,"
        " (select count(*) from pg_class where relnamespace = to_regnamespace(%(s)s))",
        {"s": _quoted(place.schema)},
    ).fetchall()
    if not there:
        db.execute(sql.SQL("create schema {}").format(sql.Identifier(place.schema)))
    if not ours:
        if tables:
            raise StorageError(f"{place.name}: the schema belongs to another program; it has tables, and none of ours")
        db.execute("create table amends_versions (owner text primary key, version bigint not null)")
    versions = dict.fromkeys(scripts, 0)
    versions.update(db.execute("select owner, version from amends_versions").fetchall())
    for owner, version in versions.items():
        known = len(scripts.get(owner, ()))
        if version > known:
            raise StorageError(
                f"{place.name}: is of a newer version; {owner} stands at {version}, this program knows up to {known}"
            )
    return versions


def _quoted(name: str) -> str:
    return f'"{name}"'  # it is an identifier, and has no quotes of its own


def may_pass(error: psycopg.Error) -> bool:
    """Whether the same may work later: the server is away, full, read only, or somebody else was in the way."""
    if error.sqlstate is None:
        return isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
    return error.sqlstate.startswith(_PASSING)


def has_ended(db: Connection, error: psycopg.Error) -> bool:
    """Whether the connection ended with an error; it is closed then.

    The server's farewell may be read before the end of what it sends.
    """
    if error.sqlstate in _FAREWELLS:
        db.close()
    return db.closed


def said(error: psycopg.Error, place: Target) -> str:
    """What the server or the driver says of an error, in a line; without the rows it is about, and without secrets."""
    text = error.diag.message_primary
    text = f"{text} ({error.sqlstate})" if text else " ".join(str(error).split())
    for secret in (place.settings.get(name) for name in _SECRETS):
        text = text.replace(str(secret), "***") if secret else text
    return text


def has_word(db: Connection) -> bool:
    """Whether something came that nobody asked for: mostly the connection's end."""
    poll = select.poll()
    poll.register(db.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def cut(db: Connection) -> None:
    """End a connection while another thread waits on it; that one finds it lost."""
    with socket.socket(fileno=os.dup(db.fileno())) as twin:
        twin.shutdown(socket.SHUT_RDWR)


def leave_to_parent(db: Connection) -> None:
    """In a child made by fork: let go of the parent's connection without a word to the server."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, db.fileno())
    os.close(nowhere)
