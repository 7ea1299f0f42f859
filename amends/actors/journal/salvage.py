"""Salvage: a journal's file that is damaged, made anew as far as its records go.

Records carry checksums, so they are the truth; the list of instances, every index and the order of
keys follow from them, and are made anew. A scan meets the records in the order in which they were
written into their tree, whatever a flipped bit makes their keys look like, so a record is put back
where its checksum proves that it belongs. An instance whose history is not whole, or may have lost
its end, is quarantined and named; all others go on. The damaged file is kept beside the mended one.
That a file is damaged is for `damage` to find.
"""

import filecmp
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import quote

import apsw

from amends.actors import database
from amends.actors.journal.damage import DAMAGE, find_damage, keep_token, last_token
from amends.actors.journal.remains import INSTANCES, RECORDS, Remains, Row, instance_of, scan, text_of
from amends.actors.journal.store import Instance
from amends.protocol.errors import AmendsError, StorageError
from amends.protocol.records import Ended, Record, Started
from amends.supervisor import telemetry

_ADD_INSTANCE: Final = "insert or ignore into instances values (?, ?, ?, ?, ?, ?, ?)"
_ADD_RECORD: Final = "insert or ignore into records values (?, ?, ?, ?, cast(? as text), cast(? as text), ?)"
# Place and length in the header: bytes reserved in every page, largest root page, incremental vacuum. The last two are
# for files that vacuum themselves. Source: https://www.sqlite.org/fileformat.html
_ZERO: Final = ((20, 1), (52, 4), (64, 4))


def salvage(path: Path, scripts: Sequence[str], damage: Sequence[str]) -> apsw.Connection:
    """The journal again, with all that its damaged file still tells.

    The content is made anew beside it and then put into it in one transaction, so a power cut leaves the damaged
    file, which is salvaged at the next opening, or the mended one; at worst there is a copy too many.

    Args:
        path: the file; nobody has it open.
        damage: what was found.

    Raises StorageError, which names the file and its copy, if not even that can be done.
    """
    copy = _keep_copy(path)
    try:
        misread = _put_header_right(path)
        # A connection without a name has a file of its own that goes when it is closed.
        with closing(_read_only(path)) as damaged, closing(apsw.Connection("")) as made:
            made.pragma("page_size", damaged.pragma("page_size"))
            database.create(made, database.JOURNAL_ID, {"amends": scripts})
            of_pages = find_damage(damaged, scripts) if misread else damage
            quarantined = _Rebuilding(damaged, made, _pages_that_may_hide_records(damaged, path, of_pages)).run()
            if left := find_damage(made, scripts):
                raise AmendsError("; ".join(left))
            instances = made.execute("select count(*) from instances").get
            db = _put(made, path, scripts)
    except (*DAMAGE, apsw.Error, AmendsError) as error:
        raise StorageError(
            f"{path}: is damaged ({'; '.join(damage[:3])}) and can't be salvaged: {error}; a copy is kept as {copy}"
        ) from error
    telemetry.log.error(
        telemetry.JOURNAL_SALVAGED,
        path=str(path),
        copy=str(copy),
        damage=list(damage[:10]),
        instances=instances,
        quarantined=len(quarantined),
    )
    for saga_id, reason in quarantined.items():
        telemetry.log.error(telemetry.SAGA_QUARANTINED, saga_id=saga_id, reason=reason)
    return db


def _put(made: apsw.Connection, path: Path, scripts: Sequence[str]) -> apsw.Connection:
    """Page by page in the place of what the file has, in one transaction of SQLite's own."""
    db = database.open_database(path, database.JOURNAL_ID, {"amends": scripts})
    try:
        with db.backup("main", made, "main") as putting:
            putting.step(-1)
    except apsw.Error:
        db.close()
        raise
    return db


def _keep_copy(path: Path) -> Path:
    """A copy of the file, on disk when this returns; one that is there already serves."""
    if database.has_log(path):
        raise StorageError(f"{path}: is damaged, and its write-ahead log can't be moved into it")
    names = (path.with_name(f"{path.name}.damaged{number}") for number in ("", *range(2, 1000)))
    try:
        copy = next(name for name in names if not name.exists() or filecmp.cmp(name, path, shallow=False))
        if copy.exists():
            return copy
        shutil.copyfile(path, copy)
        for written in (copy, copy.parent):
            file = os.open(written, os.O_RDONLY)
            os.fsync(file)
            os.close(file)
    except OSError as error:
        raise StorageError(f"{path}: is damaged, and no copy of it can be kept: {error}") from error
    return copy


def _put_header_right(path: Path) -> bool:
    """Make those fields of the header what they are in every journal of ours: whether they were not.

    With another value in one of them SQLite reads every page in another way than it was written.
    """
    with path.open("rb+") as file:
        head = file.read(100)
        right = bytearray(head)
        for at, length in _ZERO:
            right[at : at + length] = bytes(length)
        if right == head:
            return False
        file.seek(0)
        file.write(right)
        file.flush()
        os.fsync(file.fileno())
    return True


def _read_only(path: Path) -> apsw.Connection:
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    return apsw.Connection(f"file:{quote(str(path))}?immutable=1", flags=flags)


def _pages_that_may_hide_records(damaged: apsw.Connection, path: Path, damage: Sequence[str]) -> bytes:
    """The bytes of all pages of records that SQLite names in what it says about the file, one after the other.

    A row that its page does not lead to any more leaves no gap if it was the last of its instance; but its
    instance's id still stands there.
    """
    owners: dict[int, str] = {}
    with suppress(apsw.Error):  # what it can't tell may be a page of records
        owners.update(damaged.execute("select pageno, name from dbstat"))
    named = sorted({int(number) for problem in damage for number in re.findall(r"[Pp]age (\d+)", problem)})
    pages = [number for number in named if owners.get(number, "records") == "records"]
    if owners and not any(number in owners for number in pages):
        return b""  # no page that leads to records is damaged, so none of the others is about them
    size = damaged.pragma("page_size")
    with path.open("rb") as file:
        return b"".join(_page(file, size, number) for number in pages)


def _page(file: BinaryIO, size: int, number: int) -> bytes:
    file.seek((number - 1) * size)
    return file.read(size)


class _Rebuilding:
    """One salvage: from the damaged file's tables to those of a new one."""

    def __init__(self, damaged: apsw.Connection, made: apsw.Connection, pages: bytes) -> None:
        self._damaged = damaged
        self._made = made
        self._pages = pages
        self._quarantined: dict[str, str] = {}

    def run(self) -> dict[str, str]:
        """Why each instance is quarantined that was not before."""
        made = self._made
        # What the old list said. Not what follows from it: an instance may stand there under a key that has flipped.
        made.execute("create temp table said (saga_id primary key, saga, version, key, state, started_at, ended_at)")
        made.execute("create index temp.said_keys on said (saga, key)")
        with made:
            for row in scan(self._damaged, made, "instances", INSTANCES):
                if row is not None and (instance := instance_of(row)):
                    made.execute("insert or ignore into said values (?,?,?,?,?,?,?)", instance)
            for history in self._histories():
                self._put(history)
            self._put_those_without_history()
            keep_token(made, last_token(self._damaged))
        return self._quarantined

    def _histories(self) -> Iterator[Remains]:
        current: Remains | None = None
        unread = 0
        for values in scan(self._damaged, self._made, "records", RECORDS):
            row = None if values is None else Row(*values)
            if row is not None and current is not None and current.takes(row):
                continue
            saga_id = None if row is None else self._owner(row, current)
            if row is None or saga_id is None:
                unread += 1
                if current is not None:
                    current.in_doubt = True
                continue
            if current is None or saga_id != current.saga_id:
                if current is not None:
                    yield current
                current = Remains(saga_id)
                if current.takes(row):
                    continue
            current.takes_damaged(row)
        if current is not None:
            yield current
        elif unread:
            raise AmendsError("no record can be read")

    def _owner(self, row: Row, current: Remains | None) -> str | None:
        """Whose record it is that does not continue the current history; None if nobody knows."""
        record = row.decoded()
        if isinstance(record, Started) and row.fits(0, record.saga_id, 0):
            return record.saga_id
        saga_id = text_of(row.saga_id)
        if current is not None and saga_id == current.saga_id:
            return saga_id
        return saga_id if self._made.execute("select 1 from said where saga_id = ?", (saga_id,)).get else None

    def _put(self, history: Remains) -> None:
        made, saga_id = self._made, history.saga_id
        first, last = history.rows[0].decoded(), history.rows[-1]
        started = first if isinstance(first, Started) and history.rows[0].fits(0, saga_id, 0) else None
        said = self._said(saga_id, started)
        if started is not None:
            at, ended_at = history.rows[0].at, last.at if type(last.at) is float else None
            instance = Instance(saga_id, started.saga, started.version, started.key, "open", at, ended_at)
        elif said is not None:
            instance = said
        else:
            return  # the copy has it
        state = self._state(history, said, last.decoded())
        if state == "quarantined" and said is not None and said.state == state:
            instance = instance._replace(ended_at=said.ended_at)
        if state == "open":
            instance = instance._replace(ended_at=None)
        made.execute(_ADD_INSTANCE, instance._replace(state=state))
        # A damaged row stays as it is, if it can: whoever looks into it may still make something of it.
        rows = [(saga_id, *row[1:]) for row in history.rows]
        made.executemany(_ADD_RECORD, rows)

    def _said(self, saga_id: str, started: Started | None) -> Instance | None:
        by_id, by_key = "select * from said where saga_id = ?", "select * from said where saga = ? and key = ?"
        for row in self._made.execute(by_id, (saga_id,)):
            return Instance(*row)
        for row in self._made.execute(by_key, (started.saga, started.key)) if started else ():
            return Instance(*row)
        return None

    def _state(self, history: Remains, said: Instance | None, last: Record | None) -> str:
        if said is not None and said.state == "quarantined":
            return "quarantined"
        if history.broken:
            return self._quarantine(history.saga_id, "a record is missing, or is not the one that was written")
        if isinstance(last, Ended):
            return "completed" if last.completed else "compensated"
        if said is not None and said.state != "open":
            return self._quarantine(history.saga_id, f"it is listed as {said.state}, and has no end")
        if history.in_doubt or history.saga_id.encode() in self._pages:
            return self._quarantine(history.saga_id, "its last records may be missing: the file is damaged there")
        return "open"

    def _quarantine(self, saga_id: str, reason: str) -> str:
        self._quarantined[saga_id] = reason
        return "quarantined"

    def _put_those_without_history(self) -> None:
        without = "select * from said where saga_id not in (select saga_id from instances)"
        for row in list(self._made.execute(without)):
            instance = Instance(*row)
            aside = instance._replace(state="quarantined")
            # One whose id has flipped has given its key to the one that it was, and is not added.
            added = list(self._made.execute(f"{_ADD_INSTANCE} returning 1", aside))
            if added and instance.state != "quarantined":
                self._quarantine(instance.saga_id, "none of its records can be found")
