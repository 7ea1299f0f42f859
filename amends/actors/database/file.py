"""Opening an SQLite file: ours or nothing, sound or nothing, and at the version this program knows.

Every check comes before the first write, so a file that is refused is left as it was found; but for what
SQLite itself plays back from a rollback journal, which takes back what was never committed.
Scripts are numbered by their place and each runs once, in one transaction with the row that
says so.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import apsw

from amends.protocol.errors import StorageError

JOURNAL_ID = 0x616D6A31
SERVICE_ID = 0x616D7331
_HEADER = b"SQLite format 3\x00"
_VERSIONS = "create table amends_versions (owner text primary key, version integer not null) without rowid"

_BUSY_MS = 2000


def open_database(path: Path, application_id: int, scripts: Mapping[str, Sequence[str]]) -> apsw.Connection:
    """A connection to `path`, made or migrated as needed.

    Args:
        application_id: the file's stamp; one with another stamp, or none, is not ours.
        scripts: the migrations of each owner of tables in it.
    """
    _check_file(path)
    has_wal = has_log(path)
    connection = None
    try:
        connection = apsw.Connection(str(path))
        connection.set_busy_timeout(_BUSY_MS)
        versions = _versions(path, connection, application_id, scripts)
        connection.pragma("journal_mode", "wal")
        connection.pragma("synchronous", "full")
        connection.pragma("foreign_keys", True)
        _migrate(connection, application_id, scripts, versions)
    except (apsw.Error, UnicodeDecodeError, TypeError) as error:  # a damaged row may give values of other types
        _close_refused(connection, has_log=has_wal)
        raise StorageError(f"{path}: can't be opened: {error}") from error
    except StorageError:
        _close_refused(connection, has_log=has_wal)
        raise
    return connection


def create(connection: apsw.Connection, application_id: int, scripts: Mapping[str, Sequence[str]]) -> None:
    """Make of an empty database what `open_database` makes of a file that is not there."""
    _migrate(connection, application_id, scripts, dict.fromkeys(scripts, 0))


def _close_refused(connection: apsw.Connection | None, *, has_log: bool) -> None:
    if connection is None:
        return
    if has_log:
        # What stands in a write-ahead log that was found here is for its own program to move into the file.
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    connection.close()


def has_log(path: Path) -> bool:
    """Whether a write-ahead log with content stands beside the file."""
    return _has_content(path, "-wal")


def _has_content(path: Path, suffix: str) -> bool:
    try:
        return path.with_name(path.name + suffix).stat().st_size > 0
    except FileNotFoundError:
        return False


def _check_file(path: Path) -> None:
    if not path.exists() or path.stat().st_size == 0:
        return
    if not path.is_file():
        raise StorageError(f"{path}: is no file, wanted an SQLite database")
    if _has_content(path, "-journal"):
        # A write was cut off, perhaps the file's very first: what SQLite makes of the two is the file.
        return
    with path.open("rb") as file:
        head = file.read(100)
    if not head.startswith(_HEADER):
        raise StorageError(f"{path}: is no SQLite database; it begins with {head[:16]!r}, wanted {_HEADER!r}")
    if len(head) == 100 and not has_log(path):
        # With a write-ahead log beside it the file may lag behind its own header; without one it may not.
        page_size = int.from_bytes(head[16:18], "big")
        wanted = int.from_bytes(head[28:32], "big") * (65536 if page_size == 1 else page_size)
        if path.stat().st_size < wanted:
            raise StorageError(f"{path}: is cut short; found {path.stat().st_size} bytes, wanted {wanted}")


def _versions(
    path: Path, connection: apsw.Connection, application_id: int, scripts: Mapping[str, Sequence[str]]
) -> dict[str, int]:
    found = connection.pragma("application_id")
    tables = connection.execute("select count(*) from sqlite_schema").get
    if not tables:
        return dict.fromkeys(scripts, 0)
    if found != application_id:
        raise StorageError(
            f"{path}: belongs to another program; its application id is {found}, wanted {application_id}"
        )
    versions: dict[str, int] = dict.fromkeys(scripts, 0)
    versions.update(connection.execute("select owner, version from amends_versions").fetchall())  # type: ignore[arg-type]
    for owner, version in versions.items():
        known = len(scripts.get(owner, ()))
        if version > known:
            raise StorageError(
                f"{path}: is of a newer version; {owner} stands at {version}, this program knows up to {known}"
            )
    return versions


def _migrate(
    connection: apsw.Connection,
    application_id: int,
    scripts: Mapping[str, Sequence[str]],
    versions: Mapping[str, int],
) -> None:
    if all(versions[owner] == len(todo) for owner, todo in scripts.items()) and any(versions.values()):
        return
    with connection:
        if not connection.pragma("application_id"):
            connection.pragma("application_id", application_id)
            connection.execute(_VERSIONS)
        for owner, todo in scripts.items():
            for script in todo[versions[owner] :]:
                connection.execute(script)
            connection.execute("insert or replace into amends_versions values (?, ?)", (owner, len(todo)))
