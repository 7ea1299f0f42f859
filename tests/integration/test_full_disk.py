"""A disk that is full for real: what is new is refused, what was accepted is kept and goes on."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from amends import Completed, Handle, JournalUnavailable, Unavailable
from tests.actors.conftest import OpenSystem
from tests.actors.trip import COMPLETED, LONG_S, BookTrip, Script, Trip, all_or_nothing, effects
from tests.actors.world import sqlite
from tests.integration.children import child, finish, hear
from tests.integration.program import names


def test_journal_on_a_full_disk(tmp_path: Path) -> None:
    """A start is refused with JournalUnavailable; accepted trips go on when there is space, and so do new ones."""
    with child(tmp_path, "fill") as process:
        assert hear(process, "refused").startswith("refused JournalUnavailable the journal can't take a new instance")
        accepted = int(hear(process, "accepted").split()[1])
        assert accepted > 0
        code, said, complained = finish(process)
    assert (code, said, complained) == (0, f"ended {accepted + 1}\n", "")
    assert all_or_nothing(tmp_path, names(accepted + 1)) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte, where the tests may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("mounting a file system is not allowed here")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_all_databases_on_a_full_disk(small_disk: Path, booking: OpenSystem) -> None:
    """Where nothing can be written, new trips are refused; those accepted end once there is space."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(700_000))
    system = booking(folder=small_disk)
    handles: list[Handle] = []

    def start_until_refused() -> None:
        for name in names(10_000):
            handle = system.start(BookTrip, Trip(name), key=name)
            handles.append(handle)

    with pytest.raises(JournalUnavailable):
        start_until_refused()
    ballast.unlink()
    for handle in handles:
        handle.result(LONG_S)
    assert all(effects(small_disk, name) == COMPLETED for name in names(len(handles)))
    assert isinstance(system.run(BookTrip, Trip("later"), key="later", timeout_s=LONG_S), Completed)


def test_service_on_a_full_disk(tmp_path: Path, booking: OpenSystem) -> None:
    """A service that can't write is unavailable to its sagas, and does what it was asked once it can."""
    sizes = iter([1])

    def shrink(service: object, name: str) -> None:
        size = next(sizes, 1_000_000)
        sqlite(service.db).pragma("max_page_count", size)  # type: ignore[attr-defined]
        if size == 1:
            service.db.execute("insert into effects (what, name) values (?, zeroblob(100000))", ("too much",))  # type: ignore[attr-defined]

    system = booking(Script(ticket=shrink))
    handle = system.start(BookTrip, Trip("a"), key="a")
    handle.result(LONG_S)
    assert effects(tmp_path) == COMPLETED


def test_service_commits_nothing_of_a_lost_turn(tmp_path: Path, booking: OpenSystem) -> None:
    """A handler that shrugs a full disk off and answers Done has still done nothing."""
    full = iter([True])

    def overflow(service: object, name: str) -> object:
        db = service.db  # type: ignore[attr-defined]
        if not next(full, False):
            sqlite(db).pragma("max_page_count", 1_000_000)
            return None
        sqlite(db).pragma("max_page_count", 1)
        try:
            db.execute("insert into effects (what, name) values ('too much', zeroblob(100000))")
        except Exception:  # noqa: BLE001 - the handler that is tested is careless
            return None
        return Unavailable("it was to fail")

    system = booking(Script(ticket=overflow))
    assert isinstance(system.run(BookTrip, Trip("a"), key="a", timeout_s=LONG_S), Completed)
    assert effects(tmp_path) == COMPLETED
