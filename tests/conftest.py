"""Where every run keeps its files, and what it says at its end."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.servers import NO_POSTGRES

_IN_MEMORY: Final = Path("/dev/shm")
_ROOM: Final = 2 << 30
"""More bytes than a run takes."""


def pytest_configure(config: pytest.Config) -> None:
    """Folders of tests are in memory, if there is room.

    The tests sync thousands of files, and wait for a disk that is busy otherwise far longer than they run. None of
    them sees what a disk has synced: a power cut is replayed from a recording, and a kill leaves what was written.
    """
    named = config.getoption("basetemp") or os.environ.get("PYTEST_DEBUG_TEMPROOT")
    if not named and os.access(_IN_MEMORY, os.W_OK) and shutil.disk_usage(_IN_MEMORY).free > _ROOM:
        os.environ["PYTEST_DEBUG_TEMPROOT"] = str(_IN_MEMORY)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """Tests that wanted a server and found none are not passed over in silence."""
    yield
    skipped = terminalreporter.stats.get("skipped", [])
    missing = sum(NO_POSTGRES in str(report.longrepr) for report in skipped)
    if missing:
        terminalreporter.write_line(f"{missing} TESTS DID NOT RUN: {NO_POSTGRES}", red=True, bold=True)
