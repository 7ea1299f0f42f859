"""Opening an SQLite file: made, migrated or refused, and refused without a trace."""

import struct
from pathlib import Path

import apsw
import pytest

from amends import StorageError, sql_files
from amends.actors.database import SERVICE_ID, open_database

ONE = "create table one (x)"
TWO = "create table two (x)"


def tables(path: Path) -> set[str]:
    """The tables of a file."""
    db = apsw.Connection(str(path))
    found = {str(name) for (name,) in db.execute("select name from sqlite_schema where type = 'table'")}
    db.close()
    return found - {"amends_versions"}


def open_and_close(path: Path, **scripts: tuple[str, ...]) -> None:
    """Open it with these scripts."""
    open_database(path, SERVICE_ID, scripts).close()


def test_new_file(tmp_path: Path) -> None:
    """A file that is not there is made, with every script run, in the mode durability needs."""
    db = open_database(tmp_path / "a.db", SERVICE_ID, {"amends": (ONE,), "service": (TWO,)})
    assert (db.pragma("journal_mode"), db.pragma("synchronous"), db.pragma("foreign_keys")) == ("wal", 2, 1)
    db.close()
    assert tables(tmp_path / "a.db") == {"one", "two"}


def test_empty_file_is_as_good_as_none(tmp_path: Path) -> None:
    """An empty file is what a crash while making it leaves."""
    (tmp_path / "a.db").touch()
    open_and_close(tmp_path / "a.db", service=(ONE,))
    assert tables(tmp_path / "a.db") == {"one"}


def test_opening_again_runs_nothing_twice(tmp_path: Path) -> None:
    """Scripts run once, though they could not run twice."""
    for _ in range(2):
        open_and_close(tmp_path / "a.db", service=(ONE,))


def test_later_scripts_run_on_an_older_file(tmp_path: Path) -> None:
    """Each owner's scripts go on from where the file stands."""
    open_and_close(tmp_path / "a.db", amends=(ONE,), service=())
    open_and_close(tmp_path / "a.db", amends=(ONE,), service=(TWO,))
    assert tables(tmp_path / "a.db") == {"one", "two"}


def test_script_that_fails(tmp_path: Path) -> None:
    """None of a failed migration stays; the error names the file, and the next try starts from the same place."""
    open_and_close(tmp_path / "a.db", service=(ONE,))
    with pytest.raises(StorageError, match=r"a\.db"):
        open_and_close(tmp_path / "a.db", service=(ONE, TWO, "nonsense"))
    assert tables(tmp_path / "a.db") == {"one"}
    open_and_close(tmp_path / "a.db", service=(ONE, TWO))


def test_newer_file(tmp_path: Path) -> None:
    """A file of a newer program is refused, with both versions in the error."""
    open_and_close(tmp_path / "a.db", service=(ONE, TWO))
    with pytest.raises(StorageError, match="service stands at 2, this program knows up to 1"):
        open_and_close(tmp_path / "a.db", service=(ONE,))


def test_sql_files_in_order(tmp_path: Path) -> None:
    """Numbered from 0001; a gap, a wrong name and an empty folder are errors."""
    with pytest.raises(StorageError, match="no"):
        sql_files(tmp_path)
    (tmp_path / "0002_b.sql").write_text(TWO)
    (tmp_path / "0001_a.sql").write_text(ONE)
    assert sql_files(tmp_path) == (ONE, TWO)
    (tmp_path / "0004_d.sql").write_text("")
    with pytest.raises(StorageError, match="0003_"):
        sql_files(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        "update amends_versions set version = 'x'",
        "update amends_versions set owner = cast(x'ff' as text)",
        "drop table amends_versions",
        "drop table amends_versions; create table amends_versions as select 'service' as owner, null as version",
    ],
)
def test_damaged_versions(tmp_path: Path, change: str) -> None:
    """Whatever stands where the version should, the error is ours and names the file, and nothing stays open."""
    open_and_close(tmp_path / "a.db", service=(ONE,))
    db = apsw.Connection(str(tmp_path / "a.db"))
    db.execute(change)
    db.close()
    before = (tmp_path / "a.db").read_bytes()
    with pytest.raises(StorageError, match=r"a\.db: can't be opened"):
        open_and_close(tmp_path / "a.db", service=(ONE,))
    assert [path.name for path in tmp_path.iterdir()] == ["a.db"]
    assert (tmp_path / "a.db").read_bytes() == before


# A rollback journal of a file that was empty: its magic number, no page, a nonce, no page before, sector and page size.
FIRST_WRITE = (bytes.fromhex("d9d505f920a163d7") + struct.pack(">5I", 0, 1, 0, 512, 4096)).ljust(512, b"\0")


@pytest.mark.parametrize("torn", [b"SQLite f", bytes(512) + b"rest", b"SQLite format 3\0".ljust(100, b"\x07")])
def test_a_first_write_that_was_cut_off(tmp_path: Path, torn: bytes) -> None:
    """What a rollback journal beside the file takes back was never there, be it the file's very first page."""
    (tmp_path / "a.db").write_bytes(torn)
    with pytest.raises(StorageError):
        open_and_close(tmp_path / "a.db", service=(ONE,))
    (tmp_path / "a.db-journal").write_bytes(FIRST_WRITE)
    open_and_close(tmp_path / "a.db", service=(ONE,))
    assert tables(tmp_path / "a.db") == {"one"}
