"""Salvage: whatever is damaged, what the records tell is there again, and what they can't is put aside."""

import json
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from amends import StorageError
from amends.actors.journal import salvage
from amends.actors.journal.sqlite import SqliteStore
from amends.actors.journal.store import Batch, Instance, Stored, verify
from tests.integration.bit_flips import PAGE, Journal, trees, write_journal
from tests.open_ids import open_ids

INSTANCES = 48

NUMBER = 15
"""An instance that is open, with six records; the numbers before and after it are of an ended one and an open one."""


class Damaged:
    """A journal on disk, and ways to damage it."""

    def __init__(self, folder: Path, instances: int = INSTANCES) -> None:
        self.path = folder / "journal.db"
        self.journal: Journal = write_journal(folder, instances)
        self.ids = list(self.journal.written)
        self.victim = self.ids[NUMBER]
        assert self.journal.written[self.victim][0].state == "open"
        assert len(self.journal.written[self.victim][1]) == 6

    def sql(self, *statements: str) -> None:
        """Change rows as if they had been written like that; `:id` is the victim."""
        with closing(apsw.Connection(str(self.path))) as db:
            for statement in statements:
                db.execute(statement, {"id": self.victim})
            assert db.total_changes() > 0

    def replace(self, old: bytes, new: bytes, before: bytes = b"") -> None:
        """Overwrite bytes in the records' pages, those that stand shortly before others; copies left behind too."""
        assert len(old) == len(new)
        content = bytearray(self.path.read_bytes())
        for page in trees(self.path)["records"]:
            row = re.escape(old) + b".{0,40}" + re.escape(before)
            for found in re.finditer(row, content[page : page + PAGE], re.DOTALL):
                at = page + found.start()
                content[at : at + len(old)] = new
        assert content != self.path.read_bytes()
        self.path.write_bytes(content)

    def page(self, tree: str, number: int, change: Callable[[bytearray], None]) -> None:
        """Change a page of a tree."""
        content = bytearray(self.path.read_bytes())
        start = trees(self.path)[tree][number]
        page = content[start : start + PAGE]
        change(page)
        content[start : start + PAGE] = page
        self.path.write_bytes(content)

    def check(self, quarantined: set[str] | None = None) -> set[str]:
        """Open it: exactly these are put aside (if they are given), all others are as they were; who is put aside."""
        damaged = self.path.read_bytes()
        with closing(SqliteStore(self.path)) as store:
            found = set(_put_aside(store, self.journal))
            if quarantined is not None:
                assert found == quarantined
            for saga_id in self.ids:
                if saga_id not in found:
                    _is_as_it_was(store, *self.journal.written[saga_id])
            assert store.token > self.journal.token
            assert open_ids(store, "", 1000) == [i for i in self._open() if i not in found]
            assert sum(store.counts().values()) == len(self.ids)
        # The copy is the damaged file, and a second opening finds nothing.
        assert self.path.with_name("journal.db.damaged").read_bytes() == damaged
        SqliteStore(self.path).close()
        assert not self.path.with_name("journal.db.damaged2").exists()
        return found

    def _open(self) -> Iterator[str]:
        return (i for i in self.ids if self.journal.written[i][0].state == "open")


def _put_aside(store: SqliteStore, journal: Journal) -> Iterator[str]:
    for saga_id, (instance, _) in journal.written.items():
        found = store.instance(saga_id)
        assert found is not None
        if found.state == "quarantined":
            by_key = store.find(instance.saga, instance.key)
            assert by_key is not None, "its key is still taken"
            assert by_key.saga_id == saga_id
            yield saga_id


def _is_as_it_was(store: SqliteStore, instance: Instance, history: list[Stored]) -> None:
    assert store.instance(instance.saga_id) == instance
    assert store.find(instance.saga, instance.key) == instance
    assert store.history(instance.saga_id) == history
    verify(instance.saga_id, history)


@pytest.fixture
def damaged(tmp_path: Path) -> Damaged:
    """A journal that is sound so far."""
    return Damaged(tmp_path)


def turned(text: str) -> bytes:
    """With its last character changed; it still sorts behind what stood before it, and before what stood after."""
    return text[:-1].encode() + bytes([ord(text[-1]) ^ 1])


def test_a_sound_file_is_left_alone(damaged: Damaged) -> None:
    """Nothing is found in it, and no copy is made."""
    SqliteStore(damaged.path).close()
    assert sorted(path.name for path in damaged.path.parent.iterdir()) == ["journal.db", "journal.db.lock"]


# Records.


@pytest.mark.parametrize("seq", range(6))
def test_a_record_under_another_id(damaged: Damaged, seq: int) -> None:
    """Its checksum says whose it is, and it is put back."""
    body = damaged.journal.written[damaged.victim][1][seq].body.encode()
    damaged.replace(damaged.victim.encode(), turned(damaged.victim), before=body)
    damaged.check(quarantined=set())


@pytest.mark.parametrize("seq", [2, 5])
def test_a_record_under_another_number(damaged: Damaged, seq: int) -> None:
    """The same; whether that leaves a gap or takes the end away."""
    start = damaged.victim.encode() + bytes([seq])
    damaged.replace(start, start[:-1] + bytes([seq | 64]))
    damaged.check(quarantined=set())


def test_a_record_whose_id_is_no_text(damaged: Damaged) -> None:
    """The same."""
    body = damaged.journal.written[damaged.victim][1][-1].body.encode()
    damaged.replace(damaged.victim.encode(), damaged.victim[:-1].encode() + b"\xff", before=body)
    damaged.check(quarantined=set())


def test_a_missing_record(damaged: Damaged) -> None:
    """A gap is found at the opening, though nobody has read that history."""
    damaged.sql("delete from records where saga_id = :id and seq = 3")
    damaged.check(quarantined={damaged.victim})


def test_no_record_at_all(damaged: Damaged) -> None:
    """An instance of which only the list knows keeps its key."""
    damaged.sql("delete from records where saga_id = :id")
    damaged.check(quarantined={damaged.victim})


def test_a_changed_record_beside_other_damage(damaged: Damaged) -> None:
    """A salvage reads every record, so it finds those that nobody would have asked for."""
    damaged.sql(
        "update records set body = replace(body, '4', '5') where saga_id = :id and seq = 4",
        "update instances set version = 9 where saga_id > :id",
    )
    damaged.check(quarantined={damaged.victim})


def test_a_record_of_nobody(damaged: Damaged) -> None:
    """It may be what an open instance ends with, so that one is put aside; the copy has the record."""
    damaged.sql("insert into records values (:id || 'x', 9, 1.5, 1, 'step_done', '{}', 7)")
    damaged.check(quarantined={damaged.victim})


def test_a_record_of_nobody_behind_an_end(damaged: Damaged) -> None:
    """An instance whose end is there has lost nothing."""
    damaged.victim = damaged.ids[NUMBER - 1]
    assert damaged.journal.written[damaged.victim][0].state != "open"
    damaged.sql("insert into records values (:id || 'x', 9, 1.5, 1, 'step_done', '{}', 7)")
    damaged.check(quarantined=set())


def test_an_end_that_is_missing(damaged: Damaged) -> None:
    """An instance that is listed as ended and has no end is not run again."""
    damaged.victim = damaged.ids[NUMBER - 1]
    damaged.sql("delete from records where saga_id = :id and type in ('ended')")
    damaged.check(quarantined={damaged.victim})


def test_the_name_of_a_record(damaged: Damaged) -> None:
    """The column that names a record's kind follows from the record."""
    damaged.sql("update records set type = 'ended' where saga_id = :id and seq = 5")
    damaged.check(quarantined=set())


def _hide_last_row(page: bytearray) -> None:
    page[4] -= 1  # the second byte of the number of rows


def _zero(page: bytearray) -> None:
    page[:] = bytes(len(page))


def test_a_row_that_its_page_does_not_lead_to(damaged: Damaged) -> None:
    """Whoever may have lost the end of its history in a page that is damaged is put aside, and nobody else."""
    leaf = len(trees(damaged.path)["records"]) // 2
    damaged.page("records", leaf, _hide_last_row)
    with closing(apsw.Connection(str(damaged.path))) as db:
        seen = dict(db.execute("select saga_id, count(*) from records group by saga_id"))
    shorter = {saga_id for saga_id, (_, history) in damaged.journal.written.items() if len(history) != seen[saga_id]}
    found = damaged.check()
    assert shorter <= found
    assert len(found) <= 8


def test_a_page_of_records_that_is_gone(damaged: Damaged) -> None:
    """Those with records in it are put aside; scans from both ends find all others."""
    damaged.page("records", 4, _zero)
    found = damaged.check()
    assert 0 < len(found) <= 10


# Instances, indexes and the grants.

OTHER_DAMAGE = "update instances set version = 9 where key = 'trip-20'"

CHANGED_ROWS = [
    "update instances set version = 3 where saga_id = :id",
    "update instances set started_at = 1.0 where saga_id = :id",
    # SQL keeps the indexes right, which would tell of these two; so another row does.
    "update instances set saga = 'other', version = 3 where saga_id = :id",
    "update instances set key = 'other', version = 3 where saga_id = :id",
    "update instances set saga_id = 'other' where saga_id = :id",
    "delete from instances where saga_id = :id",
    "update instances set state = 'open', ended_at = null where state = 'completed'",
]


@pytest.mark.parametrize("statement", CHANGED_ROWS)
def test_a_row_of_the_list(damaged: Damaged, statement: str) -> None:
    """All of it follows from the records."""
    damaged.sql(statement)
    damaged.check(quarantined=set())


def test_an_instance_that_is_said_to_have_ended(damaged: Damaged) -> None:
    """Nobody knows whether its end is what is missing."""
    damaged.sql("update instances set state = 'completed', ended_at = 2.5 where saga_id = :id")
    damaged.check(quarantined={damaged.victim})


@pytest.mark.parametrize("change", ["version = 9", "version = 9, key = 'other'", "saga_id = 'other'"])
def test_who_was_put_aside_stays_so(damaged: Damaged, caplog: pytest.LogCaptureFixture, change: str) -> None:
    """That is the one thing that does not follow from the records; and it is no news."""
    with closing(SqliteStore(damaged.path)) as store:
        store.write(Batch([], [], [("quarantined", 2.5, damaged.victim)]))
    damaged.sql(f"update instances set {change} where saga_id = :id", OTHER_DAMAGE)
    damaged.check(quarantined={damaged.victim})
    assert "saga.quarantined" not in caplog.text
    with closing(SqliteStore(damaged.path)) as store:
        put_aside = store.instance(damaged.victim)
    assert put_aside == damaged.journal.written[damaged.victim][0]._replace(state="quarantined", ended_at=2.5)


@pytest.mark.parametrize("tree", ["open_instances", "ended_instances", "sqlite_autoindex_instances_2"])
@pytest.mark.parametrize("change", [_zero, _hide_last_row])
def test_an_index(damaged: Damaged, tree: str, change: Callable[[bytearray], None]) -> None:
    """It is made anew, and nobody whose id stands in it has to be put aside."""
    damaged.page(tree, 0, change)
    damaged.check(quarantined=set())


@pytest.mark.parametrize("instances", [INSTANCES, 150])
def test_a_page_of_the_list_that_is_gone(tmp_path: Path, instances: int) -> None:
    """The records know every instance of it, be it the list's only page or one of several."""
    damaged = Damaged(tmp_path, instances)
    damaged.page("instances", -1, _zero)
    damaged.check(quarantined=set())


def test_a_word_of_the_schema(damaged: Damaged) -> None:
    """A schema that says something else is made anew, though SQLite can read it."""
    words = damaged.path.read_bytes()
    damaged.path.write_bytes(words.replace(b"saga       text", b"saga       tezt"))
    damaged.check(quarantined=set())


@pytest.mark.parametrize(
    "statement",
    [
        "delete from grants",
        "update grants set token = 2",
        "update grants set token = 'x'",
        "update grants set token = -1",
        "update grants set token = 1 << 60",
        "update grants set token = token; pragma user_version = 3",
    ],
)
def test_a_token(damaged: Damaged, statement: str) -> None:
    """It stands in two places, and the larger one counts, so it never goes back."""
    damaged.sql(statement)
    damaged.check(quarantined=set())
    with closing(SqliteStore(damaged.path)) as store:
        assert store.token < damaged.journal.token + 10


# The file and its copy.


def test_what_no_scan_can_read(damaged: Damaged) -> None:
    """The error names the file and its copy, nothing else changes, and the next try needs no copy of its own."""
    damaged.page("records", 0, _zero)
    before = damaged.path.read_bytes()
    for _ in range(2):
        with pytest.raises(StorageError, match=rf"{damaged.path}: .*can't be salvaged.*{damaged.path}\.damaged$"):
            SqliteStore(damaged.path)
    assert damaged.path.read_bytes() == before
    copies = sorted(path.name for path in damaged.path.parent.glob("*.damaged*"))
    assert copies == ["journal.db.damaged"]


def test_copies_are_numbered(damaged: Damaged) -> None:
    """One for each time the file was damaged."""
    for version in (7, 8, 9):
        damaged.sql(f"update instances set version = {version} where saga_id = :id")
        SqliteStore(damaged.path).close()
    copies = sorted(path.name for path in damaged.path.parent.glob("*.damaged*"))
    assert copies == ["journal.db.damaged", "journal.db.damaged2", "journal.db.damaged3"]


def test_no_room_for_a_copy(damaged: Damaged, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is mended before the damaged file is kept."""

    def full(source: Path, target: Path) -> None:
        raise OSError("no space left on device")

    damaged.sql("update instances set version = 9 where saga_id = :id")
    before = damaged.path.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr("shutil.copyfile", full)
        with pytest.raises(StorageError, match=rf"{damaged.path}: is damaged, and no copy .* no space left"):
            SqliteStore(damaged.path)
    assert damaged.path.read_bytes() == before
    damaged.check(quarantined=set())


def test_what_would_still_be_damaged(damaged: Damaged, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is put in the file's place that is not sound itself."""
    damaged.sql("update instances set version = 9 where saga_id = :id")
    before = damaged.path.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(salvage, "find_damage", lambda db, scripts: ["odd"])
        with pytest.raises(StorageError, match=r"can't be salvaged: odd; a copy"):
            SqliteStore(damaged.path)
    assert damaged.path.read_bytes() == before


def test_a_log_that_another_program_keeps(damaged: Damaged) -> None:
    """While somebody else has the file open, and part of it stands in a log, it is refused as it is."""
    with closing(apsw.Connection(str(damaged.path))) as other:
        other.execute("update instances set version = 9 where key = 'trip-20'")
        with pytest.raises(StorageError, match=f"{damaged.path}: is damaged, and its write-ahead log"):
            SqliteStore(damaged.path)
    damaged.check(quarantined=set())


def test_no_room_to_mend_it(damaged: Damaged, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mended content that can't be put in its place leaves the file as it was."""

    def full(*rest: object) -> apsw.Connection:
        raise apsw.FullError("database or disk is full")

    damaged.sql("update instances set version = 9 where saga_id = :id")
    before = damaged.path.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(salvage, "_put", full)
        with pytest.raises(StorageError, match=rf"{damaged.path}: .* disk is full; a copy is kept as"):
            SqliteStore(damaged.path)
    assert damaged.path.read_bytes() == before
    damaged.check(quarantined=set())


def test_what_is_logged(damaged: Damaged, caplog: pytest.LogCaptureFixture) -> None:
    """One error for the file, with its copy and what was found, and one for each instance that is put aside."""
    damaged.sql("delete from records where saga_id = :id and seq = 3")
    with caplog.at_level(logging.INFO, "amends"):
        SqliteStore(damaged.path).close()
    salvaged, quarantined = (json.loads(record.message) for record in caplog.records)
    assert (salvaged["event"], salvaged["level"], salvaged["path"]) == ("journal.salvaged", "error", str(damaged.path))
    assert (salvaged["instances"], salvaged["quarantined"]) == (INSTANCES, 1)
    assert salvaged["copy"] == f"{damaged.path}.damaged"
    assert salvaged["damage"] == ["1 histories with a gap, or that the list of instances does not tell of"]
    assert (quarantined["event"], quarantined["saga_id"]) == ("saga.quarantined", damaged.victim)


# While it is open.

READS: list[Callable[[SqliteStore], object]] = [
    lambda store: store.find("book-trip", "trip-1"),
    lambda store: store.instance("x"),
    lambda store: store.history("x"),
    lambda store: open_ids(store, "", 10),
    lambda store: store.counts(),
    lambda store: store.prune(1e12, 10),
    lambda store: store.write(Batch([], [], [("quarantined", 1.0, "x")])),
]


@pytest.mark.parametrize("use", READS)
def test_damage_that_shows_while_it_is_open(damaged: Damaged, use: Callable[[SqliteStore], object]) -> None:
    """Every use that meets it raises an error that names the file; it is not taken for a full disk."""
    with closing(SqliteStore(damaged.path)) as store:
        store._db.pragma("wal_checkpoint", "truncate")
        content = bytearray(damaged.path.read_bytes())
        content[2 * PAGE :] = b"\x07" * (len(content) - 2 * PAGE)
        damaged.path.write_bytes(content)
        store._db.execute("pragma shrink_memory")
        with pytest.raises(StorageError, match=str(damaged.path)):
            use(store)


def test_rows_of_other_types(damaged: Damaged) -> None:
    """What is no text in a place where text was written is no error of Python's either."""
    with closing(SqliteStore(damaged.path)) as store:
        store._db.execute(
            "update instances set saga_id = cast(x'ff' as text) where saga_id = ?",
            (damaged.victim,),
        )
        for use in (lambda: open_ids(store, "", 1000), lambda: store.find("book-trip", f"trip-{NUMBER}")):
            with pytest.raises(StorageError, match=str(damaged.path)):
                use()
