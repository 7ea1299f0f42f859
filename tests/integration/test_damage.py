"""Journal files that can't be used: the error names the file, and the file stays as it was found."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from amends import AmendsError, JournalUnavailable, StorageError, Unavailable
from amends.protocol.messages import SagaId
from tests.actors.conftest import OpenSystem
from tests.actors.trip import COMPLETED, LONG_S, BookTrip, Script, Trip, effects, rows_of
from tests.integration.program import names, system_of


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, but for the lock, which says who asked last."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix != ".lock"}


def not_sqlite(journal: Path) -> None:
    """Somebody's diary."""
    journal.write_bytes(b"dear diary, " * 1000)


def short_and_not_sqlite(journal: Path) -> None:
    """One byte."""
    journal.write_bytes(b"x")


def only_a_header(journal: Path) -> None:
    """A file that begins well, and ends there."""
    journal.write_bytes(b"SQLite format 3\x00")


def of_another_program(journal: Path) -> None:
    """A sound database of somebody else."""
    db = apsw.Connection(str(journal))
    db.execute("create table theirs (x); insert into theirs values (1); pragma application_id = 77")
    db.close()


def of_another_program_unstamped(journal: Path) -> None:
    """The same, of somebody who does not say who."""
    db = apsw.Connection(str(journal))
    db.execute("create table theirs (x); insert into theirs values (1)")
    db.close()


def of_a_newer_version(journal: Path) -> None:
    """A journal from the future."""
    _some_journal(journal)
    db = apsw.Connection(str(journal))
    db.execute("update amends_versions set version = 99 where owner = 'amends'")
    db.close()


def cut_short(journal: Path) -> None:
    """The last page is missing."""
    _some_journal(journal)
    os.truncate(journal, journal.stat().st_size - 4096)


def cut_in_a_page(journal: Path) -> None:
    """Little more than the first page is left."""
    _some_journal(journal)
    os.truncate(journal, 4096 + 100)


def with_broken_pages(journal: Path) -> None:
    """Every page but the first is noise."""
    _some_journal(journal)
    with journal.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(journal.stat().st_size - 4096))


def with_a_broken_schema(journal: Path) -> None:
    """The first page says nonsense."""
    _some_journal(journal)
    with journal.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 3000)


def a_folder(journal: Path) -> None:
    """Not even a file."""
    journal.mkdir()


def _some_journal(journal: Path) -> None:
    with system_of(journal.parent) as system:
        for name in names(60):
            system.start(BookTrip, Trip(name), key=name)
        system.drain(LONG_S)
    for other in journal.parent.iterdir():
        if other != journal:
            other.unlink()


@pytest.mark.parametrize(
    "damage",
    [
        not_sqlite,
        short_and_not_sqlite,
        only_a_header,
        of_another_program,
        of_another_program_unstamped,
        of_a_newer_version,
        cut_short,
        cut_in_a_page,
        with_broken_pages,
        with_a_broken_schema,
    ],
)
def test_unusable_journal(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    """The error names the file, nothing in the folder changes, and the lock is let go of."""
    journal = tmp_path / "journal.db"
    damage(journal)
    before = contents(tmp_path)
    for _ in range(2):
        with pytest.raises(StorageError, match=str(journal)):
            system_of(tmp_path).open()
        assert contents(tmp_path) == before


def test_journal_that_is_a_folder(tmp_path: Path) -> None:
    """The error names it."""
    a_folder(tmp_path / "journal.db")
    with pytest.raises(StorageError, match="is no file"):
        system_of(tmp_path).open()


def test_write_ahead_log_of_another_program_is_left_alone(tmp_path: Path) -> None:
    """What another program had not yet moved into its file stays where it was, even when it was killed."""
    script = (
        "import apsw, os, signal, sys; db = apsw.Connection(sys.argv[1]);"
        "db.pragma('journal_mode', 'wal'); db.execute('create table theirs (x); insert into theirs values (1)');"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", script, tmp_path / "journal.db"], check=False)
    before = contents(tmp_path)
    assert before["journal.db-wal"]
    with pytest.raises(StorageError, match="another program"):
        system_of(tmp_path).open()
    after = contents(tmp_path)
    # The shared-memory index is no content: any reader makes it anew.
    assert {n: c for n, c in after.items() if "shm" not in n} == {n: c for n, c in before.items() if "shm" not in n}


def _stop_with_open_instances(booking: OpenSystem, count: int) -> dict[str, SagaId]:
    """Stop while every trip waits for its ticket; the instances by name."""
    system = booking(Script(ticket=lambda service, name: Unavailable("no paper")))
    ids = {name: system.start(BookTrip, Trip(name), key=name).saga_id for name in names(count)}
    _until(lambda: system.status().retries >= count)
    system.stop()
    return ids


def _until(true: Callable[[], bool]) -> None:
    until = time.monotonic() + LONG_S
    while not true():
        assert time.monotonic() < until


def test_flipped_byte_in_a_record(tmp_path: Path, booking: OpenSystem) -> None:
    """The instance whose history it is is put aside and reported; all others run."""
    ids = _stop_with_open_instances(booking, 5)
    db = apsw.Connection(str(tmp_path / "journal.db"))
    db.execute(
        "update records set body = replace(body, 'seat of trip-2', 'sEat of trip-2') where saga_id = ? and seq = 1",
        (ids["trip-2"],),
    )
    assert db.changes() == 1
    db.close()
    system = booking()
    with pytest.raises(AmendsError, match="record 1: checksum") as refused:
        system.start(BookTrip, Trip("trip-2"), key="trip-2")
    assert not isinstance(refused.value, JournalUnavailable)
    system.drain(LONG_S)
    status = system.status()
    assert (status.completed, status.open, status.quarantined) == (4, 0, 1)
    assert "record 1: checksum" in status.unreadable[ids["trip-2"]]
    assert rows_of(tmp_path / "journal.db", "select key from instances where state = 'quarantined'") == [("trip-2",)]
    assert all(effects(tmp_path, name) == COMPLETED for name in ids if name != "trip-2")


def test_flipped_bit_that_leaves_no_text(tmp_path: Path, booking: OpenSystem) -> None:
    """A bit that flips on the disk itself, so that the record is not even text any more, is found as well."""
    ids = _stop_with_open_instances(booking, 5)
    journal = tmp_path / "journal.db"
    content = bytearray(journal.read_bytes())
    content[content.index(b"seat of trip-2")] ^= 0x80
    journal.write_bytes(content)
    system = booking()
    system.drain(LONG_S)
    status = system.status()
    assert (status.completed, status.quarantined, list(status.unreadable)) == (4, 1, [ids["trip-2"]])


def test_broken_page_of_records(tmp_path: Path, booking: OpenSystem) -> None:
    """Instances whose history can't be read any more are put aside, and bring nothing else down."""
    ids = _stop_with_open_instances(booking, 60)
    db = apsw.Connection(str(tmp_path / "journal.db"))
    db.pragma("wal_checkpoint", "truncate")
    page = db.execute(
        "select pageno from dbstat where name = 'records' and pagetype = 'leaf' order by path limit 1 offset 2"
    ).get
    db.close()
    with (tmp_path / "journal.db").open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(bytes(4096))
    damaged = (tmp_path / "journal.db").read_bytes()
    system = booking()
    system.drain(LONG_S)
    status = system.status()
    assert status.completed + status.quarantined == len(ids)
    assert 0 < status.quarantined < 20
    assert status.restarts == 0
    assert (tmp_path / "journal.db.damaged").read_bytes() == damaged
