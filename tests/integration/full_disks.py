"""Disks that fill up, at every size: a system works until it is refused, gets room, and is audited.

python -m tests.integration.full_disks FOLDER SIZES

SQLite's own limit plays a file that can't grow, at each number of pages in turn. As a program of
its own this module lets the operating system refuse the write, at sizes where no page ends.
"""

import resource
import signal
import sys
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from amends import AmendsError, Handle, JournalUnavailable, System
from amends.actors.journal import journal
from amends.actors.journal.sqlite import SqliteStore
from amends.actors.journal.store import Batch, verify
from amends.actors.storage.folder import Folder
from amends.protocol.errors import RecordCorrupt
from tests.actors.trip import LONG_S, Act, BookTrip, Fares, Script, Seats, Tickets, Trip, all_or_nothing, rows_of
from tests.actors.world import sqlite

TRIPS = 20
NO_LIMIT = 1_000_000

JOURNAL_PAGES = 8
"""What an empty journal has; SQLite takes a limit below that for this one."""

SERVICE_PAGES = 5
"""The same of a service's database."""

EFFECTS = {"seats": "seat", "fares": "fare", "tickets": "ticket"}

STEP_BYTES = 9_001
"""By how much the operating system's limits differ: never a whole page."""


class Findings(NamedTuple):
    """What was seen, at all sizes.

    Attributes:
        refused: at how many of them something was refused.
        problems: what no full disk may lead to.
    """

    refused: int
    problems: list[str]


def names(count: int) -> list[str]:
    """Trips with long names, of which few fill a page."""
    return [f"trip-{number}-{'x' * 500}" for number in range(count)]


class Limit:
    """How many pages a file may have now."""

    def __init__(self, pages: int) -> None:
        self.pages = pages


class LimitedStore(SqliteStore):
    """A journal whose file stops growing."""

    def __init__(self, path: Path, limit: Limit) -> None:
        super().__init__(path)
        self._limit = limit

    def write(self, batch: Batch) -> Collection[str]:
        # Here and not where the limit is lifted: the connection is the journal's, and so is the thread.
        self._db.pragma("max_page_count", self._limit.pages)
        return super().write(batch)


class LimitedFolder(Folder):
    """A folder whose journal stops growing."""

    def __init__(self, path: Path, limit: Limit) -> None:
        super().__init__(path)
        self._limit = limit

    def open_store(self) -> LimitedStore:
        self._path.mkdir(parents=True, exist_ok=True)
        return LimitedStore(self._path / "journal.db", self._limit)


class LimitedSystem(System):
    """The program's system on such a folder."""

    def __init__(self, folder: Path, limit: Limit, script: Script) -> None:
        services = [Seats.spec(script), Fares.spec(script), Tickets.spec(script)]
        super().__init__(folder, sagas=[BookTrip], services=services)
        self._storage = LimitedFolder(folder, limit)


def system_of(folder: Path, limit: Limit, script: Script | None = None) -> System:
    """A system whose journal is limited."""
    return LimitedSystem(folder, limit, script or Script())


@contextmanager
def _quick_retries() -> Iterator[None]:
    """Let the journal look often whether there is room again; at its own pace most of a run is waiting."""
    own, journal.RETRY_S = journal.RETRY_S, 0.01
    try:
        yield
    finally:
        journal.RETRY_S = own


# The journal's file.


def check_full_journal(folder: Path, sizes: int) -> Findings:
    """Fill a journal that may have one page more than an empty one, two more, and so on up to `sizes`.

    At every second size the system is stopped while there is no room, and the next one finds some.
    """
    refused, problems = 0, []
    for more in range(1, sizes + 1):
        place, limit = folder / f"journal-{more}", Limit(JOURNAL_PAGES + more)
        with _quick_retries():
            with system_of(place, limit) as system:
                handles, error = _start_until_refused(system)
                if more % 2:
                    limit.pages = NO_LIMIT
                    found = _finish(system, handles)
            if more % 2 == 0:
                with system_of(place, Limit(NO_LIMIT)) as system:
                    found = _finish(system, handles)
        refused += bool(error)
        problems += [f"journal of {limit.pages} pages: {problem}" for problem in found + _wrong(error)]
        problems += [f"journal of {limit.pages} pages: {problem}" for problem in _audit(place, len(handles) + 1)]
    return Findings(refused, problems)


def _start_until_refused(system: System) -> tuple[list[Handle], str]:
    """Book trips up to the first that is refused; those accepted, and how the refusal reads."""
    handles: list[Handle] = []
    for name in names(TRIPS):
        try:
            handles.append(system.start(BookTrip, Trip(name), key=name))
        except AmendsError as error:
            return handles, repr(error)
    return handles, ""


def _wrong(error: str) -> list[str]:
    return [] if not error or error.startswith("JournalUnavailable") else [f"a start was refused with {error}"]


def _finish(system: System, handles: list[Handle]) -> list[str]:
    """Now that there is room: what was accepted is what its key leads to, and ends; so does one more trip."""
    again = [_book(system, handle.key) for handle in handles]
    late = names(len(handles) + 1)[-1]
    for handle in [*again, _book(system, late)]:
        handle.result(LONG_S)
    return [
        f"{handle.saga_id} was accepted, and its key leads to {other.saga_id}"
        for handle, other in zip(handles, again, strict=True)
        if handle.saga_id != other.saga_id
    ]


def _book(system: System, name: str) -> Handle:
    while True:
        with suppress(JournalUnavailable):  # it looks now and then whether there is room
            return system.start(BookTrip, Trip(name), key=name)


def _audit(folder: Path, trips: int) -> list[str]:
    """What is on disk once the system has stopped: all or nothing, and every history is sound."""
    found = all_or_nothing(folder, names(trips))
    with closing(SqliteStore(folder / "journal.db")) as store:
        for (saga_id,) in rows_of(folder / "journal.db", "select saga_id from instances"):
            try:
                verify(saga_id, store.history(saga_id))
            except RecordCorrupt as error:
                found.append(str(error))
    return found


# A service's file.


def check_full_service(folder: Path, service: str, sizes: int) -> Findings:
    """The same for the database of a service, which asks its sagas to try again while it is full."""
    refused, problems = 0, []
    for more in range(sizes):
        place, limit = folder / f"{service}-{more}", Limit(SERVICE_PAGES + more)
        with system_of(place, Limit(NO_LIMIT), Script(**{EFFECTS[service]: _limiting(limit)})) as system:
            handles, error = _start_until_refused(system)
            while (status := system.status()).open and not status.retries:
                pass  # until the service has refused something, or nothing is left to refuse
            refused += status.retries > 0
            limit.pages = NO_LIMIT
            for handle in handles:
                handle.result(LONG_S)
        problems += [f"{service} of {SERVICE_PAGES + more} pages: {problem}" for problem in _wrong(error)]
        problems += [f"{service} of {SERVICE_PAGES + more} pages: {problem}" for problem in _audit(place, len(handles))]
    return Findings(refused, problems)


def _limiting(limit: Limit) -> Act:
    """What a handler does first: keep its own database small."""

    def act(service: Any, name: str) -> None:
        sqlite(service.db).pragma("max_page_count", limit.pages)

    return act


# All files, limited by the operating system.


def check_small_files(folder: Path, sizes: int) -> Findings:
    """Fill files of which none may be longer than the longest of an empty system, plus a little more each time."""
    refused, problems = 0, []
    for more in range(1, sizes + 1):
        place = folder / f"files-{more}"
        with _quick_retries(), system_of(place, Limit(NO_LIMIT)) as system:
            size = max(path.stat().st_size for path in place.iterdir()) + more * STEP_BYTES
            _limit_files(size)
            handles, error = _start_until_refused(system)
            _limit_files(resource.RLIM_INFINITY)
            found = _finish(system, handles)
        refused += bool(error)
        problems += [f"files of {size} bytes: {problem}" for problem in found + _wrong(error)]
        problems += [f"files of {size} bytes: {problem}" for problem in _audit(place, len(handles) + 1)]
    return Findings(refused, problems)


def _limit_files(size: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))


if __name__ == "__main__":
    # The limit is the whole process's, and a write beyond it is a signal first.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    seen = check_small_files(Path(sys.argv[1]), int(sys.argv[2]))
    print("refused", seen.refused, *seen.problems, sep="\n")  # noqa: T201 - it talks to its parent
