"""Processes that are killed: nothing is lost, nothing is half done, and the journal is free again."""

import random
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from amends import JournalHeld
from tests.actors.trip import SERVICES, all_or_nothing
from tests.integration.children import child, finish, hear
from tests.integration.program import names, system_of

TRIPS = 300


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_random_moments_it_is_all_or_nothing(tmp_path: Path, seed: int) -> None:
    """However often a program is killed, in the end every trip is fully done or fully undone, once."""
    chance = random.Random(seed)
    for _ in range(5):
        with child(tmp_path, "work", TRIPS) as process:
            hear(process, "open")
            try:
                process.wait(chance.uniform(0.0, 0.25))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
    with child(tmp_path, "work", TRIPS) as process:
        code, _, complained = finish(process)
    assert (code, complained) == (0, ""), f"seed {seed}"
    assert all_or_nothing(tmp_path, names(TRIPS)) == [], f"seed {seed}"


def test_killed_right_after_it_was_told_accepted(tmp_path: Path) -> None:
    """What was accepted is on disk: another process ends it without being asked."""
    with child(tmp_path, "exit-in-handler") as process:
        hear(process, "accepted")
        process.kill()
    with system_of(tmp_path) as system:
        system.drain(timeout_s=30)
        assert system.status().completed == 1
    assert all_or_nothing(tmp_path, ["trip-1"]) == []


def test_a_journal_is_open_in_one_process(tmp_path: Path) -> None:
    """A second process is refused with the holder's host and pid, and gets in once the holder is killed."""
    with child(tmp_path, "hold") as process:
        hear(process, "open")
        with pytest.raises(JournalHeld) as refused:
            system_of(tmp_path).open()
        assert refused.value.holder == f"{socket.gethostname()} {process.pid}"
        assert refused.value.holder in str(refused.value)
        assert str(tmp_path / "journal.db") in str(refused.value)
        process.kill()
        process.wait()
        with system_of(tmp_path) as system:
            assert system.status().open == 0


def test_a_refused_process_takes_nothing_away(tmp_path: Path) -> None:
    """Being refused changes neither the lock nor the holder's name in it."""
    with child(tmp_path, "hold") as process:
        hear(process, "open")
        for _ in range(2):
            with pytest.raises(JournalHeld, match=str(process.pid)):
                system_of(tmp_path).open()
        assert process.poll() is None


def test_exit_without_stop_is_clean_and_recovers(tmp_path: Path) -> None:
    """A program that just ends has exit code 0 and nothing to complain of; the next one goes on."""
    with child(tmp_path, "exit", 50) as process:
        assert finish(process) == (0, "accepted\n", "")
    with system_of(tmp_path) as system:
        system.drain(timeout_s=30)
    assert all_or_nothing(tmp_path, names(50)) == []


def test_exit_while_a_handler_hangs_is_clean(tmp_path: Path) -> None:
    """A handler that never returns does not keep the program from ending, and leaves no trace."""
    with child(tmp_path, "exit-in-handler") as process:
        assert finish(process) == (0, "accepted\n", "")
    assert all((tmp_path / f"{service}.db").exists() for service in SERVICES)
    with system_of(tmp_path) as system:
        system.drain(timeout_s=30)
    assert all_or_nothing(tmp_path, ["trip-1"]) == []


def test_a_child_made_by_fork_is_told(tmp_path: Path) -> None:
    """After a fork the child gets an error for everything it asks, and the parent keeps its lock and its work."""
    with child(tmp_path, "fork") as process:
        said = [hear(process, "SystemStopped") for _ in range(4)]
        assert all(f"belongs to process {process.pid}" in line for line in said)
        assert hear(process, "child") == "child 0"
        assert hear(process, "parent") == "parent Completed"
        with pytest.raises(JournalHeld, match=str(process.pid)):
            system_of(tmp_path).open()
        assert process.stdin is not None
        process.stdin.write("\n")
        assert finish(process) == (0, "", "")
