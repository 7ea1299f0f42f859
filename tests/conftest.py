"""What every run says at its end."""

from collections.abc import Iterator

import pytest

from tests.servers import NO_POSTGRES


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """Tests that wanted a server and found none are not passed over in silence."""
    yield
    skipped = terminalreporter.stats.get("skipped", [])
    missing = sum(NO_POSTGRES in str(report.longrepr) for report in skipped)
    if missing:
        terminalreporter.write_line(f"{missing} TESTS DID NOT RUN: {NO_POSTGRES}", red=True, bold=True)
