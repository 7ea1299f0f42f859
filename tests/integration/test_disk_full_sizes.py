"""Disks that are full at one size after the other: whatever was being written, it is all or nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.actors.trip import LONG_S, SERVICES
from tests.integration.children import ROOT
from tests.integration.full_disks import check_full_journal, check_full_service

SIZES = 20
SERVICE_SIZES = 6


def test_a_journal_that_is_full_at_every_size(tmp_path: Path) -> None:
    """What is refused says JournalUnavailable, what was accepted ends once there is room, in this process or later."""
    findings = check_full_journal(tmp_path, SIZES)
    assert findings.problems == []
    assert findings.refused >= SIZES // 2


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_that_is_full_at_every_size(tmp_path: Path, service: str) -> None:
    """Its sagas wait for it or turn back, and nothing is half done."""
    findings = check_full_service(tmp_path, service, SERVICE_SIZES)
    assert findings.problems == []
    assert findings.refused >= SERVICE_SIZES // 2


def test_files_that_are_full_in_the_middle_of_a_page(tmp_path: Path) -> None:
    """The same where the operating system refuses a part of a write, in all files at once."""
    command = [sys.executable, "-W", "error", "-m", "tests.integration.full_disks", str(tmp_path), str(SIZES)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=LONG_S, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    said, refused, *problems = done.stdout.splitlines()
    assert (said, problems) == ("refused", [])
    assert int(refused) >= SIZES // 2
